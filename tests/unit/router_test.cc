// router_test.cc: the routing decision, reply order, and the small parsers of the client plane.
#include "proxy/routing/router.h"

#include <random>
#include <string>

#include "proxy/routing/input_buffer.h"
#include "proxy/routing/reply_queue.h"
#include "proxy/routing/role_reply.h"
#include "tests/unit/unit_test.h"

using namespace sidestream;
using namespace sidestream::routing;

namespace {

struct Group {
  explicit Group(std::vector<TargetView> servers) : targets(std::move(servers)) {
    for (TargetView& target : targets) views.push_back(&target);
    now.config = &config;
    now.head = ReplOffset{1000};
  }
  Decision read(ReadPolicy policy, std::optional<ReplOffset> offset = ReplOffset{0}, int sticky = -1) {
    ReadNeed need;
    need.policy = policy;
    need.offset = offset;
    need.sticky = sticky;
    return route_read(need, now, views);
  }
  Config config;
  Conditions now;
  std::vector<TargetView> targets;
  std::vector<TargetView*> views;
};

TargetView server(int weight, int64_t known = 1000) {
  TargetView view;
  view.online = true;
  view.weight = weight;
  view.known = ReplOffset{known};
  return view;
}

}  // namespace

TEST_CASE("router: 60:40 is 60:40 in every ten reads, sticky pipelines included") {
  Group group({server(60), server(40)});
  for (int round = 0; round < 20; ++round) {
    int first = 0;
    for (int i = 0; i < 10; ++i) first += group.read(ReadPolicy::fresh).target == 0 ? 1 : 0;
    CHECK(first == 6);
  }
  int first = 0;
  for (int pipeline = 0; pipeline < 1000; ++pipeline) {
    int sticky = -1;
    for (int i = 0; i < 7; ++i) {
      sticky = group.read(ReadPolicy::eventual, std::nullopt, sticky).target;
      first += sticky == 0 ? 1 : 0;
    }
  }
  CHECK(first > 4190);
  CHECK(first < 4210);
}

TEST_CASE("router: fresh goes to a replica that is proven past the write, else to the primary, with the reason") {
  Group group({server(100, 500), server(100, 800)});
  CHECK(group.read(ReadPolicy::fresh, ReplOffset{700}).target == 1);
  CHECK(group.read(ReadPolicy::fresh, ReplOffset{700}).reason == Reason::fresh_proven);
  CHECK(group.read(ReadPolicy::fresh, ReplOffset{0}).reason == Reason::fresh_idle);
  CHECK(group.read(ReadPolicy::fresh, ReplOffset{900}).target == -1);
  CHECK(group.read(ReadPolicy::fresh, ReplOffset{900}).reason == Reason::fresh_behind);
  CHECK(group.read(ReadPolicy::fresh, std::nullopt).target == -1);
  CHECK(group.read(ReadPolicy::fresh, std::nullopt).reason == Reason::fresh_pending);
  CHECK(group.read(ReadPolicy::primary).reason == Reason::policy_primary);
  group.targets[0].online = group.targets[1].online = false;
  CHECK(group.read(ReadPolicy::fresh).reason == Reason::no_replica);
}

TEST_CASE("router: bounded in time and bytes") {
  Group group({server(100), server(100)});
  group.config.routing.max_lag_ms = 5000;
  group.config.routing.max_lag_bytes = 300;
  group.targets[0].lag_ms = 6000;
  group.targets[1].known = ReplOffset{600};
  CHECK(group.read(ReadPolicy::bounded).target == -1);
  CHECK(group.read(ReadPolicy::bounded).reason == Reason::bounded_exceeded);
  group.targets[1].known = ReplOffset{800};
  CHECK(group.read(ReadPolicy::bounded).target == 1);
  group.targets[0].lag_ms = 100;
  group.targets[1].online = false;
  CHECK(group.read(ReadPolicy::bounded).target == 0);
}

