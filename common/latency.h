// latency.h: how long things took: a histogram of microseconds with four steps an octave, so that a quantile is right
// to a fifth. Recording is a handful of instructions and allocates nothing.
//
// Happy path: record() on the way of a request, quantile_us() and below() for people, the difference of two for what
// happened in between. Failure modes: what took longer than a minute counts as a minute.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace sidestream {

class Latency {
 public:
  /// So many `times`.
  void record(int64_t us, uint64_t times = 1) {
    const auto value = static_cast<uint64_t>(std::clamp<int64_t>(us, 0, kMostUs));
    counts_[place(value)] += times;
    sum_us_ += value * times;
  }
  uint64_t count() const;
  uint64_t sum_us() const { return sum_us_; }
  /// How many took at most `us`; exact where `us` is a power of two.
  uint64_t below(uint64_t us) const;
  /// The upper end of the step in which the `share` (0 to 1) of all lies; 0 if there are none.
  uint64_t quantile_us(double share) const;
  uint64_t max_us() const { return quantile_us(1); }
  Latency& operator+=(const Latency& other);
  /// What was recorded since `before`, an earlier copy of this.
  Latency since(const Latency& before) const;

 private:
  static constexpr int64_t kMostUs = (int64_t{1} << 26) - 1;
  static constexpr size_t kPlaces = 100;  // 0 to 3, then four for each octave up to the 25th
  static size_t place(uint64_t us) {
    if (us < 4) return us;
    const auto octave = static_cast<size_t>(std::bit_width(us)) - 1;
    return octave * 4 + ((us >> (octave - 2)) & 3) - 4;
  }
  /// The first value beyond a place.
  static uint64_t end_of(size_t place);

  std::array<uint64_t, kPlaces> counts_{};
  uint64_t sum_us_ = 0;
};

}  // namespace sidestream
