// client_command.cc: CLIENT: about connections to this instance, never about the instance's own at its nodes. Texts and
// the format of CLIENT LIST are those of stock 7.0.
#include <fmt/format.h>

#include <algorithm>
#include <climits>
#include <map>
#include <utility>

#include "common/text.h"
#include "proxy/resp/writer.h"
#include "proxy/routing/client_session.h"
#include "proxy/routing/core.h"

namespace sidestream::routing {
namespace {

using resp::error;
using resp::integer;

constexpr std::string_view kSyntax = "ERR syntax error";

std::string ok() { return "+OK\r\n"; }

/// Arguments with CLIENT and the subcommand, as stock wants them; checked here too since no node may have told us.
struct SubcommandArity {
  std::string_view name;
  size_t least, most;
};
constexpr size_t kMany = SIZE_MAX;
constexpr SubcommandArity kArities[] = {
    {"id", 2, 2},      {"info", 2, 2},    {"list", 2, kMany}, {"kill", 3, kMany}, {"setname", 3, 3},
    {"getname", 2, 2}, {"setinfo", 4, 4}, {"reply", 3, 3},    {"no-evict", 3, 3}, {"no-touch", 3, 3},
    {"unblock", 3, 4}, {"pause", 3, 4},   {"unpause", 2, 2},  {"capa", 3, kMany}, {"import-source", 3, 3},
};

/// The end of the table: there is no such subcommand.
const SubcommandArity* find_arity(std::string_view sub) {
  return std::find_if(std::begin(kArities), std::end(kArities),
                      [&](const SubcommandArity& each) { return each.name == sub; });
}

bool is_client_type(std::string_view type) {
  return iequals(type, "normal") || iequals(type, "master") || iequals(type, "slave") || iequals(type, "replica") ||
         iequals(type, "pubsub");
}

bool has_type(const ClientSession& session, std::string_view type) {
  if (iequals(type, "normal")) return !session.subscribed();
  return iequals(type, "pubsub") && session.subscribed();
}

/// One server has done all that came before CLIENT PAUSE when it answers +OK, and who compares offsets then relies on
/// it.
Task<bool> writes_answered(Core& core, int64_t deadline_ms) {
  constexpr int64_t kStepMs = 1;
  auto quiet = std::make_shared<bool>();
  for (;;) {
    *quiet = true;
    Visit visit = [quiet](Core& each) { *quiet = *quiet && each.quiet(); };
    co_await core.everywhere(std::move(visit));
    if (*quiet || core.world.clock.now_ms() >= deadline_ms) co_return *quiet;
    co_await core.world.clock.sleep(kStepMs);
  }
}

/// What CLIENT KILL selects by; what is empty selects everybody.
struct KillFilter {
  std::optional<uint64_t> id;
  std::string address, local_address, type, user;
  bool skip_me = true;

  /// Empty, or the error.
  std::string parse(std::span<const std::string> options, const Users& users) {
    for (size_t i = 0; i < options.size(); i += 2) {
      if (i + 1 >= options.size()) return error(kSyntax);
      const std::string& option = options[i];
      const std::string& value = options[i + 1];
      if (iequals(option, "id")) {
        const auto number = parse_int(value);
        if (!number || *number < 1) return error("ERR client-id should be greater than 0");
        id = static_cast<uint64_t>(*number);
      } else if (iequals(option, "type")) {
        if (!is_client_type(value)) return error("ERR Unknown client type '" + value + "'");
        type = to_lower(value);
      } else if (iequals(option, "addr")) {
        address = value;
      } else if (iequals(option, "laddr")) {
        local_address = value;
      } else if (iequals(option, "user")) {
        if (users.find(value) == nullptr) return error("ERR No such user '" + value + "'");
        user = value;
      } else if (iequals(option, "skipme")) {
        if (!iequals(value, "yes") && !iequals(value, "no")) return error(kSyntax);
        skip_me = iequals(value, "yes");
      } else {
        return error(kSyntax);
      }
    }
    return {};
  }

