// sim_writer.h: an application that only writes, each write with an id of its own, and what it was promised. For
// scenarios in which histories fork: there nothing can be said about reads, but much about writes.
//
// Happy path: a write is sent, acknowledged, and the next one follows after a pause. Failure modes: an error or a
// broken connection is no acknowledgement, and no wrong; who is right is judged from the chronicle, by two_primaries().
#pragma once

#include <deque>
#include <string>

#include "tests/support/chronicle.h"
#include "tests/support/sim_world.h"

namespace sidestream::sim {

struct SimWrite {
  std::string text;  // unique, and found again in the stream
  std::string through;
  int64_t sent_us = 0;
  int64_t acked_us = -1;  // -1: never
};

class SimWriter {
 public:
  SimWriter(SimWorld& world, int id, Address server);
  /// Until stop(), or for ever.
  Task<void> run();
  void stop() { stopped_ = true; }
  /// No new writes until false is told: who has to catch up with a small backlog gets the chance.
  void rest(bool resting) { resting_ = resting; }
  const std::deque<SimWrite>& writes() const { return writes_; }
  int64_t acked() const { return acked_; }
  std::string log() const { return "log:" + std::to_string(id_); }

 private:
  Task<Result<void>> write(ByteStream& stream);

  SimWorld& world_;
  const int id_;
  const Address server_;
  World seams_;
  bool stopped_ = false;
  bool resting_ = false;
  int64_t acked_ = 0;
  std::deque<SimWrite> writes_;
};

/// Two servers took writes beside each other, one after the other and without a pause, each of which the other's
/// history lacks, for longer than `grace_ms`. The words say so; empty: nobody did.
std::string two_primaries(const Chronicle& chronicle, const std::deque<SimWrite>& writes, int64_t grace_ms);

}  // namespace sidestream::sim
