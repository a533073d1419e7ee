// synthetic_primary.h: a primary without a dataset whose stream is as fast as its replicas can take it.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace sidestream::bench {

/// The stream: one block of SET commands, repeated for ever. Any offset can be served, nothing has to be kept.
class EndlessStream {
 public:
  explicit EndlessStream(size_t value_bytes);
  /// At least one byte from position `offset` (0 is the first byte ever), to the end of the block at most.
  std::string_view from(int64_t offset) const;
  int64_t block_bytes() const { return static_cast<int64_t>(block_.size()); }
  bool matches(int64_t offset, std::string_view bytes) const;

 private:
  std::string block_;
};

/// How far everybody is. Written by one side, read by the other.
struct StreamProgress {
  std::atomic<int64_t> end = 0;         ///< the source sends up to here; 0: not started
  std::atomic<int64_t> slowest = 0;     ///< the slowest sink has all bytes before this one
  std::atomic<int64_t> first_sent = 0;  ///< now_ns() of the first stream byte
};

/// Serves PSYNC on a port from a thread of its own, and no more than `window` bytes ahead of the slowest sink,
/// so that nobody's backlog overflows and the figure is a rate that all of them sustain.
class SyntheticPrimary {
 public:
  SyntheticPrimary(uint16_t port, const EndlessStream& stream, StreamProgress& progress, int64_t window);
  ~SyntheticPrimary();
  SyntheticPrimary(const SyntheticPrimary&) = delete;

 private:
  struct Replica {
    int fd = -1;
    std::string input;
    int64_t cursor = -1;  ///< next stream byte to send, -1: not attached
    bool snapshot_only = false;
    bool closing = false;
  };

  void run();
  void read_commands(Replica& replica);
  void answer(Replica& replica, const std::vector<std::string>& command);
  void start_stream(Replica& replica, const std::vector<std::string>& psync);
  bool send_some(Replica& replica, int64_t limit);
  int64_t limit() const;

  const EndlessStream& stream_;
  StreamProgress& progress_;
  const int64_t window_;
  int listener_;
  std::list<Replica> replicas_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace sidestream::bench
