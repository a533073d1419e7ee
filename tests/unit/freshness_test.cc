// freshness_test.cc: the freshness map against a naive model that remembers every write, its place in the primary's
// history and who was told about it.
#include "proxy/routing/freshness.h"

#include <algorithm>
#include <array>
#include <deque>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "proxy/routing/read_need.h"
#include "tests/unit/unit_test.h"

using namespace sidestream;
using namespace sidestream::routing;

namespace {

ReplOffset at(int64_t offset) { return ReplOffset{offset}; }

/// Connections with batches in flight to one primary, which executes batch by batch in any order across connections.
class Model {
 public:
  explicit Model(unsigned seed) : dice_(seed) {}

  void step() {
    switch (below(7)) {
      case 0:
      case 1:
        send_batch();
        break;
      case 2:
        execute_batch();
        break;
      case 3:
        answer_batch();
        break;
      case 4:
        write_of_others();
        break;
      case 5:
        relay_some();
        break;
      case 6:
        if (below(16) == 0) break_connection();
        ask_role();
        break;
    }
    check();
  }
  size_t replica_reads() const { return replica_reads_; }

 private:
  static constexpr int kKeys = 12;
  struct Batch {
    FreshnessMap::Batch marks;
    std::vector<int> keys;  // -1: the floor
    bool executed = false;
    int64_t end = 0;  // the primary's offset after it, as the ROLE behind it says
  };
  struct Role {
    uint64_t ticket;
    int64_t offset;
  };

  int below(int n) { return static_cast<int>(dice_() % static_cast<unsigned>(n)); }

  void send_batch() {
    if (in_flight_.size() >= 3) return;
    Batch batch;
    batch.marks = map_.open();
    for (int n = 1 + below(3); n > 0; --n) {
      const int key = below(30) == 0 ? -1 : below(kKeys);
      key < 0 ? map_.mark_floor(*batch.marks) : map_.mark(*batch.marks, static_cast<uint64_t>(key));
      batch.keys.push_back(key);
    }
    in_flight_.push_back(std::move(batch));
  }
  void execute_batch() {
    if (in_flight_.empty()) return;
    execute(in_flight_[static_cast<size_t>(below(static_cast<int>(in_flight_.size())))]);
  }
  void execute(Batch& batch) {
    if (batch.executed) return;
    batch.executed = true;
    for (const int key : batch.keys) history_.push_back({++offset_, key});
    batch.end = offset_;
  }
  /// The replies and the ROLE arrive; from now on the writes count as acknowledged.
  void answer_batch() {
    if (in_flight_.empty()) return;
    const auto which = in_flight_.begin() + below(static_cast<int>(in_flight_.size()));
    if (!which->executed) return;
    for (const int key : which->keys) acknowledge(key, which->end);
    map_.settle(std::move(which->marks), at(which->end));
    in_flight_.erase(which);
  }
  /// The client of a lost connection was told nothing: only what is relayed must be seen.
  void break_connection() {
    if (in_flight_.empty()) return;
    const auto which = in_flight_.begin() + below(static_cast<int>(in_flight_.size()));
    if (below(2) == 0) execute(*which);
    map_.orphan(std::move(which->marks));
    in_flight_.erase(which);
  }
  void ask_role() {
    roles_.push_back({map_.role_sent(), offset_});
    if (below(2) == 0) return;
    const Role role = roles_.front();
    roles_.pop_front();
    map_.role_answered(role.ticket, at(role.offset));
  }
  void write_of_others() { history_.push_back({++offset_, below(10) == 0 ? -1 : below(kKeys)}); }
  void relay_some() {
    for (int n = below(6); n > 0 && relayed_ < history_.size(); --n) {
      const auto [offset, key] = history_[relayed_++];
      key < 0 ? map_.stream_wrote_anything(at(offset)) : map_.stream_wrote(static_cast<uint64_t>(key), at(offset));
      map_.relayed(at(offset));
      acknowledge(key, offset);
    }
  }
  /// A write at or before `offset` to this key must be seen from now on.
  void acknowledge(int key, int64_t offset) {
    int64_t last = 0;
    for (const auto& [write, to] : history_) {
      if (write <= offset && to == key) last = write;
    }
    int64_t& seen = must_see_[static_cast<size_t>(key + 1)];
    seen = std::max(seen, last);
  }

