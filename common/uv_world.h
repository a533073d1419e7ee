// uv_world.h: the real world, made of one libuv loop: time, sockets, files on the thread pool, signals.
//
// Happy path: construct, hand world() to the instance, run() until stop(). Each loop iteration drains the ready
// queue after timers and after I/O. Failure modes: a loop that cannot be created is a CHECK (out of descriptors at
// start); everything else is reported by the seams' Results.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "common/passing.h"
#include "common/ready_queue.h"
#include "common/world.h"

namespace sidestream {

class UvWorld {
 public:
  /// `tls`: what its network speaks; `introductions`: whom its listeners believe. Both outlive it. `inherited`: sockets
  /// that listen already, for who listens there.
  UvWorld(TlsInForce& tls, Introductions& introductions, std::vector<PassedListener> inherited = {});
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
  /// To another process.
  std::unique_ptr<Passage> passage(OwnedDescriptor socket);
  /// Copies of the sockets that we listen on.
  std::vector<PassedListener> listeners() const;
  /// They are another process's from now on: ours are closed and nothing else. False: ours again.
  void give_listeners_away(bool given);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sidestream
