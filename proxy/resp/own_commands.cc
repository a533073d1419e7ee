// own_commands.cc: the table.
#include "proxy/resp/own_commands.h"

namespace sidestream::resp {
namespace {

constexpr std::string_view kAdmin = "admin slow dangerous";
constexpr std::string_view kConnection = "fast connection";

constexpr OwnCommand kOwnCommands[] = {
    {"auth", -2, kConnection},
    {"hello quit ping", -1, kConnection},
    {"reset asking readonly readwrite", 1, kConnection},
    {"select echo", 2, kConnection},
    {"client", -2, "slow connection"},
    {"client|kill client|pause client|unblock", -3, "admin slow dangerous connection"},
    {"client|list", -2, "admin slow dangerous connection"},
    {"client|unpause", 2, "admin slow dangerous connection"},
    {"client|no-evict", 3, "admin slow dangerous connection"},
    {"command", -1, "slow connection"},
    {"wait", 3, "slow connection"},
    {"multi discard unwatch", 1, "fast transaction"},
    {"exec", 1, "slow transaction"},
    {"watch", -2, "fast transaction"},
    {"subscribe psubscribe", -2, "pubsub slow"},
    {"unsubscribe punsubscribe", -1, "pubsub slow"},
    {"publish", 3, "pubsub fast"},
    {"script", -2, "slow scripting"},
    {"info", -1, "slow dangerous"},
    {"role", 1, "admin fast dangerous"},
    {"monitor sync", 1, kAdmin},
    {"replicaof slaveof", 3, kAdmin},
    {"failover replconf shutdown", -1, kAdmin},
    {"psync", -3, kAdmin},
    {"cluster config acl", -2, "slow"},
    {"config|get", -3, kAdmin},
    {"config|set", -4, kAdmin},
    {"config|rewrite config|resetstat", 2, kAdmin},
    {"acl|whoami acl|help", 2, "slow"},
    {"acl|cat acl|genpass", -2, "slow"},
    {"acl|list acl|users acl|load acl|save", 2, kAdmin},
    {"acl|getuser", 3, kAdmin},
    {"acl|setuser acl|deluser", -3, kAdmin},
    {"acl|dryrun", -4, kAdmin},
    {"acl|log", -2, kAdmin},
    // About the connection; telling, like INFO; for operators. No category gives all of SIDESTREAM.
    {"sidestream", -2, ""},
    {"sidestream|help sidestream|reads sidestream|token sidestream|readafter sidestream|explain", -2,
     "slow connection"},
    {"sidestream|status sidestream|nodes", -2, "slow dangerous"},
    {"sidestream|latency sidestream|slowlog sidestream|lost sidestream|accept sidestream|reject sidestream|revive", -2,
     kAdmin},
    {"sidestream|drain sidestream|takeover sidestream|succeeded sidestream|audit sidestream|resync", -2, kAdmin},
};

}  // namespace

std::span<const OwnCommand> own_commands() { return kOwnCommands; }

}  // namespace sidestream::resp
