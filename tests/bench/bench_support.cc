// bench_support.cc: sockets, /proc and the histogram behind the benchmark programs.
//
// Happy path: every call succeeds. Failure modes: all end in `die`, except where the header says otherwise.
#include "tests/bench/bench_support.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

namespace sidestream::bench {
namespace {

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void set_flag(int fd, int level, int option) {
  const int on = 1;
  if (setsockopt(fd, level, option, &on, sizeof on) != 0) die("setsockopt");
}

}  // namespace

void die(std::string_view what) {
  const std::string reason = errno == 0 ? "" : fmt::format(": {}", std::strerror(errno));
  fmt::print(stderr, "benchmark: {}{}\n", what, reason);
  std::_Exit(1);
}

int listen_on(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  set_flag(fd, SOL_SOCKET, SO_REUSEADDR);
  const sockaddr_in address = loopback(port);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) die(fmt::format("bind {}", port));
  if (listen(fd, 1024) != 0) die("listen");
  return fd;
}

int accept_from(int listener) {
  const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
  return fd;
}

int try_connect(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  const sockaddr_in address = loopback(port);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    close(fd);
    return -1;
  }
  set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
  return fd;
}

int connect_to(uint16_t port) {
  const int fd = try_connect(port);
  if (fd < 0) die(fmt::format("connect to 127.0.0.1:{}", port));
  return fd;
}

void set_nonblocking(int fd) {
  if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) die("fcntl");
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (written > 0) {
      bytes.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd room{fd, POLLOUT, 0};
      poll(&room, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

double cpu_seconds(int pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  if (!std::getline(file, line)) die(fmt::format("process {} is gone", pid));
  // The name in field 2 may hold blanks: count from its closing parenthesis, which field 3 follows.
  std::istringstream fields(line.substr(line.rfind(')') + 1));
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  long user = 0;
  long system = 0;
  fields >> user >> system;
  return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

void CpuWatch::restart() {
  started_.clear();
  for (const int pid : pids_) started_.push_back(cpu_seconds(pid));
}

std::string CpuWatch::seconds_json() const {
  std::string list;
  for (size_t i = 0; i < pids_.size(); ++i) {
    list += fmt::format("{}{:.3f}", i == 0 ? "[" : ",", cpu_seconds(pids_[i]) - started_[i]);
  }
  return list.empty() ? "[]" : list + "]";
}

void Histogram::add(int64_t nanos) {
  const auto value = static_cast<uint64_t>(nanos < 0 ? 0 : nanos);
  constexpr uint64_t kLinear = uint64_t{1} << kSlotBits;
  size_t slot = value;
  if (value >= kLinear) {
    const int shift = std::bit_width(value) - kSlotBits - 1;
    slot = (static_cast<size_t>(shift + 1) << kSlotBits) + ((value >> shift) - kLinear);
  }
  ++slots_[slot < kSlots ? slot : kSlots - 1];
  ++count_;
  sum_ns_ += static_cast<double>(value);
}

double Histogram::mean_us() const { return count_ == 0 ? 0 : sum_ns_ / static_cast<double>(count_) / 1000; }

double Histogram::quantile_us(double q) const {
  const auto wanted = static_cast<uint64_t>(std::ceil(q * static_cast<double>(count_)));
  uint64_t seen = 0;
  for (size_t slot = 0; slot < kSlots && count_ > 0; ++slot) {
    seen += slots_[slot];
    if (seen < wanted) continue;
    constexpr uint64_t kLinear = uint64_t{1} << kSlotBits;
    if (slot < kLinear) return static_cast<double>(slot + 1) / 1000;
    const auto shift = (slot >> kSlotBits) - 1;
    return static_cast<double>(((slot & (kLinear - 1)) + kLinear + 1) << shift) / 1000;
  }
  return 0;
}

std::string Histogram::json_fields() const {
  return fmt::format(R"("count":{},"mean_us":{:.1f},"p50_us":{:.1f},"p99_us":{:.1f},"p999_us":{:.1f},"max_us":{:.1f})",
                     count_, mean_us(), quantile_us(0.5), quantile_us(0.99), quantile_us(0.999), quantile_us(1));
}

}  // namespace sidestream::bench
