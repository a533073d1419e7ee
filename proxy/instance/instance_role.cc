// instance_role.cc: changes of role as the instance sees them: each runs to its end whoever asked for it, and what came
// of it is kept in `dir` (state_file.h), with what the next run must know. Failure modes: a disk that does not work is
// tried again until it does; meanwhile a crash would bring back the former role.
#include <fmt/format.h>

#include <algorithm>

#include "common/log.h"
#include "common/text.h"
#include "config/options.h"
#include "proxy/instance/instance.h"

namespace sidestream::instance {
namespace {

constexpr int64_t kSaveAgainMs = 1000;
constexpr int64_t kLookAtFenceMs = 100;
constexpr size_t kTakeoversKept = 8;

}  // namespace

Task<Result<void>> Instance::change_role(std::optional<Address> master) {
  auto ours = in_charge();
  CO_RETURN_IF_ERROR(ours);
  if (failover_->state() != Failover::State::none) {
    co_return Error{Errc::refused, "REPLICAOF not allowed while failing over."};
  }
  auto change = order_role(master);
  auto changed = co_await to_its_end(std::move(change));
  co_return std::move(changed);
}

Task<Result<void>> Instance::take_over(replication::ReplId replid, ReplOffset at) {
  auto ours = in_charge();
  CO_RETURN_IF_ERROR(ours);
  auto change = obey_takeover(std::move(replid), at);
  auto changed = co_await to_its_end(std::move(change));
  co_return std::move(changed);
}

/// Noted for good: who did not hear the answer asks again, perhaps after we have passed the role on ourselves, and
/// takes a refusal for leave to lead.
Task<Result<void>> Instance::obey_takeover(replication::ReplId replid, ReplOffset at) {
  const std::string name = replid.text() + ":" + std::to_string(at.value);
  std::vector<std::string> obeyed = split(state_[kTakenOverKey], ' ');
  if (std::find(obeyed.begin(), obeyed.end(), name) != obeyed.end()) co_return Result<void>();
  auto taken = co_await steering_->take_over(std::move(replid), at);
  CO_RETURN_IF_ERROR(taken);
  std::erase(obeyed, "");
  obeyed.push_back(name);
  if (obeyed.size() > kTakeoversKept) obeyed.erase(obeyed.begin());
  state_[kTakenOverKey] = fmt::format("{}", fmt::join(obeyed, " "));
  co_return Result<void>();
}

/// To follow somebody is kept before it is done: who comes back in his old role as a primary could fork the history.
Task<Result<void>> Instance::order_role(std::optional<Address> master) {
  if (!steering_->changing_role()) failover_->overruled();
  if (master) {
    config_.replicaof = *master;
    state_["replicaof"] = sidestream::get(config_, "replicaof");
    state_.erase(kHandoverKey);  // one that nobody took over
    auto kept = co_await write_state(world_, config_.dir, state_);
    if (!kept.ok()) log_error("instance", "the new role is not saved: {}", kept.error().detail);
  }
  auto changed = co_await steering_->change_role(std::move(master));
  co_return std::move(changed);
}

/// What a change of role came to, for who still waits for it.
struct Instance::Outcome {
  std::optional<Result<void>> result;
  Signal known;
};

/// Also when the client that asked for it goes: half a change of role would leave nobody in charge.
Task<Result<void>> Instance::to_its_end(Task<Result<void>> change) {
  auto outcome = std::make_shared<Outcome>();
  tasks_.add(run_change(std::move(change), outcome));
  while (!outcome->result) co_await outcome->known.wait();
  co_return std::move(*outcome->result);
}

Task<void> Instance::run_change(Task<Result<void>> change, std::shared_ptr<Outcome> outcome) {
  auto result = co_await change;
  auto kept = co_await keep_role();
  if (!kept.ok()) {
    log_error("instance", "the new role is not saved: {}", kept.error().detail);
    tasks_.add(keep_role_later());
  }
  outcome->result.emplace(std::move(result));
  outcome->known.notify_all();
}

/// By a task of ours: a client's own coroutine outlives the failover that it would wait for.
Task<Result<void>> Instance::abort_failover() {
  auto outcome = std::make_shared<Outcome>();
  tasks_.add(run_abort(outcome));
  while (!outcome->result) co_await outcome->known.wait();
  co_return std::move(*outcome->result);
}

Task<void> Instance::run_abort(std::shared_ptr<Outcome> outcome) {
  auto result = co_await failover_->abort();
  outcome->result.emplace(std::move(result));
  outcome->known.notify_all();
}

/// Until the disk works. A failover keeps its own notes meanwhile, and a process that has retired has no `dir`.
Task<void> Instance::keep_role_later() {
  for (bool saved = false; !saved;) {
    if (!retired_ && failover_->state() == Failover::State::none && !steering_->changing_role()) {
      auto kept = co_await keep_role();
      saved = kept.ok();
    }
    if (!saved) co_await world_.clock.sleep(kSaveAgainMs);
  }
}

/// Kept without CONFIG REWRITE: an instance that comes back in its old role could wipe or fork data.
Task<Result<void>> Instance::keep_role() {
  config_.replicaof = steering_->master().value_or(Address{});
  state_["replicaof"] = sidestream::get(config_, "replicaof");
  for (const std::string* key : {&kSuccessorKey, &kReplicasKey}) state_.erase(*key);
  for (auto& [key, note] : steering_->fencing().notes()) state_[key] = note;
  co_return co_await write_state(world_, config_.dir, state_);
}

/// Kept soon: who forgets it in a crash would take writes beside the other one again, and is not told twice.
Task<void> Instance::keep_fence() {
  for (;;) {
    co_await world_.clock.sleep(kLookAtFenceMs);
    const Texts known = steering_->fencing().notes();
    const auto is_kept = [&](const std::string& key) {
      const auto kept = state_.find(key);
      const auto now = known.find(key);
      if (now == known.end()) return kept == state_.end();
      return kept != state_.end() && kept->second == now->second;
    };
    if (!is_kept(kSuccessorKey) || !is_kept(kReplicasKey)) co_await keep_role_later();
  }
}

Task<Result<void>> Instance::remember(std::optional<Handover> handover) {
  state_.erase(kHandoverKey);
  if (handover) state_[kHandoverKey] = handover->text();
  config_.replicaof = handover ? handover->to : Address{};
  state_["replicaof"] = sidestream::get(config_, "replicaof");
  co_return co_await write_state(world_, config_.dir, state_);
}

Task<Result<void>> Instance::handed_over(Address to) {
  config_.replicaof = std::move(to);
  state_["replicaof"] = sidestream::get(config_, "replicaof");
  for (const std::string* key : {&kHandoverKey, &kSuccessorKey, &kReplicasKey}) state_.erase(*key);
  co_return co_await write_state(world_, config_.dir, state_);
}

}  // namespace sidestream::instance
