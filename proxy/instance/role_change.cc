// role_change.cc: REPLICAOF at run time, as one conversation from top to bottom.
//
// To a replica: at once; the relay asks the new upstream to go on with our history, the nodes that held it follow; the
// answer waits until the one that was the primary does.
// To a primary: the lead node is brought level with what we relayed, promoted, and followed with the old id; it answers
// +CONTINUE with its new one, and everybody downstream goes on through replid2.
#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/text.h"
#include "proxy/instance/steering.h"
#include "proxy/replication/attach_plan.h"

namespace sidestream::instance {
namespace {

constexpr int64_t kDemoteMs = 1000;
constexpr int64_t kLevelMs = 5000;
constexpr int64_t kTakeoverMs = 5000;
constexpr int64_t kAnswersMs = 300;
constexpr int64_t kSubscribersMs = 200;
constexpr int64_t kStepMs = 5;
constexpr int64_t kLookMs = 2;
constexpr int kStillMax = 3;  // looks at a server that does nothing for us

/// It is a primary and has all that we have: a handover that was given up, and not forgotten before a crash, left it
/// so.
bool leads_already(const NodeView& view, const replication::Relay& relay) {
  return relay.has_history() && view.is_master && has_all_of(view, relay.history().replid, relay.safe_boundary());
}

}  // namespace

void Steering::become_replica(const Address& master, bool by_order) {
  // By this order the operator also gave up the data of the nodes that were ours, should the histories differ.
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const bool ours = relay_.has_history() && (primary_ == i || is_of_history(nodes_[i]->view(), relay_.history()));
    nodes_[i]->set_consented(ours);
  }
  if (primary_) give_up_if_silent(*nodes_[*primary_]);
  master_ = master;
  primary_.reset();
  fencing_.update();
  leave_upstream();
  relay_.guard().follows(master, by_order);
  NodeConfig identity;
  identity.address = master;
  upstream_ = std::make_unique<Node>(world_, config_, identity, true, *this);
  upstream_->start();
  relay_.follow(master, credentials());
  relay_changed();
}

void Steering::leave_upstream() {
  if (upstream_ == nullptr) return;
  give_up_if_silent(*upstream_);
  table_from_ = nullptr;
  left_.push_back(std::move(upstream_));
}

/// Another one leads, and clients still wait for what they sent to this one: cut off without a word, it would cost them
/// seconds. One that answers us is waited for.
void Steering::give_up_if_silent(const Node& former) {
  if (!former.view().reachable) plane_.give_up(former.identity().address);
}

Task<Result<void>> Steering::change_role(std::optional<Address> master) {
  if (changing_role_) co_return Error{Errc::refused, "another change of role is going on; try again"};
  if (master) {
    log_notice("instance", "REPLICAOF {}: following it from now on", master->text());
    Node* former = primary_ ? nodes_[*primary_].get() : nullptr;
    become_replica(*master, true);
    if (former != nullptr) former->set_duty(Duty::unknown);  // until the next plan
    if (former != nullptr) co_await demoted(*former);
    co_return Result<void>();
  }
  if (!master_) {
    fencing_.insist();
    co_return Result<void>();
  }
  const Address former = *master_;
  // Who parts from an upstream that is well wants a copy that goes its own way; the upstream goes on as with stock.
  const bool succeeds = std::exchange(ordered_by_sentinel_, false) || relay_.upstream().state != "connected";
  const replication::ReplId history = relay_.history().replid;
  const Change change(*this, Change::Writer::none);
  auto promoted = co_await promote(kAnswersMs);
  if (promoted.ok() && succeeds) fencing_.tell(former, history);
  co_return std::move(promoted);
}

/// The upstream holds all writes and has nothing behind `at`. Asked again after a broken connection, the answer is the
/// same.
Task<Result<void>> Steering::take_over(replication::ReplId replid, ReplOffset at) {
  const auto done = [&] {
    return !master_ && relay_.history().replid2 == replid && relay_.history().second_offset == at.next_byte();
  };
  const int64_t deadline = world_.clock.now_ms() + kLevelMs;
  while (!done()) {
    if (!master_ && !changing_role_) {
      co_return Error{Errc::refused, "this instance follows nobody whose writes it could take over"};
    }
    const bool level = relay_.history().replid == replid && relay_.offset() == at && relay_.safe_boundary() == at;
    if (level && !changing_role_) {
      const Change change(*this, Change::Writer::none);
      co_return co_await promote(0);  // what was sent waits at the upstream, and comes back to us
    }
    if (world_.clock.now_ms() > deadline) {
      co_return Error{Errc::refused, "this instance is at offset " + std::to_string(relay_.offset().value) + " of " +
                                         relay_.history().replid.text() + ", not where the upstream stopped"};
    }
    co_await relay_.changed.wait_for(world_.clock, kStepMs);
  }
  co_return Result<void>();
}

