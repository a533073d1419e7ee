// sim_operator.h: an operator with a terminal in the simulation.
//
// Happy path: what he types is answered with OK. Failure modes: a refusal, a broken connection, no answer: he types it
// again half a second later, for as long as he is given.
#pragma once

#include <memory>
#include <string>

#include "tests/support/fake_data.h"
#include "tests/support/sim_world.h"

namespace sidestream::sim {

class SimOperator {
 public:
  SimOperator(SimWorld& world, std::string host, std::string password)
      : world_(world), host_(std::move(host)), password_(std::move(password)) {}
  /// Until it is answered with OK. False: it was not within `patience_ms`.
  bool obeyed(const Address& server, const Words& words, int64_t patience_ms = 60'000);

 private:
  Task<void> type(Address server, Words words, bool& done);
  static Task<Result<void>> read_until(ByteStream& stream, std::string wanted);

  SimWorld& world_;
  const std::string host_;
  const std::string password_;
};

}  // namespace sidestream::sim
