// latency_test.cc: the histogram against the plain list of what was recorded.
#include "common/latency.h"

#include <algorithm>
#include <random>
#include <vector>

#include "tests/unit/unit_test.h"

using sidestream::Latency;

TEST_CASE("latency: quantiles are right to a fifth, and never too low") {
  std::mt19937_64 random(7);
  std::vector<int64_t> all;
  Latency latency;
  for (int i = 0; i < 20'000; ++i) {
    const int64_t us = static_cast<int64_t>(random() % (uint64_t{1} << (random() % 24 + 1)));
    all.push_back(us);
    latency.record(us);
  }
  std::sort(all.begin(), all.end());
  CHECK(latency.count() == all.size());
  for (const double share : {0.01, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto exact = static_cast<double>(all[static_cast<size_t>(share * static_cast<double>(all.size())) - 1]);
    const auto told = static_cast<double>(latency.quantile_us(share));
    CAPTURE(share);
    CHECK(told >= exact);
    CHECK(told <= exact * 1.26 + 1);
  }
  for (uint64_t us = 1; us <= 1 << 23; us *= 2) {
    const auto exact = std::lower_bound(all.begin(), all.end(), static_cast<int64_t>(us)) - all.begin();
    CHECK(latency.below(us) == static_cast<uint64_t>(exact));
  }
}

TEST_CASE("latency: nothing, nonsense and ages") {
  Latency latency;
  CHECK(latency.quantile_us(0.5) == 0);
  latency.record(-5);  // a clock that was read twice
  latency.record(INT64_MAX);
  CHECK(latency.count() == 2);
  CHECK(latency.below(1) == 1);
  CHECK(latency.max_us() == uint64_t{1} << 26);
}

TEST_CASE("latency: what happened in between") {
  Latency latency;
  for (int i = 0; i < 100; ++i) latency.record(1'000'000);
  const Latency before = latency;
  latency.record(10);
  latency.record(12);
  const Latency recent = latency.since(before);
  CHECK(recent.count() == 2);
  CHECK(recent.quantile_us(0.99) < 20);
  Latency sum = before;
  sum += recent;
  CHECK(sum.count() == latency.count());
  CHECK(sum.sum_us() == latency.sum_us());
  CHECK(before.since(latency).count() == 0);  // it began anew: never below zero
}
