// stream.h: the history we hold: its ids, its last bytes, and where its commands end. The upstream link writes it,
// replica links read it.
//
// Happy path: restore() what an earlier run left on disk; begin() once per history; write_space() and received() for
// each read; `changed` wakes the readers, who find the newest bytes in memory (backlog()) and older ones on disk
// (read_old()). Failure modes: broken bytes are Errc::protocol and do not become visible; what went before them stays.
// What the disk does wrong shortens the history (segment_log.h), nothing else.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "common/result.h"
#include "common/signal.h"
#include "proxy/replication/backlog.h"
#include "proxy/replication/history.h"
#include "proxy/replication/segment_log.h"
#include "proxy/replication/stream_scanner.h"

namespace sidestream::replication {

class Stream : private StreamScanner::Visitor {
 public:
  /// Told about the stream's contents before its bytes become visible. Must not call back.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void stream_command(const StreamScanner::Command& command) = 0;
    /// Behind the commands of one read; `end` is that of the last whole one.
    virtual void stream_read(ReplOffset end) = 0;
    /// The upstream asks for an ACK; `offset` is the right answer: the stream up to the question.
    virtual void stream_getack(ReplOffset offset) = 0;
    /// The first byte that a live reader has not taken yet; INT64_MAX: there is none.
    virtual int64_t stream_wanted() const = 0;
  };

  /// All outlive the stream.
  Stream(World& world, const Config& config, Listener& listener)
      : config_(config), listener_(listener), backlog_(config.repl_backlog_size), disk_(world, config, backlog_) {}

  /// Before anything else. Nobody is told of the commands that are found. Errc::io: the directory cannot be used.
  Task<Result<void>> restore();

  /// A new history; the next byte is the one behind `offset`. Commands are known from `in_sync_from` on: a backlog that
  /// we are given may begin in the middle of one.
  void begin(History history, ReplOffset offset, ReplOffset in_sync_from);
  /// The history goes on under another id.
  void shift(ReplId new_id);
  /// Drops what is behind `offset`, where a command ends outside a transaction.
  void truncate_to(ReplOffset offset);
  /// Forgets all bytes, in memory and on disk; the history goes on. Only where a command ends outside a transaction.
  void release();
  /// After a change of repl-backlog-size.
  void resize_backlog() { backlog_.resize(config_.repl_backlog_size); }

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
  /// The bytes in memory.
  const Backlog& backlog() const { return backlog_; }
  /// All bytes at hand, in memory and on disk.
  BacklogRange held() const;
  int64_t first_byte() const { return held().first_byte; }
  /// Whether a reader can get this byte, or will be able to.
  bool has(int64_t byte) const { return byte >= first_byte() || byte >= backlog_.oldest(); }
  /// How many bytes may be held.
  int64_t capacity() const { return std::max(config_.repl_backlog_size, config_.repl_backlog_disk_size); }
  /// At most `most` bytes from `from`, which memory has no longer (has(from), from < backlog().oldest()).
  /// An Error: they are lost. What was read is not to be used when turns() changed meanwhile.
  Task<Result<Slice>> read_old(int64_t from, size_t most) { return disk_.read(from, most); }
  /// How often bytes became void or ids changed.
  uint64_t turns() const { return turns_; }
  const SegmentLog& disk() const { return disk_; }
  /// See SegmentLog.
  Task<void> suspend_disk() { return disk_.suspend(); }
  void resume_disk() { disk_.resume(); }
  /// Last byte received.
  ReplOffset offset() const { return ReplOffset::before(backlog_.end()); }
  ReplOffset safe_boundary() const { return scanner_.safe_boundary(); }

  /// Look again: bytes came, ids changed, or something that replica links wait for.
  Signal changed;

 private:
  void command(const StreamScanner::Command& command) override;
  Task<Result<void>> rescan(ReplOffset from);

  const Config& config_;
  Listener& listener_;
  History history_;
  Backlog backlog_;
  SegmentLog disk_;
  uint64_t turns_ = 0;
  StreamScanner scanner_;
  ReplOffset in_sync_from_;
};

}  // namespace sidestream::replication
