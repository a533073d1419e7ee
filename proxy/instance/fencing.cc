// fencing.cc: see fencing.h.
#include "proxy/instance/fencing.h"

#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/text.h"
#include "proxy/instance/state_file.h"
#include "proxy/replication/node_connection.h"

namespace sidestream::instance {
namespace {

constexpr int64_t kTellAgainMs = 1000;
constexpr int64_t kStepTimeoutMs = 1000;
constexpr std::string_view kNotYet = "it is not known yet which history this is; try again";
const std::string kBelow = "below";
const std::string kEarlierReplicas = "of an earlier run";
constexpr size_t kReplicasMax = 1000;  // that are remembered after they went

}  // namespace

Fencing::Fencing(World& world, const Config& config, const replication::Relay& relay, routing::Plane& plane,
                 SentinelWatch& sentinels, std::string run_id, const Owner& owner)
    : world_(world),
      config_(config),
      relay_(relay),
      plane_(plane),
      sentinels_(sentinels),
      run_id_(std::move(run_id)),
      owner_(owner) {}

void Fencing::update() {
  std::string reason = owner_.is_primary() ? fence_reason(facts()) : "";
  if (reason == reason_) return;
  if (reason.empty())
    log_notice("instance", "writes are taken again");
  else
    log_warning("instance", "no writes are taken: {}", reason);
  reason_ = std::move(reason);
  plane_.refuse_writes(reason_);
}

void Fencing::restart(bool began_as_primary) {
  role_ = Role{};
  role_.began_as_primary = began_as_primary;
  role_.since_ms = role_.unsure_since_ms = world_.clock.now_ms();
  if (!began_as_primary && sentinels_.named()) role_.epoch = sentinels_.named()->epoch;
  update();
}

/// What clients sent meanwhile is read next: it must find the fence up.
void Fencing::was_stopped() {
  if (!owner_.is_primary()) return;
  log_warning("instance", "nothing was done here for a second or more");
  sentinels_.ask_anew();
  role_.began_as_primary = true;
  role_.unsure_since_ms = world_.clock.now_ms();
  update();
}

bool Fencing::is_us(const SentinelWatch::Named& named) const {
  return named.run_id == run_id_ || owner_.is_our_place(named.primary);
}

FenceFacts Fencing::facts() {
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
    if (link.port == 0 || link.rdb_only || link.state != "online" || owner_.is_own_node(link)) continue;
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

Result<void> Fencing::succeeded_by(const replication::ReplId& replid, const Address& successor) {
  if (!owner_.is_primary() || owner_.is_our_place(successor)) return {};  // we follow somebody, or followed ourselves
  const replication::History& ours = relay_.history();
  if (ours.replid.empty()) return Error{Errc::refused, std::string(kNotYet)};  // a moment after a start
  // It may have parted from us just before a switch of ours.
  const bool is_ours = ours.replid == replid || (!replid.empty() && ours.replid2 == replid);
  if (!is_ours) return Error{Errc::refused, "this is another history"};
  log_warning("instance", "{} went on with our history", successor.text());
  role_.successor = successor.text();
  for (const auto& link : relay_.replicas()) role_.last_link = std::max(role_.last_link, link.id);
  update();
  return {};
}

Texts Fencing::notes() const {
  Texts notes;
  if (!owner_.is_primary()) return notes;
  if (!role_.successor.empty()) notes[kSuccessorKey] = role_.successor;
  if (config_.fence_after_ms > 0 && !role_.replicas.empty()) notes[kReplicasKey] = kBelow;
  return notes;
}

/// Replicas that an earlier run had count as one that was not heard since: the first that comes back takes its place.
void Fencing::recall(const Texts& notes) {
  if (!owner_.is_primary()) return;
  if (const auto kept = notes.find(kSuccessorKey); kept != notes.end()) role_.successor = kept->second;
  if (notes.contains(kReplicasKey)) role_.replicas[kEarlierReplicas] = INT64_MIN / 2;
  update();
}

void Fencing::insist() {
  log_notice("instance", "REPLICAOF NO ONE: this is the primary, whatever was said");
  restart(false);
}

void Fencing::tell(Address former, replication::ReplId history) {
  tasks_.add(tell_until_heard(std::move(former), std::move(history)));
}

/// Until it has heard it, or is no instance, or we are no primary any more.
Task<void> Fencing::tell_until_heard(Address former, replication::ReplId history) {
  while (owner_.is_primary()) {
    auto told = co_await tell_once(former, history);
    const bool not_yet = !told.ok() && told.error().detail.find(kNotYet) != std::string::npos;
    if (told.ok() || (told.error().code == Errc::refused && !not_yet)) {
      log_notice("instance", "{}: {}", former.text(),
                 told.ok() ? "knows that we are the primary" : told.error().detail);
      co_return;
    }
    co_await world_.clock.sleep(kTellAgainMs);
  }
}

Task<Result<void>> Fencing::tell_once(Address former, replication::ReplId history) {
  replication::Credentials credentials{config_.masteruser, config_.masterauth};
  auto opened =
      co_await replication::NodeConnection::open(world_, std::move(former), std::move(credentials), kStepTimeoutMs);
  if (!opened.ok()) co_return Error{Errc::closed, std::move(opened).error().detail};  // whatever it is: not for ever
  const auto connection = std::move(opened).value();
  if (!owner_.is_primary()) co_return Error{Errc::refused, "it is told nothing: this instance follows somebody by now"};
  const std::string here =
      config_.announce_ip.empty() ? replication::host_of(connection->stream().local()) : config_.announce_ip;
  std::vector<std::string> words = {"SIDESTREAM", "SUCCEEDED", history.text(), here,
                                    std::to_string(owner_.follow_port())};
  auto told = co_await connection->demand(std::move(words));
  CO_RETURN_IF_ERROR(told);
  co_return Result<void>();
}

}  // namespace sidestream::instance
