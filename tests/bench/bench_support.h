// bench_support.h: what the benchmark programs share: clock, sockets, CPU accounting, latency histogram.
//
// These programs measure; they do not serve anybody. Whatever goes wrong ends them with one line on stderr
// (`die`), so that a measurement is either complete or absent.
#pragma once

#include <array>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

namespace sidestream::bench {

/// Prints `what` and the current errno, if any, and exits with 1.
[[noreturn]] void die(std::string_view what);

/// Monotonic time in nanoseconds.
inline int64_t now_ns() {
  timespec at{};
  clock_gettime(CLOCK_MONOTONIC, &at);
  return int64_t{at.tv_sec} * 1'000'000'000 + at.tv_nsec;
}

/// A listening, non-blocking socket on 127.0.0.1. The caller owns the descriptor.
int listen_on(uint16_t port);
/// The next pending connection, non-blocking and without Nagle, or -1 when there is none.
int accept_from(int listener);
/// A blocking connection to 127.0.0.1 without Nagle, or -1. The caller owns the descriptor.
int try_connect(uint16_t port);
/// The same, but a refusal ends the program.
int connect_to(uint16_t port);
void set_nonblocking(int fd);

/// Writes all of `bytes`, waiting where the socket is full, blocking or not. False when the peer is gone.
bool write_all(int fd, std::string_view bytes);

/// User plus system CPU seconds of a process so far, from /proc/PID/stat (fields 14 and 15).
double cpu_seconds(int pid);

/// CPU used by a set of processes between two moments.
class CpuWatch {
 public:
  explicit CpuWatch(std::vector<int> pids) : pids_(std::move(pids)) { restart(); }
  void restart();
  /// Seconds since restart(), one per process, as a JSON array.
  std::string seconds_json() const;

 private:
  std::vector<int> pids_;
  std::vector<double> started_;
};

/// Counts of nanoseconds in log-linear slots: 64 per power of two, so a quantile is off by 1.6 % at most.
class Histogram {
 public:
  void add(int64_t nanos);
  void clear() { *this = Histogram(); }
  uint64_t count() const { return count_; }
  double mean_us() const;
  /// `q` in (0, 1]; upper edge of the slot, in microseconds; 0 when nothing was counted.
  double quantile_us(double q) const;
  /// `"count":…,"mean_us":…,"p50_us":…,…` without the braces.
  std::string json_fields() const;

 private:
  static constexpr int kSlotBits = 6;
  static constexpr size_t kSlots = size_t{60} << kSlotBits;
  std::array<uint64_t, kSlots> slots_{};
  uint64_t count_ = 0;
  double sum_ns_ = 0;
};

}  // namespace sidestream::bench