  /// CLIENT KILL TYPE of something that is not a client here.
  bool means_links() const {
    const bool links = type == "master" || type == "slave" || type == "replica";
    return links && !id && address.empty() && local_address.empty() && user.empty();
  }

  bool fits(const ClientSession& session, uint64_t me) const {
    if (id && session.id() != *id) return false;
    if (!address.empty() && session.peer() != address) return false;
    if (!local_address.empty() && session.local() != local_address) return false;
    if (!type.empty() && !has_type(session, type)) return false;
    if (!user.empty() && session.login().user->name() != user) return false;
    return !skip_me || session.id() != me;
  }
};

}  // namespace

std::string ClientSession::client(Args args) {
  const std::string sub = args.size() > 1 ? to_lower(args[1]) : "";
  const auto* arity = find_arity(sub);
  if (arity == std::end(kArities)) {
    return error("ERR unknown subcommand '" + std::string(args[1].substr(0, 128)) + "'. Try CLIENT HELP.");
  }
  if (args.size() < arity->least || args.size() > arity->most) {
    return error("ERR wrong number of arguments for 'client|" + sub + "' command");
  }
  std::string frame;
  if (sub == "id") return integer(static_cast<int64_t>(id_));
  if (sub == "getname") {
    name_.empty() ? resp::append_null(frame, protocol_) : resp::append_bulk(frame, name_);
    return frame;
  }
  if (sub == "setname") {
    if (!valid_client_name(args[2])) {
      return error("ERR Client names cannot contain spaces, newlines or special characters.");
    }
    name_ = args[2];
    return ok();
  }
  if (sub == "setinfo") return client_setinfo(args);
  if (sub == "info") {
    resp::append_text(frame, describe(core_.world.clock.now_ms()) + "\n", protocol_);
    return frame;
  }
  if (sub == "reply") return client_reply(args);
  if (sub == "capa") return ok();  // kept from the nodes: they would redirect the client to each other
  const bool on = iequals(args[2], "on");
  if (!on && !iequals(args[2], "off")) return error(kSyntax);
  if (sub == "no-evict") no_evict_ = on;
  return ok();
}

std::string ClientSession::client_setinfo(Args args) {
  const bool is_name = iequals(args[2], "lib-name");
  if (!is_name && !iequals(args[2], "lib-ver")) {
    return error("ERR Unrecognized option '" + std::string(args[2]) + "'");
  }
  if (!valid_client_name(args[3])) {
    return error("ERR " + std::string(args[2]) + " cannot contain spaces, newlines or special characters.");
  }
  (is_name ? library_name_ : library_version_) = args[3];
  return ok();
}

std::string ClientSession::client_reply(Args args) {
  if (iequals(args[2], "on")) {
    reply_mode_ = ReplyMode::on;
    muted_ = false;
    return ok();
  }
  if (iequals(args[2], "off")) {
    reply_mode_ = ReplyMode::off;
  } else if (iequals(args[2], "skip")) {
    if (reply_mode_ == ReplyMode::on) reply_mode_ = ReplyMode::skip_next;
  } else {
    return error(kSyntax);
  }
  muted_ = true;
  return {};
}

// --- clients of all loops ------------------------------------------------------------------------------------------

bool concerns_all_clients(std::span<const std::string_view> args) {
  if (args.size() < 2 || !iequals(args[0], "client")) return false;
  const auto* arity = find_arity(to_lower(args[1]));
  if (arity == std::end(kArities) || args.size() < arity->least || args.size() > arity->most) return false;
  return arity->name == "list" || arity->name == "kill" || arity->name == "pause" || arity->name == "unpause";
}

Task<void> ClientSession::run_client_everywhere(std::vector<std::string> args) {
  const auto frame = co_await client_everywhere(std::move(args), false);
  finish_step(frame);
}

/// `reconfigures`: the command stands in a transaction that also changes our role, as Sentinel sends it.
Task<std::string> ClientSession::client_everywhere(std::vector<std::string> args, bool reconfigures) {
  if (iequals(args[1], "list")) co_return co_await client_list(std::move(args));
  if (iequals(args[1], "kill")) co_return co_await client_kill(std::move(args), reconfigures);
  co_return co_await client_pause(std::move(args));
}

Task<std::string> ClientSession::client_pause(std::vector<std::string> args) {
  int64_t until_ms = 0;
  bool writes_only = false;
  if (iequals(args[1], "pause")) {
    const auto ms = parse_int(args[2]);
    if (!ms) co_return error("ERR timeout is not an integer or out of range");
    if (*ms < 0) co_return error("ERR timeout is negative");
    writes_only = args.size() == 4 && iequals(args[3], "write");
    if (args.size() == 4 && !writes_only && !iequals(args[3], "all")) {
      co_return error("ERR CLIENT PAUSE mode must be WRITE or ALL");
    }
    constexpr int64_t kLongestMs = int64_t{1} << 40;
    until_ms = core_.world.clock.now_ms() + std::min(*ms, kLongestMs);
  }
  Visit visit = [until_ms, writes_only](Core& core) { core.pause_clients(until_ms, !writes_only); };
  co_await core_.everywhere(std::move(visit));
  if (until_ms == 0) co_return ok();
  const int64_t patience_ms = core_.world.clock.now_ms() + core_.config.hold.timeout_ms;
  const bool answered = co_await writes_answered(core_, std::min(until_ms, patience_ms));
  if (!answered) co_return error("ERR paused, but writes that were sent before are not answered yet; ask again");
  co_return ok();
}

Task<std::string> ClientSession::client_list(std::vector<std::string> args) {
  std::string type;
  std::vector<uint64_t> ids;
  if (args.size() == 4 && iequals(args[2], "type")) {
    type = args[3];
    if (!is_client_type(type)) co_return error("ERR Unknown client type '" + type + "'");
  } else if (args.size() > 3 && iequals(args[2], "id")) {
    for (size_t i = 3; i < args.size(); ++i) {
      const auto id = parse_int(args[i]);
      if (!id) co_return error("ERR Invalid client ID");
      ids.push_back(static_cast<uint64_t>(*id));
    }
  } else if (args.size() != 2) {
    co_return error(kSyntax);
  }
  auto lines = std::make_shared<std::map<uint64_t, std::string>>();
  Visit visit = [lines, type, ids](Core& core) {
    const int64_t now_ms = core.world.clock.now_ms();
    for (const ClientSession* session : core.sessions.all()) {
      if (!type.empty() && !has_type(*session, type)) continue;
      if (!ids.empty() && std::find(ids.begin(), ids.end(), session->id()) == ids.end()) continue;
      (*lines)[session->id()] = session->describe(now_ms) + "\n";
    }
  };
  co_await core_.everywhere(std::move(visit));
  std::string text;
  for (const auto& [id, line] : *lines) text += line;
  std::string frame;
  resp::append_text(frame, text, protocol_);
  co_return frame;
}

/// Sentinel closes clients so that they ask it anew where the primary is. That is news on the node port only, not even
/// there while the role never changes, and never to the instances that pass their clients' writes on to us.
bool ClientSession::concerned_by_role() const {
  return face_ == Face::node && !core_.config.follows_sentinels() && policy_ != ReadPolicy::primary;
}

Task<std::string> ClientSession::client_kill(std::vector<std::string> args, bool reconfigures) {
  KillFilter filter;
  const bool old_form = args.size() == 3;
  if (old_form) {
    filter.address = args[2];
    filter.skip_me = false;
  } else {
    const std::span<const std::string> options = std::span<const std::string>(args).subspan(2);
    std::string refused = filter.parse(options, *core_.users);
    if (!refused.empty()) co_return refused;
  }
  struct Killed {
    int64_t count = 0;
    bool asker = false;
  };
  auto killed = std::make_shared<Killed>();
  Visit visit = [killed, filter, me = id_, reconfigures](Core& core) {
    for (ClientSession* session : core.sessions.all()) {
      if (!filter.fits(*session, me) || (reconfigures && !session->concerned_by_role())) continue;
      ++killed->count;
      session->id() == me ? void(killed->asker = true) : session->kill();
    }
    if (core.index == 0 && filter.means_links()) {
      killed->count += static_cast<int64_t>(core.host.kill_links(filter.type));
    }
  };
  co_await core_.everywhere(std::move(visit));
  if (killed->asker) closing_ = true;  // after this reply
  if (!old_form) co_return integer(killed->count);
  co_return killed->count > 0 ? ok() : error("ERR No such client");
}

/// The server unblocks its own client: the private connection on which ours waits.
ClientSession::Taken ClientSession::client_unblock() {
  const Args args = request_.args;
  if (args.size() > 4) return answer_error("ERR wrong number of arguments for 'client|unblock' command");
  const auto id = args.size() > 2 ? parse_int(args[2]) : std::nullopt;
  if (!id) return answer_error("ERR value is not an integer or out of range");
  const std::string_view reason = args.size() == 4 ? args[3] : std::string_view("timeout");
  if (!iequals(reason, "timeout") && !iequals(reason, "error")) {
    return answer_error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
  }
  pause_ = Pause::step;
  tasks_.add(unblock(static_cast<uint64_t>(*id), std::string(reason)));
  return Taken::yes;
}

Task<void> ClientSession::unblock(uint64_t id, std::string reason) {
  auto server_id = std::make_shared<int64_t>(0);
  Visit visit = [id, server_id](Core& core) {
    const ClientSession* session = core.sessions.find(id);
    if (session != nullptr && session->blocked()) *server_id = session->server_client_id();
  };
  co_await core_.everywhere(std::move(visit));
  ServerConnection* primary = core_.servers.primary_shared(protocol_, db_);
  if (*server_id == 0 || primary == nullptr) {
    reply(integer(0));
  } else {
    const std::string server_client = std::to_string(*server_id);
    const std::string request = resp::command({"CLIENT", "UNBLOCK", server_client, reason});
    primary->send_read(request, reply_to(expect(Lane::primary, {})), std::nullopt);
  }
  resume();
}

std::string ClientSession::describe(int64_t now_ms) const {
  std::string flags;
  if (subscribed()) flags += 'P';
  if (monitor_ != nullptr) flags += 'O';
  if (transaction_ && transaction_->open) flags += 'x';
  if (blocked()) flags += 'b';
  if (tracks()) flags += 't';
  if (closing_) flags += 'c';
  if (no_evict_) flags += 'e';
  if (flags.empty()) flags = "N";
  const int64_t queued = transaction_ && transaction_->open ? static_cast<int64_t>(transaction_->queued) : -1;
  const size_t out_bytes = replies_.out().size() + (stream_ ? stream_->unsent() : 0);
  std::string line = fmt::format(
      "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={} qbuf={} "
      "qbuf-free={} argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={} oll={} omem={} tot-mem={} events=r cmd={} user={} "
      "redir={} resp={}",
      id_, peer(), local(), name_, (now_ms - created_ms_) / 1000, (now_ms - active_ms_) / 1000, flags, db_,
      subscriptions_ ? subscriptions_->channels.size() : 0, subscriptions_ ? subscriptions_->patterns.size() : 0,
      subscriptions_ ? subscriptions_->shards.size() : 0, queued, input_.size(), input_.capacity() - input_.size(),
      replies_.out().size(), replies_.owed(), out_bytes, sizeof(ClientSession) + input_.capacity() + out_bytes,
      last_command_, login_.user->name(), tracks() ? static_cast<int64_t>(tracking_->redirect) : -1, protocol_);
  if (!library_name_.empty() || !library_version_.empty()) {
    line += fmt::format(" lib-name={} lib-ver={}", library_name_, library_version_);
  }
  return line;
}

}  // namespace sidestream::routing
