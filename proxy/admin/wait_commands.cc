// wait_commands.cc: WAIT and WAITAOF: how many replicas have the caller's last write, applied or on disk.
//
// Happy path: the offset of that write is known or asked for; replicas tell how far they are (REPLCONF ACK, FACK), and
// are asked to. What the primary itself has on disk only WAITAOF there tells, about the last write of the connection
// that asks: so a message that nobody hears is published first, which stands behind the caller's write in the stream.
// Failure modes: wrong arguments get stock's words; a primary that cannot be asked, a retryable error.
#include <algorithm>

#include "common/text.h"
#include "proxy/admin/local_commands.h"
#include "proxy/resp/writer.h"

namespace sidestream::admin {
namespace {

using resp::error;

constexpr int64_t kAckRequestEveryUs = 500'000;
constexpr int64_t kAskPrimaryEveryUs = 10'000;

constexpr std::string_view kWaitOnReplica =
    "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured "
    "to be writable (which is not the default) writes to replicas are just local and are not propagated.";
constexpr std::string_view kWaitAofOnReplica =
    "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and "
    "are not propagated.";
constexpr std::string_view kNoAof = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";

struct WaitAof {
  int64_t local = 0, replicas = 0, timeout_ms = 0;
};

Result<WaitAof> parse_waitaof(const std::vector<std::string>& args) {
  const auto refused = [](const char* words) { return Error{Errc::refused, words}; };
  const auto local = parse_int(args[1]);
  const auto replicas = parse_int(args[2]);
  const auto timeout_ms = parse_int(args[3]);
  if (!local) return refused("ERR value is not an integer or out of range");
  if (*local < 0 || *local > 1) return refused("ERR value is out of range, value must between 0 and 1");
  if (!replicas || *replicas < 0) return refused("ERR value is out of range, must be positive");
  if (!timeout_ms) return refused("ERR timeout is not an integer or out of range");
  if (*timeout_ms < 0) return refused("ERR timeout is negative");
  return WaitAof{*local, *replicas, *timeout_ms};
}

int64_t deadline_us(Clock& clock, int64_t timeout_ms) {
  return timeout_ms == 0 ? INT64_MAX : clock.now_us() + std::min<int64_t>(timeout_ms, int64_t{1} << 40) * 1000;
}

}  // namespace

int64_t LocalCommands::replicas_that(const std::function<bool(const replication::ReplicaStatus&)>& confirm) const {
  const auto replicas = group_.relay().replicas();
  const auto count = std::count_if(replicas.begin(), replicas.end(), [&](const replication::ReplicaStatus& replica) {
    return replica.state == "online" && !replica.rdb_only && confirm(replica);
  });
  // In the middle of a switch all are replicas: one of those who have it will be the primary.
  const bool nobody_leads = group_.switch_facts().state == "failover-in-progress";
  return nobody_leads ? std::max<int64_t>(count - 1, 0) : count;
}

int64_t LocalCommands::replicas_past(ReplOffset offset) const {
  return replicas_that([offset](const auto& replica) { return replica.acked >= offset; });
}

int64_t LocalCommands::replicas_synced(ReplOffset offset) const {
  return replicas_that([offset](const auto& replica) { return replica.fsynced >= offset; });
}

Task<routing::Answer> LocalCommands::wait(routing::Caller caller, std::vector<std::string> args) {
  if (!group_.is_primary() && caller.face == routing::Face::node) co_return error(kWaitOnReplica);
  const auto wanted = parse_int(args[1]);
  if (!wanted) co_return error("ERR value is not an integer or out of range");
  const auto timeout_ms = parse_int(args[2]);
  if (!timeout_ms) co_return error("ERR timeout is not an integer or out of range");
  if (*timeout_ms < 0) co_return error("ERR timeout is negative");
  auto fence = co_await group_.plane().fence(caller);
  if (!fence.ok()) co_return error(fence.error().detail);
  Clock& clock = group_.world().clock;
  const int64_t end_us = deadline_us(clock, *timeout_ms);
  int64_t ask_at_us = 0;
  while (replicas_past(fence.value()) < *wanted && clock.now_us() < end_us) {
    if (clock.now_us() >= ask_at_us) {
      group_.request_acks();
      ask_at_us = clock.now_us() + kAckRequestEveryUs;
    }
    const int64_t until_us = std::min(end_us, ask_at_us);
    co_await group_.relay().changed.wait_until(clock, until_us);
  }
  std::string out;
  resp::append_integer(out, replicas_past(fence.value()));
  co_return out;
}

/// Whether all that this connection has written is in the primary's AOF, and synced.
Task<Result<bool>> LocalCommands::synced_at_primary(replication::NodeConnection& primary) {
  std::vector<std::string> question = split("WAITAOF 0 0 0", ' ');  // answered at once
  auto reply = co_await primary.demand(std::move(question));
  CO_RETURN_IF_ERROR(reply);
  if (reply.value().elements.empty()) co_return Error{Errc::protocol, "an unexpected reply to WAITAOF"};
  co_return reply.value().elements[0].integer > 0;
}

/// A connection on which synced_at_primary() tells about the caller's last write.
Task<Result<LocalCommands::PrimaryConnection>> LocalCommands::ask_primary_behind(routing::Caller caller,
                                                                                 bool needs_aof) {
  auto opened = co_await group_.open_to_primary();
  CO_RETURN_IF_ERROR(opened);
  auto primary = std::move(opened).value();
  std::vector<std::string> question = split("INFO persistence", ' ');
  auto info = co_await primary->demand(std::move(question));
  CO_RETURN_IF_ERROR(info);
  if (needs_aof && resp::info_field(info.value().text, "aof_enabled") != "1") {
    co_return Error{Errc::refused, std::string(kNoAof)};
  }
  if (caller.has_written) {
    std::vector<std::string> message(3);
    message[0] = "SPUBLISH";
    message[1] = "__sidestream__:waitaof";
    auto published = co_await primary->demand(std::move(message));
    CO_RETURN_IF_ERROR(published);
  }
  co_return std::move(primary);
}

Task<routing::Answer> LocalCommands::waitaof(routing::Caller caller, std::vector<std::string> args) {
  auto wish = parse_waitaof(args);
  if (!wish.ok()) co_return error(wish.error().detail);
  const WaitAof wanted = wish.value();
  if (!group_.is_primary()) co_return error(kWaitAofOnReplica);
  auto fence = co_await group_.plane().fence(caller);
  if (!fence.ok()) co_return error(fence.error().detail);
  auto primary = co_await ask_primary_behind(std::move(caller), wanted.local > 0);
  if (!primary.ok() && primary.error().detail == kNoAof) co_return error(kNoAof);
  if (!primary.ok()) co_return error("MASTERDOWN the primary cannot be asked: " + primary.error().detail);
  Clock& clock = group_.world().clock;
  const int64_t end_us = deadline_us(clock, wanted.timeout_ms);
  int64_t ask_at_us = 0;
  bool local = false;
  for (;;) {
    auto synced = co_await synced_at_primary(*primary.value());
    if (!synced.ok()) co_return error("MASTERDOWN the primary cannot be asked: " + synced.error().detail);
    local = synced.value();
    const bool done = (local || wanted.local == 0) && replicas_synced(fence.value()) >= wanted.replicas;
    if (done || clock.now_us() >= end_us) break;
    if (clock.now_us() >= ask_at_us) {
      group_.request_acks();
      ask_at_us = clock.now_us() + kAckRequestEveryUs;
    }
    const int64_t again_us = local ? ask_at_us : clock.now_us() + kAskPrimaryEveryUs;
    const int64_t until_us = std::min({end_us, ask_at_us, again_us});
    co_await group_.relay().changed.wait_until(clock, until_us);
  }
  std::string out;
  resp::append_array(out, 2);
  resp::append_integer(out, local ? 1 : 0);
  resp::append_integer(out, replicas_synced(fence.value()));
  co_return out;
}

}  // namespace sidestream::admin
