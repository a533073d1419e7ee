// sim_world.cc: virtual time, dice, and the loop that alternates between ready work and the next deadline.
#include "tests/support/sim_world.h"

#include <algorithm>
#include <cstdio>

#include "tests/support/sim_loops.h"

namespace sidestream::sim {
namespace {

constexpr size_t kTraceLines = 400;

std::pair<std::string, std::string> ordered(const std::string& a, const std::string& b) {
  return a < b ? std::pair(a, b) : std::pair(b, a);
}

}  // namespace

// splitmix64: every seed, also 0 and 1, gives an unrelated sequence.
uint64_t SimRandom::next() {
  uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

Weather Weather::roll(Random& dice) {
  Weather w;
  w.latency_min_us = 20 + static_cast<int64_t>(dice.below(200));
  w.latency_max_us = w.latency_min_us + static_cast<int64_t>(dice.below(dice.below(3) == 0 ? 20'000 : 500)) + 1;
  w.socket_buffer = size_t{1} << (9 + dice.below(9));  // 512 B to 128 KiB
  if (dice.below(2) == 0) {
    w.pieces = 50 + static_cast<int>(dice.below(900));
    w.piece_max = size_t{1} << dice.below(11);
  }
  if (dice.below(3) == 0) {
    w.stall = 1 + static_cast<int>(dice.below(30));
    w.stall_max_ms = 1 + static_cast<int64_t>(dice.below(1500));
  }
  if (dice.below(2) == 0) {
    w.cut = 20 + static_cast<int>(dice.below(400));
    w.cut_within = 100 + dice.below(dice.below(2) == 0 ? 3'000 : 100'000);
  }
  if (dice.below(3) == 0) w.refuse = static_cast<int>(dice.below(300));
  if (dice.below(3) == 0) w.connect_max_ms = static_cast<int64_t>(dice.below(2000));
  if (dice.below(4) == 0) w.disk_error = static_cast<int>(dice.below(60));
  return w;
}

void SimClock::advance_to(int64_t us) {
  now_us_ = std::max(now_us_, us);
  fire_due();
}

SimWorld::SimWorld(uint64_t seed) : dice_(seed * 2 + 1), random_(seed * 2 + 2) {}

SimWorld::~SimWorld() {
  hosts_.clear();
  CHECK(connections_.empty());
}

World SimWorld::at(const std::string& name) {
  SimHost& there = host(name);
  return World{clock_, there, there.files(), random_, there.loops()};
}

SimHost& SimWorld::host(const std::string& name) {
  auto& slot = hosts_[name];
  if (slot == nullptr) slot = std::make_unique<SimHost>(*this, name);
  return *slot;
}

void SimWorld::step(int64_t until_us) {
  queue_.drain();
  const int64_t next = clock_.next_us();
  clock_.advance_to(next < 0 ? until_us : std::min(next, until_us));
  queue_.drain();
}

bool SimWorld::run_until(const std::function<bool()>& done, int64_t max_ms) {
  const int64_t until = clock_.now_us() + max_ms * 1000;
  queue_.drain();
  while (!failed()) {
    if (done()) return true;
    if (clock_.now_us() >= until) return false;
    const int64_t look_again = std::min(clock_.now_us() + 1000, until);
    do {
      step(until);
    } while (clock_.now_us() < look_again && !failed());
  }
  return false;
}

void SimWorld::run_for(int64_t ms) {
  run_until([] { return false; }, ms);
}

void SimWorld::part(const std::string& a, const std::string& b) {
  trace("{} and {} are parted", a, b);
  parted_.insert(ordered(a, b));
}

void SimWorld::rejoin(const std::string& a, const std::string& b) {
  trace("{} and {} meet again", a, b);
  parted_.erase(ordered(a, b));
  wake_roads();
}

void SimWorld::wake_roads() {
  for (auto& [id, connection] : connections_) {
    connection->wire[0].wake();
    connection->wire[1].wake();
  }
  roads_changed_.notify_all();
}

bool SimWorld::parted(const std::string& a, const std::string& b) const {
  return !parted_.empty() && parted_.count(ordered(a, b)) > 0;
}

Connection* SimWorld::any_connection() {
  if (connections_.empty()) return nullptr;
  return std::next(connections_.begin(), static_cast<int64_t>(dice_.below(connections_.size())))->second.get();
}

void SimWorld::cut_any() {
  if (Connection* victim = any_connection()) victim->reset("cut");
}

void SimWorld::stall_any(int64_t ms) {
  if (Connection* victim = any_connection()) stall(*victim, ms);
}

void SimWorld::stall(const std::string& from, const std::string& to, int64_t ms) {
  for (auto& [id, connection] : connections_) {
    if (connection->host[0] == from && connection->host[1] == to) stall(*connection, ms);
  }
}

void SimWorld::stall(Connection& victim, int64_t ms) {
  trace("connection {} {} -> {}: stalls for {} ms", victim.id, victim.host[0], victim.host[1], ms);
  for (Wire& wire : victim.wire) wire.stall_until(clock_.now_us() + ms * 1000);
}

bool SimWorld::reads_in_part(const std::string& to) const {
  return std::any_of(connections_.begin(), connections_.end(), [&](const auto& entry) {
    return entry.second->host[1] == to && entry.second->wire[0].read_in_part();
  });
}

void SimWorld::calm() {
  trace("calm");
  const size_t socket_buffer = weather_.socket_buffer;
  weather_ = Weather();
  weather_.socket_buffer = socket_buffer;
  parted_.clear();
  for (auto& [id, connection] : connections_) {
    connection->cut_after = -1;
    connection->piece_max = 0;
  }
  for (auto& [name, host] : hosts_) {
    host->files().capacity = UINT64_MAX;
    host->files().fail_next = 0;
  }
  wake_roads();
}

void SimWorld::fail(std::string what) {
  trace("FAILED: {}", what);
  if (failure_.empty()) failure_ = std::move(what);
}

std::string SimWorld::leaks() const {
  std::string found;
  for (const auto& [id, connection] : connections_) {
    found += fmt::format("connection {} {} -> {}; ", id, connection->host[0], connection->host[1]);
  }
  for (const auto& [name, host] : hosts_) {
    if (host->listeners() > 0) found += fmt::format("{} listeners of {}; ", host->listeners(), name);
    if (host->files().open_count() > 0) found += fmt::format("{} open files of {}; ", host->files().open_count(), name);
  }
  if (clock_.next_us() >= 0) found += "a timer; ";
  if (!queue_.idle()) found += "a ready node; ";
  return found;
}

void SimWorld::mix(std::string_view bytes) {
  for (const char c : bytes) mix(static_cast<unsigned char>(c));
}

void SimWorld::trace_line(std::string text) {
  lines_.push_back(fmt::format("{:>12.3f} ms  {}", static_cast<double>(clock_.now_us() - 1'000'000) / 1000, text));
  if (printing_) std::fprintf(stderr, "%s\n", lines_.back().c_str());
  if (lines_.size() > kTraceLines) lines_.pop_front();
}

}  // namespace sidestream::sim
