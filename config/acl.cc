// acl.cc: one rule at a time. See the header.
#include "config/acl.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/secrets.h"
#include "common/text.h"

namespace sidestream {
namespace {

constexpr const char* kSyntax = "Syntax error";
constexpr const char* kUnknown = "Unknown command or category name in ACL";
constexpr const char* kBadHash =
    "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters";
constexpr const char* kAfterAllKeys =
    "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try "
    "'resetkeys' to start with an empty list of patterns";
constexpr const char* kAfterAllChannels =
    "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try "
    "'resetchannels' to start with an empty list of channels";

Error wrong(const char* words) { return {Errc::config, words}; }

bool has_blank(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return c == '\0' || c == ' ' || (c >= '\t' && c <= '\r'); });
}

template <class T>
bool contains(const std::vector<T>& list, const T& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

/// "%RW~glob" without its '%': which kinds of use, and takes them off.
Result<void> take_uses(std::string_view& rule, AclKeys& keys) {
  keys.read = keys.write = false;
  while (!rule.empty()) {
    const char c = rule.front();
    rule.remove_prefix(1);
    if (c == '~') return keys.read || keys.write ? Result<void>() : wrong(kSyntax);
    bool& use = c == 'r' || c == 'R' ? keys.read : keys.write;
    const bool known = std::string_view("rRwW").find(c) != std::string_view::npos;
    if (!known || use) return wrong(kSyntax);
    use = true;
  }
  return wrong(kSyntax);
}

Result<void> add_keys(AclSelector& selector, std::string_view rule) {
  if (selector.all_keys) return wrong(kAfterAllKeys);
  AclKeys keys;
  const bool with_uses = rule.front() == '%';
  rule.remove_prefix(1);
  if (with_uses) {
    auto taken = take_uses(rule, keys);
    RETURN_IF_ERROR(taken);
  }
  if (has_blank(rule)) return wrong(kSyntax);
  keys.glob = rule;
  for (AclKeys& known : selector.keys) {
    if (known.glob != keys.glob) continue;
    known.read |= keys.read;
    known.write |= keys.write;
    return {};
  }
  selector.keys.push_back(std::move(keys));
  return {};
}

Result<void> add_channels(AclSelector& selector, std::string_view glob) {
  if (selector.all_channels) return wrong(kAfterAllChannels);
  if (has_blank(glob)) return wrong(kSyntax);
  if (!contains(selector.channels, std::string(glob))) selector.channels.emplace_back(glob);
  return {};
}

/// '+' or '-', and a command or category.
Result<void> add_commands(AclSelector& selector, std::string_view rule) {
  std::string folded = to_lower(rule);
  const std::string_view name = std::string_view(folded).substr(1);
  if (name == "@all") selector.commands.clear();
  if (name.starts_with('@')) {
    if (name != "@all" && !contains(acl_categories(), std::string(name.substr(1)))) return wrong(kUnknown);
  } else {
    const auto bars = std::count(name.begin(), name.end(), '|');
    if (name.empty() || has_blank(name) || name.starts_with('|') || bars > 1) return wrong(kUnknown);
    if (name.ends_with('|')) return wrong(rule.front() == '+' ? kSyntax : kUnknown);
  }
  // The latest word about the same counts; first arguments of one command add up.
  std::erase_if(selector.commands, [&](const std::string& each) { return each.substr(1) == name && name != "@all"; });
  selector.commands.push_back(std::move(folded));
  return {};
}

Result<void> apply_selector_rule(AclSelector& selector, std::string_view rule) {
  if (iequals(rule, "allkeys") || rule == "~*") {
    selector.all_keys = true;
    selector.keys.clear();
  } else if (iequals(rule, "resetkeys")) {
    selector.all_keys = false;
    selector.keys.clear();
  } else if (iequals(rule, "allchannels") || rule == "&*") {
    selector.all_channels = true;
    selector.channels.clear();
  } else if (iequals(rule, "resetchannels")) {
    selector.all_channels = false;
    selector.channels.clear();
  } else if (iequals(rule, "allcommands")) {
    return add_commands(selector, "+@all");
  } else if (iequals(rule, "nocommands")) {
    return add_commands(selector, "-@all");
  } else if (rule.starts_with('~') || rule.starts_with('%')) {
    return add_keys(selector, rule);
  } else if (rule.starts_with('&')) {
    return add_channels(selector, rule.substr(1));
  } else if (rule.starts_with('+') || rule.starts_with('-')) {
    return add_commands(selector, rule);
  } else {
    return wrong(kSyntax);
  }
  return {};
}

Result<void> add_selector(AclUser& user, std::string_view rules) {
  AclSelector selector;
  for (const std::string& rule : split(rules, ' ')) {
    if (rule.empty()) continue;
    auto applied = apply_selector_rule(selector, rule);
    RETURN_IF_ERROR(applied);
  }
  user.selectors.push_back(std::move(selector));
  return {};
}

/// What begins with > # < or !
Result<void> change_password(AclUser& user, std::string_view rule) {
  const char what = rule.front();
  const std::string_view text = rule.substr(1);
  const bool is_hash = what == '#' || what == '!';
  if (is_hash && !is_sha256_hex(text)) return wrong(kBadHash);
  const std::string hash = is_hash ? std::string(text) : sha256_hex(text);
  const bool known = contains(user.passwords, hash);
  if (what == '>' || what == '#') {
    if (!known) user.passwords.push_back(hash);
    user.no_password = false;
    return {};
  }
  if (!known) return wrong("The password you are trying to remove from the user does not exist");
  std::erase(user.passwords, hash);
  return {};
}

}  // namespace

