// admission_test.cc: the queue, the pauses, and which RDB format whom.
#include "proxy/replication/admission.h"

#include "proxy/replication/progress.h"
#include "tests/support/sim_world.h"
#include "tests/unit/unit_test.h"

namespace sidestream::replication {
namespace {

TEST_CASE("a turn comes in the order of asking, whoever looks first") {
  sim::SimWorld world{1};
  World host = world.at("10.0.0.2");
  Admission admission(host);
  CHECK(admission.has_turn(1, 0, 2));
  CHECK(admission.has_turn(2, 0, 2));
  CHECK_FALSE(admission.has_turn(3, 0, 2));
  CHECK(admission.waiting() == 3);
  CHECK(admission.place(3) == 2);
  admission.leave(1);  // is being served now
  CHECK_FALSE(admission.has_turn(3, 1, 2));
  CHECK(admission.has_turn(2, 1, 2));
  admission.leave(2);
  CHECK_FALSE(admission.has_turn(3, 2, 2));
  CHECK(admission.has_turn(3, 1, 2));
  CHECK(admission.place(7) == -1);
}

TEST_CASE("pauses double up to a minute, with jitter, and end with a recovery") {
  sim::SimWorld world{1};
  World host = world.at("10.0.0.2");
  Admission admission(host);
  int64_t bound = 1000;
  std::set<int64_t> seen;
  for (int i = 1; i <= 12; ++i) {
    const int64_t pause_ms = admission.failed("a:1", SyncFault::slow, "words");
    CHECK(pause_ms >= bound / 2);
    CHECK(pause_ms <= bound);
    seen.insert(pause_ms * 1000 / bound);
    CHECK(admission.trouble("a:1")->failures == i);
    CHECK(admission.pause_ms("a:1") == pause_ms);
    bound = std::min<int64_t>(bound * 2, 60'000);
  }
  CHECK(seen.size() > 3);
  CHECK(admission.pause_ms("b:1") == 0);
  CHECK(admission.counts()[static_cast<size_t>(SyncFault::slow)] == 12);
  world.run_for(60'001);
  CHECK(admission.pause_ms("a:1") == 0);
  CHECK(admission.trouble("a:1") != nullptr);
  admission.recovered("a:1");
  CHECK(admission.trouble("a:1") == nullptr);
}

TEST_CASE("failures are remembered of so many replicas, for so long") {
  sim::SimWorld world{1};
  World host = world.at("10.0.0.2");
  Admission admission(host);
  for (int i = 0; i < 1500; ++i) {
    admission.failed("replica:" + std::to_string(i), SyncFault::left, "");
    world.run_for(1);
  }
  CHECK(admission.trouble("replica:499") == nullptr);
  CHECK(admission.trouble("replica:500") != nullptr);
  world.run_for(3'600'000);
  admission.forget();
  CHECK(admission.trouble("replica:1499") == nullptr);
}

TEST_CASE("which format a server can load") {
  const auto newest = [](const std::string& version) { return newest_rdb("# Server\r\n" + version + "\r\n"); };
  CHECK(newest("redis_version:5.0.14") == 9);
  CHECK(newest("redis_version:6.2.16") == 9);
  CHECK(newest("redis_version:7.0.15") == 10);
  CHECK(newest("redis_version:7.2.6") == 11);
  CHECK(newest("redis_version:7.4.1") == 12);
  CHECK(newest("redis_version:8.2.0") == 0);
  CHECK(newest("redis_version:7.2.4\r\nvalkey_version:8.0.1") == 11);
  CHECK(newest("redis_version:7.2.4\r\nvalkey_version:9.0.0") == 80);
  for (const char* odd : {"", "redis_version:", "redis_version:x", "redis_version:4", "redis_version:999.999"}) {
    CHECK(newest(odd) == 0);
  }
  CHECK(can_load(0, 99));
  CHECK(can_load(10, 0));
  CHECK(can_load(10, 10));
  CHECK_FALSE(can_load(10, 11));
  CHECK(can_load(80, 11));
  CHECK(can_load(80, 80));
  CHECK_FALSE(can_load(80, 12));
}

TEST_CASE("progress in words") {
  CHECK(progress(0, 0, 0, 5'000'000).text() == "0 B");
  CHECK(progress(1 << 20, 0, 1'000'000, 2'000'000).text() == "1.0 MiB, 1.0 MiB/s");
  const Progress half = progress(1 << 20, 2 << 20, 1'000'000, 3'000'000);
  CHECK(half.percent() == 50.0);
  CHECK(half.rate == 1 << 19);
  CHECK(half.eta_ms == 2000);
  CHECK(half.text() == "50% of 2.0 MiB, 512.0 KiB/s, 2 s left");
  CHECK(progress(5, 3, 1, 1'000'001).eta_ms == -1);
}

}  // namespace
}  // namespace sidestream::replication
