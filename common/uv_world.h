// uv_world.h: the real world, made of one libuv loop: time, sockets, files on the thread pool, signals.
//
// Happy path: construct, hand world() to the instance, run() until stop(). Each loop iteration drains the ready
// queue after timers and after I/O. Failure modes: a loop that cannot be created is a CHECK (out of descriptors at
// start); everything else is reported by the seams' Results.
#pragma once

#include <functional>
#include <memory>

#include "common/ready_queue.h"
#include "common/world.h"

namespace sidestream {

class UvWorld {
 public:
  /// `tls`: what its network speaks; outlives it.
  explicit UvWorld(TlsInForce& tls);
  /// Everything made through world() must be gone.
  ~UvWorld();
  UvWorld(const UvWorld&) = delete;
  UvWorld& operator=(const UvWorld&) = delete;

  World& world();
  /// Runs until stop() is called from inside.
  void run();
  void stop();
  /// `handler` runs in a turn of its own for each of these signals.
  void on_signal(int number, std::function<void()> handler);
  /// `handler` is called when the loop has not turned for a second: the process was stopped, or its machine. Before
  /// anything that came meanwhile is looked at.
  void on_stall(std::function<void()> handler);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sidestream
