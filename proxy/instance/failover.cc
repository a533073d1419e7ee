// failover.cc: the conversation of failover.h from top to bottom: run, attempt, become_level, pass_on.
#include "proxy/instance/failover.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "common/log.h"
#include "common/text.h"

namespace sidestream::instance {
namespace {

constexpr std::string_view kTag = "failover";
constexpr int64_t kConnectMs = 1000;
constexpr int64_t kFreezeMs = 3000;  // beyond the time to get level: should we die, the node thaws by itself
constexpr int64_t kLevelMs = 2000;   // from the demotion on
constexpr int64_t kTakeoverMs = 15'000;
constexpr int64_t kSubscribersMs = 200;
constexpr int64_t kStepMs = 2;
constexpr int64_t kAgainMs = 500;  // clients write on between two attempts
constexpr int kUndoTries = 20;

Error refused(std::string text) { return Error{Errc::refused, std::move(text)}; }

bool is_replica_to_count(const replication::ReplicaStatus& link) { return link.port != 0 && !link.rdb_only; }

int64_t number(std::string_view info, std::string_view field) {
  return parse_int(resp::info_field(info, field)).value_or(-1);
}

}  // namespace

std::string Handover::text() const {
  return to.host + " " + std::to_string(to.port) + (is_instance ? " instance " : " server ") + replid.text() + " " +
         std::to_string(at.value);
}

Result<Handover> Handover::parse(const std::string& text) {
  const std::vector<std::string> words = split(text, ' ');
  const auto id = words.size() == 5 ? replication::ReplId::parse(words[3]) : std::nullopt;
  const auto port = id ? parse_int(words[1]) : std::nullopt;
  const auto at = id ? parse_int(words[4]) : std::nullopt;
  if (!id || !port || !at) return Error{Errc::config, "the state file has a handover that is none: " + text};
  return Handover{{words[0], static_cast<int>(*port), ""}, words[2] == "instance", *id, ReplOffset{*at}};
}

Failover::Failover(World& world, const Config& config, replication::Relay& relay, routing::Plane& plane,
                   Steering& steering, Memory& memory)
    : world_(world), config_(config), relay_(relay), plane_(plane), steering_(steering), memory_(memory) {}

Failover::~Failover() = default;

// --- orders --------------------------------------------------------------------------------------------------------

Result<void> Failover::begin(admin::FailoverOrder order) {
  if (state_ != State::none) return refused("FAILOVER already in progress.");
  if (!steering_.is_primary()) return refused("FAILOVER is not valid when server is a replica.");
  const auto links = relay_.replicas();
  if (std::none_of(links.begin(), links.end(), is_replica_to_count)) {
    return refused("FAILOVER requires connected replicas.");
  }
  if (order.force && (order.timeout_ms == 0 || !order.to)) {
    return refused("FAILOVER with force option requires both a timeout and target HOST and IP.");
  }
  if (order.to) {
    const auto fits = [&](const auto& link) { return Address{link.host, link.port, ""} == *order.to; };
    const auto link = std::find_if(links.begin(), links.end(), fits);
    if (link == links.end()) return refused("FAILOVER target HOST and PORT is not a replica.");
    if (link->state != "online") return refused("FAILOVER target replica is not online.");
  }
  log_notice(kTag, "FAILOVER to {}", order.to ? order.to->text() : "the best replica");
  state_ = State::waiting_for_sync;
  aborted_ = told_ = false;
  trouble_.clear();
  tasks_.add(run(std::move(order)));
  return {};
}

Task<Result<void>> Failover::abort() {
  if (state_ == State::none) co_return refused("No failover in progress.");
  if (told_) co_return refused("too late: the target was told to take over and may have done so");
  aborted_ = true;
  look_.notify_all();
  while (state_ != State::none) co_await ended.wait();
  if (trouble_.empty()) co_return refused("too late: the failover is complete");
  co_return Result<void>();
}

void Failover::resume(Handover handover) {
  log_warning(kTag, "{} was told to take over before a restart; asking it", handover.to.text());
  state_ = State::in_progress;
  told_ = true;
  tasks_.add(finish_handover(std::move(handover)));
}

Task<void> Failover::finish_handover(Handover handover) {
  const Address to = handover.to;
  auto told = co_await told_to_take_over(handover);
  if (told.ok()) {
    auto kept = co_await memory_.handed_over(to);
    if (!kept.ok()) log_error(kTag, "the new role is not saved: {}", kept.error().detail);
    co_return end("");
  }
  forgetting_.add(lead_after_all(std::move(handover)));
  end(told.error().detail);
}

/// Nobody took over, and our own primary was demoted for it: who has everything leads again, as soon as it can be had
/// and unless an operator gives us another role meanwhile.
Task<void> Failover::lead_after_all(Handover handover) {
  const auto has_all = [&](const auto& node) {
    const NodeView& view = node->view();
    const replication::History held{view.replid, view.replid2, view.second_offset};
    return view.reachable && !view.loading && holds_all(held, view.offset, handover.replid, handover.at);
  };
  std::string logged;
  while (steering_.master() == handover.to) {
    std::string trouble = "no node that answers has all that was written; REPLICAOF NO ONE promotes who has most";
    if (std::any_of(steering_.nodes().begin(), steering_.nodes().end(), has_all)) {
      auto back = co_await steering_.change_role(std::nullopt);
      if (back.ok()) break;
      trouble = back.error().detail;
    }
    if (trouble != logged) log_error(kTag, "nobody leads: {}", trouble);
    logged = trouble;
    co_await world_.clock.sleep(kAgainMs);
  }
  if (steering_.is_primary()) co_await forget();
}

void Failover::end(std::string trouble) {
  if (!trouble.empty()) log_warning(kTag, "given up: {}", trouble);
  trouble_ = std::move(trouble);
  state_ = State::none;
  ended.notify_all();
}

/// Our own nodes before instances before stock replicas, the most advanced first; last one whose data is known to
/// differ.
std::optional<Failover::Target> Failover::choose(const admin::FailoverOrder& order) const {
  std::optional<Target> best;
  std::tuple<bool, int, ReplOffset> best_rank;
  for (const auto& link : relay_.replicas()) {
    const Address address{link.host, link.port, ""};
    if (!is_replica_to_count(link) || link.state != "online" || (order.to && address != *order.to)) continue;
    Node* node = nullptr;
    for (const auto& each : steering_.nodes()) {
      if (each.get() == steering_.node_of(link)) node = each.get();
    }
    if (node != nullptr && order.below_us_only) continue;
    if (order.instances_only && !link.hello.instance) continue;
    const bool sound = node == nullptr || !steering_.audit().differs(node->name());
    const std::tuple rank(sound, node != nullptr ? 2 : link.hello.instance ? 1 : 0, link.acked);
    if (best && rank <= best_rank) continue;
    best = Target{node != nullptr ? node->identity().address : address, node, link.hello.instance};
    best_rank = rank;
  }
  return best;
}

Task<void> Failover::run(admin::FailoverOrder order) {
  const int64_t deadline_ms = order.timeout_ms > 0 ? world_.clock.now_ms() + order.timeout_ms : INT64_MAX;
  for (;;) {
    if (aborted_) co_return end("aborted by FAILOVER ABORT");
    if (!steering_.is_primary()) co_return end("this instance is no primary any more");
    const bool late = world_.clock.now_ms() >= deadline_ms;
    if (late && !order.force) co_return end("timed out before the replica caught up");
    const auto target = choose(order);
    if (target) {
      auto outcome = co_await attempt(*target, late);
      if (outcome.ok()) {
        ++completed_;
        log_notice(kTag, "{} is the primary", target->address.text());
        co_return end("");
      }
      if (late || state_ == State::in_progress) co_return end(outcome.error().detail);
      log_notice(kTag, "not yet: {}", outcome.error().detail);
    }
    const int64_t until_us = std::min(deadline_ms, world_.clock.now_ms() + kAgainMs) * 1000;
    if (!aborted_) co_await look_.wait_until(world_.clock, until_us);
  }
}

// --- one attempt ---------------------------------------------------------------------------------------------------

Task<Result<void>> Failover::attempt(Target target, bool forced) {
  Attempt now;
  now.target = target;
  now.forced = forced;
  now.former = steering_.primary_node();
  if (now.former == nullptr) co_return refused("no primary is known");
  if (steering_.changing_role()) co_return refused("another change of role is going on");
  auto primary = co_await open(now.former->identity().address);
  CO_RETURN_IF_ERROR(primary);
  now.primary = std::move(primary).value();
  auto known = co_await now.former->let_it_in(*now.primary);  // before anybody has to wait for it
  CO_RETURN_IF_ERROR(known);
  auto taker = co_await open(now.target.address);
  CO_RETURN_IF_ERROR(taker);
  now.taker = std::move(taker).value();
  auto alive = co_await offset_of(*now.taker, kConnectMs);
  if (!alive.ok() && !forced) co_return std::move(alive).error();
  const Steering::Change change(steering_, Steering::Change::Writer::as_is);
  const routing::HeldWrites held(plane_);
  auto level = co_await become_level(now);
  if (!level.ok()) {
    co_await thaw(now);
    co_return std::move(level);
  }
  state_ = State::in_progress;
  auto passed = co_await pass_on(now);
  if (!passed.ok()) co_await undo(now);
  steering_.feed_plane();
  co_await plane_.subscribers_moved(kSubscribersMs);
  co_return std::move(passed);
}

/// Steps 1 to 3.
Task<Result<void>> Failover::become_level(Attempt& now) {
  const int64_t patience_ms = config_.hold.timeout_ms / 2;
  const int64_t deadline_ms = world_.clock.now_ms() + patience_ms;
  const bool answered = co_await plane_.hold_writes(patience_ms);
  if (!answered && !now.forced) {
    co_return Error{Errc::timed_out, "the primary has not answered every write that was sent"};
  }
  std::vector<std::string> pause = {"CLIENT", "PAUSE", std::to_string(patience_ms + kFreezeMs), "WRITE"};
  auto paused = co_await now.primary->ask(std::move(pause));
  CO_RETURN_IF_ERROR(paused);
  now.frozen = !paused.value().is_error();
  if (!now.frozen) log_notice(kTag, "{} is not frozen for others: {}", now.former->name(), paused.value().text);
  for (;;) {
    if (aborted_) co_return refused("aborted by FAILOVER ABORT");
    const int64_t left_ms = std::max<int64_t>(deadline_ms - world_.clock.now_ms(), kStepMs);
    auto wanted = co_await offset_of(*now.primary, left_ms);
    CO_RETURN_IF_ERROR(wanted);
    auto has = co_await offset_of(*now.taker, left_ms);
    if (!has.ok() && !now.forced) co_return std::move(has).error();
    const bool level = has.ok() && has.value() >= wanted.value() && relay_.offset() >= wanted.value();
    if (level || now.forced) co_return Result<void>();
    if (world_.clock.now_ms() >= deadline_ms) {
      co_return Error{Errc::timed_out, now.target.address.text() + " is still " +
                                           std::to_string(wanted.value() - has.value()) + " bytes behind"};
    }
    co_await world_.clock.sleep(kStepMs);
  }
}

/// Steps 4 to 7.
Task<Result<void>> Failover::pass_on(Attempt& now) {
  auto demoted = co_await demote(now);
  CO_RETURN_IF_ERROR(demoted);
  auto received = co_await receive_all(now);
  CO_RETURN_IF_ERROR(received);
  if (aborted_) co_return refused("aborted by FAILOVER ABORT");
  relay_.truncate_to_safe_boundary();
  if (now.target.node != nullptr) co_return co_await promote_node(now);
  co_return co_await hand_over(now);
}

Task<Result<void>> Failover::demote(Attempt& now) {
  auto told = co_await now.former->demote(*now.primary, now.frozen);
  CO_RETURN_IF_ERROR(told);
  now.frozen = false;
  auto end = co_await offset_of(*now.primary, kConnectMs);
  CO_RETURN_IF_ERROR(end);
  now.final_offset = end.value();
  log_notice(kTag, "{} is demoted at offset {}", now.former->name(), now.final_offset.value);
  co_return Result<void>();
}

Task<Result<void>> Failover::receive_all(Attempt& now) {
  const int64_t deadline_ms = world_.clock.now_ms() + kLevelMs;
  while (!now.forced) {
    auto has = co_await offset_of(*now.taker, kConnectMs);
    CO_RETURN_IF_ERROR(has);
    if (has.value() >= now.final_offset && relay_.offset() >= now.final_offset) break;
    if (world_.clock.now_ms() >= deadline_ms) {
      co_return Error{Errc::timed_out, now.target.address.text() + " did not get the last bytes of the primary"};
    }
    co_await world_.clock.sleep(kStepMs);
  }
  co_return Result<void>();
}

Task<Result<void>> Failover::promote_node(Attempt& now) {
  Node& node = *now.target.node;
  node.set_duty(Duty::primary);  // else its own loop would make it follow us again
  std::vector<std::string> words = {"REPLICAOF", "NO", "ONE"};
  auto told = co_await now.taker->demand(std::move(words));
  CO_RETURN_IF_ERROR(told);
  now.former->set_duty(Duty::follow);
  steering_.lead_by(node);
  auto taken = co_await steering_.wait_for_takeover(node);
  if (!taken.ok()) log_warning(kTag, "{}", taken.error().detail);
  co_return Result<void>();
}

// --- to a replica below us -----------------------------------------------------------------------------------------

Task<Result<void>> Failover::hand_over(Attempt& now) {
  const Handover handover{now.target.address, now.target.is_instance, relay_.history().replid, now.final_offset};
  forgetting_.cancel_all();
  auto kept = co_await memory_.remember(handover);
  CO_RETURN_IF_ERROR(kept);
  auto told = co_await told_to_take_over(handover);
  if (!told.ok()) {
    forgetting_.add(forget());
    co_return std::move(told);
  }
  steering_.follow_elsewhere(handover.to);
  auto saved = co_await memory_.handed_over(handover.to);
  if (!saved.ok()) log_error(kTag, "the new role is not saved: {}", saved.error().detail);
  auto followed = co_await wait_for_upstream();
  if (!followed.ok()) log_warning(kTag, "{}", followed.error().detail);
  co_return Result<void>();
}

/// Until the disk works: after a restart we would ask again, and take ourselves for a replica meanwhile.
Task<void> Failover::forget() {
  for (bool told = false;;) {
    auto forgotten = co_await memory_.remember(std::nullopt);
    if (forgotten.ok()) co_return;
    if (!std::exchange(told, true)) log_error(kTag, "the role is not saved: {}", forgotten.error().detail);
    co_await world_.clock.sleep(kAgainMs);
  }
}

/// Until we know: as long as it may have taken over, nobody else may.
Task<Result<void>> Failover::told_to_take_over(Handover handover) {
  std::string logged;
  for (;;) {
    auto told = co_await tell_once(handover);
    if (told.ok() || told.error().code == Errc::refused || !told_) {
      told_ = false;
      co_return std::move(told);
    }
    if (told.error().detail != logged) {
      log_error(kTag, "it is unknown whether {} took over: {}; asking again", handover.to.text(), told.error().detail);
    }
    logged = told.error().detail;
    co_await world_.clock.sleep(kAgainMs);
  }
}

Task<Result<void>> Failover::tell_once(Handover handover) {
  auto opened = co_await open(handover.to);
  if (!opened.ok()) co_return Error{Errc::closed, opened.error().detail};  // a refused connection is not its answer
  Connection server = std::move(opened).value();
  if (!handover.is_instance) co_return co_await tell_stock(*server, handover);
  auto introduced = co_await server->introduce();
  if (!introduced.ok()) co_return Error{Errc::closed, introduced.error().detail};
  told_ = true;
  std::vector<std::string> words = {"SIDESTREAM", "TAKEOVER", handover.replid.text(),
                                    std::to_string(handover.at.value)};
  auto answer = co_await server->ask_within(kTakeoverMs, std::move(words));
  CO_RETURN_IF_ERROR(answer);
  if (answer.value().is_error()) co_return refused(handover.to.text() + ": " + answer.value().text);
  co_return Result<void>();
}

Task<Result<void>> Failover::tell_stock(replication::NodeConnection& server, const Handover& handover) {
  auto info = co_await server.ask(split("INFO replication", ' '));
  CO_RETURN_IF_ERROR(info);
  const std::string& text = info.value().text;
  if (resp::info_field(text, "role") == "master") {
    const bool obeyed = resp::info_field(text, "master_replid2") == handover.replid.text() &&
                        number(text, "second_repl_offset") == handover.at.next_byte();
    if (obeyed) co_return Result<void>();
    co_return refused(handover.to.text() + " is a primary of another history");
  }
  told_ = true;
  auto answer = co_await server.ask(split("REPLICAOF NO ONE", ' '));
  CO_RETURN_IF_ERROR(answer);
  if (answer.value().is_error()) co_return refused(handover.to.text() + ": " + answer.value().text);
  co_return Result<void>();
}

Task<Result<void>> Failover::wait_for_upstream() {
  const int64_t deadline_ms = world_.clock.now_ms() + kLevelMs;
  for (;;) {
    const Node* writer = steering_.writer();
    if (relay_.upstream().state == "connected" && writer != nullptr && writer->view().reachable) {
      co_return Result<void>();
    }
    if (world_.clock.now_ms() >= deadline_ms) {
      co_return Error{Errc::timed_out, "the new primary cannot be followed yet: " + relay_.upstream().last_error};
    }
    co_await relay_.changed.wait_for(world_.clock, kStepMs);
  }
}

// --- putting back --------------------------------------------------------------------------------------------------

Task<void> Failover::thaw(Attempt& now) {
  if (!now.frozen) co_return;
  auto thawed = co_await now.primary->ask(split("CLIENT UNPAUSE", ' '));
  if (!thawed.ok()) tasks_.add(thaw_later(now.former->identity().address));
}

/// On another connection. Should none be had, it thaws by itself.
Task<void> Failover::thaw_later(Address node) {
  const int64_t until_ms = world_.clock.now_ms() + kFreezeMs;
  while (world_.clock.now_ms() < until_ms) {
    auto opened = co_await open(node);
    if (opened.ok()) {
      Connection server = std::move(opened).value();
      auto thawed = co_await server->ask(split("CLIENT UNPAUSE", ' '));
      if (thawed.ok()) co_return;
    }
    co_await world_.clock.sleep(kAgainMs / 10);
  }
}

/// The former primary is primary again, if it still is what it was. Whether the target was promoted or not: nobody has
/// written to it.
Task<void> Failover::undo(Attempt& now) {
  if (now.target.node != nullptr) now.target.node->set_duty(Duty::follow);
  bool turned = false;  // somebody pointed it elsewhere behind our back
  for (int i = 0; i < kUndoTries; ++i) {
    auto told = co_await lead_again(*now.former);
    if (told.ok()) turned = !told.value();
    if (told.ok()) break;
    if (told.error().code == Errc::refused) {
      // Followed all the same: nobody else leads. From its own disk it may go on; what it got elsewhere is held.
      log_error(kTag, "{} does not become primary again: {}", now.former->name(), told.error().detail);
      turned = !now.former->view().restarted;
      break;
    }
    co_await world_.clock.sleep(kAgainMs / 5);
  }
  steering_.lead_by(*now.former);
  if (turned) relay_.guard().distrust();
  auto back = co_await steering_.wait_for_takeover(*now.former);
  if (!back.ok()) log_error(kTag, "{}", back.error().detail);
}

/// True: it leads with our history. False: it leads, but with another one, which it got between question and order.
/// Errc::refused: it holds another history by now (it was restarted, or pointed elsewhere), and was left alone.
Task<Result<bool>> Failover::lead_again(Node& former) {
  auto opened = co_await open(former.identity().address);
  if (!opened.ok()) co_return Error{Errc::closed, opened.error().detail};  // not what it says of its history
  Connection server = std::move(opened).value();
  auto info = co_await server->ask(split("INFO replication", ' '));
  if (!info.ok()) co_return Error{Errc::closed, info.error().detail};
  if (!holds_ours(info.value().text)) co_return refused("it holds another history by now");
  former.set_duty(Duty::primary);  // else its own loop would make it follow us again
  std::vector<std::vector<std::string>> words = {split("REPLICAOF NO ONE", ' '), split("INFO replication", ' ')};
  auto told = co_await server->transact(std::move(words));
  if (!told.ok()) co_return Error{Errc::closed, told.error().detail};
  co_return holds_ours(told.value().back().text);
}

/// Or went on with it under a new id.
bool Failover::holds_ours(std::string_view info) const {
  const std::string ours = relay_.history().replid.text();
  return resp::info_field(info, "master_replid") == ours || resp::info_field(info, "master_replid2") == ours;
}

// --- small steps ---------------------------------------------------------------------------------------------------

Task<Result<Failover::Connection>> Failover::open(Address address) {
  replication::Credentials credentials{config_.masteruser, config_.masterauth};
  co_return co_await replication::NodeConnection::open(world_, std::move(address), std::move(credentials), kConnectMs);
}

/// What it has applied of our history. (Of an instance: what it has received; it brings its node level itself.)
Task<Result<ReplOffset>> Failover::offset_of(replication::NodeConnection& server, int64_t patience_ms) {
  auto info = co_await server.ask_within(patience_ms, split("INFO replication", ' '));
  CO_RETURN_IF_ERROR(info);
  const std::string& text = info.value().text;
  const int64_t offset = number(text, "master_repl_offset");
  if (offset < 0 || resp::info_field(text, "master_replid") != relay_.history().replid.text()) {
    co_return refused("a server of another history: " + std::string(resp::info_field(text, "master_replid")));
  }
  co_return ReplOffset{offset};
}

}  // namespace sidestream::instance
