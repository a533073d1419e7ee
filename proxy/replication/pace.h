// pace.h: bytes of a link no faster than a rate: small pieces, and a pause behind each. Pure arithmetic.
//
// Happy path: take piece() bytes, sleep for pause_ms() of them. Rate 0: as fast as it goes. Failure modes: none; time
// that was lost elsewhere is not made up for, and another rate holds within a tenth of a second.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace sidestream::replication {

class Pace {
 public:
  static constexpr int64_t kPiecesPerSecond = 20;

  static size_t piece(int64_t rate, size_t most) {
    if (rate == 0) return most;
    return static_cast<size_t>(std::clamp<int64_t>(rate / kPiecesPerSecond, 1, static_cast<int64_t>(most)));
  }
  /// Behind `bytes` that went just now.
  int64_t pause_ms(int64_t now_us, size_t bytes, int64_t rate) {
    if (rate == 0) return 0;
    const double takes_us = static_cast<double>(bytes) * 1e6 / static_cast<double>(rate);
    next_us_ = std::max(next_us_, now_us) + static_cast<int64_t>(takes_us);
    return std::max<int64_t>((next_us_ - now_us) / 1000, 0);
  }

 private:
  int64_t next_us_ = 0;  // when the next piece may go
};

/// The stricter of two rates.
inline int64_t slower(int64_t a, int64_t b) { return a == 0 || (b != 0 && b < a) ? b : a; }

}  // namespace sidestream::replication
