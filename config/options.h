// options.h: the one table of all options. Parsing, validation, --print-config, CONFIG GET/SET, the reference file and
// its documentation loop over it; nothing else in the program knows the name of an option.
//
// Happy path: find_option(name), then set(config, option, text) and get(config, option). A set() that fails says what
// is wrong and what is wanted, and leaves the Config as it was.
//
// Texts of lists, where no YAML is around (flags, environment, CONFIG SET):
//   list  = item *("," item)     listen, sentinel.addresses, deny-commands
//   nodes = node *("," node)     node = [ "address=" ] ADDRESS *(";" field "=" text)
//   rules = rule *("," rule)     rule = field "=" text *(";" field "=" text), commands joined by "+"
//   users = user *("," user)     user = [ "name=" ] NAME *(";" field "=" text), words joined by blanks
// A key pattern with a comma or semicolon can only be written in the file.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/result.h"
#include "config/config.h"

namespace sidestream {

/// Where the value of an option lives. monostate: the option holds nothing yet, only emptiness is accepted.
using Slot =
    std::variant<std::monostate, bool*, int64_t*, std::string*, Address*, ReadPolicy*, std::vector<Address>*,
                 std::vector<std::string>*, std::vector<NodeConfig>*, std::vector<Rule>*, std::vector<UserConfig>*>;

enum class Kind {
  flag,          ///< yes | no
  integer,       ///< decimal
  permissions,   ///< of a file, octal: 770
  bytes,         ///< 64mb; printed as a plain number
  seconds,       ///< 60, 60s, 2m; printed as a plain number, as redis.conf does
  milliseconds,  ///< 250ms, 5s, 2m, a bare number is seconds; printed with its unit
  text,          ///< anything
  word,          ///< no blanks, no ,;=+ and nothing unprintable: names that end up in INFO or in lists
  choice,        ///< one of Type::choices
  path,          ///< a file or directory
  address,       ///< HOST:PORT, [IPV6]:PORT, unix:/PATH
  peer,          ///< HOST:PORT or "HOST PORT", printed as redis.conf does; "no one" is empty
  list,          ///< addresses or names
  words,         ///< texts without blanks, kept as they are
  acl_keys,      ///< words that can stand behind '~', or begin with ~ or %
  acl_channels,  ///< words that can stand behind '&', or begin with it
  acl_commands,  ///< words that are ACL rules about commands
  sha256,        ///< words of 64 hexadecimal digits
  items,         ///< mappings: nodes, rules, users
};

/// Its values are several texts.
constexpr bool is_list(Kind kind) { return kind == Kind::list || (kind >= Kind::words && kind <= Kind::sha256); }

/// What a value must look like.
struct Type {
  Kind kind = Kind::text;
  int64_t min =
      0;  // numbers: the range in the unit of the struct; text: the fewest characters; address: the lowest port
  int64_t max = 0;
  std::string_view choices = {};  // "any|local|zone:NAME"; after a colon N is a positive number, NAME any word
  char separator = ',';           // lists
};

/// choices of a list whose entries are texts, not names.
constexpr std::string_view kAnyText = "text";

enum class Reload { never, live };

struct Option {
  std::string_view name;  // dotted inside a section: "log.level"
  Slot (*at)(Config&);
  Type type;
  std::string_view help;
  Reload reload = Reload::never;
  std::string_view redis_name = {};   // the name CONFIG GET and SET know it by; empty: none
  std::string_view redis_alias = {};  // stock's second name for it, "slave-priority"
  std::string_view alias = {};        // one more name that is accepted on input
  bool secret = false;                // masked wherever people look
  std::string_view heading = {};      // in the reference, in front of this option
};

/// A field of a mapping inside a list: `weight` of a node.
template <class Item>
struct ItemField {
  std::string_view name;
  Slot (*at)(Item&);
  Type type;
  std::string_view help;
};

/// All options, in the order of the reference file: options of a section stand together.
std::span<const Option> options();
std::span<const ItemField<NodeConfig>> node_fields();
std::span<const ItemField<Rule>> rule_fields();
std::span<const ItemField<UserConfig>> user_fields();

/// By its name or any of its other names, exactly as written. nullptr: no such option.
const Option* find_option(std::string_view name);
/// By a name of CONFIG GET/SET, ignoring case. nullptr: not one of ours, the lead node may know it.
const Option* find_redis_option(std::string_view name);
/// " (did you mean `log.level`?)" or nothing.
std::string did_you_mean(std::string_view name);

/// Errc::config: "must be between 1 and 64, not 0". The name of the option is not in the text.
Result<void> set(Config& config, const Option& option, std::string_view text);
/// By name. Errc::config also for a name that does not exist.
Result<void> set(Config& config, std::string_view name, std::string_view text);
Result<void> set(NodeConfig& node, const ItemField<NodeConfig>& field, std::string_view text);
Result<void> set(Rule& rule, const ItemField<Rule>& field, std::string_view text);
Result<void> set(UserConfig& user, const ItemField<UserConfig>& field, std::string_view text);

/// As CONFIG GET prints it: bytes and seconds as plain numbers, yes or no, secrets in clear. set() reads it back.
std::string get(const Config& config, const Option& option);
/// The same for people: what is secret is masked.
std::string get_masked(const Config& config, const Option& option);
/// By name; it must exist.
std::string get(const Config& config, std::string_view name);
std::string get(const NodeConfig& node, const ItemField<NodeConfig>& field);
std::string get(const Rule& rule, const ItemField<Rule>& field);
std::string get(const UserConfig& user, const ItemField<UserConfig>& field);
/// The value of an option nobody has set.
std::string default_text(const Option& option);
/// "yes | no", "1 to 64", "size, at least 16kb": for the documentation and for error texts.
std::string wanted(const Type& type);

/// What stays wrong although every single value is right ("nodes: names 127.0.0.1:6380 twice").
struct Conflict {
  std::string_view option;
  std::string text;
};
std::vector<Conflict> conflicts(const Config& config);
/// The options whose values differ; for a reload.
std::vector<const Option*> differences(const Config& before, const Config& after);
/// The value alone, also one that has no text outside of a file (see above).
void copy(const Option& option, const Config& from, Config& to);

/// "fresh" and so on. Errc::config with the choices.
std::string_view name_of(ReadPolicy policy);
Result<ReadPolicy> parse_read_policy(std::string_view name);

}  // namespace sidestream
