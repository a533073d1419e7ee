// users.cc: see the header. The order of all tests is that of stock 7.0's acl.c.
#include "proxy/routing/users.h"

#include <algorithm>
#include <utility>

#include "common/secrets.h"
#include "common/text.h"
#include "config/users.h"
#include "proxy/routing/read_need.h"

namespace sidestream::routing {
namespace {

using resp::CommandClass;
using resp::CommandEntry;
using Args = User::Args;

bool contains(const std::vector<std::string>& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

/// PUBLISH and SUBSCRIBE name channels; UNSUBSCRIBE may always.
bool names_channels(const CommandEntry& entry) {
  if (entry.cls == CommandClass::subscribe)
    return !entry.name.starts_with("un") && entry.name.find("unsub") == entry.name.npos;
  return entry.name == "publish" || entry.name == "spublish";
}

/// The default user where nobody has written down what he may.
AclUser default_user(const Config& config) {
  AclUser user;
  user.name = "default";
  // With `users` somebody has thought about who may come in; an ACL file that does not mention him opens the door, as
  // in stock.
  user.enabled = config.users.empty() || !config.requirepass.empty();
  user.no_password = user.enabled;
  for (const std::string_view rule : {"allkeys", "allchannels", "allcommands"}) CHECK(apply_acl_rule(user, rule).ok());
  return user;
}

}  // namespace

// --- one user ------------------------------------------------------------------------------------------------------

User::User(AclUser account, const resp::CommandTable& commands, std::vector<std::string>& unknown)
    : account_(std::move(account)) {
  for (const AclSelector& words : account_.selectors) selectors_.emplace_back(words, commands, unknown);
  for (const Selector& each : selectors_) {
    may_all_ |= each.all_commands && each.all_keys && each.all_channels;
    for (const AclKeys& keys : each.keys) parts_uses_ |= keys.read != keys.write;
  }
  all_keys_ = std::all_of(selectors_.begin(), selectors_.end(), [](const Selector& each) { return each.all_keys; });
}

bool User::can_judge_from(const CommandEntry& entry, size_t args) const {
  if (all_keys_) return true;
  return keys_are_known_from(entry, args) && !(parts_uses_ && entry.variable_use);
}

bool User::admits(std::string_view password) const {
  if (!account_.enabled) return false;
  if (account_.no_password) return true;
  const std::string hash = sha256_hex(password);
  bool fits = false;
  for (const std::string& each : account_.passwords) fits |= equal_in_constant_time(each, hash);
  return fits;
}

Verdict User::check(const CommandEntry& entry, Args args) const {
  Verdict worst{Denied::command};
  const auto place = [&](const Verdict& verdict) { return verdict.object.data(); };  // further right: further on
  for (const Selector& selector : selectors_) {
    const Verdict verdict = selector.check(entry, args);
    if (verdict.what == Denied::nothing) return verdict;
    const bool further =
        verdict.what > worst.what || (verdict.what == worst.what && std::less<>()(place(worst), place(verdict)));
    if (further) worst = verdict;
  }
  return worst;
}

bool User::may_hear(std::string_view channel, bool is_pattern) const {
  return std::any_of(selectors_.begin(), selectors_.end(),
                     [&](const Selector& each) { return each.allows_channel(channel, is_pattern); });
}

// --- what a selector allows ----------------------------------------------------------------------------------------

User::Selector::Selector(const AclSelector& words, const resp::CommandTable& commands,
                         std::vector<std::string>& unknown)
    : all_keys(words.all_keys),
      all_channels(words.all_channels),
      commands_allowed(commands.ids()),
      keys(words.keys),
      channels(words.channels) {
  for (const std::string& rule : words.commands) apply(rule, commands, unknown);
}

void User::Selector::set(const CommandEntry& entry, bool allow) {
  commands_allowed[entry.id] = allow;
  first_arguments.erase(entry.id);
  for (const auto& [word, sub] : entry.subcommands) commands_allowed[sub->id] = allow;
}

void User::Selector::apply(std::string_view rule, const resp::CommandTable& commands,
                           std::vector<std::string>& unknown) {
  const bool allow = rule.front() == '+';
  const std::string_view name = rule.substr(1);
  if (!allow) all_commands = false;
  if (name == "@all") {
    all_commands = allow;
    commands_allowed.assign(commands_allowed.size(), allow);
    return first_arguments.clear();
  }
  if (name.starts_with('@')) return apply_category(name.substr(1), allow, commands);
  const std::string_view word = name.substr(0, name.find('|'));
  const std::string_view behind = name.substr(std::min(name.size(), word.size() + 1));
  const auto found = commands.commands().find(word);
  if (found == commands.commands().end()) return unknown.emplace_back(rule), void();
  const CommandEntry& command = *found->second;
  const auto sub = command.subcommands.find(behind);
  if (behind.empty()) {
    set(command, allow);
  } else if (sub != command.subcommands.end()) {
    set(*sub->second, allow);
  } else if (command.is_container) {
    unknown.emplace_back(rule);
  } else {
    first_arguments[command.id][std::string(behind)] = allow;
  }
}

void User::Selector::apply_category(std::string_view category, bool allow, const resp::CommandTable& commands) {
  for (const auto& [name, command] : commands.commands()) {
    const bool of_module = contains(command->flags, "module");
    if (of_module && allow) continue;  // stock leaves them out
    if (contains(command->categories, category)) set(*command, allow);
    for (const auto& [word, sub] : command->subcommands) {
      if (contains(sub->categories, category)) set(*sub, allow);
    }
  }
}

bool User::Selector::allows_command(const CommandEntry& entry, Args args) const {
  if (all_commands || entry.without_login) return true;
  const auto found = first_arguments.find(entry.id);
  if (found != first_arguments.end() && args.size() > 1) {
    const auto word = found->second.find(to_lower(args[1]));
    if (word != found->second.end()) return word->second;
  }
  return commands_allowed[entry.id];
}

bool User::Selector::allows_key(std::string_view key, bool reads, bool writes) const {
  return std::any_of(keys.begin(), keys.end(), [&](const AclKeys& each) {
    return each.read >= reads && each.write >= writes && glob_match(each.glob, key);
  });
}

bool User::Selector::allows_channel(std::string_view channel, bool is_pattern) const {
  return all_channels || std::any_of(channels.begin(), channels.end(), [&](const std::string& each) {
           return is_pattern ? each == channel : glob_match(each, channel);
         });
}

bool User::Selector::reads_every_key() const {
  return all_keys ||
         std::any_of(keys.begin(), keys.end(), [](const AclKeys& each) { return each.read && each.glob == "*"; });
}

Verdict User::Selector::check(const CommandEntry& entry, Args args) const {
  if (!allows_command(entry, args)) return {Denied::command};
  if (!all_keys) {
    const Verdict verdict = check_keys(entry, args);
    if (verdict.what != Denied::nothing) return verdict;
  }
  return all_channels || !names_channels(entry) ? Verdict{} : check_channels(entry, args);
}

Verdict User::Selector::check_keys(const CommandEntry& entry, Args args) const {
  Verdict verdict;
  resp::CommandTable::for_each_key_use(entry, args, [&](std::string_view key, bool reads, bool writes) {
    if (verdict.what == Denied::nothing && !allows_key(key, reads, writes)) verdict = {Denied::key, key};
  });
  if (verdict.what != Denied::nothing) return verdict;
  if (entry.hidden_keys) return {Denied::key, args[0]};
  const bool sorts = entry.name == "sort" || entry.name == "sort_ro";
  if (!sorts || reads_every_key()) return {};
  for (size_t i = 2; i + 1 < args.size(); ++i) {  // keys made of what is sorted
    const bool by = iequals(args[i], "by") && args[i + 1].find('*') != std::string_view::npos;
    if (by) return {Denied::sort_by, args[i + 1]};
    if (iequals(args[i], "get")) return {Denied::sort_get, args[i + 1]};
    if (iequals(args[i], "by") || iequals(args[i], "store")) ++i;
    if (iequals(args[i], "limit")) i += 2;
  }
  return {};
}

Verdict User::Selector::check_channels(const CommandEntry& entry, Args args) const {
  const bool publishes = entry.cls != CommandClass::subscribe;
  const bool is_pattern = entry.name == "psubscribe";
  const size_t end = publishes ? 2 : args.size();
  for (size_t i = 1; i < end && i < args.size(); ++i) {
    if (!allows_channel(args[i], is_pattern)) return {Denied::channel, args[i]};
  }
  return {};
}

// --- all users -----------------------------------------------------------------------------------------------------

Users::Users(const Config& config, const resp::CommandTable& commands)
    : configured_(!config.accounts.empty() || !config.aclfile.empty()) {
  std::vector<AclUser> accounts = config.accounts;
  const auto is_default = [](const AclUser& each) { return each.name == "default"; };
  auto found = std::find_if(accounts.begin(), accounts.end(), is_default);
  if (found == accounts.end()) found = accounts.insert(accounts.end(), default_user(config));
  if (!config.requirepass.empty()) {
    found->no_password = false;
    found->passwords = {sha256_hex(config.requirepass)};
  }
  if (!config.follow_user.empty()) {
    AclUser nodes = replication_user(config.follow_user);
    nodes.passwords = {sha256_hex(config.follow_password)};
    accounts.push_back(std::move(nodes));
  }
  for (AclUser& account : accounts) {
    std::vector<std::string> unknown;
    const std::string name = account.name;
    by_name_[name] = std::make_shared<const User>(std::move(account), commands, unknown);
    for (const std::string& rule : unknown) {
      if (!said_by_access(rule)) unknown_rules_.push_back(name + ": " + rule);
    }
  }
  anybody_ = find("default");
}

std::shared_ptr<const User> Users::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

}  // namespace sidestream::routing
