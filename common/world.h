// world.h: everything outside the process that the code may touch, in one place: time, network, disk, chance.
// The process has one made of libuv (uv_world.h), a simulation has one made of memory and a seed.
#pragma once

#include "common/byte_stream.h"
#include "common/clock.h"
#include "common/files.h"

namespace sidestream {

class Random {
 public:
  virtual ~Random() = default;
  virtual uint64_t next() = 0;
  /// Uniform in [0, bound); bound > 0.
  uint64_t below(uint64_t bound) { return next() % bound; }
  /// Forty lower-case hexadecimal digits: a replication id, a run id, an EOF mark.
  std::string hex40();
};

struct World {
  Clock& clock;
  Network& network;
  Files& files;
  Random& random;
};

}  // namespace sidestream
