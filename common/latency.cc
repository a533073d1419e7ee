// latency.cc: reading a histogram. See the header.
#include "common/latency.h"

#include <cmath>
#include <numeric>

namespace sidestream {

uint64_t Latency::end_of(size_t place) {
  if (place < 4) return place + 1;
  const size_t octave = (place + 4) / 4;
  return (4 + (place + 4) % 4 + 1) << (octave - 2);
}

uint64_t Latency::count() const { return std::accumulate(counts_.begin(), counts_.end(), uint64_t{0}); }

uint64_t Latency::below(uint64_t us) const {
  uint64_t sum = 0;
  for (size_t i = 0; i < kPlaces && end_of(i) <= us; ++i) sum += counts_[i];
  return sum;
}

uint64_t Latency::quantile_us(double share) const {
  const uint64_t all = count();
  if (all == 0) return 0;
  const auto wanted = std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(share * static_cast<double>(all))));
  uint64_t sum = 0;
  size_t place = 0;
  for (; place < kPlaces - 1; ++place) {
    sum += counts_[place];
    if (sum >= wanted) break;
  }
  return end_of(place);
}

Latency& Latency::operator+=(const Latency& other) {
  for (size_t i = 0; i < kPlaces; ++i) counts_[i] += other.counts_[i];
  sum_us_ += other.sum_us_;
  return *this;
}

Latency Latency::since(const Latency& before) const {
  Latency difference = *this;
  for (size_t i = 0; i < kPlaces; ++i) difference.counts_[i] -= std::min(counts_[i], before.counts_[i]);
  difference.sum_us_ -= std::min(sum_us_, before.sum_us_);
  return difference;
}

}  // namespace sidestream
