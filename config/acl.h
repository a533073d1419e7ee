// acl.h: what a user may do, in Redis' ACL language: one representation for `users` of the YAML file and for an
// `aclfile`. Only words are known here; what they mean for a command is decided where commands are known
// (proxy/routing/users.h).
//
//   rule = "on" | "off" | "nopass" | "resetpass" | ">" password | "#" sha256 | "<" password | "!" sha256
//        | "reset" | "clearselectors" | "(" selector-rule *(" " selector-rule) ")"
//        | "sanitize-payload" | "skip-sanitize-payload" | selector-rule
//   selector-rule = "~" glob | "%" 1*("R" | "W") "~" glob | "allkeys" | "resetkeys"
//        | "&" glob | "allchannels" | "resetchannels"
//        | ("+" | "-") command ["|" subcommand] | "+" command "|" first-argument
//        | ("+" | "-") "@" category | "allcommands" | "nocommands"
//
// Failure modes: a rule that is none is Errc::config with stock's words, and the user is as it was. Whether a command
// exists is not known here: a rule about one that does not is found by whoever has the commands.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace sidestream {

/// Keys that may be read, written, or both.
struct AclKeys {
  std::string glob;
  bool read = true, write = true;
  friend bool operator==(const AclKeys&, const AclKeys&) = default;
};

/// Each one alone says what may be done; a command is allowed if one of the user's selectors allows all of it.
struct AclSelector {
  bool all_keys = false, all_channels = false;
  std::vector<AclKeys> keys;
  std::vector<std::string> channels;
  std::vector<std::string> commands;  // "+get", "-@dangerous" in their order, from nothing on
  friend bool operator==(const AclSelector&, const AclSelector&) = default;
};

struct AclUser {
  std::string name;
  bool enabled = false;
  bool no_password = false;            // any password will do
  std::vector<std::string> passwords;  // SHA-256, lower-case hexadecimal; each one is valid
  std::string payload;                 // what was said about sanitizing payloads; we have no use for it
  bool pass_through = false;           // its own password opens its server connections
  std::vector<AclSelector> selectors = std::vector<AclSelector>(1);  // the first takes the rules outside parentheses
  friend bool operator==(const AclUser&, const AclUser&) = default;
};

/// The names that stand behind '@', as ACL CAT lists them, without "all".
const std::vector<std::string>& acl_categories();

Result<void> apply_acl_rule(AclUser& user, std::string_view rule);
/// As ACL LIST shows it, behind "user ".
std::string acl_text(const AclUser& user);
/// Its parts: "~a* %R~b*", "&c*", "-@all +get".
std::string acl_keys_text(const AclSelector& selector);
std::string acl_channels_text(const AclSelector& selector);
std::string acl_commands_text(const AclSelector& selector);
/// "on", "nopass" and so on.
std::vector<std::string> acl_flags(const AclUser& user);

/// A mistake in an ACL file.
struct AclMistake {
  size_t line, column;  // from 1
  std::string text;
};
/// Reads the text of an ACL file: "user NAME rule ..." in each line. All mistakes are found.
std::vector<AclUser> parse_acl_file(std::string_view text, std::vector<AclMistake>& mistakes);

}  // namespace sidestream
