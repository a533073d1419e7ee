// client_command.cc: CLIENT: about connections to this instance, never about the instance's own at its nodes. Texts and
// the format of CLIENT LIST are those of stock 7.0.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/text.h"
#include "proxy/resp/writer.h"
#include "proxy/routing/all_clients.h"
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

Task<std::string> ClientSession::client_everywhere(std::vector<std::string> args, bool reconfigures) {
  const Asker asker{id_, protocol_, reconfigures};
  auto answer = co_await ask_all_clients(core_, asker, std::move(args));
  if (answer.kills_asker) closing_ = true;  // after this reply
  co_return std::move(answer.reply);
}

/// Sentinel closes clients so that they ask it anew where the primary is. That is news on the node port only, not even
/// there while the role never changes, and never to the instances that pass their clients' writes on to us.
bool ClientSession::concerned_by_role() const {
  return face_ == Face::node && !core_.config.follows_sentinels() && policy_ != ReadPolicy::primary;
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
