// relay_status.h: what the relay tells about itself. Plain values.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "common/byte_stream.h"
#include "common/latency.h"
#include "proxy/replication/progress.h"
#include "proxy/resp/repl_offset.h"

namespace sidestream::replication {

struct UpstreamStatus {
  Address address;                  ///< empty: none is followed
  std::string state = "none";       ///< as in ROLE: connect, connecting, handshake, sync, connected; or held
  std::string last_error;           ///< why the last attempt or link ended; empty after a success
  int64_t last_io_ms = -1;          ///< since the last byte; -1 without an established link
  int64_t link_down_since_ms = -1;  ///< since the link was lost; -1: up, or never was up
  int64_t lost_at_us = 0;           ///< when that was, on the world's clock; 0: up, or never was up
  bool was_up = false;
  Progress snapshot;  ///< of the payload being received
};

/// What there is for replicas that need a full sync.
struct SnapshotStatus {
  std::string state = "none";  ///< none, fetching, ready
  std::string last_error;      ///< why the last attempt to fetch one failed; empty after a success
  int64_t kept = 0;            ///< complete ones
  int64_t disk_bytes = 0;      ///< of all, also those that are arriving or only still being sent
  // Of the one that is arriving, else of the newest:
  std::string source;  ///< empty: an earlier run left it, or there is none
  ReplOffset offset;
  int rdb_version = 0;
  int64_t age_ms = 0;
  int64_t served = 0;
  Progress progress;
};

/// Bytes a second that links are let through on purpose; 0: as fast as it goes.
struct Throttles {
  static constexpr size_t kNamesMax = 64;
  int64_t upstream = 0;
  int64_t replicas = 0;                       ///< those that are not named
  std::map<std::string, int64_t> by_replica;  ///< "host:port"

  int64_t of(const std::string& replica) const {
    const auto found = by_replica.find(replica);
    return found == by_replica.end() ? replicas : found->second;
  }
  /// Of one replica. False: more are named than is good.
  bool set(const std::string& replica, int64_t rate) {
    if (rate == replicas) {
      by_replica.erase(replica);
      return true;
    }
    if (by_replica.size() == kNamesMax && !by_replica.contains(replica)) return false;
    by_replica[replica] = rate;
    return true;
  }
};

struct RelayCounters {
  int64_t full_syncs = 0;  ///< replicas that got a snapshot
  int64_t partial_syncs = 0;
  int64_t partial_syncs_refused = 0;  ///< asked for a history or byte that we do not have ("?" is not counted)
  int64_t snapshots_shared = 0;       ///< full syncs served by a snapshot that someone else had asked for
  int64_t snapshots_fetched = 0, upstream_full_syncs = 0, upstream_partial_syncs = 0;
  Latency full_sync_took, partial_sync_took;  ///< of replicas, from the request until online
};

}  // namespace sidestream::replication
