// sim_loops.cc: see sim_loops.h.
#include "tests/support/sim_loops.h"

#include <algorithm>
#include <deque>

#include "tests/support/sim_world.h"

namespace sidestream::sim {
namespace {

class SimMailbox final : public Mailbox, private ReadyNode {
 public:
  explicit SimMailbox(SimWorld& world)
      : ReadyNode([](ReadyNode& node) { static_cast<SimMailbox&>(node).deliver(); }),
        world_(world),
        timer_(world.clock(), *this) {}

  void post(Letter letter) override {
    SimRandom& dice = world_.dice();
    const int64_t delay_us = dice.chance(300) ? 0 : dice.between(0, dice.chance(30) ? 20'000 : 200);
    last_us_ = std::max(last_us_, world_.clock().now_us() + delay_us);
    letters_.push_back({last_us_, std::move(letter)});
    if (!timer_.active()) timer_.start_at(letters_.front().arrival_us);
  }

 private:
  struct Post {
    int64_t arrival_us;
    Letter letter;
  };

  void deliver() {
    while (!letters_.empty() && letters_.front().arrival_us <= world_.clock().now_us()) {
      Letter letter = std::move(letters_.front().letter);
      letters_.pop_front();
      letter();
    }
    if (!letters_.empty()) timer_.start_at(letters_.front().arrival_us);
  }

  SimWorld& world_;
  Timer timer_;
  std::deque<Post> letters_;
  int64_t last_us_ = 0;
};

class SimLoopThread final : public LoopThread {
 public:
  SimLoopThread(SimWorld& outside, const std::string& host) : world_(outside.at(host)), mailbox_(outside) {}
  World& world() override { return world_; }
  Mailbox& mailbox() override { return mailbox_; }
  /// At once: what was posted before and has not arrived is what a real loop would run first, to no effect.
  void finish(Letter last) override { last(); }

 private:
  World world_;
  SimMailbox mailbox_;
};

}  // namespace

std::unique_ptr<Mailbox> SimLoops::open_mailbox() { return std::make_unique<SimMailbox>(world_); }
std::unique_ptr<LoopThread> SimLoops::start_thread() { return std::make_unique<SimLoopThread>(world_, host_); }

}  // namespace sidestream::sim
