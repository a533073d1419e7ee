// replica_client.cc: the replica's side of PSYNC, as far as a benchmark needs it.
//
// Happy path: PING, REPLCONF, PSYNC ? -1, `+FULLRESYNC id offset`, `$length` or `$EOF:mark`, payload, ACK.
// Failure modes: an error line, an unknown line or a closed socket give a link with fd -1 and the reason.
#include "tests/bench/replica_client.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "tests/bench/bench_support.h"

namespace sidestream::bench {
namespace {

constexpr size_t kMarkBytes = 40;

/// Blocking reads over one socket: lines, then a payload, then whatever was read too far.
class Input {
 public:
  explicit Input(int fd) : fd_(fd) {}

  /// The next line that is not empty (empty ones are keepalives), or an empty string when the peer is gone.
  std::string line() {
    for (;;) {
      const size_t end = bytes_.find('\n');
      if (end == std::string::npos) {
        if (!more()) return "";
        continue;
      }
      std::string found = bytes_.substr(0, end);
      bytes_.erase(0, end + 1);
      if (!found.empty() && found.back() == '\r') found.pop_back();
      if (!found.empty()) return found;
    }
  }

  bool skip(uint64_t count) {
    while (count > bytes_.size()) {
      count -= bytes_.size();
      bytes_.clear();
      if (!more()) return false;
    }
    bytes_.erase(0, count);
    return true;
  }

  /// Skips up to and with `mark`; counts the bytes before it.
  bool skip_to_mark(const std::string& mark, uint64_t& count) {
    for (;;) {
      const size_t at = bytes_.find(mark);
      if (at != std::string::npos) {
        count += at;
        bytes_.erase(0, at + mark.size());
        return true;
      }
      const size_t done = bytes_.size() - std::min(bytes_.size(), mark.size() - 1);
      count += done;
      bytes_.erase(0, done);
      if (!more()) return false;
    }
  }

  std::string rest() { return std::move(bytes_); }

 private:
  bool more() {
    const ssize_t got = read(fd_, chunk_.data(), chunk_.size());
    if (got > 0) bytes_.append(chunk_.data(), static_cast<size_t>(got));
    return got > 0;
  }

  int fd_;
  std::string bytes_;
  std::vector<char> chunk_ = std::vector<char>(256 * 1024);
};

/// Everything after the connection stands. Returns the reason for a refusal, empty when the link is attached.
std::string shake_hands(Input& input, ReplicaLink& link) {
  for (const char* request : {"PING\r\n", "REPLCONF capa eof capa psync2\r\n", "PSYNC ? -1\r\n"}) {
    if (!write_all(link.fd, request)) return "closed";
    const std::string reply = input.line();
    if (reply.empty() || reply[0] != '+') return fmt::format("{:.6}: {}", request, reply);
    if (reply.starts_with("+FULLRESYNC ")) link.offset = std::atoll(reply.c_str() + reply.rfind(' '));
  }
  const std::string header = input.line();
  if (header.starts_with("$EOF:") && header.size() == 5 + kMarkBytes) {
    if (!input.skip_to_mark(header.substr(5), link.snapshot_bytes)) return "snapshot cut";
  } else if (header.starts_with("$")) {
    link.snapshot_bytes = std::strtoull(header.c_str() + 1, nullptr, 10);
    if (!input.skip(link.snapshot_bytes)) return "snapshot cut";
  } else {
    return "no snapshot: " + header;
  }
  link.early = input.rest();
  return acknowledge(link.fd, link.offset) ? "" : "closed";
}

}  // namespace

ReplicaLink attach(uint16_t port) {
  ReplicaLink link;
  link.fd = try_connect(port);
  if (link.fd < 0) {
    link.refusal = "connection refused";
    return link;
  }
  const timeval patience{60, 0};
  setsockopt(link.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  Input input(link.fd);
  link.refusal = shake_hands(input, link);
  if (link.refusal.empty()) return link;
  close(link.fd);
  link.fd = -1;
  return link;
}

ReplicaLink attach_within(uint16_t port, double seconds) {
  const int64_t deadline = now_ns() + static_cast<int64_t>(seconds * 1e9);
  for (;;) {
    ReplicaLink link = attach(port);
    if (link.fd >= 0) return link;
    if (now_ns() > deadline) die(fmt::format("cannot attach to 127.0.0.1:{} ({})", port, link.refusal));
    usleep(100'000);
  }
}

bool acknowledge(int fd, int64_t offset) {
  const std::string digits = std::to_string(offset);
  return write_all(fd, fmt::format("*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n${}\r\n{}\r\n", digits.size(), digits));
}

}  // namespace sidestream::bench
