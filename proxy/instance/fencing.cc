// fencing.cc: what Steering knows about other primaries, and what it tells them. The decision is in fence.h.
//
// Happy path: looked at ten times a second; the plane refuses writes while there is a reason. An instance that was
// promoted without its upstream's help tells that one, as soon as it can be reached, that the history went on here.
// Failure modes: an upstream that is no instance does not understand; Sentinel tells it in its own way.
#include <algorithm>

#include "common/log.h"
#include "common/text.h"
#include "proxy/instance/fence.h"
#include "proxy/instance/state_file.h"
#include "proxy/instance/steering.h"

namespace sidestream::instance {
namespace {

constexpr int64_t kTellAgainMs = 1000;
constexpr int64_t kStepTimeoutMs = 1000;
constexpr std::string_view kNotYet = "it is not known yet which history this is; try again";
const std::string kBelow = "below";
const std::string kEarlierReplicas = "of an earlier run";
constexpr size_t kReplicasMax = 1000;  // that are remembered after they went

}  // namespace

void Steering::update_fence() {
  std::string reason = is_primary() ? fence_reason(fence_facts()) : "";
  if (reason == fenced_) return;
  if (reason.empty())
    log_notice("instance", "writes are taken again");
  else
    log_warning("instance", "no writes are taken: {}", reason);
  fenced_ = std::move(reason);
  plane_.refuse_writes(fenced_);
}

/// A role begins: what was said about the one before is void.
void Steering::restart_fence(bool began_as_primary) {
  role_ = Role{};
  role_.began_as_primary = began_as_primary;
  role_.since_ms = role_.unsure_since_ms = world_.clock.now_ms();
  if (!began_as_primary && sentinels_.named()) role_.epoch = sentinels_.named()->epoch;
  update_fence();
}

/// What clients sent meanwhile is read next: it must find the fence up.
void Steering::was_stopped() {
  if (retired_ || !is_primary()) return;
  log_warning("instance", "nothing was done here for a second or more");
  sentinels_.ask_anew();
  role_.began_as_primary = true;
  role_.unsure_since_ms = world_.clock.now_ms();
  update_fence();
}

/// Where others see us.
bool Steering::is_our_place(const Address& place) const {
  if (place.port != follow_port()) return false;
  if (!config_.announce_ip.empty()) return place.host == config_.announce_ip;
  const auto seen_as = [&](const auto& node) { return node->our_host() == place.host; };
  return sentinels_.our_host() == place.host || std::any_of(nodes_.begin(), nodes_.end(), seen_as);
}

bool Steering::is_us(const SentinelWatch::Named& named) const {
  return named.run_id == run_id_ || is_our_place(named.primary);
}

FenceFacts Steering::fence_facts() {
  FenceFacts facts;
  facts.now_ms = world_.clock.now_ms();
  facts.fence_after_ms = config_.fence_after_ms;
  facts.primary_since_ms = role_.since_ms;
  facts.began_as_primary = role_.began_as_primary;
  facts.unsure_since_ms = role_.unsure_since_ms;
  facts.successor = role_.successor;
  facts.asks_sentinels = !config_.sentinel.addresses.empty();
  facts.agreed_ms = sentinels_.agreed_ms();
  std::string named;
  if (sentinels_.named()) {
    facts.named = named = sentinels_.named()->primary.text();
    facts.names_us = is_us(*sentinels_.named());
    facts.is_news = sentinels_.named()->epoch > role_.epoch;
  }
  for (const auto& link : relay_.replicas()) {
    if (link.port == 0 || link.rdb_only || link.state != "online" || node_of(link) != nullptr) continue;
    const std::string address = Address{link.host, link.port, ""}.text();
    facts.names_our_replica |= address == named;
    if (address == role_.successor && link.id > role_.last_link) facts.successor = role_.successor = "";
    role_.replicas.erase(kEarlierReplicas);
    if (role_.replicas.size() < kReplicasMax || role_.replicas.contains(address)) {
      role_.replicas[address] = facts.now_ms - link.lag_seconds * 1000;
    }
  }
  for (const auto& [address, heard_ms] : role_.replicas) {
    ++facts.replicas_known;
    facts.replicas_heard += facts.now_ms - heard_ms <= facts.fence_after_ms ? 1 : 0;
  }
  return facts;
}

// --- news of a succession ------------------------------------------------------------------------------------------

Result<void> Steering::succeeded_by(const replication::ReplId& replid, Address successor) {
  if (!is_primary() || is_our_place(successor)) return {};  // we follow somebody, or followed ourselves
  const replication::History& ours = relay_.history();
  if (ours.replid.empty()) return Error{Errc::refused, std::string(kNotYet)};  // a moment after a start
  // It may have parted from us just before a switch of ours.
  const bool is_ours = ours.replid == replid || (!replid.empty() && ours.replid2 == replid);
  if (!is_ours) return Error{Errc::refused, "this is another history"};
  log_warning("instance", "{} went on with our history", successor.text());
  role_.successor = successor.text();
  for (const auto& link : relay_.replicas()) role_.last_link = std::max(role_.last_link, link.id);
  update_fence();
  return {};
}

Texts Steering::fence_notes() const {
  Texts notes;
  if (!is_primary()) return notes;
  if (!role_.successor.empty()) notes[kSuccessorKey] = role_.successor;
  if (config_.fence_after_ms > 0 && !role_.replicas.empty()) notes[kReplicasKey] = kBelow;
  return notes;
}

/// Replicas that an earlier run had count as one that was not heard since: the first that comes back takes its place.
void Steering::recall_fence(const Texts& notes) {
  if (!is_primary()) return;
  if (const auto kept = notes.find(kSuccessorKey); kept != notes.end()) role_.successor = kept->second;
  if (notes.contains(kReplicasKey)) role_.replicas[kEarlierReplicas] = INT64_MIN / 2;
  update_fence();
}

void Steering::insist() {
  log_notice("instance", "REPLICAOF NO ONE: this is the primary, whatever was said");
  restart_fence(false);
}

/// Until it has heard it, or is no instance, or we are no primary any more.
Task<void> Steering::tell_former(Address former, replication::ReplId history) {
  while (!master_) {
    auto told = co_await tell_former_once(former, history);
    const bool not_yet = !told.ok() && told.error().detail.find(kNotYet) != std::string::npos;
    if (told.ok() || (told.error().code == Errc::refused && !not_yet)) {
      log_notice("instance", "{}: {}", former.text(),
                 told.ok() ? "knows that we are the primary" : told.error().detail);
      co_return;
    }
    co_await world_.clock.sleep(kTellAgainMs);
  }
}

Task<Result<void>> Steering::tell_former_once(Address former, replication::ReplId history) {
  auto opened = co_await replication::NodeConnection::open(world_, std::move(former), credentials(), kStepTimeoutMs);
  if (!opened.ok()) co_return Error{Errc::closed, std::move(opened).error().detail};  // whatever it is: not for ever
  const auto connection = std::move(opened).value();
  const std::string here =
      config_.announce_ip.empty() ? replication::host_of(connection->stream().local()) : config_.announce_ip;
  std::vector<std::string> words = {"SIDESTREAM", "SUCCEEDED", history.text(), here, std::to_string(follow_port())};
  auto told = co_await connection->demand(std::move(words));
  CO_RETURN_IF_ERROR(told);
  co_return Result<void>();
}

}  // namespace sidestream::instance
