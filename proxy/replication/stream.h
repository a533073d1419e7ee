// stream.h: the history we hold: its ids, its last bytes, and where its commands end. The upstream link writes it,
// replica links read it.
//
// Happy path: begin() once per history; write_space() and received() for each read; `changed` wakes the readers.
// Failure modes: broken bytes are Errc::protocol and do not become visible; what went before them stays.
#pragma once

#include <cstdint>
#include <span>

#include "common/result.h"
#include "common/signal.h"
#include "proxy/replication/backlog.h"
#include "proxy/replication/history.h"
#include "proxy/replication/stream_scanner.h"

namespace sidestream::replication {

class Stream : private StreamScanner::Visitor {
 public:
  /// Told about the stream's contents before its bytes become visible. Must not call back.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void stream_command(const StreamScanner::Command& command) = 0;
    /// The upstream asks for an ACK; `offset` is the right answer: the stream up to the question.
    virtual void stream_getack(ReplOffset offset) = 0;
  };

  Stream(int64_t backlog_bytes, Listener& listener) : listener_(listener), backlog_(backlog_bytes) {}

  /// A new history; the next byte is the one behind `offset`. Commands are known from `in_sync_from` on: a backlog that
  /// we are given may begin in the middle of one.
  void begin(History history, ReplOffset offset, ReplOffset in_sync_from);
  /// The history goes on under another id.
  void shift(ReplId new_id);
  /// Drops what is behind `offset`, where a command ends outside a transaction.
  void truncate_to(ReplOffset offset);
  void resize_backlog(int64_t bytes) { backlog_.resize(bytes); }

  std::span<char> write_space() { return backlog_.write_space(); }
  /// `n` bytes were read into write_space(). Errc::protocol: only the bytes before the broken command were taken.
  Result<void> received(size_t n);

  /// A history was begun, by whatever link.
  bool begun() const { return !history_.replid.empty(); }
  /// We know where its commands end: it can be served.
  bool in_sync() const { return begun() && offset() >= in_sync_from_; }
  /// What was written before this offset was not looked at, only kept.
  ReplOffset in_sync_from() const { return in_sync_from_; }
  const History& history() const { return history_; }
  const Backlog& backlog() const { return backlog_; }
  /// Last byte received.
  ReplOffset offset() const { return ReplOffset::before(backlog_.end()); }
  ReplOffset safe_boundary() const { return scanner_.safe_boundary(); }

  /// Look again: bytes came, ids changed, or something that replica links wait for.
  Signal changed;

 private:
  void command(const StreamScanner::Command& command) override;

  Listener& listener_;
  History history_;
  Backlog backlog_;
  StreamScanner scanner_;
  ReplOffset in_sync_from_;
};

}  // namespace sidestream::replication
