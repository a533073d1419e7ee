// attach_plan_test.cc: which byte to ask for, as a table of what we hold and what the upstream's INFO says.
#include "proxy/replication/attach_plan.h"

#include "tests/unit/unit_test.h"

namespace sidestream::replication {
namespace {

using Kind = AttachPlan::Kind;

const ReplId kOurs = *ReplId::parse(std::string(40, 'a'));
const ReplId kNew = *ReplId::parse(std::string(40, 'b'));
const ReplId kOther = *ReplId::parse(std::string(40, 'c'));

UpstreamFacts upstream(ReplId replid, int64_t offset, int64_t first_byte, ReplId replid2 = {}, int64_t second = -1) {
  UpstreamFacts facts;
  facts.history = {std::move(replid), std::move(replid2), second};
  facts.offset.value = offset;
  facts.first_byte = first_byte;
  facts.backlog_active = first_byte > 0;
  return facts;
}

/// Bytes 101 to 1000 of kOurs, the last whole command ended at 990.
Holdings held() { return {{kOurs, {}, -1}, {101, 900}, ReplOffset{1000}, ReplOffset{990}, false}; }

struct Row {
  const char* what;
  std::optional<Holdings> held;
  std::optional<UpstreamFacts> facts;
  Kind kind;
  int64_t next_byte;
};

const Row kRows[] = {
    {"nothing known of each other", {}, {}, Kind::full, -1},
    {"it has no backlog", {}, upstream(kOther, 0, 0), Kind::full, -1},
    {"its whole backlog", {}, upstream(kOther, 5000, 1), Kind::fresh_backlog, 1},
    {"as much of its backlog as fits", {}, upstream(kOther, 50'000, 1), Kind::fresh_backlog, 40'001},
    {"an empty backlog", {}, upstream(kOther, 5000, 5001), Kind::fresh_backlog, 5001},
    {"it would not say", held(), {}, Kind::go_on, 1001},
    {"same history, it is further", held(), upstream(kOurs, 2000, 500), Kind::go_on, 1001},
    {"same history, equal", held(), upstream(kOurs, 1000, 500), Kind::go_on, 1001},
    {"same history, it knows less", held(), upstream(kOurs, 995, 500), Kind::wait, 1001},
    {"promoted beyond us", held(), upstream(kNew, 2000, 500, kOurs, 1500), Kind::go_on, 1001},
    {"promoted exactly at our end", held(), upstream(kNew, 2000, 500, kOurs, 1001), Kind::go_on, 1001},
    {"promoted without our half command", held(), upstream(kNew, 2000, 500, kOurs, 991), Kind::rewind, 991},
    {"promoted without our last writes", held(), upstream(kNew, 2000, 500, kOurs, 600), Kind::rewind, 600},
    {"promoted before all we hold", held(), upstream(kNew, 2000, 50, kOurs, 60), Kind::go_on, 1001},
    {"another history", held(), upstream(kOther, 2000, 500), Kind::go_on, 1001},
};

TEST_CASE("plan_attach") {
  for (const Row& row : kRows) {
    CAPTURE(row.what);
    const AttachPlan plan = plan_attach(row.held, row.facts, 10'000);
    CHECK(plan.kind == row.kind);
    if (plan.kind != Kind::wait) CHECK(plan.next_byte == row.next_byte);
    if (row.held && plan.kind != Kind::full) CHECK(plan.replid == kOurs);
  }
}

TEST_CASE("a stream that broke twice at the same place is given up") {
  Holdings broken = held();
  broken.unusable = true;
  CHECK(plan_attach(broken, upstream(kOurs, 2000, 500), 10'000).kind == Kind::full);
}

TEST_CASE("the oldest bytes of a full backlog may be gone by the time we ask for them") {
  const auto asked_for = [](int64_t offset, int64_t first_byte, int64_t backlog_bytes) {
    UpstreamFacts facts = upstream(kOther, offset, first_byte);
    facts.backlog_bytes = backlog_bytes;
    return plan_attach({}, facts, 10'000'000).next_byte;
  };
  CHECK(asked_for(1'001'000, 1001, 1'000'000) == 1001 + 125'000);
  CHECK(asked_for(990'000, 1, 1'000'000) == 990'001 - 875'000);  // it will be full in a moment
  CHECK(asked_for(800'000, 1, 1'000'000) == 1);
  CHECK(asked_for(4'001'000, 1001, 1'000'000) == 1001 + 500'000);  // four times its size are there
  CHECK(asked_for(1'001'000, 1001, 0) == 1001);                    // it did not say
}

TEST_CASE("a fresh backlog may begin inside a command; INFO's offset is where one ends") {
  CHECK(plan_attach({}, upstream(kOther, 5000, 1), 10'000).in_sync_from == ReplOffset{5000});
}

TEST_CASE("facts from INFO") {
  const UpstreamFacts facts = parse_upstream_facts(
      "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n\r\n# Replication\r\nrole:slave\r\nmaster_host:10.0.0.1\r\n"
      "master_port:6379\r\nmaster_replid:" +
      std::string(40, 'b') + "\r\nmaster_replid2:" + std::string(40, 'a') +
      "\r\nmaster_repl_offset:1234\r\nsecond_repl_offset:1000\r\nrepl_backlog_active:1\r\nrepl_backlog_size:1048576\r\n"
      "repl_backlog_first_byte_offset:7\r\nrepl_backlog_histlen:1228\r\n");
  CHECK(facts.run_id == "abc");
  CHECK(facts.version == "7.0.15/");
  CHECK_FALSE(facts.is_primary);
  CHECK(facts.primary.host == "10.0.0.1");
  CHECK(facts.primary.port == 6379);
  CHECK(facts.history.replid == kNew);
  CHECK(facts.history.replid2 == kOurs);
  CHECK(facts.history.second_offset == 1000);
  CHECK(facts.offset == ReplOffset{1234});
  CHECK(facts.backlog_active);
  CHECK(facts.first_byte == 7);
  CHECK(facts.backlog_bytes == 1'048'576);
  CHECK_FALSE(parse_upstream_facts("").backlog_active);
  CHECK_FALSE(parse_upstream_facts("repl_backlog_active:1\r\nrepl_backlog_first_byte_offset:9\r\n").backlog_active);
}

}  // namespace
}  // namespace sidestream::replication