TEST_CASE("router: at the border of max-lag nobody goes to and fro") {
  Group group({server(100)});
  group.config.routing.max_lag_ms = 1000;
  group.config.routing.max_lag_bytes = 400;
  const auto reads = [&](int64_t lag_ms, int64_t lag_bytes) {
    group.targets[0].lag_ms = lag_ms;
    group.targets[0].known = ReplOffset{1000 - lag_bytes};
    return group.read(ReadPolicy::bounded).target == 0;
  };
  CHECK(reads(1000, 400));  // within, up to the limit
  CHECK_FALSE(reads(1001, 0));
  CHECK_FALSE(reads(1000, 0));
  CHECK_FALSE(reads(751, 0));
  CHECK(reads(750, 0));
  CHECK(reads(1000, 0));  // and in for the whole way up
  CHECK_FALSE(reads(0, 401));
  CHECK_FALSE(reads(0, 301));
  CHECK(reads(0, 300));
  CHECK(group.read(ReadPolicy::eventual).target == 0);
}

TEST_CASE("router: a promise to one client holds under every policy") {
  Group group({server(100, 500), server(100, 900)});
  ReadNeed need;
  need.at_least = ReplOffset{800};
  for (const ReadPolicy policy : {ReadPolicy::bounded, ReadPolicy::eventual}) {
    need.policy = policy;
    CHECK(need.proof() == ReplOffset{800});
    for (int i = 0; i < 5; ++i) CHECK(route_read(need, group.now, group.views).target == 1);
  }
  need.at_least = ReplOffset{950};
  CHECK(route_read(need, group.now, group.views).target == -1);
  group.now.primary_usable = false;  // rather nobody than an old answer
  CHECK(route_read(need, group.now, group.views).target == -1);
  need.at_least = ReplOffset{};
  CHECK_FALSE(need.proof().has_value());
}

TEST_CASE("router: the last one is not dropped where old answers are allowed") {
  Group group({server(100, 1)});
  group.now.primary_usable = false;
  group.config.routing.max_lag_bytes = 10;
  CHECK(group.read(ReadPolicy::bounded).target == 0);
  CHECK(group.read(ReadPolicy::bounded).reason == Reason::stale_data);
  CHECK(group.read(ReadPolicy::fresh, ReplOffset{5}).target == -1);  // never: it promised
  group.targets[0].online = false;
  CHECK(group.read(ReadPolicy::eventual).target == 0);
  group.config.replica_serve_stale_data = false;
  CHECK(group.read(ReadPolicy::eventual).target == -1);
}

TEST_CASE("router: preference narrows while anybody near can answer") {
  Group group({server(100), server(100), server(0)});
  group.targets[1].zone = "a";
  group.config.routing.prefer = "zone:a";
  for (int i = 0; i < 5; ++i) CHECK(group.read(ReadPolicy::eventual).target == 1);
  group.targets[1].online = false;
  CHECK(group.read(ReadPolicy::eventual).target == 0);
  group.config.routing.prefer = "local";
  group.targets[2].local = true;  // weight 0: none of the reads
  CHECK(group.read(ReadPolicy::eventual).target == 0);
}

TEST_CASE("router: looking is not choosing") {
  Group group({server(50), server(50)});
  ReadNeed need;
  need.offset = ReplOffset{0};
  const int seen = peek_read(need, group.now, group.views).target;
  CHECK(peek_read(need, group.now, group.views).target == seen);
  CHECK(group.read(ReadPolicy::fresh).target == seen);
  CHECK(peek_read(need, group.now, group.views).target != seen);
}

