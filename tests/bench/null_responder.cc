// null_responder.cc: the floor below every proxy: one read, one write per client wake-up, no server behind it.
//
// Happy path: epoll says a client is readable; read once, count the requests, write that many copies of one fixed
// reply at once. A request is counted by its `*`, which the benchmark's keys and values never contain.
// Failure modes: a client that ends or fails is closed; a full socket is waited for, since the client reads at once.
//
// Usage: null_responder PORT REPLY_BYTES      0: `+OK`, otherwise a bulk string of that many bytes
#include <fmt/format.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>

#include "tests/bench/bench_support.h"

namespace sidestream::bench {
namespace {

class NullResponder {
 public:
  NullResponder(uint16_t port, size_t reply_bytes) : listener_(listen_on(port)) {
    const std::string reply =
        reply_bytes == 0 ? "+OK\r\n" : fmt::format("${}\r\n{}\r\n", reply_bytes, std::string(reply_bytes, 'x'));
    reply_bytes_ = reply.size();
    while (copies_ < kCopies) replies_ += reply, ++copies_;
    watch(listener_);
  }

  [[noreturn]] void run() {
    std::array<epoll_event, 256> events{};
    for (;;) {
      const int ready = epoll_wait(poller_, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < ready; ++i) {
        const int fd = events[static_cast<size_t>(i)].data.fd;
        if (fd != listener_) {
          serve(fd);
        } else {
          accept_all();
        }
      }
    }
  }

 private:
  static constexpr size_t kCopies = 64;

  void watch(int fd) const {
    epoll_event interest{};
    interest.events = EPOLLIN;
    interest.data.fd = fd;
    if (epoll_ctl(poller_, EPOLL_CTL_ADD, fd, &interest) != 0) die("epoll_ctl");
  }

  void accept_all() const {
    for (int fd = accept_from(listener_); fd >= 0; fd = accept_from(listener_)) watch(fd);
  }

  void serve(int fd) {
    const ssize_t got = read(fd, input_.data(), input_.size());
    if (got <= 0) {
      close(fd);
      return;
    }
    auto requests = static_cast<size_t>(std::count(input_.begin(), input_.begin() + got, '*'));
    while (requests > 0) {
      const size_t batch = std::min(requests, copies_);
      if (!write_all(fd, std::string_view(replies_).substr(0, batch * reply_bytes_))) return;
      requests -= batch;
    }
  }

  int poller_ = epoll_create1(EPOLL_CLOEXEC);
  int listener_;
  std::string replies_;
  size_t reply_bytes_ = 0;
  size_t copies_ = 0;
  std::array<char, 65536> input_{};
};

}  // namespace
}  // namespace sidestream::bench

int main(int argc, char** argv) {
  using namespace sidestream::bench;
  if (argc != 3) die("usage: null_responder PORT REPLY_BYTES");
  static NullResponder responder(static_cast<uint16_t>(std::atoi(argv[1])), std::strtoul(argv[2], nullptr, 10));
  responder.run();
}
