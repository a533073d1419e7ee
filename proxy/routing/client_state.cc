// client_state.cc: the state of a connection: who it is, which protocol, which database. Texts are those of stock 7.0.
#include <utility>

#include "common/text.h"
#include "proxy/resp/writer.h"
#include "proxy/routing/client_session.h"
#include "proxy/routing/core.h"

namespace sidestream::routing {
namespace {

using resp::error;

constexpr std::string_view kNotAnInteger = "ERR value is not an integer or out of range";
constexpr std::string_view kOk = "+OK\r\n";
constexpr size_t kServerFields = 7;

}  // namespace

bool valid_client_name(std::string_view name) {
  for (const char c : name) {
    if (c < '!' || c > '~') return false;
  }
  return true;
}

ClientSession::Taken ClientSession::session_command(const Entry& entry) {
  const std::string& name = entry.name;
  if (name == "quit") {
    closing_ = true;
    return answer(kOk);
  }
  // These change where the next command goes: what is in flight arrives first.
  const bool moves = name == "select" || name == "hello" || name == "reset" || name == "auth";
  if (moves && replies_.owed() > 0) return pause(Pause::drained);
  if (name == "client|help") return read(entry, true);
  if (name.starts_with("client") && iequals(request_.args[1], "unblock")) return client_unblock();
  if (concerns_all_clients(request_.args)) {
    pause_ = Pause::step;
    tasks_.add(run_client_everywhere({request_.args.begin(), request_.args.end()}));
    return Taken::yes;
  }
  if (name == "auth" || name == "hello") return log_in_or_out(entry);
  return answer(answer_session(request_.args));
}

std::string ClientSession::answer_session(Args args) {
  const std::string name = to_lower(args[0]);
  if (name == "ping") return ping(args);
  if (name == "client") return client(args);
  if (name == "select") return select(args);
  if (name == "hello") return hello(args);
  if (name == "auth") return auth(args);
  if (name == "reset") return reset();
  if (name == "echo") {
    std::string frame;
    resp::append_bulk(frame, args[1]);
    return frame;
  }
  return error("ERR '" + name + "' is not supported here");
}

std::string ClientSession::ping(Args args) {
  if (args.size() > 2) return error("ERR wrong number of arguments for 'ping' command");
  std::string frame;
  if (protocol_ == 2 && subscribed()) {
    resp::append_array(frame, 2);
    resp::append_bulk(frame, "pong");
    resp::append_bulk(frame, args.size() == 2 ? args[1] : std::string_view{});
  } else if (args.size() == 2) {
    resp::append_bulk(frame, args[1]);
  } else {
    frame = face_ == Face::node ? core_.host.ping_reply() : "+PONG\r\n";
  }
  return frame;
}

// --- who -----------------------------------------------------------------------------------------------------------

std::string ClientSession::auth(Args args) {
  if (args.size() > 3) return error("ERR syntax error");
  if (args.size() == 2 && core_.users->anybody()->account().no_password) {
    return error(
        "ERR AUTH <password> called without any password configured for the default user. Are you sure your "
        "configuration is correct?");
  }
  const std::string refused = args.size() == 2 ? log_in("default", args[1]) : log_in(args[1], args[2]);
  return refused.empty() ? std::string(kOk) : refused;
}

std::string ClientSession::hello(Args args) {
  int protocol = protocol_;
  if (args.size() > 1) {
    const auto wanted = parse_int(args[1]);
    if (!wanted) return error("ERR Protocol version is not an integer or out of range");
    if (*wanted != 2 && *wanted != 3) return error("NOPROTO unsupported protocol version");
    protocol = static_cast<int>(*wanted);
  }
  std::optional<std::string_view> name;
  for (size_t i = 2; i < args.size(); ++i) {
    const size_t more = args.size() - i - 1;
    if (iequals(args[i], "auth") && more >= 2) {
      std::string refused = log_in(args[i + 1], args[i + 2]);
      if (!refused.empty()) return refused;
      i += 2;
    } else if (iequals(args[i], "setname") && more >= 1) {
      name = args[++i];
      if (!valid_client_name(*name)) {
        return error("ERR Client names cannot contain spaces, newlines or special characters.");
      }
    } else {
      return error("ERR Syntax error in HELLO option '" + std::string(args[i]) + "'");
    }
  }
  if (!login_.authenticated) {
    return error(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> "
        "option can be used to authenticate the client and select the RESP protocol version at the same time");
  }
  const bool at_exec = transaction_ && transaction_->ending;  // the connection is given back behind it
  if (protocol != protocol_ && ((lease_ != nullptr && !at_exec) || has_feed())) {
    return error("ERR the protocol cannot be changed while watching, tracking or subscribed; use RESET first");
  }
  if (name) name_ = *name;
  protocol_ = protocol;
  if (Target* primary = core_.servers.primary()) primary->pool(login_.guest).warm(protocol);
  std::string frame;
  resp::append_map(frame, kServerFields, protocol_);
  resp::append_bulk(frame, "server");
  resp::append_bulk(frame, "redis");
  resp::append_bulk(frame, "version");
  resp::append_bulk(frame, core_.server_version);
  resp::append_bulk(frame, "proto");
  resp::append_integer(frame, protocol_);
  resp::append_bulk(frame, "id");
  resp::append_integer(frame, static_cast<int64_t>(id_));
  resp::append_bulk(frame, "mode");
  resp::append_bulk(frame, "standalone");
  resp::append_bulk(frame, "role");
  // Applications refuse to write to an endpoint that calls itself a replica; on their port every instance can.
  const bool primary = face_ == Face::service || core_.host.role_is_primary(face_);
  resp::append_bulk(frame, primary ? "master" : "replica");
  resp::append_bulk(frame, "modules");
  resp::append_array(frame, 0);
  return frame;
}

// --- where ---------------------------------------------------------------------------------------------------------

std::string ClientSession::select(Args args) {
  const auto db = parse_int(args[1]);
  if (!db || *db < INT32_MIN || *db > INT32_MAX) return error(kNotAnInteger);
  if (*db < 0 || *db >= core_.databases) return error("ERR DB index is out of range");
  db_ = static_cast<int>(*db);
  if (lease_ != nullptr) lease_->select(db_);
  return std::string(kOk);
}

std::string ClientSession::reset() {
  if (transaction_) {
    if (lease_use_ == LeaseUse::transaction) return_lease(false);
    end_transaction();
  }
  return_lease(false);
  tracking_.reset();
  end_feed(false);
  if (ServerConnection* monitor = std::exchange(monitor_, nullptr); monitor != nullptr) Servers::drop(*monitor);
  subscriptions_.reset();
  std::erase_if(core_.hello_subscribers, [&](const ReplyTo& each) { return each.session_id == id_; });
  become(core_.users->anybody(), core_.users->open());
  login_.guest.reset();
  protocol_ = 2;
  db_ = 0;
  name_.clear();
  policy_.reset();
  reply_mode_ = ReplyMode::on;
  muted_ = false;
  no_evict_ = false;
  return "+RESET\r\n";
}

}  // namespace sidestream::routing
