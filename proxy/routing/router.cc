// router.cc: policy picks who may answer, preference narrows it, weights choose. See the header.
#include "proxy/routing/router.h"

#include <algorithm>
#include <cstdint>

namespace sidestream::routing {
namespace {

/// Who may answer under the policy: the policy in figures, so that each server costs few comparisons.
struct Eligible {
  ReplOffset at_least{INT64_MAX};
  bool may_lag = true;
  bool stale_too = false;

  explicit Eligible(const ReadNeed& need) : may_lag(need.policy != ReadPolicy::bounded) {
    const bool may_be_old = need.policy == ReadPolicy::bounded || need.policy == ReadPolicy::eventual;
    if (may_be_old) at_least = need.at_least.value > 0 ? need.at_least : ReplOffset{INT64_MIN};
    if (need.policy == ReadPolicy::fresh && need.offset) at_least = *need.offset;
  }
  bool operator()(const TargetView& target) const {
    if (target.weight <= 0 || target.known < at_least) return false;
    return stale_too || (target.online && (may_lag || !target.lagging));
  }
};

/// Beyond a limit it is out, and in again when it is within three quarters: at the border it would go to and fro.
void judge_lag(const Conditions& now, TargetView& target) {
  const auto& limits = now.config->routing;
  const int64_t lag_bytes = now.head - target.known;
  const bool beyond = target.lag_ms > limits.max_lag_ms || lag_bytes > limits.max_lag_bytes;
  const bool within = target.lag_ms <= limits.max_lag_ms / 4 * 3 && lag_bytes <= limits.max_lag_bytes / 4 * 3;
  target.lagging = beyond || (target.lagging && !within);
}

bool preferred(const TargetView& target, std::string_view prefer) {
  if (prefer == "local") return target.local;
  if (prefer.starts_with("zone:")) return target.zone == prefer.substr(5);
  return true;
}

/// Smooth weighted round-robin among the eligible; those of our zone alone, if there are any. -1: nobody.
int choose(const Eligible& eligible, std::string_view prefer, int sticky, std::span<TargetView*> targets) {
  const bool near = prefer != "any" && std::any_of(targets.begin(), targets.end(), [&](const TargetView* target) {
                      return eligible(*target) && preferred(*target, prefer);
                    });
  int64_t total = 0;
  int best = -1;
  for (int i = 0; i < static_cast<int>(targets.size()); ++i) {
    TargetView& target = *targets[static_cast<size_t>(i)];
    if (!eligible(target) || (near && !preferred(target, prefer))) continue;
    total += target.weight;
    target.credit += target.weight;
    // Reads in flight keep their server: their order is the client's, and the next ones pay it back.
    const bool better = best < 0 || (best != sticky && target.credit > targets[static_cast<size_t>(best)]->credit);
    if (i == sticky || better) best = i;
  }
  if (best >= 0) targets[static_cast<size_t>(best)]->credit -= total;
  return best;
}

Reason served(const ReadNeed& need) {
  switch (need.policy) {
    case ReadPolicy::bounded:
      return Reason::bounded;
    case ReadPolicy::eventual:
      return Reason::eventual;
    default:
      return need.offset->value == 0 ? Reason::fresh_idle : Reason::fresh_proven;
  }
}

Reason not_served(const ReadNeed& need, std::span<TargetView*> targets) {
  if (need.policy == ReadPolicy::primary) return Reason::policy_primary;
  bool any_online = false;
  for (const TargetView* target : targets) any_online |= target->online && target->weight > 0;
  if (!any_online) return Reason::no_replica;
  if (need.policy == ReadPolicy::bounded) return Reason::bounded_exceeded;
  if (!need.keys_known) return Reason::unknown_keys;
  return need.offset ? Reason::fresh_behind : Reason::fresh_pending;
}

}  // namespace

Decision route_read(const ReadNeed& need, const Conditions& now, std::span<TargetView*> targets) {
  const std::string_view prefer = now.config->routing.prefer;
  if (need.policy == ReadPolicy::bounded) {
    for (TargetView* target : targets) judge_lag(now, *target);
  }
  Eligible eligible(need);
  const int target = choose(eligible, prefer, need.sticky, targets);
  if (target >= 0) return {target, served(need)};
  const Reason reason = not_served(need, targets);
  const bool may_be_old = need.policy == ReadPolicy::bounded || need.policy == ReadPolicy::eventual;
  if (now.primary_usable || !may_be_old) return {-1, reason};
  // Nobody else is left: an old answer beats none where the policy allows old answers at all.
  ReadNeed any = need;
  any.policy = ReadPolicy::eventual;
  const int lagging = choose(Eligible(any), prefer, need.sticky, targets);
  if (lagging >= 0) return {lagging, Reason::stale_data};
  eligible.stale_too = now.config->replica_serve_stale_data;
  const int stale = eligible.stale_too ? choose(eligible, prefer, need.sticky, targets) : -1;
  return {stale, stale >= 0 ? Reason::stale_data : reason};
}

Decision peek_read(const ReadNeed& need, const Conditions& now, std::span<TargetView* const> targets) {
  std::vector<TargetView> copies;
  std::vector<TargetView*> views;
  for (const TargetView* target : targets) copies.push_back(*target);
  for (TargetView& copy : copies) views.push_back(&copy);
  return route_read(need, now, views);
}

}  // namespace sidestream::routing
