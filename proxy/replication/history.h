// history.h: which history we hold, and the one rule that says who may continue it.
//
// Happy path: a replica asks for a byte of our history that the backlog still has: yes. Failure modes: another
// history, or a byte that is gone: no (a full resync follows). A byte of our history that we do not have yet:
// ahead; the replica came from someone who knows more, and waits until we know it too.
#pragma once

#include <cstdint>
#include <string>

#include "proxy/replication/repl_id.h"
#include "proxy/resp/repl_offset.h"

namespace sidestream::replication {

/// What a replica asks for. `next_byte` is the first byte it wants: its last owned offset plus one.
struct SyncRequest {
  bool psync = true;   ///< false: the old SYNC, which knows no histories
  std::string replid;  ///< as sent; "?" matches nothing
  int64_t next_byte = -1;
  bool failover = false;  ///< PSYNC ... FAILOVER: "promote yourself"; always refused
};

/// Our ids as INFO prints them. `second_offset` counts as PSYNC does: the first byte that replid2 no longer covers
/// may still be asked for, one more may not; -1 without replid2.
struct History {
  ReplId replid;
  ReplId replid2;
  int64_t second_offset = -1;

  /// The upstream goes on under another name after `fork`: what we had becomes replid2.
  void shift(ReplId new_id, ReplOffset fork);
  /// Whether `offset` of the history called `id` is also an offset of ours.
  bool contains(const ReplId& id, ReplOffset offset) const;
};

/// Whether who is at `end` of `held` has all of the history `id` up to `offset`.
bool holds_all(const History& held, ReplOffset end, const ReplId& id, ReplOffset offset);

/// The bytes at hand: first_byte ... first_byte + histlen - 1. `first_byte + histlen` is our offset plus one.
struct BacklogRange {
  int64_t first_byte = 1;
  int64_t histlen = 0;
  int64_t end() const { return first_byte + histlen; }
};

enum class Continuation { yes, no, ahead };

/// Exactly what a stock primary accepts, plus `ahead`, which it refuses.
Continuation can_continue(const SyncRequest& request, const History& history, const BacklogRange& held);

}  // namespace sidestream::replication
