// timings.h: where the time of clients goes, as one core counts it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "common/latency.h"

namespace sidestream::routing {

/// What a server was asked for.
enum class Work : uint8_t {
  read,   // on a connection that many share
  write,  // the same
  alone,  // on a private one: transactions, scripts, what may be slow. What may block is not timed
  kCount
};

inline constexpr const char* kWorkNames[] = {"read", "write", "private"};
inline constexpr const char* kRouteNames[] = {"primary", "replica"};

/// What the servers of one core took, summed over primaries and over replicas.
struct Timings {
  struct Route {
    std::array<Latency, static_cast<size_t>(Work::kCount)> took;
    uint64_t errors = 0;  // error replies
    Route& operator+=(const Route& other);
  };
  std::array<Route, 2> routes;  // the primary, replicas
  Latency held;                 // requests that waited for a server
  Latency loop_lag;             // how late the loop was
  int64_t slow_above_us = INT64_MAX;
  Timings& operator+=(const Timings& other);
};

}  // namespace sidestream::routing
