// service_notice.h: tells systemd how the process is, over the socket named by NOTIFY_SOCKET (Type=notify,
// WatchdogSec).
//
// Happy path: READY=1 once clients are accepted, then a heartbeat from the main loop with one line of status, and
// STOPPING=1 when a drain begins. The protocol is one datagram of KEY=VALUE lines, so no library is needed.
// Failure modes: without NOTIFY_SOCKET every call does nothing; a message that cannot be sent is dropped, the next
// heartbeat comes anyway, and a loop that hangs sends none: that is the purpose of the watchdog.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/clock.h"
#include "common/task.h"
#include "config/sources.h"
#include "proxy/admin/group.h"

namespace sidestream {

class ServiceNotice {
 public:
  /// `environment`: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID as systemd sets them.
  explicit ServiceNotice(const Texts& environment);
  ServiceNotice(const ServiceNotice&) = delete;
  ServiceNotice& operator=(const ServiceNotice&) = delete;
  ~ServiceNotice();

  /// Whether somebody listens.
  bool wanted() const { return fd_ >= 0; }
  /// Milliseconds between two heartbeats: half of what the watchdog allows, 5 s at most.
  int64_t heartbeat_ms() const { return heartbeat_ms_; }

  void ready() { send("READY=1"); }
  /// Another process goes on as the service.
  void main_process_is(int64_t pid) { send("MAINPID=" + std::to_string(pid)); }
  void stopping() { send("STOPPING=1\nSTATUS=draining"); }
  /// The loop turns; `status` is one line for `systemctl status`.
  void heartbeat(std::string_view status);

 private:
  void send(const std::string& message);

  int fd_ = -1;
  int64_t heartbeat_ms_ = 5000;
  bool watched_ = false;
};

/// One line: role, offset, how many nodes are online, and what is the matter if something is.
std::string service_status(admin::Group& group);

/// Sends heartbeats until it is cancelled. Both outlive it.
Task<void> send_heartbeats(ServiceNotice& notice, admin::Group& group);

}  // namespace sidestream
