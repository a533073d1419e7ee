// target.cc: believing a server only as far as it can be checked. See the header.
#include "proxy/routing/target.h"

#include <algorithm>
#include <utility>

namespace sidestream::routing {
namespace {

ConnectionPlan plan_for(const TargetFacts& facts, bool is_primary) {
  ConnectionPlan plan;
  plan.address = facts.address;
  plan.user = facts.user;
  plan.password = facts.password;
  plan.is_primary = is_primary;
  plan.is_instance = facts.is_instance;
  return plan;
}

}  // namespace

Target::Target(World& world, FreshnessMap& freshness, ReplySink& sink, PoolOwner& owner, TargetFacts facts,
               bool is_primary, int number)
    : freshness_(freshness),
      facts_(std::move(facts)),
      is_primary_(is_primary),
      number_(number),
      name_(facts_.address.text()),
      pool_(world, freshness, sink, owner, plan_for(facts_, is_primary),
            [this](std::string_view frame) { return check_role(frame); }) {
  forget_offset();
  refresh_view();
  if (is_primary) pool_.warm(2);
}

bool Target::same_server(const TargetFacts& facts) const {
  return facts.address == facts_.address && facts.user == facts_.user && facts.password == facts_.password &&
         facts.is_instance == facts_.is_instance;
}

void Target::update(TargetFacts facts) {
  if (!facts.online) forget_offset();
  facts_ = std::move(facts);
  if (facts_.online) {
    view.known = std::max(view.known, facts_.acked);
    pool_.warm(2);
  }
  refresh_view();
}

void Target::forget_offset() {
  view.known = ReplOffset{-1};
  expected_upstream_.clear();
}

void Target::new_history() {
  facts_.online = false;
  forget_offset();
  refresh_view();
}

void Target::refresh_view() {
  view.online = facts_.online && pool_.reachable();
  view.weight = facts_.weight;
  view.local = facts_.local;
  view.zone = facts_.zone;
  view.lag_ms = facts_.lag_ms;
}

void Target::tick() {
  pool_.tick();
  refresh_view();
}

std::optional<ReplOffset> Target::check_role(std::string_view frame) {
  const auto role = parse_role(frame);
  if (is_primary_) {
    if (!role || (!role->primary && !facts_.is_instance)) return std::nullopt;
    view.known = role->offset;
    return role->offset;
  }
  view.known = ReplOffset{-1};  // until this reply says better
  if (!role || role->primary || !facts_.online || (!role->connected && !facts_.apart)) return std::nullopt;
  if (!freshness_.is_current()) return std::nullopt;  // we do not even know which history it speaks of
  // Nobody has from us what we have not passed on (0: no stream has been seen yet).
  const ReplOffset passed_on = freshness_.relayed();
  if (!facts_.beside_us && passed_on.value > 0 && role->offset > passed_on) return std::nullopt;
  // Its offset means something to us only while it follows whom it followed when its link was known to be up.
  if (expected_upstream_.empty()) expected_upstream_ = role->upstream;
  if (expected_upstream_ != role->upstream) return std::nullopt;
  // Without a link it does not tell its offset.
  const ReplOffset offset = facts_.apart ? facts_.acked : role->offset;
  view.known = offset;
  return offset;
}

}  // namespace sidestream::routing
