// options.cc: the rows, and what needs nothing but the rows. To add an option: a member in Config, a row here, then
// `sidestream --print-reference yaml` and `markdown` for the two reference files.
#include "config/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "common/text.h"
#include "config/values.h"

namespace sidestream {
namespace {

// A captureless lambda per row: the plainest thing that reaches into nested structs and stays constexpr.
#define AT(member) [](Config& c) -> Slot { return &c.member; }
#define ITEM_AT(Item, member) [](Item& i) -> Slot { return &i.member; }

constexpr Type kFlag{.kind = Kind::flag};
constexpr Type kText{.kind = Kind::text};
constexpr Type kWord{.kind = Kind::word};
constexpr Type kPath{.kind = Kind::path};
constexpr Type kListen{.kind = Kind::address};
constexpr Type kReads{.kind = Kind::choice, .choices = "fresh|bounded|eventual|primary"};

constexpr Type count(int64_t min, int64_t max = INT32_MAX) { return {.kind = Kind::integer, .min = min, .max = max}; }
constexpr Type bytes(int64_t min) { return {.kind = Kind::bytes, .min = min, .max = INT64_MAX}; }
constexpr Type seconds(int64_t min) { return {.kind = Kind::seconds, .min = min, .max = INT32_MAX}; }
constexpr Type milliseconds(int64_t min) { return {.kind = Kind::milliseconds, .min = min, .max = INT32_MAX}; }
constexpr Type one_of(std::string_view choices) { return {.kind = Kind::choice, .choices = choices}; }

constexpr Option kOptions[] = {
    {.name = "listen",
     .at = AT(listen),
     .type = {.kind = Kind::list, .min = 0},
     .help = "Where clients, replicas, Sentinel and other instances connect. One address or a list; tcp://HOST:PORT "
             "and unix:/PATH are allowed, port 0 takes a free one.",
     .heading = "Addresses"},
    {.name = "service-listen",
     .at = AT(service_listen),
     .type = kListen,
     .help = "For applications: the same data, but always presents itself as a primary. Empty: none."},
    {.name = "read-listen",
     .at = AT(read_listen),
     .type = kListen,
     .help = "Reads only, spread over the replicas; writes get -READONLY. Empty: none."},
    {.name = "admin", .at = AT(admin), .type = kListen, .help = "HTTP: status page, metrics, probes. Empty: none."},
    {.name = "dir",
     .at = AT(dir),
     .type = {.kind = Kind::path, .min = 1},
     .help = "Our own files: snapshots, history on disk, state. It is created if missing."},
    {.name = "threads",
     .at = AT(threads),
     .type = count(1, 64),
     .help = "Event loops for client traffic, each on a thread; the first also replicates."},
    {.name = "announce-ip",
     .at = AT(announce_ip),
     .type = kWord,
     .help = "What replicas, Sentinel and INFO are told. Empty: the listening address.",
     .reload = Reload::live,
     .redis_name = "replica-announce-ip",
     .redis_alias = "slave-announce-ip"},
    {.name = "announce-port",
     .at = AT(announce_port),
     .type = count(0, 65535),
     .help = "As announce-ip. 0: the listening port.",
     .reload = Reload::live,
     .redis_name = "replica-announce-port",
     .redis_alias = "slave-announce-port"},

    {.name = "nodes",
     .at = AT(nodes),
     .type = {.kind = Kind::items},
     .help = "The stock servers that belong to this instance.",
     .heading = "Servers"},
    {.name = "replicaof",
     .at = AT(replicaof),
     .type = {.kind = Kind::peer, .min = 1},
     .help = "The server or instance to follow, HOST:PORT or 'HOST PORT'. Empty: we front the primary. A role that was "
             "set at run time wins over this at the next start.",
     .redis_name = "replicaof",
     .redis_alias = "slaveof"},

    {.name = "masteruser",
     .at = AT(masteruser),
     .type = kText,
     .help = "User name towards the upstream and the nodes. Empty: the default user.",
     .reload = Reload::live,
     .redis_name = "masteruser",
     .alias = "primaryuser",
     .heading = "Passwords"},
    {.name = "masterauth",
     .at = AT(masterauth),
     .type = kText,
     .help = "Password towards the upstream and the nodes.",
     .reload = Reload::live,
     .redis_name = "masterauth",
     .alias = "primaryauth",
     .secret = true},
    {.name = "masterauth-file",
     .at = AT(masterauth_file),
     .type = kPath,
     .help = "File that holds masterauth; one line break at its end is dropped.",
     .reload = Reload::live,
     .alias = "primaryauth-file"},
    {.name = "requirepass",
     .at = AT(requirepass),
     .type = kText,
     .help = "Password that clients and replicas must give. Empty: none.",
     .reload = Reload::live,
     .redis_name = "requirepass",
     .secret = true},
    {.name = "requirepass-file",
     .at = AT(requirepass_file),
     .type = kPath,
     .help = "File that holds requirepass; one line break at its end is dropped.",
     .reload = Reload::live},
    {.name = "users",
     .at = [](Config&) -> Slot { return std::monostate(); },
     .type = {.kind = Kind::items},
     .help = "Named users with a password and an access class.",
     .planned = true},
    {.name = "tls.listen-cert",
     .at = AT(tls.listen_cert),
     .type = kPath,
     .help = "Certificate chain for our listening sockets (PEM).",
     .planned = true,
     .heading = "TLS"},
    {.name = "tls.listen-key",
     .at = AT(tls.listen_key),
     .type = kPath,
     .help = "Its private key (PEM).",
     .planned = true},
    {.name = "tls.client-ca",
     .at = AT(tls.client_ca),
     .type = kPath,
     .help = "Authorities whose client certificates are accepted.",
     .planned = true},
    {.name = "tls.require-client-cert",
     .at = AT(tls.require_client_cert),
     .type = kFlag,
     .help = "Refuse clients without a certificate.",
     .planned = true},
    {.name = "tls.nodes",
     .at = AT(tls.nodes),
     .type = kFlag,
     .help = "Speak TLS to the nodes and the upstream.",
     .planned = true},
    {.name = "tls.node-ca",
     .at = AT(tls.node_ca),
     .type = kPath,
     .help = "Authorities that the nodes' certificates must come from.",
     .planned = true},
    {.name = "tls.node-cert",
     .at = AT(tls.node_cert),
     .type = kPath,
     .help = "Our certificate towards the nodes (PEM).",
     .planned = true},
    {.name = "tls.node-key", .at = AT(tls.node_key), .type = kPath, .help = "Its private key (PEM).", .planned = true},

    {.name = "repl-backlog-size",
     .at = AT(repl_backlog_size),
     .type = bytes(1),
     .help = "History kept in memory for partial resyncs.",
     .reload = Reload::live,
     .redis_name = "repl-backlog-size",
     .heading = "Replication"},
    {.name = "repl-backlog-disk-size",
     .at = AT(repl_backlog_disk_size),
     .type = bytes(0),
     .help = "Further history in segment files under dir; it also outlives a restart. 0: none."},
    {.name = "repl-backlog-ttl",
     .at = AT(repl_backlog_ttl),
     .type = seconds(0),
     .help = "How long the history, in memory and on disk, is kept while no replica is attached. 0: for ever.",
     .reload = Reload::live,
     .redis_name = "repl-backlog-ttl"},
    {.name = "repl-timeout",
     .at = AT(repl_timeout),
     .type = seconds(1),
     .help = "A replication connection that is silent for so long is given up, in both directions.",
     .reload = Reload::live,
     .redis_name = "repl-timeout"},
    {.name = "repl-diskless-sync-delay",
     .at = AT(repl_diskless_sync_delay),
     .type = seconds(0),
     .help = "Gather full syncs for so long before asking for a snapshot.",
     .reload = Reload::live,
     .redis_name = "repl-diskless-sync-delay"},
    {.name = "full-sync-max-concurrent",
     .at = AT(full_sync_max_concurrent),
     .type = count(1, 10'000),
     .help = "Snapshots sent at the same time; further replicas wait.",
     .reload = Reload::live,
     .redis_name = "full-sync-max-concurrent"},
    {.name = "full-sync-rate",
     .at = AT(full_sync_rate),
     .type = bytes(0),
     .help = "Bytes per second of a snapshot to one replica. 0: no limit.",
     .reload = Reload::live,
     .redis_name = "full-sync-rate"},
    {.name = "snapshot.keep",
     .at = AT(snapshot.keep),
     .type = count(1, 100),
     .help = "Snapshots kept under dir for replicas that come later, also after a restart. The next one arrives before "
             "the oldest goes.",
     .reload = Reload::live,
     .redis_name = "snapshot.keep"},
    {.name = "snapshot.max-age",
     .at = AT(snapshot.max_age_s),
     .type = seconds(0),
     .help = "An older snapshot is removed. 0: no limit.",
     .reload = Reload::live,
     .redis_name = "snapshot.max-age"},
    {.name = "snapshot.max-disk",
     .at = AT(snapshot.max_disk_bytes),
     .type = bytes(0),
     .help =
         "Room for all snapshots together; the oldest go first, and one that does not fit alone fails. 0: no limit.",
     .reload = Reload::live,
     .redis_name = "snapshot.max-disk"},
    {.name = "replica-serve-stale-data",
     .at = AT(replica_serve_stale_data),
     .type = kFlag,
     .help = "Serve reads while the upstream is away; no: answer -MASTERDOWN.",
     .reload = Reload::live,
     .redis_name = "replica-serve-stale-data",
     .redis_alias = "slave-serve-stale-data"},
    {.name = "replica-priority",
     .at = AT(replica_priority),
     .type = count(0),
     .help = "For Sentinel's choice of a new primary: lower is preferred, 0 is never chosen.",
     .reload = Reload::live,
     .redis_name = "replica-priority",
     .redis_alias = "slave-priority"},
    {.name = "min-replicas-to-write",
     .at = AT(min_replicas_to_write),
     .type = count(0),
     .help = "Refuse writes with fewer good replicas than this. 0: never refuse.",
     .reload = Reload::live,
     .redis_name = "min-replicas-to-write",
     .redis_alias = "min-slaves-to-write",
     .planned = true},
    {.name = "min-replicas-max-lag",
     .at = AT(min_replicas_max_lag),
     .type = seconds(0),
     .help = "A replica that acknowledged within this time is good (min-replicas-to-write).",
     .reload = Reload::live,
     .redis_name = "min-replicas-max-lag",
     .redis_alias = "min-slaves-max-lag"},
    {.name = "upstream-ack",
     .at = AT(upstream_ack),
     .type = one_of("received|quorum:N"),
     .help =
         "What our acknowledgement to the upstream means: we have received it, or N replicas behind us have applied "
         "it. Then WAIT at the primary counts these, not us; with fewer than N nothing more is acknowledged.",
     .reload = Reload::live,
     .redis_name = "upstream-ack"},
    {.name = "write-ack",
     .at = AT(write_ack),
     .type = one_of("primary|quorum:N"),
     .help = "Hold the reply to a write until N replicas have applied it.",
     .planned = true},
    {.name = "write-ack-timeout",
     .at = AT(write_ack_timeout_ms),
     .type = milliseconds(1),
     .help = "How long write-ack waits.",
     .planned = true},
    {.name = "wipe-guard",
     .at = AT(wipe_guard),
     .type = one_of("hold|pass"),
     .help = "An upstream that comes back under a new history, empty or with less than half of the keys. hold: keep "
             "our data, serve reads, hold writes, until it recovers or SIDESTREAM ACCEPT, REJECT or REVIVE says what "
             "to do. pass: follow it, as a stock replica does.",
     .reload = Reload::live,
     .redis_name = "wipe-guard"},

    {.name = "routing.reads",
     .at = AT(routing.reads),
     .type = kReads,
     .help = "fresh: never older than a write that was acknowledged to anybody before the read; proven, else the "
             "primary answers. bounded: replicas within max-lag and max-lag-bytes. eventual: any online replica. "
             "primary: the primary.",
     .reload = Reload::live,
     .redis_name = "routing.reads",
     .heading = "Where commands go"},
    {.name = "routing.max-lag",
     .at = AT(routing.max_lag_ms),
     .type = milliseconds(1),
     .help = "With bounded: a replica further behind is not read.",
     .reload = Reload::live,
     .redis_name = "routing.max-lag"},
    {.name = "routing.max-lag-bytes",
     .at = AT(routing.max_lag_bytes),
     .type = bytes(0),
     .help = "With bounded: the same in bytes of the stream.",
     .reload = Reload::live,
     .redis_name = "routing.max-lag-bytes"},
    {.name = "routing.prefer",
     .at = AT(routing.prefer),
     .type = one_of("any|local|zone:NAME"),
     .help = "Among the replicas that qualify: any, those on this machine, or those of a zone first.",
     .reload = Reload::live,
     .redis_name = "routing.prefer"},
    {.name = "routing.rules",
     .at = AT(routing.rules),
     .type = {.kind = Kind::items},
     .help = "Exceptions to routing.reads; the first that matches wins.",
     .reload = Reload::live},
    {.name = "hold.timeout",
     .at = AT(hold.timeout_ms),
     .type = milliseconds(0),
     .help = "How long a write waits while the primary changes; popular clients give up after 1 to 5 s.",
     .reload = Reload::live,
     .redis_name = "hold.timeout"},
    {.name = "hold.max-bytes",
     .at = AT(hold.max_bytes),
     .type = bytes(0),
     .help = "Waiting writes in all; more are refused with a retryable error.",
     .reload = Reload::live,
     .redis_name = "hold.max-bytes"},
    {.name = "failover",
     .at = AT(failover),
     .type = one_of("no|auto"),
     .help = "auto: when the primary node is down, the most advanced replica among our nodes is promoted. Only for one "
             "instance that is in charge of its nodes alone, without Sentinel.",
     .reload = Reload::live,
     .redis_name = "failover"},
    {.name = "down-after",
     .at = AT(down_after_ms),
     .type = milliseconds(100),
     .help = "How long a primary node must be silent before failover: auto takes it for down.",
     .reload = Reload::live,
     .redis_name = "down-after"},
    {.name = "drain.grace",
     .at = AT(drain.grace_ms),
     .type = milliseconds(0),
     .help = "After SIGTERM or a drain: not ready at once, but clients are accepted for so long. Kubernetes needs 3 to "
             "5 s to tell everybody.",
     .reload = Reload::live,
     .redis_name = "drain.grace"},
    {.name = "drain.timeout",
     .at = AT(drain.timeout_ms),
     .type = milliseconds(0),
     .help = "How long the handover, and then transactions and blocking commands, may take before their clients are "
             "closed.",
     .reload = Reload::live,
     .redis_name = "drain.timeout"},
    {.name = "drain.hand-over",
     .at = AT(drain.hand_over),
     .type = one_of("no|instance|replica"),
     .help = "Who is made the primary in our place before we go: an instance below us, or also a stock replica.",
     .reload = Reload::live,
     .redis_name = "drain.hand-over"},
    {.name = "fence-after",
     .at = AT(fence_after_ms),
     .type = milliseconds(0),
     .help = "A primary that was cut off from all who could know of another one takes no writes after this time: with "
             "`sentinel`, from a majority of the Sentinels and from a replica; without, from every replica. Less than "
             "it takes to promote another (Sentinel's down-after-milliseconds). 0: it goes on. One that learns of "
             "another primary stops in any case.",
     .reload = Reload::live,
     .redis_name = "fence-after"},
    {.name = "deny-commands",
     .at = AT(deny_commands),
     .type = {.kind = Kind::list},
     .help = "Commands that clients may not send, also inside MULTI: names, or a container with a subcommand "
             "(CONFIG|SET). Scripts are not looked into."},

    {.name = "sentinel.master-name",
     .at = AT(sentinel.master_name),
     .type = kWord,
     .help = "The name under which Sentinel watches this group.",
     .heading = "Sentinel"},
    {.name = "sentinel.addresses",
     .at = AT(sentinel.addresses),
     .type = {.kind = Kind::list, .min = 1},
     .help =
         "Sentinels to ask who is primary. Without nodes of its own the instance follows the one they name and reads "
         "from its replicas. With nodes it stops taking writes when they name another."},
    {.name = "sentinel.quorum",
     .at = AT(sentinel.quorum),
     .type = count(0),
     .help = "How many of these addresses must name the same primary. 0: a majority."},
    {.name = "sentinel.username",
     .at = AT(sentinel.username),
     .type = kText,
     .help = "User name towards the Sentinels themselves. Empty: the default user.",
     .reload = Reload::live},
    {.name = "sentinel.password",
     .at = AT(sentinel.password),
     .type = kText,
     .help = "Password towards the Sentinels themselves.",
     .reload = Reload::live,
     .secret = true},

    {.name = "limits.maxclients",
     .at = AT(limits.maxclients),
     .type = count(1),
     .help = "Clients at the same time.",
     .reload = Reload::live,
     .redis_name = "maxclients",
     .heading = "Limits"},
    {.name = "limits.query-buffer",
     .at = AT(limits.query_buffer_bytes),
     .type = bytes(1 << 20),
     .help = "The largest request of a client; a client that sends more is disconnected.",
     .reload = Reload::live,
     .redis_name = "client-query-buffer-limit"},
    {.name = "limits.output-buffer",
     .at = AT(limits.output_buffer_bytes),
     .type = bytes(0),
     .help = "Replies that wait for a client; a client beyond is disconnected. 0: no limit.",
     .reload = Reload::live,
     .redis_name = "limits.output-buffer"},
    {.name = "limits.idle-timeout",
     .at = AT(limits.idle_timeout_s),
     .type = seconds(0),
     .help = "A client that is silent for so long is disconnected. 0: never.",
     .reload = Reload::live,
     .redis_name = "timeout"},
    {.name = "limits.stream-above",
     .at = AT(limits.stream_above_bytes),
     .type = bytes(256),
     .help = "A request or reply that is larger is passed on while it arrives, over a server connection of its own.",
     .reload = Reload::live,
     .redis_name = "limits.stream-above"},

    {.name = "log.level",
     .at = AT(log.level),
     .type = one_of("debug|verbose|notice|warning|error"),
     .help = "The least important lines that are written.",
     .reload = Reload::live,
     .redis_name = "loglevel",
     .heading = "Log"},
    {.name = "log.format",
     .at = AT(log.format),
     .type = one_of("text|json"),
     .help = "For people or for machines.",
     .reload = Reload::live},
    {.name = "log.file",
     .at = AT(log.file),
     .type = kPath,
     .help = "Empty: standard error. SIGUSR1 opens it anew.",
     .reload = Reload::live,
     .redis_name = "logfile"},
    {.name = "slow-log.above",
     .at = AT(slow_log_above_ms),
     .type = milliseconds(0),
     .help = "Requests that take so long, at their server or waiting here for one, are kept for SIDESTREAM SLOWLOG.",
     .reload = Reload::live,
     .redis_name = "slow-log.above"},
};

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

#undef AT
#undef ITEM_AT

/// Both names for the same place would compete for one port.
void check_addresses(const Config& config, std::vector<Conflict>& found) {
  std::set<std::string> taken;
  const auto take = [&](std::string_view option, const Address& address) {
    if (address.empty() || (address.path.empty() && address.port == 0)) return;
    if (!taken.insert(address.text()).second) {
      found.push_back({option, fmt::format("{} is used twice; each listening address needs its own", address.text())});
    }
  };
  for (const Address& address : config.listen) take("listen", address);
  take("service-listen", config.service_listen);
  take("read-listen", config.read_listen);
  take("admin", config.admin);
  for (const NodeConfig& node : config.nodes) {
    if (taken.contains(node.address.text())) {
      found.push_back({"nodes", fmt::format("{} is our own address; a node is another server", node.address.text())});
    }
  }
}

void check_servers(const Config& config, std::vector<Conflict>& found) {
  if (config.nodes.empty() && config.replicaof.empty() && config.sentinel.addresses.empty()) {
    found.push_back({"nodes",
                     "there is no server to stand in front of; name at least one (--node HOST:PORT), what to follow "
                     "(--replicaof HOST:PORT), or Sentinels that know (sentinel.addresses)"});
  }
  std::set<std::string> seen;
  for (const NodeConfig& node : config.nodes) {
    const std::string address = node.address.text();
    if (node.address.empty())
      found.push_back({"nodes", "a node has no address"});
    else if (!seen.insert(address).second)
      found.push_back({"nodes", fmt::format("{} is named twice", address)});
    if (!node.address.empty() && node.address == config.replicaof) {
      found.push_back(
          {"replicaof", fmt::format("{} is one of our nodes; only another server can be followed", address)});
    }
  }
}

void check_sentinel(const Config& config, std::vector<Conflict>& found) {
  const Sentinel& sentinel = config.sentinel;
  if (!sentinel.addresses.empty() && sentinel.master_name.empty()) {
    found.push_back(
        {"sentinel.master-name", "is needed with sentinel.addresses: the name given in `sentinel monitor`"});
  }
  if (sentinel.addresses.empty() && !sentinel.master_name.empty()) {
    found.push_back({"sentinel.addresses", "is needed with sentinel.master-name: where the Sentinels listen"});
  }
  if (sentinel.quorum > static_cast<int64_t>(sentinel.addresses.size())) {
    found.push_back({"sentinel.quorum", fmt::format("{} cannot agree where only {} are asked", sentinel.quorum,
                                                    sentinel.addresses.size())});
  }
}

}  // namespace

std::span<const Option> options() { return kOptions; }
std::span<const ItemField<NodeConfig>> node_fields() { return kNodeFields; }
std::span<const ItemField<Rule>> rule_fields() { return kRuleFields; }

std::vector<Conflict> conflicts(const Config& config) {
  std::vector<Conflict> found;
  if (config.listen.empty()) found.push_back({"listen", "there must be at least one address to listen on"});
  check_addresses(config, found);
  check_servers(config, found);
  check_sentinel(config, found);
  for (const Rule& rule : config.routing.rules) {
    if (rule.keys.empty() && rule.commands.empty()) {
      found.push_back({"routing.rules", "a rule without keys and commands matches everything; use routing.reads"});
    }
  }
  return found;
}

}  // namespace sidestream
