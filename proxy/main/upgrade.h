// upgrade.h: the process side of an upgrade in place: starts the program that lies where ours came from and hands it
// everything (Upgrade), or is the one that was started (Inheritance, take_over()). What is given in which order, and
// why, is in instance/handing_on.cc.
//
// Happy path: SIGUSR2 or POST /api/v1/upgrade; the next process listens on our sockets, goes on with replication, gets
// our clients one by one; we end with exit code 0 and systemd knows the new main process.
// Failure modes: a program that does not start, does not understand us, or does not become ready within 20 s: it is
// killed, everything is as before, and log, event and status say why. It dies while it gets clients: those it had are
// gone, the others stay.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/passing.h"
#include "common/signal.h"
#include "common/uv_world.h"
#include "proxy/instance/instance.h"
#include "proxy/main/service_notice.h"

namespace sidestream {

/// What the former process gave before anything was set up.
struct Inheritance {
  OwnedDescriptor passage;
  std::vector<PassedListener> listeners;
  instance::Legacy legacy;
  bool was_ready = false;
};
/// Nothing: this is an ordinary start. Errc::protocol: the former process speaks another version.
Result<std::optional<Inheritance>> receive_inheritance();

/// The rest of the way, on the loop. `serving` is called when clients may rely on us. An Error: the former process goes
/// on, this one has to end.
Task<Result<void>> take_over(instance::Instance& instance, UvWorld& world, Inheritance inheritance,
                             std::function<void()> serving);

class Upgrade {
 public:
  /// `arguments`: of this process, with the name of the program. All outlive it. `done`: this process may end.
  Upgrade(std::vector<std::string> arguments, instance::Instance& instance, UvWorld& world, ServiceNotice& notice,
          std::function<void()> done);
  /// Errc::refused.
  Result<void> begin();

 private:
  Task<void> run();
  Task<Result<void>> hand_over();
  Task<Result<void>> introduce(Passage& passage);
  Task<void> send_clients();
  void give_up(const std::string& why);
  void end_child();

  std::vector<std::string> arguments_;
  instance::Instance& instance_;
  UvWorld& world_;
  ServiceNotice& notice_;
  std::function<void()> done_;
  int child_ = -1;
  std::unique_ptr<Passage> passage_;
  std::deque<Parcel> clients_;
  Signal more_clients_;
  bool broken_ = false;  // the next process went while it got clients
  TaskSet running_;
  TaskSet sending_;
};

}  // namespace sidestream