/// After the +OK nobody can write to the former primary any more, as with stock: what it took now would be lost. An
/// operator may end a CLIENT PAUSE there with the next command.
Task<void> Steering::demoted(Node& former) {
  const int64_t deadline = world_.clock.now_ms() + kDemoteMs;
  while (former.duty() != Duty::primary && !former.view().follows_us && former.view().reachable) {
    if (world_.clock.now_ms() > deadline) co_return;
    former.look_again();
    co_await relay_.changed.wait_for(world_.clock, kStepMs);
  }
}

std::vector<Address> Steering::below_us() const {
  std::vector<Address> replicas;
  for (const auto& link : relay_.replicas()) {
    if (link.port == 0 || link.rdb_only || node_of(link) != nullptr) continue;
    replicas.push_back(Address{link.host, link.port, ""});
  }
  return replicas;
}

Task<void> Steering::pass_on(std::vector<Address> replicas) {
  for (const Address& address : replicas) {
    if (!master_ || address == *master_) continue;
    auto opened = co_await replication::NodeConnection::open(world_, address, credentials(), kDemoteMs);
    if (!opened.ok()) continue;
    std::vector<std::string> follow = {"REPLICAOF", master_->host, std::to_string(master_->port)};
    auto told = co_await opened.value()->demand(std::move(follow));
    if (told.ok()) {
      log_notice("instance", "{} follows {} from now on", address.text(), master_->text());
    } else {
      log_warning("instance", "{} does not follow {}: {}", address.text(), master_->text(), told.error().detail);
    }
  }
}

/// One that leads already; else who follows us and has all that we relayed, or most. (What a server that was restarted
/// says of its history cannot be compared with what another one says, but with ours.)
Node* Steering::best_to_lead() {
  Node* best = lead();
  const auto has_ours = [this](const NodeView& view) {
    return relay_.has_history() && has_all_of(view, relay_.history().replid, relay_.safe_boundary());
  };
  const auto is_better = [&](const NodeView& view, const NodeView& than) {
    if (has_ours(view) != has_ours(than)) return has_ours(view);
    return view.offset > than.offset && has_all_of(view, than.replid, than.offset);
  };
  for (const auto& node : nodes_) {
    const NodeView& view = node->view();
    if (!node->heard_within(kLevelMs) || !view.reachable || view.loading) continue;
    if (leads_already(view, relay_)) return node.get();
    if (best != nullptr && view.follows_us && is_better(view, best->view())) best = node.get();
  }
  return best;
}

Task<Result<Node*>> Steering::node_to_promote() {
  const int64_t deadline = world_.clock.now_ms() + kLevelMs;
  for (;;) {
    Node* node = best_to_lead();
    if (node == nullptr || node == upstream_.get()) {
      co_return Error{Errc::refused, "there is no node behind this instance that could be promoted"};
    }
    const bool fits = node->view().follows_us || leads_already(node->view(), relay_);
    if (node->heard_within(kLevelMs) && fits) co_return node;
    if (!node->heard_within(kLevelMs) || node->duty() != Duty::follow || world_.clock.now_ms() > deadline) {
      const std::string why = node->trouble().empty() ? "it does not follow this instance" : node->trouble();
      co_return Error{Errc::refused, "the node " + node->name() + " cannot be promoted: " + why};
    }
    node->look_again();  // told to follow us a moment ago, it has not been heard since
    co_await relay_.changed.wait_for(world_.clock, kStepMs);
  }
}