  void check() {
    int64_t any = 0;
    for (int key = 0; key < kKeys; ++key) {
      const int64_t required = std::max(must_see_[static_cast<size_t>(key + 1)], must_see_[0]);
      any = std::max(any, required);
      const auto need = map_.needed(static_cast<uint64_t>(key));
      if (need) CHECK(need->value >= required);
      if (need) CHECK(need->value <= offset_);
      if (need) ++replica_reads_;
    }
    const auto need_any = map_.needed_any();
    if (need_any) CHECK(need_any->value >= any);
  }

  std::mt19937 dice_;
  FreshnessTable table_{1024};
  FreshnessMap map_{table_};
  std::vector<Batch> in_flight_;
  std::deque<Role> roles_;
  std::vector<std::pair<int64_t, int>> history_;  // offset, key
  int64_t offset_ = 0;
  size_t relayed_ = 0;
  std::vector<int64_t> must_see_ = std::vector<int64_t>(kKeys + 1, 0);
  size_t replica_reads_ = 0;
};

}  // namespace

TEST_CASE("keys that differ little spread well") {
  for (const std::string form : {"v64:", "k", "user:session:", "{a rather long prefix of a key}:"}) {
    CAPTURE(form);
    constexpr size_t kKeys = 65536;
    constexpr size_t kPlaces = 262144;  // a good hash takes 88.5 % as many places as there are keys
    std::set<uint64_t> low;
    std::array<size_t, 64> high{};
    for (size_t i = 0; i < kKeys; ++i) {
      const uint64_t hash = hash_key(form + std::to_string(i));
      low.insert(hash % kPlaces);
      ++high[hash >> 58];
    }
    CHECK(low.size() > kKeys * 86 / 100);
    CHECK(*std::min_element(high.begin(), high.end()) > kKeys / 64 * 8 / 10);
  }
  std::set<uint64_t> distinct;
  for (size_t size = 0; size <= 20; ++size) distinct.insert(hash_key(std::string(size, '\0')));
  CHECK(distinct.size() == 21);
}

