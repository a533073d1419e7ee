// users.h: who may log in, and whether what somebody sends is allowed: ACL rules brought together with the commands
// that the nodes know. The decision is stock's, command by command and key by key.
//
// Happy path: Users is made anew when users or commands change; a session holds its User and asks check() for each
// request, unless may_all() said that there is nothing to ask. Immutable, so that all loops share one.
// Failure modes: a rule about a command that no node knows allows and denies nothing; see unknown_rules().
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/config.h"
#include "proxy/resp/command_table.h"

namespace sidestream::routing {

/// In stock's order: of several selectors the one that came furthest says why not.
enum class Denied : uint8_t { nothing, command, key, channel, sort_by, sort_get };

struct Verdict {
  Denied what = Denied::nothing;
  std::string_view object = {};  // the key or channel
};

class User {
 public:
  using Args = std::span<const std::string_view>;
  /// Rules without a command are added to `unknown`.
  User(AclUser account, const resp::CommandTable& commands, std::vector<std::string>& unknown);

  const std::string& name() const { return account_.name; }
  const AclUser& account() const { return account_; }
  /// Every command, key and channel: nothing to check.
  bool may_all() const { return may_all_; }
  /// Whether the beginning of a large request tells all that check() has to see.
  bool can_judge_from(const resp::CommandEntry& entry, size_t args) const;
  /// Whether to let it in with this password.
  bool admits(std::string_view password) const;
  Verdict check(const resp::CommandEntry& entry, Args args) const;
  /// `is_pattern`: of PSUBSCRIBE, which must be one of ours literally.
  bool may_hear(std::string_view channel, bool is_pattern) const;

 private:
  struct Selector {
    Selector(const AclSelector& words, const resp::CommandTable& commands, std::vector<std::string>& unknown);
    void apply(std::string_view rule, const resp::CommandTable& commands, std::vector<std::string>& unknown);
    void apply_category(std::string_view category, bool allow, const resp::CommandTable& commands);
    void set(const resp::CommandEntry& entry, bool allow);
    bool allows_command(const resp::CommandEntry& entry, Args args) const;
    bool allows_key(std::string_view key, bool reads, bool writes) const;
    bool allows_channel(std::string_view channel, bool is_pattern) const;
    bool reads_every_key() const;
    Verdict check(const resp::CommandEntry& entry, Args args) const;
    Verdict check_keys(const resp::CommandEntry& entry, Args args) const;
    Verdict check_channels(const resp::CommandEntry& entry, Args args) const;

    bool all_commands = false, all_keys, all_channels;
    std::vector<bool> commands_allowed;                                       // by id
    std::unordered_map<size_t, std::map<std::string, bool>> first_arguments;  // by id of the command
    std::vector<AclKeys> keys;
    std::vector<std::string> channels;
  };

  AclUser account_;
  std::vector<Selector> selectors_;
  bool may_all_ = false;
  bool all_keys_ = false;    // keys do not matter
  bool parts_uses_ = false;  // it matters whether a key is read or written
};

class Users {
 public:
  Users(const Config& config, const resp::CommandTable& commands);

  /// nullptr: there is none.
  std::shared_ptr<const User> find(std::string_view name) const;
  /// Who has not logged in, if that is allowed: see open().
  const std::shared_ptr<const User>& anybody() const { return anybody_; }
  /// Nobody has to log in.
  bool open() const { return anybody_->account().enabled && anybody_->account().no_password; }
  /// There are users beside the default user: ACL is about them. Else it is about the nodes' own.
  bool configured() const { return configured_; }
  /// By name.
  const std::map<std::string, std::shared_ptr<const User>, std::less<>>& all() const { return by_name_; }
  /// Rules that name no command of the nodes, as "app: +no-such-command".
  const std::vector<std::string>& unknown_rules() const { return unknown_rules_; }

 private:
  std::map<std::string, std::shared_ptr<const User>, std::less<>> by_name_;
  std::shared_ptr<const User> anybody_;
  bool configured_;
  std::vector<std::string> unknown_rules_;
};

}  // namespace sidestream::routing
