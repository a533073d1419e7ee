// revival.cc: SIDESTREAM REVIVE: an upstream that came back empty gets back what is held here.
//
// Happy path, with nodes of ours that still hold the data: the most advanced of them becomes the primary, the empty one
// becomes its replica; nothing has to be copied before clients can write again. Without such a node, or when the
// upstream is not ours to replace: it follows us until it has everything, from a snapshot of whoever follows us and the
// backlog behind it, and is promoted again; everybody goes on with it through its former id.
// Failure modes: nobody holds the data, it refuses, or does not get on for a while: it is left as it was, held, and the
// reason is the answer.
#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/text.h"
#include "proxy/instance/steering.h"

namespace sidestream::instance {
namespace {

constexpr int64_t kStepMs = 20;
constexpr int64_t kNoProgressMs = 30'000;

}  // namespace

Task<Result<std::string>> Steering::revive() {
  if (!relay_.guard().quarantine()) co_return Error{Errc::refused, "no upstream is held: there is nothing to revive"};
  if (changing_role_) co_return Error{Errc::refused, "another change of role is going on; try again"};
  Node* server = writer();
  CHECK(server != nullptr);  // it is what is held
  const Change change(*this, Change::Writer::none);
  auto best = most_advanced();
  if (!master_ && best.ok()) co_return co_await let_lead(*best.value());
  if (server->is_instance()) {
    co_return Error{Errc::refused, "the upstream is an instance itself: say SIDESTREAM REVIVE there"};
  }
  if (!relay_.has_history()) {
    co_return Error{Errc::refused,
                    "this instance was restarted and has no history to give back: make one of the servers "
                    "that hold the data the primary (REPLICAOF NO ONE)"};
  }
  co_return co_await give_back(*server);
}

/// Among our nodes that hold the data, those first that are known to have all of ours; not the one that is held.
Result<Node*> Steering::most_advanced() {
  Node* best = nullptr;
  const auto rank = [this](const NodeView& view) {
    return std::pair(has_all_of(view, relay_.history().replid, relay_.safe_boundary()), view.offset);
  };
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const NodeView& view = nodes_[i]->view();
    const bool has_data = view.reachable && !view.loading && !view.empty && primary_ != i &&
                          (view.follows_us || is_of_history(view, relay_.history()));
    if (has_data && (best == nullptr || rank(view) > rank(best->view()))) best = nodes_[i].get();
  }
  if (best == nullptr) return Error{Errc::refused, "no node holds the data"};
  return best;
}

Task<Result<std::string>> Steering::let_lead(Node& node) {
  const std::string former = nodes_[*primary_]->name();
  relay_.truncate_to_safe_boundary();
  auto level = co_await bring_level(node);
  if (!level.ok()) relay_.follow(nodes_[*primary_]->identity().address, credentials());
  CO_RETURN_IF_ERROR(level);
  node.set_duty(Duty::primary);
  auto told = co_await node.command_to_lead();
  if (!told.ok()) relay_.follow(nodes_[*primary_]->identity().address, credentials());
  CO_RETURN_IF_ERROR(told);
  lead_by(node, true);
  auto taken = co_await wait_for_takeover(node);
  if (!taken.ok()) log_warning("instance", "{}", taken.error().detail);
  relay_changed();
  co_return node.name() + " is the primary now, " + former + " becomes its replica";
}

Task<Result<std::string>> Steering::give_back(Node& server) {
  const Address address = server.identity().address;
  log_notice("instance", "reviving {}: it follows this instance until it has everything", server.name());
  relay_.truncate_to_safe_boundary();
  relay_.serve_alone();
  auto filled = co_await fill(server);
  auto told = co_await server.command_to_lead();  // also when it failed: it was a primary
  relay_.guard().follows(address, filled.ok() && told.ok());
  relay_.follow(address, credentials());
  CO_RETURN_IF_ERROR(filled);
  CO_RETURN_IF_ERROR(told);
  auto taken = co_await wait_for_takeover(server);
  if (!taken.ok()) log_warning("instance", "{}", taken.error().detail);
  relay_changed();
  co_return server.name() + " has everything and is the primary again";
}

/// Returns when it has applied all that we hold.
Task<Result<void>> Steering::fill(Node& server) {
  auto told = co_await server.command_to_follow();
  CO_RETURN_IF_ERROR(told);
  const std::string address = server.reached_at();
  std::string seen;
  int64_t deadline = world_.clock.now_ms() + kNoProgressMs;
  for (;;) {
    for (const auto& link : relay_.replicas()) {
      const std::string name = Address{link.host, link.port, ""}.text();
      if (name != address && name != server.name()) continue;
      if (link.state == "online" && link.acked >= relay_.safe_boundary()) co_return Result<void>();
      const std::string now = link.state + std::to_string(link.sent) + " " + std::to_string(link.acked.value);
      if (now != seen) deadline = world_.clock.now_ms() + kNoProgressMs;
      seen = now;
    }
    if (world_.clock.now_ms() > deadline) {
      co_return Error{Errc::timed_out, server.name() + " does not get on with its sync (" +
                                           (seen.empty() ? "it has not come yet" : seen) + ")"};
    }
    co_await world_.clock.sleep(kStepMs);
  }
}

}  // namespace sidestream::instance
