// write_acks.h: write-ack: quorum:N. Replies to writes wait here until N replicas have applied the write. One per core.
//
// Happy path: a session hands over the reply and the write's batch; the ROLE behind the batch tells the offset; the
// replicas are asked how far they are until N of them are past it; the reply goes to its client, in its place.
// Failure modes: too few in time, or the history went on without the write: the client is told that the write was
// executed and not acknowledged. Nothing is sent again.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "common/world.h"
#include "proxy/resp/repl_offset.h"
#include "proxy/routing/reply_sink.h"

namespace sidestream::routing {

struct Core;

/// A write that was sent and whose reply is to wait.
struct AwaitedWrite {
  uint64_t sequence = 0;     // of its reply
  uint64_t batch = 0;        // FreshnessMap's serial
  uint64_t era = 0;          // of WriteAcks, when it was sent
  uint64_t primary = 0;      // to whom: Servers::primary_serial()
  bool may_be_void = false;  // a nil says that nothing was executed
};

class WriteAcks {
 public:
  /// Answers to Servers::ask_acks() carry these as their fence.
  static constexpr uint64_t kFirstFence = uint64_t{1} << 63;

  explicit WriteAcks(Core& core);
  ~WriteAcks();

  /// How many replicas must have a write; 0: nobody waits.
  size_t quorum() const { return quorum_; }
  void option_changed();
  void hold(const ReplyTo& to, const AwaitedWrite& write, std::string_view frame);
  /// Something about replicas or offsets may be known now.
  void look();
  /// Which history it is: it counts up whenever writes behind a fork were lost.
  uint64_t era() const { return era_; }
  /// What lies behind `fork` is no longer part of the history; -1: nothing of it is.
  void history_forked(ReplOffset fork);

 private:
  struct Held {
    ReplyTo to;
    uint64_t batch = 0;
    uint64_t primary = 0;
    ReplOffset offset{-1};  // not known yet
    ReplOffset limit{INT64_MAX};
    int64_t since_us = 0, until_us = 0;
    std::string frame;
  };
  enum class Fate : uint8_t { waits, acknowledged, late, lost };
  struct LookNode : ReadyNode {
    explicit LookNode(WriteAcks& a)
        : ReadyNode([](ReadyNode& node) { static_cast<LookNode&>(node).acks.look(); }), acks(a) {}
    WriteAcks& acks;
  };

  Fate fate(Held& held, int64_t now_us);
  bool is_acknowledged(const Held& held);
  void finish(const Held& held, Fate fate);
  void ask_when_due(const Held& oldest, int64_t now_us);

  Core& core_;
  size_t quorum_ = 0;
  std::deque<Held> held_;  // in the order in which they came
  uint64_t era_ = 0;
  ReplOffset forked_at_{-1};  // when the era began
  int64_t ask_at_us_ = 0;
  struct Reached {
    size_t count = 0;
    uint64_t primary = 0;
    ReplOffset offset{-1};
  };
  Reached reached_;  // while it looks: the same for nearly all
  LookNode look_node_;
  Timer timer_;
};

}  // namespace sidestream::routing
