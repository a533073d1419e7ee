// config.h: everything a user can decide, as one plain struct. The member initializers are the defaults; names, limits
// and words for people are in the option table (options.h), which reads and fills this struct.
//
// Units: `_ms` milliseconds, `_s` seconds, `_bytes` bytes, everything else counts. A Config that came out of load()
// (sources.h) has passed every check; nobody validates it again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/byte_stream.h"
#include "config/acl.h"

namespace sidestream {

/// How fresh a read must be; contract of each in config/README.md under `routing.reads`.
enum class ReadPolicy { fresh, bounded, eventual, primary };

/// A stock server that belongs to this instance.
struct NodeConfig {
  Address address;
  int64_t weight = 100;  // share of the reads; 0: none
  std::string zone;
  friend bool operator==(const NodeConfig&, const NodeConfig&) = default;
};

/// Reads that match go by `reads` instead of routing.reads. What is empty matches everything.
struct Rule {
  std::string keys;                   // glob, must match every key of the command
  std::vector<std::string> commands;  // upper case
  ReadPolicy reads = ReadPolicy::fresh;
  friend bool operator==(const Rule&, const Rule&) = default;
};

struct Routing {
  ReadPolicy reads = ReadPolicy::fresh;
  int64_t max_lag_ms = 10'000;
  int64_t max_lag_bytes = 64 << 20;
  std::string prefer = "any";  // any, local, zone:NAME
  std::vector<Rule> rules;     // the first match wins
};

/// Somebody who may log in. Without any, and without `aclfile`, there is the default user with `requirepass`.
struct UserConfig {
  std::string name;
  std::vector<std::string> password_sha256;  // lower-case hex; each one is valid
  std::vector<std::string> password_files;   // each line of each file is a valid password
  std::string access = "all";                // all, read, replication
  std::vector<std::string> keys;             // globs, possibly with %R~ or %W~ in front; empty: every key
  std::vector<std::string> channels;         // globs; empty: every channel
  std::vector<std::string> commands;         // ACL rules in their order: +get, -@dangerous; empty: what `access` says
  std::string auth = "password";             // password, pass-through: its own password opens its server connections
  std::string where;                         // FILE:LINE:COLUMN, for what turns out to be wrong later
  friend bool operator==(const UserConfig&, const UserConfig&) = default;
};

/// When /readyz says yes.
struct Ready {
  int64_t max_lag_ms = 0;  // behind the upstream; 0: no limit
  int64_t min_nodes = 0;   // that are online; 0: any
};

/// Complete snapshots that are kept for later.
struct SnapshotBounds {
  int64_t keep = 1;
  int64_t max_age_s = 86'400;  // 0: no limit
  int64_t max_disk_bytes = 0;  // 0: no limit
};

/// Writes that wait while the primary changes.
struct Hold {
  int64_t timeout_ms = 1000;
  int64_t max_bytes = 64 << 20;
};

/// The way out.
struct Drain {
  int64_t grace_ms = 0;
  int64_t timeout_ms = 5000;
  std::string hand_over = "instance";  // no, instance, replica
};

struct Sentinel {
  std::string master_name;
  std::vector<Address> addresses;  // empty: no Sentinel is asked
  int64_t quorum = 0;              // 0: a majority of `addresses`
  std::string username;
  std::string password;
};

struct Limits {
  int64_t maxclients = 10'000;
  int64_t query_buffer_bytes = int64_t{1} << 30;
  int64_t output_buffer_bytes = 0;  // 0: no limit
  int64_t idle_timeout_s = 0;       // 0: never
  int64_t stream_above_bytes = int64_t{1} << 20;
  int64_t clients_per_address = 0;        // 0: no limit
  int64_t commands_per_address = 0;       // a second; 0: no limit
  int64_t handshake_timeout_ms = 10'000;  // until TLS and the PROXY header are through; 0: for ever
};

struct LogConfig {
  std::string level = "notice";  // a name of parse_log_level()
  std::string format = "text";   // text, json
  std::string file;              // empty: standard error
};

/// Files are PEM; an empty path: none.
struct TlsConfig {
  std::string listen_cert;
  std::string listen_key;
  std::string client_ca;
  bool require_client_cert = false;
  bool nodes = false;
  std::string node_ca;
  std::string node_cert;
  std::string node_key;
  std::string node_verify = "full";  // full, chain
  std::string node_name;             // empty: the host that is connected to
  std::string min_version = "1.2";   // 1.2, 1.3
};

struct Config {
  std::vector<Address> listen = {{"127.0.0.1", 6379, {}}};
  Address service_listen;                   // empty: none
  Address read_listen;                      // empty: none
  Address admin = {"127.0.0.1", 9180, {}};  // empty: no HTTP
  std::string dir = "./sidestream-data";
  int64_t threads = 1;
  std::string announce_ip;    // empty: the listening address
  int64_t announce_port = 0;  // 0: the listening port

