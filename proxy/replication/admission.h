// admission.h: full syncs in an orderly way: so many at a time, in the order of asking, and with growing pauses for a
// replica whose syncs fail again and again. Why somebody waits, and why the last one failed, is said in words.
//
// Happy path: standing() for each replica that needs a snapshot, until it says `served`; recovered() when it has caught
// up with the stream. Failure modes: failed() after a sync that ended otherwise: the next one is put off, by a second
// that doubles with each failure in a row, up to a minute, with jitter, so that many do not come back together.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "common/world.h"

namespace sidestream::replication {

/// Why a full sync came to nothing. A label of metrics: few, and for good.
enum class SyncFault { none, version, slow, left, silent, disk, protocol };
inline constexpr size_t kSyncFaults = 7;
std::string_view name(SyncFault fault);

/// The newest RDB format that a server can load, from its INFO; 0: we do not know.
int newest_rdb(std::string_view info);
/// Whether a server whose newest format is `newest` (0: not known) can load one of `version` (0: not known).
bool can_load(int newest, int version);

class Admission {
 public:
  /// The world outlives it.
  explicit Admission(World& world) : world_(world) {}

  /// What is known of a replica whose full syncs fail. By its address: links come and go.
  struct Trouble {
    int failures = 0;  ///< in a row
    SyncFault fault = SyncFault::none;
    std::string words;
    int64_t not_before_us = 0;  ///< the next attempt, on the world's clock
    int64_t at_us = 0;          ///< the last failure
  };
  /// A full sync of `replica` failed. Returns the pause before its next one, in milliseconds.
  int64_t failed(const std::string& replica, SyncFault fault, std::string words);
  /// It has caught up with the stream.
  void recovered(const std::string& replica) { troubles_.erase(replica); }
  /// nullptr: none.
  const Trouble* trouble(const std::string& replica) const;
  /// How long it is still to wait, in milliseconds; 0: it may begin.
  int64_t pause_ms(const std::string& replica) const;
  /// Failures since the start.
  const std::array<int64_t, kSyncFaults>& counts() const { return counts_; }
  /// Forgets failures of long ago. Once in a while.
  void forget();

  /// Who stands in the queue: link `id` may have a snapshot as soon as fewer than `most` are being sent, `sending` are,
  /// and nobody who asked earlier is waiting for the same. Remembers that it waits until leave().
  bool has_turn(uint64_t id, int64_t sending, int64_t most);
  void leave(uint64_t id) { queue_.erase(id); }
  /// How many stand before it; -1: it does not wait for its turn.
  int64_t place(uint64_t id) const;
  int64_t waiting() const { return static_cast<int64_t>(queue_.size()); }

 private:
  World& world_;
  std::map<std::string, Trouble> troubles_;
  std::set<uint64_t> queue_;  // ids grow with time
  std::array<int64_t, kSyncFaults> counts_{};
};

}  // namespace sidestream::replication
