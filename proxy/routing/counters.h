// counters.h: what the client plane counts, and why a command went where it went.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/byte_stream.h"
#include "proxy/resp/command_table.h"
#include "proxy/resp/repl_offset.h"
#include "proxy/routing/timings.h"

namespace sidestream::routing {

/// Why a command went where it went. For EXPLAIN and the counters.
enum class Reason : uint8_t {
  write,             // to the primary
  needs_primary,     // this command is always the primary's
  policy_primary,    // the policy says primary
  fresh_idle,        // replica: nothing written lately to these keys
  fresh_proven,      // replica: known to be past the last write
  fresh_pending,     // primary: a write to these keys is under way
  fresh_behind,      // primary: no replica known to be past the last write
  unknown_keys,      // primary: the keys cannot be told
  bounded,           // replica within max-lag
  bounded_exceeded,  // primary: no replica within max-lag
  eventual,          // any replica
  no_replica,        // primary: no usable replica
  stale_data,        // a cut-off replica, since replica-serve-stale-data allows and nothing better is left
  same_connection,   // where the client's earlier commands in flight went
  cursor,            // where the scan began
  no_server,         // held: nobody can answer now
  kCount
};
std::string_view reason_text(Reason reason);

struct Counters {
  uint64_t reads_replica = 0, reads_primary = 0, writes = 0;
  uint64_t held_writes = 0;    // writes that had to wait for a primary
  uint64_t retried_reads = 0;  // answered by another server than the first one asked
  uint64_t unknown_outcomes = 0;
  uint64_t unacknowledged_writes = 0;                      // executed, and not by enough replicas in time (write-ack)
  std::array<uint64_t, resp::kCommandClasses> by_class{};  // commands that were run, by resp::CommandClass
  std::array<uint64_t, static_cast<size_t>(Reason::kCount)> by_reason{};
  Counters& operator+=(const Counters& other);
};

struct ClientCounts {
  size_t connected = 0, blocked = 0, pubsub = 0;
  size_t held = 0;  // wait for a server
  uint64_t accepted = 0, rejected = 0;
  uint64_t denied = 0, over_address = 0;                   // rejected by protected mode, by clients-per-address
  uint64_t delayed = 0;                                    // times one was left unread for commands-per-address
  uint64_t over_query_buffer = 0, over_output_buffer = 0;  // closed for it
  uint64_t slow_readers = 0;                               // closed, since others waited behind their reply
  uint64_t failed_logins = 0, refused_by_rules = 0;
  ClientCounts& operator+=(const ClientCounts& other);
};

/// What status pages tell about a server; in the order of set_targets(), the primary apart.
struct TargetCounts {
  Address address;
  uint64_t reads = 0, writes = 0;
  ReplOffset known;  // the highest offset it is known to have
  size_t connections = 0, idle = 0;
  std::string last_error;  // why the last connection failed; empty while all is well
  Latency took;
  /// Of the same server, by another core.
  TargetCounts& operator+=(const TargetCounts& other);
};

}  // namespace sidestream::routing