Task<Result<void>> Steering::promote(int64_t answers_ms) {
  auto found = co_await node_to_promote();
  CO_RETURN_IF_ERROR(found);
  Node* node = found.value();
  log_notice("instance", "REPLICAOF NO ONE: promoting {}", node->name());
  const routing::HeldWrites held(plane_);
  const bool answered = co_await hear_out(*master_, answers_ms);
  if (!answered && answers_ms > 0) log_verbose("instance", "the former primary has not answered every write");
  feed_plane();
  relay_.unfollow();
  auto level = co_await bring_level(*node);
  if (!level.ok()) {
    relay_.follow(*master_, credentials());
    co_return std::move(level).error();
  }
  relay_.truncate_to_safe_boundary();
  node->set_duty(Duty::primary);  // else its own loop would make it follow us again
  auto told = co_await node->ask(split("REPLICAOF NO ONE", ' '));
  if (!told.ok() || told.value().is_error()) {
    relay_.follow(*master_, credentials());
    co_return Error{Errc::refused, "the node " + node->name() + " refused REPLICAOF NO ONE: " +
                                       (told.ok() ? told.value().text : told.error().detail)};
  }
  const Address former = *master_;
  master_.reset();
  leave_upstream();
  fencing_.restart(false);
  lead_by(*node);
  auto taken = co_await wait_for_takeover(*node);
  if (!taken.ok()) log_warning("instance", "{}", taken.error().detail);
  writer_withheld_ = false;
  feed_plane();
  co_await plane_.subscribers_moved(kSubscribersMs);
  log_notice("instance", "no longer following {}; {} is the primary", former.text(), node->name());
  co_return Result<void>();
}

/// No more writes are sent, and those that were get their answers. A server that holds writes itself (CLIENT PAUSE, the
/// first step of every tutorial) gives none, however long we wait: it answers questions, and its offset stands still.
/// It refuses them when it is demoted, and they are made at the next primary.
Task<bool> Steering::hear_out(Address former, int64_t patience_ms) {
  const int64_t deadline_ms = world_.clock.now_ms() + patience_ms;
  const bool answered = co_await plane_.hold_writes(std::min(patience_ms, kLookMs));
  if (answered || patience_ms == 0) co_return answered;
  auto opened = co_await replication::NodeConnection::open(world_, std::move(former), credentials(), patience_ms);
  std::string before;
  for (int still = 0; opened.ok() && still < kStillMax;) {
    const int64_t left_ms = deadline_ms - world_.clock.now_ms();
    auto info = co_await opened.value()->ask_within(std::max<int64_t>(left_ms, 1), split("INFO replication", ' '));
    if (!info.ok()) break;
    const std::string offset(resp::info_field(info.value().text, "master_repl_offset"));
    still = offset == before ? still + 1 : 0;
    before = offset;
    const bool now_answered = co_await plane_.hold_writes(kLookMs);
    if (now_answered || left_ms <= 0) co_return now_answered;
    if (still == kStillMax) co_return false;
  }
  const int64_t rest_ms = std::max<int64_t>(deadline_ms - world_.clock.now_ms(), 0);
  co_return co_await plane_.hold_writes(rest_ms);
}

/// It has all that we hold; more, if it went on where our knowledge ends.
Task<Result<void>> Steering::bring_level(Node& node) {
  if (!relay_.has_history()) co_return Result<void>();
  const int64_t deadline = world_.clock.now_ms() + kLevelMs;
  for (;;) {
    auto role = co_await node.ask(split("INFO replication", ' '));
    CO_RETURN_IF_ERROR(role);
    // Offsets mean nothing in another history: somebody may have pointed it elsewhere a moment ago.
    const replication::UpstreamFacts facts = replication::parse_upstream_facts(role.value().text);
    const replication::ReplId& ours = relay_.history().replid;
    if (replication::holds_all(facts.history, facts.offset, ours, relay_.safe_boundary())) co_return Result<void>();
    if (world_.clock.now_ms() > deadline) {
      co_return Error{Errc::timed_out, "the node " + node.name() + " did not apply what this instance had received"};
    }
    co_await world_.clock.sleep(kStepMs);
  }
}

Task<Result<void>> Steering::wait_for_takeover(Node& node) {
  const int64_t deadline = world_.clock.now_ms() + kTakeoverMs;
  node.look_again();
  while (relay_.upstream().state != "connected" || !node.view().is_master) {
    if (world_.clock.now_ms() > deadline) {
      co_return Error{Errc::timed_out,
                      "promoted " + node.name() + ", but could not follow it yet: " + relay_.upstream().last_error};
    }
    co_await relay_.changed.wait_for(world_.clock, kStepMs);
    if (!node.view().is_master) node.look_again();
  }
  co_return Result<void>();
}

}  // namespace sidestream::instance