TEST_CASE("reply queue: any order of arrival leaves in the order of the requests") {
  std::mt19937 dice(7);
  for (int round = 0; round < 200; ++round) {
    ReplyQueue queue;
    std::vector<std::pair<uint64_t, std::string>> due;
    std::string expected;
    const auto answer_any = [&] {
      const auto which = due.begin() + static_cast<ptrdiff_t>(dice() % due.size());
      CHECK(queue.deliver(which->first, which->second) == Lane::primary);
      CHECK(queue.deliver(which->first, "twice") == Lane::none);
      due.erase(which);
      CHECK(expected.starts_with(queue.out()));
    };
    for (int i = 0; i < 40; ++i) {
      const std::string frame = ":" + std::to_string(i) + "\r\n";
      const bool muted = dice() % 8 == 0;
      if (!muted) expected += frame;
      if (dice() % 3 == 0 && !muted) {
        queue.add(frame);
      } else {
        due.emplace_back(queue.expect(Lane::primary, muted), frame);
      }
      if (!due.empty() && dice() % 2 == 0) answer_any();
    }
    while (!due.empty()) answer_any();
    CHECK(queue.owed() == 0);
    CHECK(queue.out() == expected);
  }
}

TEST_CASE("roles: what servers say, and what is not a role") {
  const auto primary =
      parse_role("*3\r\n$6\r\nmaster\r\n:3129659\r\n*1\r\n*3\r\n$9\r\n127.0.0.1\r\n$4\r\n9001\r\n$7\r\n3129242\r\n");
  REQUIRE(primary.has_value());
  CHECK(primary->primary);
  CHECK(primary->offset == ReplOffset{3129659});
  const auto replica = parse_role("*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:9000\r\n$9\r\nconnected\r\n:3129543\r\n");
  REQUIRE(replica.has_value());
  CHECK_FALSE(replica->primary);
  CHECK(replica->connected);
  CHECK(replica->upstream == "$9\r\n127.0.0.1\r\n:9000\r\n");
  CHECK(replica->offset == ReplOffset{3129543});
  CHECK_FALSE(parse_role("*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$4\r\nsync\r\n:-1\r\n")->connected);
  CHECK_FALSE(parse_role("-LOADING Redis is loading the dataset in memory\r\n").has_value());
  CHECK_FALSE(parse_role("*2\r\n$8\r\nsentinel\r\n*0\r\n").has_value());
  CHECK_FALSE(parse_role("$-1\r\n").has_value());
  CHECK_FALSE(parse_role("*3\r\n$6\r\nmaster\r\n$1\r\nx\r\n*0\r\n").has_value());
}

TEST_CASE("cursors: carry the server and come back") {
  CHECK(mark_cursor("*2\r\n$2\r\n17\r\n*0\r\n", 3) == "*2\r\n$18\r\n216172782113783825\r\n*0\r\n");
  CHECK(mark_cursor("*2\r\n$1\r\n0\r\n*0\r\n", 3) == "*2\r\n$1\r\n0\r\n*0\r\n");
  CHECK(mark_cursor("-ERR invalid cursor\r\n", 3) == "-ERR invalid cursor\r\n");
  Cursor cursor;
  REQUIRE(parse_cursor("216172782113783825", cursor));
  CHECK(cursor.number == 3);
  CHECK(cursor.own == 17);
  CHECK_FALSE(parse_cursor("18446744073709551615", cursor));
  CHECK_FALSE(parse_cursor("-1", cursor));
  CHECK_FALSE(parse_cursor("", cursor));
}

TEST_CASE("input buffer: consuming while a read is under way moves nothing") {
  InputBuffer buffer(8, 64);
  std::mt19937 dice(3);
  std::string model;
  size_t written = 0;
  for (int i = 0; i < 5000; ++i) {
    const std::span<char> room = buffer.room();
    REQUIRE(!room.empty());
    const size_t eaten = model.empty() ? 0 : dice() % (model.size() + 1);
    buffer.consume(eaten);
    model.erase(0, eaten);
    const size_t n = 1 + dice() % room.size();
    for (size_t k = 0; k < n; ++k) {
      room[k] = static_cast<char>('a' + written++ % 26);
      model += room[k];
    }
    buffer.filled(n);
    REQUIRE(buffer.view() == model);
    if (model.size() > 200) {
      buffer.consume(model.size());
      model.clear();
    }
  }
}
