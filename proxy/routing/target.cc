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
    : world_(world),
      freshness_(freshness),
      sink_(sink),
      owner_(owner),
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
  if (facts.upstream != facts_.upstream) expected_upstream_.clear();
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

// --- the pools of guests -------------------------------------------------------------------------------------------

ServerPool& Target::guest_pool(const std::shared_ptr<const Guest>& guest) {
  GuestPool& place = guest_pools_[guest->id];
  if (place.pool) return *place.pool;
  ConnectionPlan plan = plan_for(facts_, is_primary_);
  plan.user = guest->user;
  plan.password = guest->password;
  plan.is_guest = true;
  // Whether he may ask ROLE says nothing about the server.
  const auto check = [this](std::string_view frame) {
    return frame.starts_with('-') ? std::nullopt : check_role(frame);
  };
  place.guest = guest;
  place.pool = std::make_unique<ServerPool>(world_, freshness_, sink_, owner_, std::move(plan), check);
  return *place.pool;
}

/// Nobody is logged in like that any more.
void Target::part_from_guests() {
  for (auto& [id, place] : guest_pools_) {
    if (place.guest.expired()) place.pool->retire();
  }
  std::erase_if(guest_pools_,
                [](const auto& each) { return each.second.guest.expired() && each.second.pool->empty(); });
}

bool Target::give_back(ServerConnection& connection) {
  if (connection.belongs_to(pool_)) return pool_.give_back(connection), true;
  for (auto& [id, place] : guest_pools_) {
    if (connection.belongs_to(*place.pool)) return place.pool->give_back(connection), true;
  }
  return false;
}

void Target::retire() {
  pool_.retire();
  for (auto& [id, place] : guest_pools_) place.pool->retire();
}

void Target::drop_all() {
  pool_.drop_all();
  for (auto& [id, place] : guest_pools_) place.pool->drop_all();
}

bool Target::empty() const {
  const auto empty = [](const auto& each) { return each.second.pool->empty(); };
  return pool_.empty() && std::all_of(guest_pools_.begin(), guest_pools_.end(), empty);
}

bool Target::quiet() const {
  const auto quiet = [](const auto& each) { return each.second.pool->quiet(); };
  return pool_.quiet() && std::all_of(guest_pools_.begin(), guest_pools_.end(), quiet);
}

// --- what it is ----------------------------------------------------------------------------------------------------

void Target::tick() {
  pool_.tick();
  for (auto& [id, place] : guest_pools_) place.pool->tick();
  part_from_guests();
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
  if (expected_upstream_.empty()) {
    expected_upstream_ = facts_.upstream ? role_upstream(*facts_.upstream) : std::string(role->upstream);
  }
  if (expected_upstream_ != role->upstream) return std::nullopt;
  // Without a link it does not tell its offset.
  const ReplOffset offset = facts_.apart ? facts_.acked : role->offset;
  view.known = offset;
  return offset;
}

}  // namespace sidestream::routing