TEST_CASE("freshness: never less than what was acknowledged or relayed, whatever the order") {
  size_t replica_reads = 0;
  for (unsigned seed = 1; seed <= 200; ++seed) {
    Model model(seed);
    for (int i = 0; i < 300; ++i) model.step();
    replica_reads += model.replica_reads();
  }
  CHECK(replica_reads > 100'000);  // and not by sending everything to the primary
}

TEST_CASE("freshness: a mark is pending until the ROLE behind it, then an offset") {
  FreshnessTable table(16);
  FreshnessMap map(table);
  CHECK(map.needed(3) == at(0));
  auto batch = map.open();
  map.mark(*batch, 3);
  CHECK_FALSE(map.needed(3).has_value());
  CHECK_FALSE(map.needed_any().has_value());
  CHECK(map.needed(4) == at(0));
  map.settle(std::move(batch), at(70));
  CHECK(map.needed(3) == at(70));
  CHECK(map.needed_any() == at(70));
}

TEST_CASE("freshness: a batch is remembered with its offset, for a while and for one history") {
  FreshnessTable table(16);
  FreshnessMap map(table);
  auto batch = map.open();
  const uint64_t serial = batch->serial();
  CHECK(serial > 0);
  map.mark(*batch, 3);
  CHECK_FALSE(map.settled_at(serial).has_value());
  map.settle(std::move(batch), at(70));
  CHECK(map.settled_at(serial) == at(70));
  auto another = map.open();
  CHECK(another->serial() != serial);
  map.forget(std::move(another));
  CHECK_FALSE(map.settled_at(serial + 1).has_value());
  map.new_history(at(5));
  CHECK_FALSE(map.settled_at(serial).has_value());
  for (size_t i = 0; i <= FreshnessMap::kSettledKept; ++i) map.settle(map.open(), at(static_cast<int64_t>(100 + i)));
  CHECK_FALSE(map.settled_at(serial).has_value());
}

TEST_CASE("freshness: two connections, the later mark answered first") {
  FreshnessTable table(16);
  FreshnessMap map(table);
  auto slow = map.open();
  auto quick = map.open();
  map.mark(*slow, 1);
  map.mark(*quick, 1);
  map.settle(std::move(quick), at(100));
  CHECK_FALSE(map.needed(1).has_value());  // the other write may be acknowledged before its ROLE is here
  map.settle(std::move(slow), at(150));
  CHECK(map.needed(1) == at(150));
}

TEST_CASE("freshness: the stream is heard while a write is pending") {
  FreshnessTable table(16);
  FreshnessMap map(table);
  auto batch = map.open();
  map.mark(*batch, 1);
  map.stream_wrote(1, at(200));
  map.relayed(at(210));
  map.settle(std::move(batch), at(150));
  CHECK(map.needed(1) >= at(200));
}

TEST_CASE("freshness: an orphan is settled only by a ROLE that was sent after the loss") {
  FreshnessTable table(16);
  FreshnessMap map(table);
  auto batch = map.open();
  map.mark(*batch, 5);
  const uint64_t before = map.role_sent();
  map.orphan(std::move(batch));
  const uint64_t after = map.role_sent();
  map.role_answered(before, at(80));
  CHECK(map.has_orphans());
  CHECK_FALSE(map.needed(5).has_value());
  map.role_answered(after, at(90));
  CHECK_FALSE(map.has_orphans());
  CHECK(map.needed(5) == at(90));
}

TEST_CASE("freshness: noted keys count from apply() on; too many raise the floor") {
  FreshnessTable table(4096);
  FreshnessMap map(table);
  auto batch = map.open();
  for (uint64_t key = 0; key <= FreshnessMap::kNotedKeysMax; ++key) map.note(*batch, key);
  CHECK(map.needed(7) == at(0));
  map.apply(*batch);
  CHECK_FALSE(map.needed(7).has_value());
  CHECK_FALSE(map.needed(4000).has_value());
  map.settle(std::move(batch), at(10));
  CHECK(map.needed(4000) == at(10));
}

TEST_CASE("freshness: a new history replaces what was settled, not what is pending") {
  FreshnessTable table(16);
  FreshnessMap map(table);
  auto settled = map.open();
  map.mark(*settled, 1);
  map.settle(std::move(settled), at(1000));
  auto pending = map.open();
  map.mark(*pending, 2);
  map.new_history(at(40));
  CHECK_FALSE(map.needed(1).has_value());  // the primary may have executed more by now
  const uint64_t role = map.role_sent();
  map.role_answered(role, at(45));
  CHECK(map.needed(1) == at(45));
  CHECK_FALSE(map.needed(2).has_value());
  map.settle(std::move(pending), at(50));
  CHECK(map.needed(2) == at(50));
}

TEST_CASE("freshness: of a lost primary nothing is waited for but what was relayed, and what was promised") {
  FreshnessTable table(16);
  FreshnessMap map(table);
  map.relayed(at(100));
  auto acknowledged = map.open();
  map.mark(*acknowledged, 1);
  map.settle(std::move(acknowledged), at(120));
  auto under_way = map.open();
  map.mark(*under_way, 2);
  const auto needed = [&map](uint64_t key, int64_t at_least = 0) {
    const std::array<uint64_t, 1> hashes = {key};
    return needed_offset(map, {}, hashes, at(at_least));
  };
  CHECK(needed(1) == at(120));
  CHECK_FALSE(needed(2).has_value());
  map.primary_lost(true);
  CHECK(needed(1) == at(100));
  CHECK(needed(2) == at(100));
  CHECK(needed(3) == at(0));
  CHECK(needed(2, 110) == at(110));
  map.primary_lost(false);
  CHECK(needed(1) == at(120));
  CHECK_FALSE(needed(2).has_value());
  map.settle(std::move(under_way), at(130));
}
