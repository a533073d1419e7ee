// client_transactions.cc: MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//
// MULTI is answered here. The first command that needs the primary takes a private connection, sends MULTI there, and
// from then on every command is forwarded, so that each error while queueing is the server's own. Commands of ours
// (REPLICAOF, CONFIG, CLIENT ...: Sentinel's reconfiguration) are queued here and run at EXEC, with every node down if
// need be. One transaction holds one kind.
#include <utility>

#include "common/text.h"
#include "proxy/resp/writer.h"
#include "proxy/routing/client_session.h"
#include "proxy/routing/core.h"
#include "proxy/routing/limits.h"

namespace sidestream::routing {
namespace {

using resp::CommandClass;

constexpr std::string_view kMulti = "*1\r\n$5\r\nMULTI\r\n";
constexpr std::string_view kDiscard = "*1\r\n$7\r\nDISCARD\r\n";
constexpr std::string_view kAborted = "EXECABORT Transaction discarded because of previous errors.";

bool is_ours(const resp::CommandEntry& entry) {
  if (entry.cls == CommandClass::local) return true;
  return entry.cls == CommandClass::session && entry.name != "ping" && entry.name != "echo" && entry.name != "select";
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
  if (entry == nullptr) {
    if (transaction_->local.empty()) return queue_at_server(nullptr);
    return refuse_queued("ERR unknown command or wrong number of arguments for '" + printable(request_.args[0]) + "'");
  }
  const std::string& name = entry->name;
  if (entry->cls == CommandClass::subscribe || entry->cls == CommandClass::monitor || name == "hello" ||
      name == "psync" || name == "sync" || name == "replconf") {
    return refuse_queued("ERR '" + name + "' is not supported inside a transaction");
  }
  if (may_not_write(*entry)) return refuse_queued("READONLY You can't write against a read only replica.");
  if (is_ours(*entry) || !transaction_->local.empty()) {
    const bool mixed = transaction_->at_server || (!is_ours(*entry) && name != "ping" && name != "echo");
    if (!mixed) return queue_local();
    return refuse_queued("ERR '" + name + "' cannot be queued here: a transaction holds either data commands or "
                         "commands that the proxy answers itself");
  }
  return queue_at_server(entry);
}

ClientSession::Taken ClientSession::refuse_queued(std::string_view text) {
  transaction_->refused = true;
  return answer_error(text);
}

ClientSession::Taken ClientSession::queue_local() {
  if (transaction_->local.size() >= limits::kQueuedLocalMax) return refuse_queued("ERR too many commands queued");
  transaction_->local.emplace_back(request_.args.begin(), request_.args.end());
  return answer("+QUEUED\r\n");
}

ClientSession::Taken ClientSession::queue_at_server(const Entry* entry) {
  if (auto waits = reach_server()) return *waits;
  if (!std::exchange(transaction_->at_server, true)) lease_->send_silent(kMulti);
  if (entry != nullptr) {
    note_keys(transaction_->noted, *entry);
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
    end_transaction();
    return answer(protocol_ == 3 ? "_\r\n" : "*-1\r\n");
  }
  if (!now.local.empty()) {
    if (replies_.owed() > 0) return pause(Pause::drained);
    pause_ = Pause::step;
    auto commands = std::move(now.local);
    end_transaction();
    tasks_.add(exec_local(std::move(commands)));
    return Taken::yes;
  }
  if (!now.at_server && !now.watching) {
    end_transaction();
    return answer("*0\r\n");
  }
  if (now.noted && core_.writes_held) return hold(true);
  if (!now.at_server) lease_->send_silent(kMulti);
  now.ending = true;
  pause_ = Pause::reply;
  ++core_.counters.writes;
  lease_->send_private(wire_request(), reply_to(expect(Lane::primary, {})), std::move(now.noted));
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

Task<void> ClientSession::exec_local(std::vector<std::vector<std::string>> commands) {
  std::string replies;
  resp::append_array(replies, static_cast<int64_t>(commands.size()));
  for (std::vector<std::string>& command : commands) {
    const std::vector<std::string_view> args(command.begin(), command.end());
    const Entry* entry = core_.commands->find(args);
    if (concerns_all_clients(args)) {
      const auto frame = co_await client_everywhere(std::move(command));
      replies += frame;
      continue;
    }
    if (entry != nullptr && entry->cls == CommandClass::session) {
      replies += answer_session(args);
      continue;
    }
    auto frame = core_.host.answer_at_once(caller(), args);
    if (!frame) {
      Caller asking = caller();
      auto later = co_await core_.host.answer_local(std::move(asking), std::move(command));
      frame = take_effect(std::move(later));
    }
    replies += *frame;
  }
  finish_step(replies);
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
  *transaction_ = {};
  if (lease_use_ == LeaseUse::transaction) return_lease(true);
}

}  // namespace sidestream::routing
