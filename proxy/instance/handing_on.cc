// handing_on.cc: another process of the program takes our place without anybody's noticing, and how we take one's.
//
//   former process                                  next process
//     starts the next; gives it the listeners ────► reads its configuration, listens
//     retire(): replication, nodes and dir go ────► start(): takes dir, goes on with the history; replicas and new
//     clients are served by the primary alone       clients come to it; ready_to_serve()
//     pass_clients(): one by one, idle ones first ► adopt_client()
//     ends                                       ──► elder_gone(): reads are spread again
//
// Two processes write for a moment. Neither knows how fresh replicas are with respect to the other's writes, so neither
// reads from one; the next raises its floor by what the primary has when the former is gone.
// Failure modes: until the next process has said that it serves, resume() puts everything back.
#include "common/log.h"
#include "config/options.h"
#include "proxy/instance/instance.h"

namespace sidestream::instance {
namespace {

constexpr int64_t kStepMs = 5;
constexpr int64_t kServeMs = 20'000;

}  // namespace

Result<void> Instance::in_charge() const {
  if (!retired_) return {};
  return Error{Errc::refused, "an upgrade is going on; try again in a moment"};
}

Result<void> Instance::begin_failover(admin::FailoverOrder order) {
  auto ours = in_charge();
  RETURN_IF_ERROR(ours);
  return failover_->begin(std::move(order));
}

Result<void> Instance::upgrade() {
  if (!upgrade_) return Error{Errc::refused, "there is no program to start"};
  if (draining_) return Error{Errc::refused, "the instance is being drained"};
  auto ours = in_charge();
  RETURN_IF_ERROR(ours);
  return upgrade_();
}

Legacy Instance::legacy() const {
  Legacy legacy{run_id_, plane_->last_client_id(), {}};
  for (const std::string& name : changed_options_) legacy.options[name] = sidestream::get(config_, name);
  return legacy;
}

Task<Result<void>> Instance::retire() {
  if (draining_ || retired_) co_return Error{Errc::refused, "the instance is on its way out"};
  if (failover_->state() != Failover::State::none || steering_->changing_role()) {
    co_return Error{Errc::refused, "the primary is changing just now; try again in a moment"};
  }
  retired_ = true;
  accepting_.cancel_all();
  steering_->retire();
  co_await relay_->retire();
  directory_lock_.reset();
  co_return Result<void>();
}

Task<Result<void>> Instance::resume() {
  if (!std::exchange(retired_, false)) co_return Result<void>();
  relay_->resume();
  steering_->resume();
  keep_clients();
  for (size_t i = 0; i < listeners_.size(); ++i) accepting_.add(accept_loop(*listeners_[i], faces_[i]));
  co_return co_await take_directory();
}

void Instance::pass_client(std::unique_ptr<MovingStream> stream, routing::PassedClient client) {
  PassedStream passed = take_descriptor(*stream);
  client.unsent = std::move(passed.unsent);
  if (take_client_) take_client_(std::move(passed), std::move(client));
}

Task<void> Instance::pass_clients(TakeClient take) {
  take_client_ = std::move(take);
  if (http_) http_->pause();
  relay_->unfollow();
  const int64_t deadline_ms = world_.clock.now_ms() + config_.drain.timeout_ms;
  while (take_client_ && plane_->clients().connected > 0 && world_.clock.now_ms() < deadline_ms) {
    plane_->pass_clients();
    co_await world_.clock.sleep(kStepMs);
    co_await plane_->look_around();
  }
}

void Instance::keep_clients() {
  if (!std::exchange(take_client_, nullptr)) return;
  plane_->keep_clients();
  answer_admin();
}

Task<Result<void>> Instance::ready_to_serve(bool former_was_ready) {
  const int64_t deadline_ms = world_.clock.now_ms() + kServeMs;
  const auto lacks_replicas = [&] {
    return config_.min_replicas_to_write > 0 && config_.min_replicas_max_lag > 0 && steering_->is_primary() &&
           relay_->good_replicas(config_.min_replicas_max_lag) < config_.min_replicas_to_write;
  };
  while (!readiness().ready || !plane_->primary_counts() || lacks_replicas()) {
    if (!former_was_ready) co_return Result<void>();  // it could not either
    if (world_.clock.now_ms() >= deadline_ms) co_return Error{Errc::timed_out, "not ready in time: " + trouble()};
    co_await world_.clock.sleep(kStepMs);
  }
  co_return Result<void>();
}

void Instance::adopt_client(PassedStream stream, routing::PassedClient client) {
  plane_->adopt_passed(std::move(stream), std::move(client));
}

Task<void> Instance::elder_gone() {
  for (;;) {
    auto written = co_await plane_->fence_all();
    if (written.ok()) {
      plane_->others_wrote(written.value());
      break;
    }
    co_await world_.clock.sleep(kStepMs);
  }
  steering_->share_writes(false);
}

}  // namespace sidestream::instance
