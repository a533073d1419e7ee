// users.cc: see the header.
#include "config/users.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/secrets.h"
#include "common/text.h"
#include "config/config_file.h"

namespace sidestream {
namespace {

constexpr size_t kMaxPasswordFileBytes = 64 * 1024;
constexpr size_t kMaxAclFileBytes = 1 << 20;

// What `access` says, as ACL rules. Reading goes with what connections and transactions need, listening to Pub/Sub, and
// the INFO that client libraries ask for; not with what is dangerous to others.
constexpr std::string_view kAll = "+@all";
constexpr std::string_view kRead =
    "-@all +@read +@connection +@transaction +@pubsub -publish -spublish +eval_ro +evalsha_ro +fcall_ro +time "
    "-@dangerous -@admin +info";
constexpr std::string_view kReplication = "-@all +psync +sync +replconf +ping +info +role +select +client|setname";

std::string_view rules_of(std::string_view access) {
  if (access == "read") return kRead;
  return access == "replication" ? kReplication : kAll;
}

/// A rule that was checked when it was read.
void give(AclUser& user, std::string_view rule) { CHECK(apply_acl_rule(user, rule).ok()); }

void give_each(AclUser& user, std::string_view rules) {
  for (const std::string& rule : split(rules, ' ')) give(user, rule);
}

void give_patterns(AclUser& user, const std::vector<std::string>& words, std::string_view complete, char begin) {
  for (const std::string& word : words) {
    const bool as_it_is = complete.find(word.front()) != std::string_view::npos;
    (void)apply_acl_rule(user, as_it_is ? word : begin + word).ok();  // behind "*" it adds nothing
  }
}

/// The lines of its files. What is wrong is blamed.
void read_password_files(const UserConfig& entry, AclUser& user, const Origin& origin, Loaded& loaded) {
  const auto blame = [&](const std::string& path, std::string_view what) {
    loaded.blame(origin, fmt::format("users: {}: password-file '{}' {}", entry.name, printable(path), what));
  };
  for (const std::string& path : entry.password_files) {
    const auto text = read_whole_file(path, kMaxPasswordFileBytes);
    if (!text.ok()) {
      blame(path, "cannot be read: " + text.error().detail);
      continue;
    }
    size_t passwords = 0;
    for (const std::string& line : split(text.value(), '\n')) {
      const std::string_view password = std::string_view(line).substr(0, line.find('\r'));
      if (password.empty()) continue;
      give(user, "#" + sha256_hex(password));
      ++passwords;
    }
    if (passwords == 0) blame(path, "is empty; it holds one password in each line");
  }
}

void read_acl_file(Loaded& loaded) {
  const std::string& path = loaded.config.aclfile;
  if (path.empty()) return;
  const auto text = read_whole_file(path, kMaxAclFileBytes);
  if (!text.ok()) {
    const Origin origin = loaded.origin(*find_option("aclfile"));
    return loaded.blame(origin, fmt::format("aclfile: '{}' cannot be read: {}", printable(path), text.error().detail));
  }
  std::vector<AclMistake> mistakes;
  loaded.config.accounts = parse_acl_file(text.value(), mistakes);
  for (AclMistake& mistake : mistakes) {
    const std::string where = fmt::format("{}:{}:{}", path, mistake.line, mistake.column);
    loaded.blame({Source::file, where}, std::move(mistake.text));
  }
}

}  // namespace

Result<void> check_user(const UserConfig& user) {
  const auto wrong = [&](std::string_view what) {
    return Error{Errc::config, fmt::format("{}: {}", user.name.empty() ? "a user" : user.name, what)};
  };
  const bool has_password = !user.password_sha256.empty() || !user.password_files.empty();
  if (user.name == kFollowUser) return wrong("is the name that our own nodes log in with; choose another");
  if (!has_password && user.auth == "password" && user.name != "default") {
    return wrong("has no password; give password-sha256 or password-file (auth: pass-through leaves it to the nodes)");
  }
  if (user.auth == "pass-through" && user.name == "default") {
    return wrong("the default user cannot be passed through: who does not log in gives no password");
  }
  if (user.commands.empty()) return {};
  if (user.access == "replication") return wrong("access: replication has no commands; use access: all with commands");
  const auto gives = [](const std::string& rule) { return rule.front() == '+'; };
  if (user.access == "read" && std::any_of(user.commands.begin(), user.commands.end(), gives)) {
    return wrong(
        "access: read can only be narrowed by commands (-...); use access: all and list what it may do (+...)");
  }
  return {};
}

AclUser to_acl(const UserConfig& entry) {
  AclUser user;
  user.name = entry.name;
  user.enabled = true;
  user.pass_through = entry.auth == "pass-through";
  const bool narrows = entry.commands.empty() || entry.commands.front().starts_with('-');
  give_each(user, narrows ? rules_of(entry.access) : "-@all");
  for (const std::string& rule : entry.commands) give(user, rule);
  if (entry.keys.empty()) give(user, "allkeys");
  if (entry.channels.empty()) give(user, "allchannels");
  give_patterns(user, entry.keys, "~%", '~');
  give_patterns(user, entry.channels, "&", '&');
  for (const std::string& hash : entry.password_sha256) give(user, "#" + hash);
  if (user.passwords.empty() && entry.password_files.empty() && entry.name == "default") user.no_password = true;
  return user;
}

bool said_by_access(std::string_view rule) {
  const std::vector<std::string> words = split(kRead, ' ');
  return std::find(words.begin(), words.end(), rule) != words.end();
}

AclUser replication_user(std::string name) {
  UserConfig entry;
  entry.name = std::move(name);
  entry.access = "replication";
  return to_acl(entry);
}

void load_users(Loaded& loaded) {
  std::vector<AclUser>& accounts = loaded.config.accounts;
  accounts.clear();
  read_acl_file(loaded);
  for (const UserConfig& entry : loaded.config.users) {
    Origin origin = loaded.origin(*find_option("users"));
    if (!entry.where.empty()) origin.where = entry.where;
    const auto same = [&](const AclUser& each) { return each.name == entry.name; };
    if (std::any_of(accounts.begin(), accounts.end(), same)) {
      loaded.blame(origin, fmt::format("users: {}: is given twice; leave one of them out", entry.name));
      continue;
    }
    AclUser user = to_acl(entry);
    read_password_files(entry, user, origin, loaded);
    accounts.push_back(std::move(user));
  }
  const auto is_default = [](const AclUser& each) { return each.name == "default"; };
  const bool has_default = std::any_of(accounts.begin(), accounts.end(), is_default);
  if (has_default && !loaded.config.requirepass.empty()) {
    loaded.blame(
        loaded.origin(*find_option("requirepass")),
        "requirepass: is the password of the user 'default', who is also among the users; leave one of them out");
  }
}

}  // namespace sidestream
