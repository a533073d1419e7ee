// core_ring.h: how a core reaches the others, and what it reports when it is asked.
//
// Happy path: a visit goes from core to core, each time in a turn of that core's own loop, and back to the asker.
// Failure modes: an asker that goes is not found any more when the visit comes back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "proxy/routing/counters.h"
#include "proxy/routing/timings.h"

namespace sidestream::routing {

struct Core;

/// Runs on every core in turn, never on two at once. Must own what it touches besides the core.
using Visit = std::function<void(Core&)>;

/// For people: what a core has counted.
struct CoreReport {
  Counters counters;
  Timings times;
  ClientCounts clients;
  std::vector<TargetCounts> targets;
  std::optional<TargetCounts> primary;
};

class CoreRing {
 public:
  /// `visit` sees all cores; then the asker hears visit_done(visit_id).
  virtual void begin_visit(size_t asker, uint64_t visit_id, Visit visit) = 0;

 protected:
  ~CoreRing() = default;
};

}  // namespace sidestream::routing