  std::vector<NodeConfig> nodes;
  Address replicaof;  // empty: we front the primary

  std::string masteruser;
  std::string masterauth;  // load() has read masterauth-file into it
  std::string masterauth_file;
  std::string requirepass;  // load() has read requirepass-file into it
  std::string requirepass_file;
  std::vector<UserConfig> users;
  std::string aclfile;            // empty: none
  std::vector<AclUser> accounts;  // load() has made them of `users` and `aclfile`
  std::string follow_user;        // how our nodes log in here; empty: as the default user with requirepass
  std::string follow_password;    // both are the instance's own, made at its start
  bool protected_mode = true;
  std::string proxy_protocol = "no";             // no, accept, require
  std::vector<std::string> proxy_protocol_from;  // addresses and networks whose PROXY header is believed
  std::string node_client_name = "no";           // no, address
  std::string admin_token;                       // load() has read admin-token-file into it
  std::string admin_token_file;
  std::string run_as;  // USER or USER:GROUP once all is bound; empty: as started
  bool core_dumps = false;
  int64_t unix_socket_perm = 0;  // of the files of unix sockets; 0: by the umask
  TlsConfig tls;

  int64_t repl_backlog_size = 64 << 20;      // bytes
  int64_t repl_backlog_disk_size = 0;        // bytes
  int64_t repl_backlog_ttl = 3600;           // seconds
  std::string repl_backlog_compress = "no";  // no, zstd: segments that are full
  int64_t repl_timeout = 60;                 // seconds
  int64_t repl_diskless_sync_delay = 0;      // seconds
  int64_t full_sync_max_concurrent = 4;
  int64_t full_sync_rate = 0;  // bytes per second and replica, 0: no limit
  SnapshotBounds snapshot;
  bool replica_serve_stale_data = true;
  int64_t replica_priority = 100;
  int64_t min_replicas_to_write = 0;
  int64_t min_replicas_max_lag = 10;      // seconds
  std::string upstream_ack = "received";  // received, quorum:N
  std::string write_ack = "primary";      // primary, quorum:N
  int64_t write_ack_timeout_ms = 1000;
  std::string wipe_guard = "hold";  // hold, pass
  int64_t audit_rate = 0;           // keys a second and replica, 0: off

  Routing routing;
  Hold hold;
  std::string failover = "no";  // no, auto
  int64_t down_after_ms = 5000;
  Drain drain;
  int64_t fence_after_ms = 0;  // 0: off
  Sentinel sentinel;
  Limits limits;

  /// A gateway in front of servers that Sentinel commands: it follows whom the Sentinels name.
  bool follows_sentinels() const { return nodes.empty() && !sentinel.addresses.empty(); }
  std::vector<std::string> deny_commands;  // upper case
  LogConfig log;
  int64_t slow_log_above_ms = 10;
  Ready ready;
  bool fault_injection = false;
  std::vector<std::string> faults;  // see routing/faults.h; empty without fault_injection
};

}  // namespace sidestream