const std::vector<std::string>& acl_categories() {
  static const std::vector<std::string> kNames = {
      "keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo",
      "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting",
      // of later servers and their modules
      "json", "search", "timeseries", "bloom", "cuckoo", "cms", "topk", "tdigest"};
  return kNames;
}

Result<void> apply_acl_rule(AclUser& user, std::string_view rule) {
  if (rule.empty()) return {};
  if (iequals(rule, "on") || iequals(rule, "off")) {
    user.enabled = iequals(rule, "on");
  } else if (iequals(rule, "nopass") || iequals(rule, "resetpass")) {
    user.no_password = iequals(rule, "nopass");
    user.passwords.clear();
  } else if (iequals(rule, "sanitize-payload") || iequals(rule, "skip-sanitize-payload")) {
    user.payload = to_lower(rule);
  } else if (std::string_view(">#<!").find(rule.front()) != std::string_view::npos) {
    return change_password(user, rule);
  } else if (rule.starts_with('(') && rule.ends_with(')')) {
    return add_selector(user, rule.substr(1, rule.size() - 2));
  } else if (iequals(rule, "clearselectors")) {
    user.selectors.resize(1);
  } else if (iequals(rule, "reset")) {
    AclUser fresh;
    fresh.name = user.name;
    fresh.pass_through = user.pass_through;
    fresh.payload = "sanitize-payload";
    user = std::move(fresh);
  } else {
    return apply_selector_rule(user.selectors.front(), rule);
  }
  return {};
}

std::vector<std::string> acl_flags(const AclUser& user) {
  std::vector<std::string> flags = {user.enabled ? "on" : "off"};
  if (user.no_password) flags.emplace_back("nopass");
  if (!user.payload.empty()) flags.push_back(user.payload);
  return flags;
}

std::string acl_keys_text(const AclSelector& selector) {
  if (selector.all_keys) return "~*";
  std::vector<std::string> words;
  for (const AclKeys& keys : selector.keys) {
    const bool both = keys.read && keys.write;
    words.push_back((both ? "~" : keys.read ? "%R~" : "%W~") + keys.glob);
  }
  return fmt::format("{}", fmt::join(words, " "));
}

std::string acl_channels_text(const AclSelector& selector) {
  if (selector.all_channels) return "&*";
  std::vector<std::string> words;
  for (const std::string& glob : selector.channels) words.push_back("&" + glob);
  return fmt::format("{}", fmt::join(words, " "));
}

std::string acl_commands_text(const AclSelector& selector) {
  const bool begins_with_all = !selector.commands.empty() && selector.commands.front().ends_with("@all");
  const std::string rules = fmt::format("{}", fmt::join(selector.commands, " "));
  if (begins_with_all) return rules;
  return rules.empty() ? "-@all" : "-@all " + rules;
}

std::string acl_text(const AclUser& user) {
  std::string text = user.name;
  for (const std::string& flag : acl_flags(user)) text += " " + flag;
  for (const std::string& hash : user.passwords) text += " #" + hash;
  for (const AclSelector& selector : user.selectors) {
    const bool root = &selector == &user.selectors.front();
    const std::string keys = acl_keys_text(selector), channels = acl_channels_text(selector);
    std::string rules = keys.empty() ? "" : keys + " ";
    if (!selector.all_channels) rules += "resetchannels ";
    if (!channels.empty()) rules += channels + " ";
    rules += acl_commands_text(selector);
    text += root ? " " + rules : " (" + rules + ")";
  }
  return text;
}

}  // namespace sidestream
