// servers.cc: who is there, who comes and who goes. See the header.
#include "proxy/routing/servers.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "proxy/resp/writer.h"
#include "proxy/routing/limits.h"

namespace sidestream::routing {
namespace {

constexpr size_t kPrimariesKept = 16;  // whose replies may still wait for replicas

}  // namespace

Servers::Servers(World& world, const Config& config, FreshnessMap& freshness, ReplySink& sink, PoolOwner& owner)
    : world_(world), config_(config), freshness_(freshness), sink_(sink), owner_(owner) {}

Servers::~Servers() = default;

void Servers::set_primary(std::optional<PrimaryFacts> facts) {
  if (facts == primary_facts_) return;
  primary_facts_ = facts;
  if (primary_) leave(std::move(primary_));
  if (facts) {
    TargetFacts server;
    server.address = facts->address;
    server.user = facts->user;
    server.password = facts->password;
    server.is_instance = facts->is_instance;
    server.online = true;
    if (latest_.empty() || latest_.back() != server.address) {
      ++primaries_;
      latest_.push_back(server.address);
      if (latest_.size() > kPrimariesKept) latest_.pop_front();
    }
    primary_ = std::make_unique<Target>(world_, freshness_, sink_, owner_, std::move(server), true, 0);
  }
  owner_.servers_changed();
}

void Servers::set_targets(std::vector<TargetFacts> facts) {
  std::vector<std::unique_ptr<Target>> now;
  now.reserve(facts.size());
  for (TargetFacts& each : facts) {
    auto target = take(each);
    target->update(std::move(each));
    now.push_back(std::move(target));
  }
  std::swap(targets_, now);
  views_.clear();
  for (const auto& target : targets_) views_.push_back(&target->view);
  for (auto& gone : now) {
    if (gone) leave(std::move(gone));
  }
}

std::unique_ptr<Target> Servers::take(const TargetFacts& facts) {
  for (auto& target : targets_) {
    if (target && target->same_server(facts)) return std::move(target);
  }
  TargetFacts first = facts;
  return std::make_unique<Target>(world_, freshness_, sink_, owner_, std::move(first), false, free_number());
}

int Servers::free_number() {
  for (int tries = 0; tries < limits::kCursorServersMax; ++tries) {
    last_number_ = last_number_ % limits::kCursorServersMax + 1;
    if (index_of(last_number_) < 0) break;
  }
  return last_number_;
}

int Servers::index_of(int number) const {
  for (size_t i = 0; i < targets_.size(); ++i) {
    if (targets_[i] && targets_[i]->number() == number) return static_cast<int>(i);
  }
  return -1;
}

void Servers::leave(std::unique_ptr<Target> target) {
  target->retire();
  leaving_.push_back({std::move(target), world_.clock.now_ms() + limits::kRetireMs});
}

void Servers::give_up(const Address& former) {
  for (Leaving& each : leaving_) {
    if (each.target->facts().address == former) each.until_ms = world_.clock.now_ms();
  }
}

void Servers::new_history() {
  if (primary_) primary_->forget_offset();
  for (const auto& target : targets_) target->new_history();
}

bool Servers::quiet() const {
  const auto answered = [](const Leaving& each) { return each.target->quiet(); };
  return (primary_ == nullptr || primary_->quiet()) && std::all_of(leaving_.begin(), leaving_.end(), answered);
}

void Servers::tick() {
  if (primary_) primary_->tick();
  for (const auto& target : targets_) target->tick();
  flush_scripts();
  const int64_t now_ms = world_.clock.now_ms();
  for (Leaving& each : leaving_) {
    if (now_ms >= each.until_ms) each.target->drop_all();
  }
  std::erase_if(leaving_, [](const Leaving& each) { return each.target->empty(); });
}

void Servers::drop_all() {
  if (primary_) leave(std::move(primary_));
  for (auto& target : targets_) leave(std::move(target));
  targets_.clear();
  views_.clear();
  for (Leaving& each : leaving_) each.target->drop_all();
}

void Servers::give_back(ServerConnection& connection) {
  if (primary_ && primary_->give_back(connection)) return;
  for (const auto& target : targets_) {
    if (target->give_back(connection)) return;
  }
  drop(connection);
}

void Servers::tell_replicas(std::string_view request, bool flush) {
  for (const auto& target : targets_) {
    if (target->facts().is_instance) continue;
    ServerConnection* connection = target->pool().shared(2, 0);
    if (connection != nullptr) connection->send_silent(request);
    if (connection == nullptr && flush) target->owes_flush = true;
  }
}

void Servers::flush_scripts() {
  for (const auto& target : targets_) {
    ServerConnection* connection = target->owes_flush ? target->pool().shared(2, 0) : nullptr;
    if (connection == nullptr) continue;
    connection->send_silent(resp::command({"SCRIPT", "FLUSH"}));
    target->owes_flush = false;
  }
}

Decision Servers::route(const ReadNeed& need) {
  const Decision decision = route_read(need, conditions(), views_);
  if (decision.reason == Reason::fresh_behind) ask_how_far();
  return decision;
}

/// They may well be past the write: nobody has looked since. Acknowledgements come once a second only.
void Servers::ask_how_far() {
  const int64_t now_ms = world_.clock.now_ms();
  if (now_ms - asked_ms_ < limits::kAskOffsetsMs) return;
  asked_ms_ = now_ms;
  for (const auto& target : targets_) {
    ServerConnection* connection = target->view.online ? target->pool().shared(2, 0) : nullptr;
    if (connection != nullptr) connection->ask_role(0);
  }
}

ReplOffset Servers::applied_by(size_t count, uint64_t except_primary) const {
  const uint64_t age = primaries_ - except_primary;
  if (age >= latest_.size() || count == 0) return ReplOffset{-1};
  const Address& except = latest_[latest_.size() - 1 - age];
  std::vector<ReplOffset> known;
  for (const auto& target : targets_) {
    if (target->view.online && target->facts().address != except) known.push_back(target->view.known);
  }
  if (known.size() < count) return ReplOffset{-1};
  const auto nth = known.begin() + static_cast<std::ptrdiff_t>(count) - 1;
  std::nth_element(known.begin(), nth, known.end(), std::greater<>());
  return *nth;
}

void Servers::ask_acks(uint64_t first_fence) {
  for (const auto& target : targets_) {
    ServerConnection* connection = target->view.online ? target->pool().shared(2, 0) : nullptr;
    if (connection == nullptr || std::exchange(target->asked_acks, true)) continue;
    connection->ask_role(first_fence + static_cast<uint64_t>(target->number()));
  }
}

void Servers::acks_answered(uint64_t number) {
  const int index = index_of(static_cast<int>(number));
  if (index >= 0) target(index).asked_acks = false;
}

Conditions Servers::conditions() const { return {&config_, freshness_.relayed(), primary_ != nullptr}; }

}  // namespace sidestream::routing
