// service_notice.cc: one connected datagram socket that never blocks.
#include "proxy/main/service_notice.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "common/log.h"
#include "common/text.h"

namespace sidestream {
namespace {

std::string_view text_of(const Texts& environment, const std::string& name) {
  const auto found = environment.find(name);
  return found == environment.end() ? std::string_view() : std::string_view(found->second);
}

/// A connected socket, or -1. A leading '@' names an abstract socket, whose first byte is zero.
int connect_to(std::string_view path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() < 2 || path.size() >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@')) return -1;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path[0] == '@') address.sun_path[0] = '\0';
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  if (fd >= 0 && connect(fd, reinterpret_cast<const sockaddr*>(&address), length) == 0) return fd;
  if (fd >= 0) close(fd);
  return -1;
}

}  // namespace

ServiceNotice::ServiceNotice(const Texts& environment) {
  const std::string_view path = text_of(environment, "NOTIFY_SOCKET");
  if (path.empty()) return;
  fd_ = connect_to(path);
  if (fd_ < 0)
    log_warning("systemd", "NOTIFY_SOCKET={} cannot be used; nobody is told that we are up", printable(path));
  const auto limit_us = parse_int(text_of(environment, "WATCHDOG_USEC"));
  const std::string_view pid = text_of(environment, "WATCHDOG_PID");
  watched_ = limit_us && *limit_us > 0 && (pid.empty() || pid == std::to_string(getpid()));
  if (watched_) heartbeat_ms_ = std::clamp<int64_t>(*limit_us / 2000, 1, heartbeat_ms_);
}

ServiceNotice::~ServiceNotice() {
  if (fd_ >= 0) close(fd_);
}

void ServiceNotice::heartbeat(std::string_view status) {
  send(fmt::format("{}STATUS={}", watched_ ? "WATCHDOG=1\n" : "", status));
}

void ServiceNotice::send(const std::string& message) {
  if (fd_ >= 0) static_cast<void>(::send(fd_, message.data(), message.size(), MSG_NOSIGNAL));
}

std::string service_status(admin::Group& group) {
  const auto nodes = group.nodes();
  const auto online =
      std::count_if(nodes.begin(), nodes.end(), [](const auto& node) { return node.state == "online"; });
  const std::string trouble = group.trouble();
  return fmt::format("{}, {}, offset {}, {} of {} nodes online{}{}", group.is_primary() ? "primary" : "replica",
                     group.readiness().ready ? "ready" : "not ready", group.relay().offset().value, online,
                     nodes.size(), trouble.empty() ? "" : "; ", printable(trouble));
}

Task<void> send_heartbeats(ServiceNotice& notice, admin::Group& group) {
  for (;;) {
    notice.heartbeat(service_status(group));
    co_await group.world().clock.sleep(notice.heartbeat_ms());
  }
}

}  // namespace sidestream
