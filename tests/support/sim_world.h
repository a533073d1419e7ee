// sim_world.h: the outside world made of memory and a seed: virtual time, hosts with a network and a disk, weather.
//
// Happy path: a SimWorld is made from a seed, objects under test get `world.at("10.0.0.1")` as their World, the test
// calls run_until(). Time stands still while anything is ready and then jumps to the next deadline, so an hour passes
// in milliseconds. The same seed makes the same run; hash() proves it.
// Failure modes: what the weather does (network, disk) and what a test asks for (cut, crash, partition); a checker that
// sees something wrong calls fail(), which ends every run_until().
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "common/signal.h"
#include "common/world.h"
#include "tests/support/sim_files.h"
#include "tests/support/sim_network.h"

namespace sidestream::sim {

/// How rough it is outside. Chances are out of 1000.
struct Weather {
  int64_t latency_min_us = 100;
  int64_t latency_max_us = 300;
  size_t socket_buffer = 64 * 1024;  ///< bytes per direction that were sent and not read yet
  int pieces = 0;                    ///< chance that a connection arrives in pieces of 1 to piece_max bytes
  size_t piece_max = 0;
  int stall = 0;  ///< chance of a piece to be late by up to stall_max_ms, with all behind it
  int64_t stall_max_ms = 0;
  int cut = 0;  ///< chance of a connection to be cut within its first cut_within bytes
  uint64_t cut_within = 100'000;
  int refuse = 0;  ///< chance of a connection attempt to be refused
  int64_t connect_max_ms = 0;
  int disk_error = 0;  ///< chance of a file operation to fail

  /// A swarm member: each trouble is present or absent, mild or heavy, as the dice say.
  static Weather roll(Random& dice);
};

class SimRandom final : public Random {
 public:
  explicit SimRandom(uint64_t seed) : state_(seed) {}
  uint64_t next() override;
  bool chance(int of_1000) { return of_1000 > 0 && static_cast<int>(below(1000)) < of_1000; }
  /// Uniform in [low, high].
  int64_t between(int64_t low, int64_t high) { return low + static_cast<int64_t>(below(high - low + 1)); }

 private:
  uint64_t state_;
};

class SimClock final : public Clock {
 public:
  int64_t now_us() const override { return now_us_; }
  int64_t wall_ms() const override { return 1'700'000'000'000 + now_us_ / 1000; }
  int64_t next_us() const { return next_deadline_us(); }
  void advance_to(int64_t us);

 protected:
  void deadline_changed() override {}

 private:
  int64_t now_us_ = 1'000'000;  // not zero: a zero that means "never" must not look like now
};

class SimWorld {
 public:
  explicit SimWorld(uint64_t seed);
  ~SimWorld();
  SimWorld(const SimWorld&) = delete;
  SimWorld& operator=(const SimWorld&) = delete;

  /// Everything the code on that host may touch. Hosts are made when they are first named, by number ("10.0.0.1").
  World at(const std::string& host);
  SimHost& host(const std::string& name);
  SimClock& clock() { return clock_; }
  /// The dice of weather and scenario; the code under test has its own (World::random).
  SimRandom& dice() { return dice_; }
  Weather& weather() { return weather_; }

  /// Runs until `done` or `max_ms` of virtual time went by; looks at most once per virtual millisecond.
  /// False when the time was over first or a checker failed.
  bool run_until(const std::function<bool()>& done, int64_t max_ms);
  void run_for(int64_t ms);

  /// While two hosts are parted their bytes wait and connection attempts hang, as TCP does with lost packets.
  void part(const std::string& a, const std::string& b);
  void rejoin(const std::string& a, const std::string& b);
  bool parted(const std::string& a, const std::string& b) const;
  /// Cuts one of the open connections, both ends fail.
  void cut_any();
  /// One of the open connections delivers nothing for a while; those that `from` opened to `to` do.
  void stall_any(int64_t ms);
  void stall(const std::string& from, const std::string& to, int64_t ms);
  /// `to` has read a part of what somebody wrote to it in one piece, and the rest is on its way.
  bool reads_in_part(const std::string& to) const;
  /// Good weather, nobody parted, no pending cuts, disks work: what follows is recovery.
  void calm();

  /// One thing that a checker found wrong; the first is kept.
  void fail(std::string what);
  bool failed() const { return !failure_.empty(); }
  const std::string& failure() const { return failure_; }
  /// Streams, listeners, open files and timers that are still there: all owners are gone by now. Empty is good.
  std::string leaks() const;

  /// Every event is mixed into the hash; lines are only made while tracing (a failed seed is run again with it).
  void mix(uint64_t value) { hash_ = (hash_ ^ value) * 0x100000001b3ULL; }
  void mix(std::string_view bytes);
  uint64_t hash() const { return hash_; }
  void start_tracing() { tracing_ = true; }
  /// Every line is also printed at once, so that it stands among the lines of the log.
  void print_trace() { tracing_ = printing_ = true; }
  bool tracing() const { return tracing_; }
  template <class... Args>
  void trace(fmt::format_string<Args...> format, Args&&... args) {
    if (tracing_) trace_line(fmt::format(format, std::forward<Args>(args)...));
  }
  /// The last lines, oldest first.
  const std::deque<std::string>& trace_lines() const { return lines_; }

 private:
  friend class SimHost;
  friend class Connection;
  friend class Wire;
  void trace_line(std::string text);
  void step(int64_t until_us);
  void wake_roads();
  Connection* any_connection();
  void stall(Connection& victim, int64_t ms);

  ReadyQueue queue_;
  SimClock clock_;
  SimRandom dice_;
  SimRandom random_;
  Weather weather_;
  uint64_t hash_ = 0xcbf29ce484222325ULL;
  bool tracing_ = false;
  bool printing_ = false;
  std::deque<std::string> lines_;
  std::string failure_;
  std::set<std::pair<std::string, std::string>> parted_;
  Signal roads_changed_;
  std::map<std::string, std::unique_ptr<SimHost>> hosts_;
  std::map<uint64_t, std::unique_ptr<Connection>> connections_;
  uint64_t last_connection_ = 0;
};

}  // namespace sidestream::sim
