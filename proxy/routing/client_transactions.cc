// client_transactions.cc: MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//
// MULTI is answered here. The first command that needs the primary takes a private connection, sends MULTI there, and
// from then on each such command is forwarded, so that each error while queueing is the server's own. Commands of ours
// (REPLICAOF, CONFIG, CLIENT ...) are queued here. At EXEC the server executes its part; if it did, ours are run, and
// their replies are put in their places. A transaction of ours alone (Sentinel's reconfiguration) needs no server.
#include <algorithm>
#include <utility>

#include "common/text.h"
#include "proxy/resp/reply.h"
#include "proxy/resp/writer.h"
#include "proxy/routing/client_session.h"
#include "proxy/routing/core.h"
#include "proxy/routing/limits.h"

namespace sidestream::routing {
namespace {

using resp::CommandClass;

constexpr std::string_view kMulti = "*1\r\n$5\r\nMULTI\r\n";
constexpr std::string_view kDiscard = "*1\r\n$7\r\nDISCARD\r\n";
constexpr std::string_view kNotInside = "ERR Command not allowed inside a transaction";
constexpr std::string_view kAborted = "EXECABORT Transaction discarded because of previous errors.";

bool never_inside(const resp::CommandEntry& entry) {
  if (entry.name == "psync" || entry.name == "sync" || entry.name == "shutdown") return true;
  return std::find(entry.flags.begin(), entry.flags.end(), "no_multi") != entry.flags.end();
}

/// The server's array with our replies in their places.
std::string merge(std::string_view theirs, const std::vector<Transaction::Own>& own,
                  const std::vector<std::string>& ours) {
  size_t at = theirs.find("\r\n") + 2;
  const size_t all = static_cast<size_t>(parse_int(theirs.substr(1, at - 3)).value_or(0)) + own.size();
  std::string merged;
  resp::append_array(merged, static_cast<int64_t>(all));
  size_t next = 0;
  for (size_t place = 0; place < all; ++place) {
    if (next < own.size() && own[next].place == place) {
      merged += ours[next++];
      continue;
    }
    resp::ReplyScanner element;
    if (element.scan(theirs.substr(at)) != resp::ReplyScanner::State::complete) break;
    merged += theirs.substr(at, element.size());
    at += element.size();
  }
  return merged;
}

}  // namespace

ClientSession::Taken ClientSession::transaction(const Entry& entry) {
  if (!transaction_) transaction_ = std::make_unique<Transaction>();
  if (entry.name == "watch") return watch(entry);
  if (entry.name == "unwatch") return transaction_->open ? queue_at_server(&entry) : unwatch(entry);
  if (entry.name == "multi") {
    if (transaction_->open) return answer_error("ERR MULTI calls can not be nested");
    transaction_->open = true;
    return answer("+OK\r\n");
  }
  if (!transaction_->open) return answer_error("ERR " + to_upper(entry.name) + " without MULTI");
  return entry.name == "exec" ? exec() : discard();
}

/// A private connection for this transaction; Taken: not now.
std::optional<ClientSession::Taken> ClientSession::reach_server() {
  if (lease_ != nullptr) return std::nullopt;
  if (replies_.owed() > 0) return pause(Pause::drained);
  if (!borrow_lease(LeaseUse::transaction)) return hold(true);
  return std::nullopt;
}

ClientSession::Taken ClientSession::watch(const Entry& entry) {
  if (transaction_->open) return answer_error("ERR WATCH inside MULTI is not allowed");
  if (auto waits = reach_server()) return *waits;
  transaction_->watching = true;
  return forward_on_lease(entry);
}

ClientSession::Taken ClientSession::unwatch(const Entry& entry) {
  transaction_->watch_lost = false;
  if (!transaction_->watching || lease_ == nullptr) {
    transaction_->watching = false;
    return answer("+OK\r\n");
  }
  transaction_->ending = true;
  pause_ = Pause::reply;
  return forward_on_lease(entry);
}

// --- queueing ------------------------------------------------------------------------------------------------------

/// nullptr: unknown, or with the wrong number of arguments.
ClientSession::Taken ClientSession::queue(const Entry* entry) {
  if (entry == nullptr) return queue_at_server(nullptr);
  if (never_inside(*entry)) return refuse_queued(kNotInside);
  if (entry->cls == CommandClass::subscribe || entry->name == "client|unblock") {
    return refuse_queued("ERR '" + entry->name + "' is not supported inside a transaction");
  }
  if (may_not_write(*entry)) return refuse_queued("READONLY You can't write against a read only replica.");
  // Nobody can stop a script in the middle of a transaction, so it is refused here: stricter than stock.
  if (core_.short_of_replicas && entry->writes) return refuse_queued(kNoReplicas);
  const bool either = entry->name == "ping" || entry->name == "echo";
  const bool here = is_ours(*entry) || (either && !transaction_->own.empty() && !transaction_->at_server);
  return here ? queue_here() : queue_at_server(entry);
}

ClientSession::Taken ClientSession::refuse_queued(std::string_view text) {
  transaction_->refused = true;
  return answer_error(text);
}

ClientSession::Taken ClientSession::queue_here() {
  if (transaction_->own.size() >= limits::kQueuedLocalMax) return refuse_queued("ERR too many commands queued");
  transaction_->own.push_back({transaction_->queued++, {request_.args.begin(), request_.args.end()}});
  return answer("+QUEUED\r\n");
}

ClientSession::Taken ClientSession::queue_at_server(const Entry* entry) {
  if (auto waits = reach_server()) return *waits;
  if (!std::exchange(transaction_->at_server, true)) lease_->send_silent(kMulti);
  if (entry != nullptr) {
    ++transaction_->queued;
    note_keys(transaction_->noted, *entry);
    learn_script(*entry);
    if (entry->cls == CommandClass::scripts) tell_scripts(*entry);
    transaction_->pins |= entry->cls == CommandClass::pin || entry->cls == CommandClass::tracking;
    transaction_->spoils |= entry->cls == CommandClass::monitor;
    const auto db = entry->name == "select" ? parse_int(request_.args[1]) : std::nullopt;
    if (db && *db >= 0 && *db < core_.databases) transaction_->db = static_cast<int>(*db);
  }
  send_private(nullptr);
  return Taken::yes;
}

// --- the end -------------------------------------------------------------------------------------------------------

ClientSession::Taken ClientSession::exec() {
  Transaction& now = *transaction_;
  if (now.refused) {
    if (now.at_server) lease_->send_silent(kDiscard);
    answer_error(kAborted);
    end_transaction();
    return Taken::yes;
  }
  if (now.watch_lost) {  // as if a watched key had been touched
    if (now.at_server) lease_->send_silent(kDiscard);
    end_transaction();
    return answer(protocol_ == 3 ? "_\r\n" : "*-1\r\n");
  }
  if (!now.at_server && !now.watching) {
    if (replies_.owed() > 0) return pause(Pause::drained);
    pause_ = Pause::step;
    auto commands = std::move(now.own);
    end_transaction();
    tasks_.add(exec_own(std::move(commands)));
    return Taken::yes;
  }
  if (now.noted && !core_.fence_reason.empty()) return refuse_write();
  if (now.noted && core_.short_of_replicas) {
    transaction_failed();
    return answer_error("EXECABORT Transaction discarded because of: " + std::string(kNoReplicas));
  }
  if (now.noted && core_.writes_held) return hold(true);
  if (!now.at_server) lease_->send_silent(kMulti);
  now.ending = true;
  pause_ = Pause::reply;
  ++core_.counters.writes;
  now.sequence = expect(Lane::primary, {});
  if (core_.acks.quorum() > 0 && now.noted && !now.noted->empty()) await_acks(now.sequence, now.noted->serial());
  lease_->send_private(wire_request(), reply_to(now.sequence), std::move(now.noted));
  return Taken::yes;
}

ClientSession::Taken ClientSession::discard() {
  Transaction& now = *transaction_;
  if (lease_ == nullptr || (!now.at_server && !now.watching)) {
    end_transaction();
    return answer("+OK\r\n");
  }
  if (!now.at_server) lease_->send_silent(kMulti);
  now.db = -1;
  now.ending = true;
  pause_ = Pause::reply;
  lease_->send_private(wire_request(), reply_to(expect(Lane::primary, {})), nullptr);
  return Taken::yes;
}

Task<void> ClientSession::exec_own(std::vector<Transaction::Own> own) {
  const std::vector<std::string> ours = co_await answer_own(own);
  const std::string merged = merge("*0\r\n", own, ours);
  finish_step(merged);
}

/// The server's answer to EXEC has come. False: it is the whole answer.
bool ClientSession::completes_exec(std::string_view frame) {
  if (transaction_->own.empty()) return false;
  auto own = std::exchange(transaction_->own, {});
  if (!frame.starts_with('*') || frame.starts_with("*-1")) return false;
  tasks_.add(exec_both(std::string(frame), std::move(own)));
  return true;
}

Task<void> ClientSession::exec_both(std::string theirs, std::vector<Transaction::Own> own) {
  const std::vector<std::string> ours = co_await answer_own(own);
  const std::string merged = merge(theirs, own, ours);
  deliver(transaction_->sequence, merged);
}

Task<std::vector<std::string>> ClientSession::answer_own(const std::vector<Transaction::Own>& own) {
  std::vector<std::string> frames;
  bool reconfigures = false;
  for (const Transaction::Own& each : own) {
    reconfigures |= iequals(each.args[0], "slaveof") || iequals(each.args[0], "replicaof");
    std::vector<std::string> command = each.args;
    const bool waits =
        (iequals(command[0], "wait") || iequals(command[0], "waitaof")) && parse_int(command.back()).value_or(-1) >= 0;
    if (waits) command.back() = "1";  // ms; inside a transaction nothing blocks
    const std::vector<std::string_view> args(command.begin(), command.end());
    const Entry* entry = core_.commands->find(args);
    if (concerns_all_clients(args)) {
      auto frame = co_await client_everywhere(std::move(command), reconfigures);
      frames.push_back(std::move(frame));
      continue;
    }
    if (entry != nullptr && entry->cls == CommandClass::session) {
      frames.push_back(answer_session(args));
      if (login_.refused_ms > 0) co_await core_.world.clock.sleep(std::exchange(login_.refused_ms, 0));
      continue;
    }
    const bool is_acl = iequals(command[0], "acl");
    if (is_acl && iequals(command[1], "log")) {
      auto frame = co_await acl_log(std::move(command));
      frames.push_back(std::move(frame));
      continue;
    }
    auto frame = is_acl ? acl(args) : core_.host.answer_at_once(caller(), args);
    if (!frame) {
      Caller asking = caller();
      auto later = co_await core_.host.answer_local(std::move(asking), std::move(command));
      frame = take_effect(std::move(later));
    }
    frames.push_back(std::move(*frame));
  }
  co_return frames;
}

/// A command of the transaction got an error from us: as with stock, EXEC refuses the rest, and is the end itself.
void ClientSession::transaction_failed() {
  transaction_->refused = true;
  if (!iequals(request_.args[0], "exec")) return;
  if (transaction_->at_server) lease_->send_silent(kDiscard);
  end_transaction();
}

void ClientSession::end_transaction() {
  if (transaction_->noted) core_.freshness.forget(std::move(transaction_->noted));
  const bool reusable = !transaction_->spoils;
  *transaction_ = {};
  if (lease_use_ == LeaseUse::transaction) return_lease(reusable);
}

}  // namespace sidestream::routing
