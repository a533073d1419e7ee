// world.h: everything outside the loop that the code may touch, in one place: time, network, disk, chance, and other
// loops. The process has one world per loop, made of libuv (uv_world.h); a simulation makes them of memory and a seed.
#pragma once

#include "common/byte_stream.h"
#include "common/clock.h"
#include "common/files.h"
#include "common/loops.h"
#include "common/proxy_network.h"
#include "common/tls_context.h"

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
  Loops& loops;
  TlsInForce* tls = nullptr;               ///< what the network speaks; nullptr: it knows plain connections only
  Introductions* introductions = nullptr;  ///< whom its listeners believe; nullptr: nobody
};

}  // namespace sidestream
