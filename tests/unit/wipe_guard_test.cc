// wipe_guard_test.cc: what may take the place of our history, and how long that is remembered.
#include "proxy/replication/wipe_guard.h"

#include "proxy/instance/dataset_file.h"
#include "proxy/replication/attach_plan.h"
#include "tests/unit/unit_test.h"

namespace sidestream::replication {
namespace {

const ReplId kOurs = *ReplId::parse(std::string(40, 'a'));
const ReplId kOther = *ReplId::parse(std::string(40, 'b'));
const ReplId kThird = *ReplId::parse(std::string(40, 'c'));
constexpr ReplOffset kAt{10'000};

Dataset ours(std::optional<int64_t> keys) { return {kOurs, kAt, keys}; }
Dataset other(std::optional<int64_t> keys, int64_t offset = 0) { return {kOther, ReplOffset{offset}, keys}; }

bool passes(const Dataset& held, const Dataset& offered, bool related = false, bool suspected = false) {
  return !objection(held, offered, related, suspected).has_value();
}

/// One that holds ours, as after a successful attach.
struct Scene {
  explicit Scene(std::optional<int64_t> keys) : guard(config) {
    CHECK(guard.judge(ours(keys), false).ok());
    guard.settled();
  }
  bool lets_in(const Dataset& offered, bool related = false) { return guard.judge(offered, related).ok(); }
  Config config;
  WipeGuard guard;
};

}  // namespace

TEST_CASE("what may take the place of a history") {
  CHECK(passes(ours(1000), Dataset{kOurs, ReplOffset{1}, 0}));  // the same one: emptied by a command
  CHECK(passes({{}, {}, 0}, other(0)));                         // there is nothing to lose
  CHECK_FALSE(passes({{}, {}, 5}, other(0)));                   // a restart forgot the history, not that there is data
  CHECK_FALSE(passes(ours(1), other(0)));
  CHECK_FALSE(passes(ours(1000), other(0)));
  CHECK_FALSE(passes(ours(1000), other(499)));
  CHECK(passes(ours(1000), other(500)));
  CHECK(passes(ours(1000), other(5000)));
  CHECK(passes(ours(0), other(0)));
  CHECK(passes(ours(5), other(2)));
  CHECK_FALSE(passes(ours(5), other(1)));
  CHECK_FALSE(passes(ours(std::nullopt), other(0)));
  CHECK(passes(ours(std::nullopt), other(1)));
}

TEST_CASE("a promoted server knows our history, and yet may have lost its keys") {
  CHECK(passes(ours(1000), other(1000, 10'000), true));
  CHECK_FALSE(passes(ours(1000), other(0, 10'000), true));
}

TEST_CASE("who does not say how many keys it holds is judged by its offset") {
  CHECK_FALSE(passes(ours(1000), other(std::nullopt, 0)));
  CHECK_FALSE(passes(ours(1000), other(std::nullopt, 999)));
  CHECK(passes(ours(1000), other(std::nullopt, 1000)));
  CHECK(passes(ours(1000), other(std::nullopt, 0), true));
  CHECK(passes(ours(0), other(std::nullopt, 0)));
}

TEST_CASE("what was held has to come close to ours, key by key does not do") {
  Scene scene(1000);
  CHECK_FALSE(scene.lets_in(other(0)));
  REQUIRE(scene.guard.quarantine().has_value());
  CHECK_NE(scene.guard.quarantine()->reason.find("no keys where ours holds 1000 keys"), std::string::npos);
  CHECK_FALSE(scene.lets_in(other(600)));
  CHECK_FALSE(scene.lets_in(Dataset{kThird, ReplOffset{}, 899}));  // the id changes with its first replica
  CHECK_EQ(scene.guard.times_held(), 1);
  CHECK(scene.lets_in(other(900)));
  CHECK(scene.lets_in(ours(0)));
  scene.guard.settled();
  CHECK_FALSE(scene.guard.quarantine().has_value());
}

TEST_CASE("the operator's word") {
  Scene scene(1000);
  CHECK_FALSE(scene.guard.accept());
  CHECK_FALSE(scene.guard.reject());
  CHECK_FALSE(scene.lets_in(other(0)));
  CHECK(scene.guard.reject());
  CHECK_FALSE(scene.lets_in(other(5000)));
  CHECK(scene.guard.accept());
  CHECK(scene.lets_in(other(0)));
  scene.guard.settled();
  CHECK_EQ(scene.guard.ours().keys, std::optional<int64_t>(0));
  CHECK_FALSE(scene.guard.rejected());
  CHECK(scene.lets_in(Dataset{kThird, ReplOffset{}, 0}));
}

TEST_CASE("a history that got there behind our back is let in by nobody but the operator") {
  Scene scene(1000);
  scene.guard.distrust();
  CHECK_FALSE(scene.lets_in(other(5000)));
  CHECK(scene.guard.accept());
  CHECK(scene.lets_in(other(5000)));
}

TEST_CASE("another upstream begins without suspicion; one that was chosen by order may hold what it likes") {
  Scene scene(1000);
  scene.guard.follows({"a", 1, {}}, false);
  CHECK_FALSE(scene.lets_in(other(0)));
  scene.guard.follows({"a", 1, {}}, false);
  CHECK(scene.guard.quarantine().has_value());
  scene.guard.follows({"b", 1, {}}, false);
  CHECK_FALSE(scene.guard.quarantine().has_value());
  CHECK_FALSE(scene.lets_in(other(0)));
  scene.guard.follows({"c", 1, {}}, true);
  CHECK(scene.lets_in(other(0)));
}

TEST_CASE("wipe-guard: pass") {
  Scene scene(1000);
  scene.config.wipe_guard = "pass";
  CHECK(scene.lets_in(other(0)));
}

TEST_CASE("commands of the stream tell whether there is something to lose") {
  Scene scene(0);
  scene.guard.saw("PING", {10});
  scene.guard.saw("select", {20});
  CHECK_EQ(scene.guard.ours().keys, std::optional<int64_t>(0));
  scene.guard.saw("SET", {30});
  CHECK_FALSE(scene.guard.ours().keys.has_value());
  scene.guard.count(0, {20});  // somebody who has not come to it yet
  CHECK_FALSE(scene.lets_in(other(0)));
  scene.guard.saw("FLUSHALL", {40});
  scene.guard.count(1000, {30});  // somebody who has not come to it yet
  CHECK(scene.lets_in(other(0)));
  scene.guard.count(1000, {50});
  CHECK_FALSE(scene.lets_in(other(0)));
}

TEST_CASE("before the nodes are heard nothing is replaced, then what they hold counts") {
  Config config;
  WipeGuard guard(config);
  guard.wait_for_nodes("n:1");
  CHECK(guard.at_stake());
  CHECK_FALSE(guard.judge(other(1000), false).ok());
  CHECK_FALSE(guard.quarantine().has_value());
  guard.wait_for_nodes("");
  guard.nodes_hold(1000);
  CHECK_FALSE(guard.judge(other(0), false).ok());
  CHECK(guard.quarantine().has_value());
}

TEST_CASE("what an earlier run knew") {
  Config config;
  WipeGuard guard(config);
  guard.restore(ours(1000), true, false);
  guard.wait_for_nodes("n:1");  // it is known without them
  CHECK_FALSE(guard.judge(other(600), false).ok());
  CHECK(guard.judge(other(950), false).ok());
  guard.restore(ours(1000), true, true);
  CHECK_FALSE(guard.judge(other(950), false).ok());
  CHECK(guard.judge(ours(1), false).ok());
}

TEST_CASE("keys of all databases, out of INFO") {
  CHECK_EQ(count_keys("# Keyspace\r\ndb0:keys=12,expires=1,avg_ttl=0\r\ndb9:keys=30,expires=0\r\n"),
           std::optional<int64_t>(42));
  CHECK_EQ(count_keys("# Server\r\nloading:0\r\n\r\n# Keyspace\r\n"), std::optional<int64_t>(0));
  CHECK_EQ(count_keys("# Keyspace\r\n\r\n# Other\r\ndb0:keys=12\r\n"), std::optional<int64_t>(0));
  CHECK_FALSE(count_keys("# Keyspace\r\ndb0:keys=1\r\nloading:1\r\n").has_value());
  CHECK_FALSE(count_keys("role:master\r\n").has_value());
}

TEST_CASE("nobody takes the place of ours while another server may be the primary") {
  const Config config;
  WipeGuard guard(config);
  guard.restore(ours(0), false, false);  // as far as it was counted
  guard.wait_for_word("the Sentinels name 10.0.0.2:6379 as the primary");
  CHECK_FALSE(guard.judge(other(0), false).ok());
  CHECK_FALSE(guard.quarantine().has_value());
  CHECK(guard.judge(ours(5), false).ok());
  CHECK(guard.judge(other(5), true).ok());  // went on with it
  guard.wait_for_word("");
  CHECK(guard.judge(other(0), false).ok());
}

TEST_CASE("the line that outlives a restart") {
  using instance::KeptDataset;
  for (const KeptDataset& kept : {KeptDataset{ours(12), false, false}, KeptDataset{ours(std::nullopt), true, false},
                                  KeptDataset{ours(0), true, true}}) {
    const std::string line = instance::dataset_line(kept);
    const auto parsed = instance::parse_dataset(line);
    REQUIRE(parsed.has_value());
    CHECK(*parsed == kept);
  }
  const std::string id(40, 'a');
  for (const std::string& bad : {std::string(), id + " 1 2 held", id + " 1 2 maybe\n", id + " x 2 held\n",
                                 id.substr(1) + " 1 2 held\n", id + " 1 many held\n"}) {
    CHECK_FALSE(instance::parse_dataset(bad).has_value());
  }
}

TEST_CASE("news for the next run") {
  using instance::is_news;
  CHECK(is_news({ours(0), false, false}, {ours(1), false, false}));
  CHECK(is_news({ours(1000), false, false}, {ours(1101), false, false}));
  CHECK_FALSE(is_news({ours(1000), false, false}, {ours(1100), false, false}));
  CHECK(is_news({ours(1000), false, false}, {ours(1000), true, false}));
  CHECK(is_news({ours(1000), false, false}, {other(1000), false, false}));
}

}  // namespace sidestream::replication
