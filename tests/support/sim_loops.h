// sim_loops.h: several loops in one simulated process. They share the one ready queue, and a letter between them takes
// a moment of virtual time that the dice choose: so everything that can come between posting and running does.
//
// Happy path: letters arrive in the order of posting, each a little later. Failure modes: a mailbox that goes drops
// what has not arrived.
#pragma once

#include <memory>

#include "common/world.h"

namespace sidestream::sim {

class SimWorld;

class SimLoops final : public Loops {
 public:
  explicit SimLoops(SimWorld& world, std::string host) : world_(world), host_(std::move(host)) {}
  std::unique_ptr<Mailbox> open_mailbox() override;
  std::unique_ptr<LoopThread> start_thread() override;

 private:
  SimWorld& world_;
  const std::string host_;
};

}  // namespace sidestream::sim
