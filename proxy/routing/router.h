// router.h: which server answers a read. A pure decision: facts in, server and reason out; the same function serves
// clients and SIDESTREAM EXPLAIN.
//
// Shares are exact: smooth weighted round-robin gives 60:40 in any ten reads that both servers may answer.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "proxy/resp/repl_offset.h"
#include "proxy/routing/counters.h"

namespace sidestream::routing {

/// What the decision needs to know about a server.
struct TargetView {
  bool online = false;  // linked, loaded, and a connection to it can be had
  int weight = 100;
  bool local = false;
  std::string_view zone;
  ReplOffset known;  // the highest offset it is known to have applied
  int64_t lag_ms = 0;
  int64_t credit = 0;    // of the round-robin; written by the decision
  bool lagging = false;  // beyond max-lag, and not well within it since; written by the decision
};

/// Everything else about the moment, the same for all reads.
struct Conditions {
  const Config* config = nullptr;
  ReplOffset head;             // the stream as far as it was relayed
  bool primary_usable = true;  // the primary is known and can be asked
};

struct ReadNeed {
  ReadPolicy policy = ReadPolicy::fresh;
  bool keys_known = true;
  std::optional<ReplOffset> offset;  // nullopt: a write is under way, only the primary knows
  ReplOffset at_least;               // whatever the policy: the client was promised (READAFTER)
  int sticky = -1;                   // the server where this client has earlier reads in flight

  /// What the server has to prove; nullopt: nothing.
  std::optional<ReplOffset> proof() const {
    if (policy == ReadPolicy::fresh) return offset;
    return at_least.value > 0 ? std::optional(at_least) : std::nullopt;
  }
};

struct Decision {
  int target = -1;  // index, or -1: the primary
  Reason reason = Reason::needs_primary;
};

/// Spends credit of the chosen server. `targets` may hold any number of servers, also none.
Decision route_read(const ReadNeed& need, const Conditions& now, std::span<TargetView*> targets);
/// The same without spending.
Decision peek_read(const ReadNeed& need, const Conditions& now, std::span<TargetView* const> targets);

}  // namespace sidestream::routing
