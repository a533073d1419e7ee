// write_acks.cc: see the header.
#include "proxy/routing/write_acks.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "config/values.h"
#include "proxy/resp/writer.h"
#include "proxy/routing/core.h"

namespace sidestream::routing {
namespace {

// A replica that keeps up has the write within its round trip; one that does not is asked less and less often.
constexpr int64_t kEagerUs = 2'000;
constexpr int64_t kAskMinUs = 1'000, kAskMaxUs = 20'000;

}  // namespace

WriteAcks::WriteAcks(Core& core) : core_(core), look_node_(*this), timer_(core.world.clock, look_node_) {
  option_changed();
}

WriteAcks::~WriteAcks() { core_.freshness.tell_settled(nullptr); }

void WriteAcks::option_changed() {
  quorum_ = quorum_of(core_.config.write_ack);
  if (!held_.empty()) ReadyQueue::current().post_turn_end(look_node_);
}

void WriteAcks::hold(const ReplyTo& to, const AwaitedWrite& write, std::string_view frame) {
  Held held;
  held.to = to;
  held.batch = write.batch;
  held.primary = write.primary;
  if (write.era != era_) held.limit = write.era + 1 == era_ ? forked_at_ : ReplOffset{-1};
  held.since_us = core_.world.clock.now_us();
  held.until_us = held.since_us + core_.config.write_ack_timeout_ms * 1000;
  held.frame = frame;
  held_.push_back(std::move(held));
  core_.freshness.tell_settled(&look_node_);
  ReadyQueue::current().post_turn_end(look_node_);
}

void WriteAcks::history_forked(ReplOffset fork) {
  ++era_;
  forked_at_ = fork;
  for (Held& held : held_) held.limit = std::min(held.limit, fork);
  if (!held_.empty()) ReadyQueue::current().post_turn_end(look_node_);
}

void WriteAcks::look() {
  if (held_.empty()) return;
  const int64_t now_us = core_.world.clock.now_us();
  reached_ = {};
  std::vector<std::pair<Held, Fate>> done;
  std::deque<Held> left;
  bool unsettled = false;
  for (Held& held : held_) {
    const Fate now = fate(held, now_us);
    unsettled |= now == Fate::waits && held.offset.value < 0;
    if (now == Fate::waits) {
      left.push_back(std::move(held));
    } else {
      done.emplace_back(std::move(held), now);
    }
  }
  held_ = std::move(left);
  core_.freshness.tell_settled(unsettled ? &look_node_ : nullptr);
  held_.empty() ? timer_.cancel() : ask_when_due(held_.front(), now_us);
  for (const auto& [held, now] : done) finish(held, now);
}

WriteAcks::Fate WriteAcks::fate(Held& held, int64_t now_us) {
  if (quorum_ == 0) return Fate::acknowledged;  // switched off meanwhile
  if (held.offset.value < 0) held.offset = core_.freshness.settled_at(held.batch).value_or(ReplOffset{-1});
  const bool known = held.offset.value >= 0;
  if (held.limit.value < 0 || (known && held.offset > held.limit)) return Fate::lost;
  if (known && is_acknowledged(held)) return Fate::acknowledged;
  return now_us >= held.until_us ? Fate::late : Fate::waits;
}

/// The primary that executed it has it in any case, whatever it is by now. A later one whose history is known to hold
/// the write was one of the replicas.
bool WriteAcks::is_acknowledged(const Held& held) {
  const bool heir_has_it = held.limit.value != INT64_MAX && core_.servers.primary_serial() != held.primary;
  const size_t count = quorum_ - (heir_has_it ? 1 : 0);
  if (count == 0) return true;
  if (reached_.count != count || reached_.primary != held.primary) {
    reached_ = {count, held.primary, core_.servers.applied_by(count, held.primary)};
  }
  return reached_.offset >= held.offset;
}

void WriteAcks::ask_when_due(const Held& oldest, int64_t now_us) {
  if (now_us >= ask_at_us_) {
    core_.servers.ask_acks(kFirstFence);
    const int64_t age_us = now_us - oldest.since_us;
    ask_at_us_ = now_us + (age_us < kEagerUs ? 0 : std::clamp(age_us / 8, kAskMinUs, kAskMaxUs));
  }
  timer_.start_at(std::min(oldest.until_us, std::max(ask_at_us_, now_us + kAskMinUs)));
}

void WriteAcks::finish(const Held& held, Fate fate) {
  ClientSession* session = core_.sessions.find(held.to.place, held.to.session_id);
  if (session == nullptr) return;
  if (fate == Fate::acknowledged) return session->acknowledged(held.to.sequence, held.frame);
  ++core_.counters.unacknowledged_writes;
  const std::string why =
      fate == Fate::lost
          ? std::string("the primary changed before, and the new one does not have it")
          : fmt::format("not by {} replicas within {} ms (write-ack)", quorum_, core_.config.write_ack_timeout_ms);
  std::string frame;
  resp::append_error(frame, "NOACK The write was executed at the primary but not acknowledged: " + why +
                                "; do not send it again blindly.");
  session->acknowledged(held.to.sequence, frame);
}

}  // namespace sidestream::routing
