// trend.h: the last ten minutes, a sample a second, so that a page that was just opened shows what happened before; and
// what each node did lately.
//
// Happy path: sample() once a second; history_json() for charts, recent() for tables. Failure modes: a node that went
// is no longer in new samples; its line ends.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "proxy/admin/group.h"

namespace sidestream::admin {

class Trend {
 public:
  static constexpr size_t kSamples = 600;
  static constexpr int64_t kEveryMs = 1000;
  static constexpr size_t kRecentSamples = 10;  // that rates and quantiles look back

  /// A node, an attached replica or everything together, over the last kRecentSamples.
  struct Recent {
    double reads_per_s = 0;
    double writes_per_s = 0;
    double stream_bytes_per_s = 0;  // acknowledged; of everything: received
    uint64_t p50_us = 0;
    uint64_t p99_us = 0;
  };

  /// Takes what the group says now. The counts of other loops are those of the last look_around().
  void sample(Group& group);
  Recent recent(const std::string& address) const;
  /// Of everything: what clients asked, and what the stream brought.
  Recent total() const;
  /// {"every_ms", "end_ms", "nodes": {address: {"lag_ms": [...], "lag_bytes": [...]}}, "reads_replica": [...], ...}:
  /// rates per second, the oldest first, null where nothing is known.
  std::string history_json() const;

 private:
  /// What is counted from the start on.
  struct Counted {
    int64_t at_ms = 0;
    uint64_t reads = 0, writes = 0;
    int64_t stream_bytes = 0;
    Latency took;
  };
  struct Lag {
    int64_t ms = -1, bytes = -1;  // -1: not known
  };
  struct Sample {
    int64_t at_ms = 0;
    uint64_t reads_replica = 0, reads_primary = 0, writes = 0;
    int64_t offset = 0;
    size_t clients = 0, held = 0;
    std::map<std::string, Lag> lags;
  };
  using Track = std::deque<Counted>;

  static void advance(Track& track, Counted now);
  static Recent over(const Track& track);

  std::deque<Sample> samples_;
  int64_t end_wall_ms_ = 0;
  std::map<std::string, Track> tracks_;
  Track total_;
};

}  // namespace sidestream::admin
