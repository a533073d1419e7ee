// router.cc: policy picks who may answer, preference narrows it, weights choose. See the header.
#include "proxy/routing/router.h"

#include <cstdint>

namespace sidestream::routing {
namespace {

/// Who may answer under the policy: the policy in figures, so that each server costs three comparisons.
struct Eligible {
  ReplOffset at_least{INT64_MAX};
  int64_t lag_max_ms = INT64_MAX;
  bool stale_too = false;

  Eligible(const ReadNeed& need, const Conditions& now) {
    switch (need.policy) {
      case ReadPolicy::fresh:
        if (need.offset) at_least = *need.offset;
        break;
      case ReadPolicy::bounded:
        at_least = ReplOffset{now.head.value - now.config->routing.max_lag_bytes};
        lag_max_ms = now.config->routing.max_lag_ms;
        break;
      case ReadPolicy::eventual: at_least = ReplOffset{INT64_MIN}; break;
      case ReadPolicy::primary: break;
    }
  }
  bool operator()(const TargetView& target) const {
    if (target.weight <= 0) return false;
    return stale_too || (target.online && target.known >= at_least && target.lag_ms <= lag_max_ms);
  }
};

bool preferred(const TargetView& target, std::string_view prefer) {
  if (prefer == "local") return target.local;
  if (prefer.starts_with("zone:")) return target.zone == prefer.substr(5);
  return true;
}

/// Smooth weighted round-robin among the eligible; those of our zone alone, if there are any. -1: nobody.
int choose(const Eligible& eligible, std::string_view prefer, int sticky, std::span<TargetView*> targets) {
  const bool choosy = prefer != "any";
  bool near = false;
  for (const TargetView* target : targets) near |= choosy && eligible(*target) && preferred(*target, prefer);
  int64_t total = 0;
  int best = -1;
  for (int i = 0; i < static_cast<int>(targets.size()); ++i) {
    TargetView& target = *targets[static_cast<size_t>(i)];
    if (!eligible(target) || (near && !preferred(target, prefer))) continue;
    total += target.weight;
    target.credit += target.weight;
    // Reads in flight keep their server: their order is the client's, and the next ones pay it back.
    const bool better = best < 0 || target.credit > targets[static_cast<size_t>(best)]->credit;
    if (i == sticky || (better && best != sticky) || best < 0) best = i;
  }
  if (best >= 0) targets[static_cast<size_t>(best)]->credit -= total;
  return best;
}

Reason served(const ReadNeed& need) {
  switch (need.policy) {
    case ReadPolicy::bounded: return Reason::bounded;
    case ReadPolicy::eventual: return Reason::eventual;
    default: return need.offset->value == 0 ? Reason::fresh_idle : Reason::fresh_proven;
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
  Eligible eligible(need, now);
  const int target = choose(eligible, prefer, need.sticky, targets);
  if (target >= 0) return {target, served(need)};
  const Reason reason = not_served(need, targets);
  const bool may_be_old = need.policy == ReadPolicy::bounded || need.policy == ReadPolicy::eventual;
  if (now.primary_usable || !may_be_old) return {-1, reason};
  // Nobody else is left: an old answer beats none where the policy allows old answers at all.
  ReadNeed any = need;
  any.policy = ReadPolicy::eventual;
  const int lagging = choose(Eligible(any, now), prefer, need.sticky, targets);
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
