// client_acl.cc: what a client may do, as whom: permissions, logging in, and ACL. Texts are those of stock 7.0.
//
// Happy path: login_.rules is null, since the user may do everything, and none of this is asked. Failure modes: what
// the rules do not allow gets stock's NOPERM, also inside MULTI, whose EXEC then refuses; a login that fails waits for
// its answer (login_brake.h), and nobody else does.
#include <fmt/format.h>

#include <algorithm>
#include <climits>
#include <list>
#include <utility>

#include "common/secrets.h"
#include "common/text.h"
#include "proxy/resp/writer.h"
#include "proxy/routing/client_session.h"
#include "proxy/routing/core.h"

namespace sidestream::routing {
namespace {

using resp::error;

constexpr std::string_view kOk = "+OK\r\n";
constexpr std::string_view kWrongPassword = "WRONGPASS invalid username-password pair or user is disabled.";
constexpr int64_t kGenpassBitsMax = 4096;

std::string refusal(const Verdict& verdict, const resp::CommandEntry& entry) {
  switch (verdict.what) {
    case Denied::key:
      return "NOPERM this user has no permissions to access one of the keys used as arguments";
    case Denied::channel:
      return "NOPERM this user has no permissions to access one of the channels used as arguments";
    case Denied::sort_by:
      return "ERR BY option of SORT denied due to insufficient ACL permissions.";
    case Denied::sort_get:
      return "ERR GET option of SORT denied due to insufficient ACL permissions.";
    default:
      return "NOPERM this user has no permissions to run the '" + entry.name + "' command";
  }
}

std::string_view reason_of(Denied what) {
  if (what == Denied::command) return "command";
  return what == Denied::channel ? "channel" : "key";
}

void append_selector(std::string& out, const AclSelector& selector) {
  for (const auto& [name, text] : {std::pair{"commands", acl_commands_text(selector)},
                                   {"keys", acl_keys_text(selector)},
                                   {"channels", acl_channels_text(selector)}}) {
    resp::append_bulk(out, name);
    resp::append_bulk(out, text);
  }
}

std::string describe_user(const AclUser& user, int protocol) {
  constexpr int64_t kFields = 6, kSelectorFields = 3;
  std::string out;
  resp::append_map(out, kFields, protocol);
  resp::append_bulk(out, "flags");
  const std::vector<std::string> flags = acl_flags(user);
  resp::append_set(out, std::ssize(flags), protocol);
  for (const std::string& flag : flags) resp::append_bulk(out, flag);
  resp::append_bulk(out, "passwords");
  resp::append_array(out, std::ssize(user.passwords));
  for (const std::string& hash : user.passwords) resp::append_bulk(out, hash);
  append_selector(out, user.selectors.front());
  resp::append_bulk(out, "selectors");
  resp::append_array(out, std::ssize(user.selectors) - 1);
  for (size_t i = 1; i < user.selectors.size(); ++i) {
    resp::append_map(out, kSelectorFields, protocol);
    append_selector(out, user.selectors[i]);
  }
  return out;
}

std::string list_of(const std::vector<std::string>& texts) {
  std::string out;
  resp::append_array(out, std::ssize(texts));
  for (const std::string& text : texts) resp::append_bulk(out, text);
  return out;
}

std::string acl_cat(const resp::CommandTable& commands, std::span<const std::string_view> args) {
  if (args.size() == 2) return list_of(acl_categories());
  const std::string category = to_lower(args[2]);
  const auto& known = acl_categories();
  if (std::find(known.begin(), known.end(), category) == known.end()) {
    return error("ERR Unknown category '" + std::string(args[2].substr(0, 128)) + "'");
  }
  std::vector<std::string> names;
  const auto add = [&](const resp::CommandEntry& entry) {
    const auto& of = entry.categories;
    if (std::find(of.begin(), of.end(), category) != of.end()) names.push_back(entry.name);
  };
  for (const auto& [name, command] : commands.commands()) {
    add(*command);
    for (const auto& [word, sub] : command->subcommands) add(*sub);
  }
  return list_of(names);
}

std::string acl_genpass(std::span<const std::string_view> args) {
  const auto bits = args.size() > 2 ? parse_int(args[2]) : 256;
  if (!bits) return error("ERR value is not an integer or out of range");
  if (*bits <= 0 || *bits > kGenpassBitsMax) {
    return error(
        fmt::format("ERR ACL GENPASS argument must be the number of bits for the output password, a positive "
                    "number up to {}",
                    kGenpassBitsMax));
  }
  std::string out;
  resp::append_bulk(out, random_hex(static_cast<size_t>(*bits + 3) / 4));
  return out;
}

std::string acl_dry_run(const Users& users, const resp::CommandTable& commands,
                        std::span<const std::string_view> args) {
  const auto user = users.find(args[2]);
  if (!user) return error("ERR User '" + std::string(args[2]) + "' not found");
  const auto command = args.subspan(3);
  const resp::CommandEntry* entry = commands.find(command);
  if (entry == nullptr) return error("ERR Command '" + std::string(args[3]) + "' not found");
  if (!commands.arity_fits(*entry, command.size())) {
    return error("ERR wrong number of arguments for '" + entry->name + "' command");
  }
  const Verdict verdict = user->check(*entry, command);
  if (verdict.what == Denied::nothing) return std::string(kOk);
  std::string out;
  resp::append_bulk(out, verdict.what == Denied::command
                             ? "This user has no permissions to run the '" + entry->name + "' command"
                             : fmt::format("This user has no permissions to access the '{}' {}", verdict.object,
                                           reason_of(verdict.what)));
  return out;
}

/// [[count, reason, context, object, username, age-seconds, client-info] ...]
std::string log_reply(const std::vector<AclLogEntry>& entries, size_t most, int64_t now_ms, int protocol) {
  constexpr int64_t kFields = 7;
  const size_t shown = std::min(most, entries.size());
  std::string out;
  resp::append_array(out, static_cast<int64_t>(shown));
  for (size_t i = 0; i < shown; ++i) {
    const AclLogEntry& entry = entries[i];
    resp::append_map(out, kFields, protocol);
    resp::append_bulk(out, "count");
    resp::append_integer(out, static_cast<int64_t>(entry.count));
    for (const auto& [name, text] : {std::pair{"reason", &entry.reason},
                                     {"context", &entry.context},
                                     {"object", &entry.object},
                                     {"username", &entry.user}}) {
      resp::append_bulk(out, name);
      resp::append_bulk(out, *text);
    }
    resp::append_bulk(out, "age-seconds");
    const std::string age = fmt::format("{:.3f}", static_cast<double>(now_ms - entry.wall_ms) / 1000);
    protocol == 3 ? void(out += "," + age + "\r\n") : resp::append_bulk(out, age);
    resp::append_bulk(out, "client-info");
    resp::append_bulk(out, entry.client);
  }
  return out;
}

}  // namespace

// --- permissions ---------------------------------------------------------------------------------------------------

void ClientSession::become(std::shared_ptr<const User> user, bool authenticated) {
  login_.user = std::move(user);
  login_.authenticated = parser_.limits.authenticated = authenticated;
  login_.rules = authenticated && login_.user->may_all() ? nullptr : login_.user.get();
}

/// nullopt: the rules allow it.
std::optional<ClientSession::Taken> ClientSession::refuse_by_rules(const Entry& entry) {
  if (!login_.authenticated) return answer_error("NOAUTH Authentication required.");
  const Verdict verdict = login_.rules->check(entry, request_.args);
  if (verdict.what == Denied::nothing) return std::nullopt;
  ++core_.refused_by_rules;
  log_refusal(reason_of(verdict.what), verdict.what == Denied::command ? entry.name : verdict.object,
              login_.user->name());
  const std::string text = refusal(verdict, entry);
  if (!in_transaction()) return answer_error(text);
  if (entry.name != "exec") return refuse_queued(text);
  if (transaction_->at_server) lease_->send_silent(resp::command({"DISCARD"}));
  end_transaction();
  return answer_error("EXECABORT Transaction discarded because of: " + text);
}

void ClientSession::log_refusal(std::string_view reason, std::string_view object, std::string_view user) {
  Clock& clock = core_.world.clock;
  AclLogEntry entry;
  entry.reason = reason;
  entry.context = in_transaction() ? "multi" : "toplevel";
  entry.object = object;
  entry.user = user;
  entry.client = describe(clock.now_ms());
  entry.wall_ms = clock.wall_ms();
  core_.acl_log.add(std::move(entry));
}

/// There are other users, or other rules for them.
void ClientSession::users_changed() {
  auto user = core_.users->find(login_.user->name());
  if (!user) return finish();
  become(std::move(user), login_.authenticated);
  if (login_.rules == nullptr || !subscribed()) return;
  const auto lost = [&](const NameSet& names, bool patterns) {
    return std::any_of(names.begin(), names.end(),
                       [&](const auto& each) { return !login_.rules->may_hear(each, patterns); });
  };
  const Subscriptions& now = *subscriptions_;
  if (lost(now.channels, false) || lost(now.patterns, true) || lost(now.shards, false)) kill();
}

// --- logging in ----------------------------------------------------------------------------------------------------

/// AUTH, or HELLO, which may say the same. A guest's password is for the nodes to judge, so that takes a while.
ClientSession::Taken ClientSession::log_in_or_out(const Entry& entry) {
  const Args args = request_.args;
  std::optional<size_t> at;
  if (entry.name == "auth" && args.size() == 3) at = 1;
  for (size_t i = 2; entry.name == "hello" && i + 2 < args.size(); i += iequals(args[i], "auth") ? 3 : 2) {
    if (iequals(args[i], "auth")) at = i + 1;
  }
  const auto user = at ? core_.users->find(args[*at]) : nullptr;
  const bool enters = user && user->account().pass_through && user->account().enabled;
  if (!enters && (!login_.guest || entry.name == "hello")) return answer_login(answer_session(args));
  if (lease_ != nullptr || has_feed()) {
    return answer_error(
        "ERR who is passed through cannot log in anew while watching, tracking or subscribed; use RESET");
  }
  if (!enters || (!user->account().passwords.empty() && !user->admits(args[*at + 1]))) {
    return answer_login(answer_session(args));
  }
  pause_ = Pause::step;
  tasks_.add(log_in_at_node({args.begin(), args.end()}, std::string(args[*at]), std::string(args[*at + 1])));
  return Taken::yes;
}

Task<void> ClientSession::log_in_at_node(Words args, std::string name, std::string password) {
  auto guest = core_.guests.enter(name, password);
  auto refused = co_await ask_node_for(guest);
  if (!refused.empty()) {
    const bool wrong = refused.starts_with("-WRONGPASS");
    if (wrong) note_failed_login(name);
    co_await core_.world.clock.sleep(std::exchange(login_.refused_ms, 0));
    finish_step(refused);
    co_return;
  }
  login_.vouched = true;
  const std::vector<std::string_view> views(args.begin(), args.end());
  const std::string frame = answer_session(views);
  login_.vouched = false;
  if (login_.user->name() == name) login_.guest = std::move(guest);
  finish_step(frame);
}

/// Empty: the primary has let him in.
Task<std::string> ClientSession::ask_node_for(std::shared_ptr<const Guest> guest) {
  constexpr int64_t kLookEveryMs = 2;
  Clock& clock = core_.world.clock;
  const int64_t deadline_ms = clock.now_ms() + std::max<int64_t>(core_.config.hold.timeout_ms, 1000);
  while (clock.now_ms() < deadline_ms) {
    Target* primary = core_.servers.primary();
    if (primary != nullptr) {
      ServerPool& pool = primary->pool(guest);
      if (pool.shared(protocol_, 0) != nullptr) co_return std::string();
      constexpr std::string_view kAuth = "AUTH: ";
      if (pool.last_error().starts_with(kAuth)) co_return error(pool.last_error().substr(kAuth.size()));
    }
    co_await clock.sleep(kLookEveryMs);
  }
  co_return error("MASTERDOWN Link with MASTER is down: nobody can say whether to let this user in; try again.");
}

/// Empty: it is in.
std::string ClientSession::log_in(std::string_view name, std::string_view password) {
  auto user = core_.users->find(name);
  const bool passed = user && user->account().pass_through;
  if (passed && !login_.vouched && in_transaction()) {
    return error("ERR a user who is passed through cannot log in inside MULTI");
  }
  if (!user || !(passed ? login_.vouched : user->admits(password))) {
    note_failed_login(name);
    return error(kWrongPassword);
  }
  become(std::move(user), true);
  login_.guest.reset();
  return {};
}

void ClientSession::note_failed_login(std::string_view name) {
  ++core_.failed_logins;
  login_.refused_ms = core_.commons.login_brake.failed(std::string_view(peer()).substr(0, peer().rfind(':')),
                                                       core_.world.clock.now_ms());
  log_refusal("auth", "AUTH", name);
}

/// The answer to a login, now or when its time has come.
ClientSession::Taken ClientSession::answer_login(std::string frame) {
  if (login_.refused_ms == 0) return answer(frame);
  pause_ = Pause::step;
  tasks_.add(answer_later(std::move(frame), std::exchange(login_.refused_ms, 0)));
  return Taken::yes;
}

Task<void> ClientSession::answer_later(std::string frame, int64_t delay_ms) {
  co_await core_.world.clock.sleep(delay_ms);
  finish_step(frame);
}

// --- ACL -----------------------------------------------------------------------------------------------------------

/// Without users of ours the nodes' are meant.
bool ClientSession::is_ours(const Entry& entry) const {
  if (entry.name.starts_with("acl")) return core_.users->configured() && entry.name != "acl|help";
  if (entry.cls == resp::CommandClass::local) return true;
  return entry.cls == resp::CommandClass::session && entry.name != "ping" && entry.name != "echo" &&
         entry.name != "select";
}

/// nullopt: other loops, or the instance, have to be asked.
std::optional<std::string> ClientSession::acl(Args args) const {
  const std::string word = to_lower(args[1]);
  const Users& users = *core_.users;
  std::vector<std::string> lines;
  if (word == "whoami") {
    std::string out;
    resp::append_bulk(out, login_.user->name());
    return out;
  }
  if (word == "cat" && args.size() < 4) return acl_cat(*core_.commands, args);
  if (word == "genpass" && args.size() < 4) return acl_genpass(args);
  if (word == "dryrun" && args.size() > 3) return acl_dry_run(users, *core_.commands, args);
  if (word == "list" || word == "users") {
    for (const auto& [name, user] : users.all()) {
      lines.push_back(word == "users" ? name : "user " + acl_text(user->account()));
    }
    return list_of(lines);
  }
  if (word == "getuser" && args.size() == 3) {
    const auto user = users.find(args[2]);
    std::string none;
    resp::append_null(none, protocol_);
    return user ? describe_user(user->account(), protocol_) : none;
  }
  if (word == "setuser" || word == "deluser" || word == "save") {
    return error(
        "ERR the users of this instance stand in its configuration" +
        (core_.config.aclfile.empty() ? " (`users`)" : " (`users`, and the aclfile " + core_.config.aclfile + ")") +
        ": change them there, then ACL LOAD or SIGHUP");
  }
  if (word == "log" && args.size() < 4) return std::nullopt;
  if (word == "load" && args.size() == 2) return std::nullopt;
  return error("ERR unknown subcommand or wrong number of arguments for '" + std::string(args[1].substr(0, 128)) +
               "'. Try ACL HELP.");
}

Task<std::string> ClientSession::acl_log(Words args) {
  const bool forget = args.size() == 3 && iequals(args[2], "reset");
  const auto most = args.size() == 3 && !forget ? parse_int(args[2]) : 10;
  if (!most) co_return error("ERR value is not an integer or out of range");
  auto found = std::make_shared<std::list<AclLogEntry>>();
  Visit visit = [found, forget](Core& core) {
    std::list<AclLogEntry> theirs(core.acl_log.all().begin(), core.acl_log.all().end());
    found->merge(theirs, [](const auto& a, const auto& b) { return a.wall_ms > b.wall_ms; });
    if (forget) core.acl_log.clear();
  };
  co_await core_.everywhere(std::move(visit));
  if (forget) co_return std::string(kOk);
  const std::vector<AclLogEntry> entries(found->begin(), found->end());
  co_return log_reply(entries, static_cast<size_t>(std::clamp<int64_t>(*most, 0, INT_MAX)), core_.world.clock.wall_ms(),
                      protocol_);
}

Task<void> ClientSession::run_acl_log(Words args) {
  const auto frame = co_await acl_log(std::move(args));
  finish_step(frame);
}

}  // namespace sidestream::routing
