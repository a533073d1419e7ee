// item_fields.cc: the rows of what stands in lists: nodes, rules, users. See options.h.
#include "config/options.h"

namespace sidestream {
namespace {

#define ITEM_AT(Item, member) [](Item& i) -> Slot { return &i.member; }

constexpr Type kText{.kind = Kind::text};
constexpr Type kWord{.kind = Kind::word};
constexpr Type kReads{.kind = Kind::choice, .choices = "fresh|bounded|eventual|primary"};

constexpr Type count(int64_t min, int64_t max) { return {.kind = Kind::integer, .min = min, .max = max}; }
constexpr Type one_of(std::string_view choices) { return {.kind = Kind::choice, .choices = choices}; }

constexpr ItemField<NodeConfig> kNodeFields[] = {
    {"address", ITEM_AT(NodeConfig, address), {.kind = Kind::address, .min = 1}, "Where it listens."},
    {"weight", ITEM_AT(NodeConfig, weight), count(0, 10'000), "Its share of the reads; 0: none."},
    {"zone", ITEM_AT(NodeConfig, zone), kWord, "For routing.prefer."},
};

constexpr ItemField<Rule> kRuleFields[] = {
    {"keys", ITEM_AT(Rule, keys), kText, "Pattern that all keys of the command match. Empty: any."},
    {"commands", ITEM_AT(Rule, commands), {.kind = Kind::list, .separator = '+'}, "Names of commands. Empty: any."},
    {"reads", ITEM_AT(Rule, reads), kReads, "As routing.reads."},
};

constexpr ItemField<UserConfig> kUserFields[] = {
    {"name", ITEM_AT(UserConfig, name), {.kind = Kind::word, .min = 1}, "As in AUTH NAME PASSWORD."},
    {"password-sha256",
     ITEM_AT(UserConfig, password_sha256),
     {.kind = Kind::sha256, .separator = ' '},
     "Its password; of several each one is valid, so that one can be replaced by another without a gap."},
    {"password-file",
     ITEM_AT(UserConfig, password_files),
     {.kind = Kind::words, .separator = ' '},
     "Files with its password; each line of each file is valid."},
    {"access", ITEM_AT(UserConfig, access), one_of("all|read|replication"),
     "What it may do: everything; read; or attach as a replica."},
    {"keys",
     ITEM_AT(UserConfig, keys),
     {.kind = Kind::acl_keys, .separator = ' '},
     "Patterns of the keys it may use; %R~ in front: only read, %W~: only write. Empty: all."},
    {"channels",
     ITEM_AT(UserConfig, channels),
     {.kind = Kind::acl_channels, .separator = ' '},
     "Patterns of the Pub/Sub channels it may use. Empty: all."},
    {"commands",
     ITEM_AT(UserConfig, commands),
     {.kind = Kind::acl_commands, .separator = ' '},
     "ACL rules, in their order. If the first gives (+), it may do nothing else; if it takes (-), what `access` says "
     "without that."},
    {"auth", ITEM_AT(UserConfig, auth), one_of("password|pass-through"),
     "pass-through: the name and password it logs in with also open its connections to the nodes, whose ACL then "
     "decides; without a password here they decide about the password too."},
};

#undef ITEM_AT

}  // namespace

std::span<const ItemField<NodeConfig>> node_fields() { return kNodeFields; }
std::span<const ItemField<Rule>> rule_fields() { return kRuleFields; }
std::span<const ItemField<UserConfig>> user_fields() { return kUserFields; }

}  // namespace sidestream
