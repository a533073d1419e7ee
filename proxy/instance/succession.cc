// succession.cc: how a primary is found that nobody ordered through us. Happy path: a node that somebody promoted by
// hand is made the primary, if nothing was written at the former one since; when nobody is primary, or (failover: auto)
// the primary is down, another node is promoted with all that we have; a former primary that comes back follows, and
// what it wrote alone goes into the ledger. Failure modes: what cannot be done changes nothing and is tried again with
// a later plan; a promotion that would cost writes is not followed, and the log says so.
#include "common/log.h"
#include "common/text.h"
#include "proxy/instance/steering.h"
#include "proxy/resp/writer.h"

namespace sidestream::instance {
namespace {

constexpr int64_t kAnswersMs = 300;
constexpr int64_t kConnectMs = 1000;
constexpr int64_t kFreezeMs = 3000;
constexpr int64_t kLevelMs = 2000;
constexpr int64_t kSubscribersMs = 200;
constexpr int64_t kStepMs = 2;
constexpr int64_t kAgainMs = 5000;
constexpr int64_t kTailBytesMax = 256 << 20;
constexpr int64_t kSureMs = 1500;  // a plan must stand so long before a node is promoted: each was looked at again

int64_t number(std::string_view info, std::string_view field) {
  return parse_int(resp::info_field(info, field)).value_or(-1);
}

}  // namespace

void Steering::succeed(const Plan& plan) {
  if (changing_role_) return;
  if (plan.adopt) {
    succession_.add(run_adoption(*nodes_[*plan.adopt]));
    return;
  }
  if (Node* next = heir()) {
    succession_.add(run_election(*next));
    return;
  }
  Node* back = astray();
  if (back != nullptr && recovery_.empty()) recovery_.add(bring_back(*back));
  const int64_t now_ms = world_.clock.now_ms();
  if (plan.promote != promotable_) promotable_since_ms_ = now_ms;
  promotable_ = plan.promote;
  if (!promotable_ || now_ms - promotable_since_ms_ < kSureMs) return;
  promotable_.reset();
  succession_.add(run_election(*nodes_[*plan.promote]));
}

/// failover: auto. Who takes over from a primary node that is down: by priority, then by offset; never an empty one,
/// nor one of another history. All that we have received reaches it before it is promoted.
Node* Steering::heir() const {
  const Node* down = !master_ && primary_ ? nodes_[*primary_].get() : nullptr;
  if (config_.failover != "auto" || down == nullptr || !relay_.has_history()) return nullptr;
  if (down->view().reachable || !down->view().heard || down->heard_within(config_.down_after_ms)) return nullptr;
  Node* best = nullptr;
  for (const auto& node : nodes_) {
    const NodeView& view = node->view();
    const bool ours = is_of_history(view, relay_.history()) ||
                      has_all_of(view, relay_.history().replid, relay_.safe_boundary());  // or ours went on there
    const bool fit = view.reachable && view.follows_us && !view.empty && !view.loading && view.priority > 0 && ours;
    if (!fit) continue;
    const auto rank = [](const NodeView& one) { return std::pair(-one.priority, one.offset); };
    if (best == nullptr || rank(view) > rank(best->view())) best = node.get();
  }
  return best;
}

Task<void> Steering::run_election(Node& node) {
  log_warning("instance", "no node is a primary any more: promoting {}", node.name());
  auto elected = co_await elect(node);
  if (elected.ok()) {
    ++elections_;
  } else {
    log_warning("instance", "{}", elected.error().detail);
    if (!master_ && primary_) relay_.follow(nodes_[*primary_]->identity().address, credentials());
  }
}

/// A primary that others replaced while it was away, and that wrote on behind the place where they went on.
Node* Steering::astray() const {
  const replication::History& history = relay_.history();
  for (const auto& node : nodes_) {
    const NodeView& view = node->view();
    const bool went_on = view.is_master && !history.replid2.empty() && view.replid == history.replid2 &&
                         view.offset.next_byte() > history.second_offset;
    if (went_on && view.reachable && !view.loading && node->duty() == Duty::foreign) return node.get();
  }
  return nullptr;
}

/// What it wrote there goes into the ledger; then it may follow.
Task<void> Steering::bring_back(Node& node) {
  auto tail = co_await read_tail(node);
  if (tail.ok()) {
    const ReplOffset fork = ReplOffset::before(relay_.history().second_offset);
    auto loss = lost_.add(node.view().replid, fork, tail.value(), LostWrites::Watched::from_now);
    co_await look_back(std::move(loss));
    node.set_consented(true);
    relay_changed();
  } else {
    log_warning("instance", "{} has writes that the new history lacks, and they cannot be read: {}", node.name(),
                tail.error().detail);
    co_await world_.clock.sleep(kAgainMs);
  }
}

/// What the new history wrote to the keys of that loss before the ledger knew of it.
Task<void> Steering::look_back(std::shared_ptr<LostWrites::Loss> loss) {
  const replication::ReplId replid = relay_.history().replid;
  const ReplOffset until = relay_.offset();  // what ends behind it passes the ledger
  LostWrites::LookBack look(lost_, loss);
  while (look.position() < until) {
    auto bytes = co_await relay_.read_held(look.position().next_byte());
    const bool same = relay_.history().replid == replid;
    if (!bytes.ok() || !same || !look.feed(bytes.value())) {
      log_warning("instance", "which of the lost keys were written again since is not known: {}",
                  !same        ? "the history changed"
                  : bytes.ok() ? "its bytes are no commands"
                               : bytes.error().detail);
      co_return;
    }
  }
  look.done();
}

Task<Result<std::string>> Steering::read_tail(Node& node) {
  auto opened = co_await replication::NodeConnection::open(world_, node.identity().address, credentials(), kConnectMs);
  CO_RETURN_IF_ERROR(opened);
  replication::NodeConnection& server = *opened.value();
  std::vector<std::string> pause = {"CLIENT", "PAUSE", std::to_string(kConnectMs), "WRITE"};
  auto paused = co_await server.ask(std::move(pause));
  CO_RETURN_IF_ERROR(paused);
  auto info = co_await server.demand(split("INFO replication", ' '));
  CO_RETURN_IF_ERROR(info);
  const int64_t from = relay_.history().second_offset;
  const int64_t size = number(info.value().text, "master_repl_offset") + 1 - from;
  if (size > kTailBytesMax) co_return Error{Errc::over_limit, std::to_string(size) + " bytes are too many"};
  const std::string first = std::to_string(from);
  const std::string id = relay_.history().replid2.text();
  server.send(resp::command({"PSYNC", id, first}));
  std::string said;
  while (said.empty()) {
    auto line = co_await server.read_line();
    CO_RETURN_IF_ERROR(line);
    said = std::move(line).value();
  }
  if (!said.starts_with("+CONTINUE")) co_return Error{Errc::refused, said};
  std::string bytes;
  while (std::ssize(bytes) < size) {
    auto chunk = co_await server.read_chunk();
    CO_RETURN_IF_ERROR(chunk);
    bytes.append(chunk.value());
  }
  bytes.resize(static_cast<size_t>(size));
  co_return std::move(bytes);
}

/// Nobody is primary: `node` becomes it.
Task<Result<void>> Steering::elect(Node& node) {
  const Change change(*this, Change::Writer::as_is);
  relay_.unfollow();
  auto level = co_await bring_level(node);
  CO_RETURN_IF_ERROR(level);
  relay_.truncate_to_safe_boundary();
  node.set_duty(Duty::primary);  // else its own loop would make it follow us again
  auto told = co_await node.command_to_lead();
  CO_RETURN_IF_ERROR(told);
  lead_by(node);
  co_return co_await wait_for_takeover(node);
}

Task<void> Steering::run_adoption(Node& node) {
  const replication::ReplId promoted_as = node.view().replid;
  log_notice("instance", "{} was promoted by hand", node.name());
  auto adopted = co_await adopt(node);
  if (adopted.ok()) co_return;
  refused_promotion_ = promoted_as;
  log_warning("instance", "the promotion of {} is not followed: {}", node.name(), adopted.error().detail);
  relay_changed();
}

/// Clients wait meanwhile. The former primary must have stopped where the new one begins.
Task<Result<void>> Steering::adopt(Node& node) {
  Node* former = primary_node();
  if (former == nullptr) co_return Error{Errc::refused, "there is no primary that it could replace"};
  const Change change(*this, Change::Writer::as_is);
  const routing::HeldWrites held(plane_);
  co_await hear_out(former->identity().address, kAnswersMs);
  auto opened =
      co_await replication::NodeConnection::open(world_, former->identity().address, credentials(), kConnectMs);
  CO_RETURN_IF_ERROR(opened);
  replication::NodeConnection& server = *opened.value();
  auto known = co_await former->let_it_in(server);
  CO_RETURN_IF_ERROR(known);
  std::vector<std::string> pause = {"CLIENT", "PAUSE", std::to_string(kFreezeMs), "WRITE"};
  auto paused = co_await server.ask(std::move(pause));
  CO_RETURN_IF_ERROR(paused);
  const bool frozen = !paused.value().is_error();
  auto replaced = co_await replace(*former, server, node, frozen);
  if (!replaced.ok() && frozen) {
    auto thawed = co_await server.ask(split("CLIENT UNPAUSE", ' '));
    if (!thawed.ok()) log_warning("instance", "{} thaws by itself: {}", former->name(), thawed.error().detail);
  }
  feed_plane();
  co_await plane_.subscribers_moved(kSubscribersMs);
  co_return std::move(replaced);
}

Task<Result<void>> Steering::replace(Node& former, replication::NodeConnection& server, Node& node, bool frozen) {
  auto last = co_await server.demand(split("INFO replication", ' '));
  CO_RETURN_IF_ERROR(last);
  auto first = co_await node.ask(split("INFO replication", ' '));
  CO_RETURN_IF_ERROR(first);
  const ReplOffset end{number(last.value().text, "master_repl_offset")};
  const ReplOffset fork = ReplOffset::before(number(first.value().text, "second_repl_offset"));
  if (resp::info_field(first.value().text, "master_replid2") != resp::info_field(last.value().text, "master_replid")) {
    co_return Error{Errc::refused, "it is of another history"};
  }
  if (end > fork) {
    co_return Error{Errc::refused, former.name() + " went on for " + std::to_string(end - fork) +
                                       " bytes since; they would be lost. Use FAILOVER, or stop writes (CLIENT PAUSE) "
                                       "and compare offsets before"};
  }
  auto demoted = co_await former.demote(server, frozen);
  CO_RETURN_IF_ERROR(demoted);
  const int64_t deadline_ms = world_.clock.now_ms() + kLevelMs;
  while (relay_.offset() < end && world_.clock.now_ms() < deadline_ms) co_await world_.clock.sleep(kStepMs);
  node.set_duty(Duty::primary);
  former.set_duty(Duty::follow);
  lead_by(node);
  co_return co_await wait_for_takeover(node);
}

}  // namespace sidestream::instance
