// progress.h: how far a transfer is, for people: bytes, percent, rate and what is left.
#pragma once

#include <cstdint>
#include <string>

namespace sidestream::replication {

struct Progress {
  int64_t done = 0;     ///< bytes
  int64_t total = 0;    ///< 0: not known
  int64_t rate = 0;     ///< bytes per second, since the beginning
  int64_t eta_ms = -1;  ///< -1: not known
  /// 0 when the total is not known.
  double percent() const;
  /// "45% of 300 MiB, 90 MiB/s, 2 s left"
  std::string text() const;
};

/// Times on one clock; `began_us` 0: it has not begun.
Progress progress(int64_t done, int64_t total, int64_t began_us, int64_t now_us);

}  // namespace sidestream::replication
