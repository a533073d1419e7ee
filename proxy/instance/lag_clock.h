// lag_clock.h: how old a replica's data is, in time. Remembers when which offset was reached; a replica that
// acknowledged N is as old as the first offset beyond N. Bounded: samples a tenth of a second apart, a minute of them;
// older lag shows as that minute.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>

#include "proxy/resp/repl_offset.h"

namespace sidestream::instance {

class LagClock {
 public:
  static constexpr int64_t kSampleEveryMs = 100;
  static constexpr size_t kSamplesMax = 600;

  /// The stream has reached `offset`.
  void record(ReplOffset offset, int64_t now_ms) {
    if (!samples_.empty() && offset < samples_.back().offset) samples_.clear();  // another history
    if (!samples_.empty() && offset == samples_.back().offset) return;
    if (!samples_.empty() && now_ms - samples_.back().at_ms < kSampleEveryMs) {
      samples_.back().offset = offset;  // its time stays: lag is rather told too high than too low
      return;
    }
    samples_.push_back({offset, now_ms});
    if (samples_.size() > kSamplesMax) samples_.pop_front();
  }

  /// Milliseconds by which one that has `offset` is behind.
  int64_t lag_ms(ReplOffset offset, int64_t now_ms) const {
    const auto beyond = std::upper_bound(samples_.begin(), samples_.end(), offset,
                                         [](ReplOffset value, const Sample& sample) { return value < sample.offset; });
    return beyond == samples_.end() ? 0 : now_ms - beyond->at_ms;
  }

 private:
  struct Sample {
    ReplOffset offset;
    int64_t at_ms;
  };
  std::deque<Sample> samples_;
};

}  // namespace sidestream::instance
