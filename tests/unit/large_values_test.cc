// large_values_test.cc: requests and replies that are passed on while they arrive: in pieces of every size, cut off
// anywhere, among small ones, from two servers to several clients, and with clients that do not read.
#include <map>

#include "tests/unit/plane_scene.h"

namespace sidestream::routing {

// --- requests that are passed on while they arrive -------------------------------------------------------------------

namespace {

/// Large and small requests in every place where a large one may stand.
const Exchange& large_conversation() {
  static const Exchange kAll = [] {
    Exchange all;
    const auto add = [&](std::initializer_list<std::string_view> request, const std::string& reply) {
      all.said += resp::command(request);
      all.heard += reply;
    };
    const std::string large(150, 'x');
    add({"SET", "n", "1"}, "+OK\r\n");
    add({"GET", "n"}, "$1\r\n1\r\n");
    add({"SET", "a", large}, "+OK\r\n");
    add({"STRLEN", "a"}, ":150\r\n");
    add({"MSET", "b", large, "c", large, "d", "small"}, "+OK\r\n");
    add({"APPEND", "b", large}, ":300\r\n");
    add({"SET", "n", large, large}, "-ERR syntax error\r\n");
    add({"MULTI"}, "+OK\r\n");
    add({"INCR", "n"}, "+QUEUED\r\n");
    add({"SET", "a", large}, "+QUEUED\r\n");
    add({"APPEND", "a", large}, "+QUEUED\r\n");
    add({"EXEC"}, "*3\r\n:2\r\n+OK\r\n:300\r\n");
    add({"STRLEN", "a"}, ":300\r\n");
    add({"GET", large}, "$-1\r\n");
    add({"CLIENT", "REPLY", "SKIP"}, "");
    add({"APPEND", "a", large}, "");
    add({"GET", large, large}, "-ERR wrong number of arguments for 'get' command\r\n");
    add({"ECHO", large}, "$150\r\n" + large + "\r\n");
    add({"STRLEN", "a"}, ":450\r\n");
    return all;
  }();
  return kAll;
}

}  // namespace

TEST_CASE("session: large requests among small ones, in pieces of every size") {
  const Exchange& all = large_conversation();
  for (const int size : {1, 2, 3, 5, 7, 16, 64, 97, 4096}) {
    const auto piece = static_cast<size_t>(size);
    CAPTURE(piece);
    Scene scene(piece);
    scene.config.limits.stream_above_bytes = 100;
    scene.plane.config_changed();
    Client& client = scene.client();
    for (size_t at = 0; at < all.said.size(); at += piece) {
      client.say(all.said.substr(at, piece));
      scene.world.run_for(1);
    }
    scene.hears(client, all.heard);
  }
}

TEST_CASE("session: half a large request is executed by nobody, whoever goes") {
  const std::string large(300, 'x');
  const std::string request = resp::command({"SET", "a", large});
  for (const bool server_goes : {false, true}) {
    for (size_t bytes = 30; bytes < request.size(); bytes += 17) {
      CAPTURE(bytes);
      Scene scene(bytes);
      scene.config.limits.stream_above_bytes = 100;
      scene.plane.config_changed();
      Client& client = scene.client();
      client.say(std::string_view(request).substr(0, bytes));
      scene.world.run_for(20);
      if (!server_goes) {
        bytes % 2 == 0 ? client.leave() : client.finish();
        CHECK(scene.world.run_until([&] { return scene.plane.clients().connected == 0; }, 3000));
      } else {
        scene.primary.crash();
        scene.world.run_for(20);
        scene.primary.start();
        scene.world.run_for(200);
        client.say(std::string_view(request).substr(bytes));
        CHECK(scene.world.run_until([&] { return client.heard.ends_with("\r\n"); }, 3000));
        CHECK(client.heard.starts_with("-MASTERDOWN Link with MASTER broke before all of this request was sent"));
        client.heard.clear();
        client.say("PING\r\n");
        scene.hears(client, "+PONG\r\n");
      }
      CHECK(scene.primary.run({"EXISTS", "a"}) == ":0\r\n");
    }
  }
}

TEST_CASE("session: a large request waits for a primary with the rest of it unread") {
  Scene scene;
  scene.config.limits.stream_above_bytes = 1000;
  scene.plane.config_changed();
  const std::string large(1'000'000, 'x');
  Client& client = scene.client();
  scene.plane.set_primary(std::nullopt);
  client.say({"SET", "a", large});
  client.say("GET b\r\n");
  scene.world.run_for(300);
  CHECK(client.heard.empty());
  scene.learn();
  scene.hears(client, "+OK\r\n$-1\r\n");
  CHECK(scene.primary.run({"STRLEN", "a"}) == ":1000000\r\n");
  client.heard.clear();
  scene.plane.set_primary(std::nullopt);
  client.say({"SET", "a", "y" + large});
  CHECK(scene.world.run_until([&] { return client.heard.ends_with("\r\n"); }, 3000));
  CHECK(client.heard.starts_with("-MASTERDOWN"));
  scene.learn();
  client.heard.clear();
  client.say("GET b\r\n");
  scene.hears(client, "$-1\r\n");
  CHECK(scene.primary.run({"STRLEN", "a"}) == ":1000000\r\n");
}

// --- replies that are passed on while they arrive --------------------------------------------------------------------

TEST_CASE("session: large and small replies of two servers reach several clients in order") {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    Scene scene(seed);
    scene.config.limits.stream_above_bytes = 300;
    scene.plane.config_changed();
    scene.primary.options().service_max_us = 3000;
    scene.replica.options().service_max_us = 3000;
    scene.replica.options().apply_max_ms = seed % 3 == 0 ? 20 : 0;
    std::vector<Client*> clients;
    std::vector<std::string> expected(3);
    std::vector<std::map<std::string, std::string>> values(3);
    for (int i = 0; i < 3; ++i) clients.push_back(&scene.client());
    for (int i = 0; i < 400; ++i) {
      const size_t who = scene.world.dice().below(3);
      const std::string key = "k" + std::to_string(who) + "-" + std::to_string(scene.world.dice().below(5));
      std::string& value = values[who][key];
      if (scene.world.dice().chance(300)) {
        const size_t size = scene.world.dice().chance(500) ? 1000 + scene.world.dice().below(3000) : 10;
        value.assign(size, static_cast<char>('a' + i % 26));
        clients[who]->say({"SET", key, value});
        expected[who] += "+OK\r\n";
      } else {
        clients[who]->say({"GET", key});
        expected[who] += value.empty() ? "$-1\r\n" : "$" + std::to_string(value.size()) + "\r\n" + value + "\r\n";
      }
      if (i % 20 == 19) scene.world.run_for(static_cast<int64_t>(seed % 7));
    }
    for (size_t who = 0; who < 3; ++who) REQUIRE(scene.hears(*clients[who], expected[who], 60'000));
  }
}

TEST_CASE("session: a large reply on a connection of its own, inside EXEC, muted, and as a list") {
  Scene scene;
  scene.config.limits.stream_above_bytes = 100;
  scene.plane.config_changed();
  Client& client = scene.client();
  const std::string large(5000, 'x');
  const std::string bulk = "$5000\r\n" + large + "\r\n";
  scene.primary.run({"SET", "a", large});
  for (int i = 0; i < 200; ++i) scene.primary.run({"RPUSH", "l", std::to_string(i)});
  const std::string list = scene.primary.run({"LRANGE", "l", "0", "-1"});
  client.say("MULTI\r\nGET a\r\nLRANGE l 0 -1\r\nSELECT 3\r\nEXEC\r\nGET a\r\nSELECT 0\r\nGET a\r\n");
  std::string expected =
      "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n" + bulk + list + "+OK\r\n$-1\r\n+OK\r\n" + bulk;
  client.say("CLIENT REPLY SKIP\r\nGET a\r\nPING\r\nLRANGE l 0 -1\r\nMGET a a\r\n");
  expected += "+PONG\r\n" + list + "*2\r\n" + bulk + bulk;
  client.say("MULTI\r\nSET a small\r\nEXEC\r\nGET a\r\nGET a\r\n");  // no longer large: shared again
  expected += "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n$5\r\nsmall\r\n$5\r\nsmall\r\n";
  scene.hears(client, expected);
}

TEST_CASE("session: a client that does not read a large reply is closed when others wait behind it, and only then") {
  Scene scene;
  scene.config.limits.stream_above_bytes = 1000;
  scene.config.routing.reads = ReadPolicy::primary;
  scene.plane.config_changed();
  scene.primary.run({"SET", "a", std::string(30'000'000, 'x')});
  Client& slow = scene.client();
  Client& other = scene.client();
  slow.stop_reading();
  slow.say("GET a\r\n");
  scene.world.run_for(60'000);
  CHECK_FALSE(slow.closed);
  other.say("SET b 1\r\nGET b\r\n");  // another connection takes them
  scene.hears(other, "+OK\r\n$1\r\n1\r\n");
  CHECK(scene.plane.clients().connected == 2);
}

TEST_CASE("session: reads behind a large reply go elsewhere; writes wait until its client has read or is closed") {
  int closed = 0;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    Scene scene(seed);
    scene.config.limits.stream_above_bytes = 1000;
    scene.config.routing.reads = ReadPolicy::primary;
    scene.plane.config_changed();
    scene.primary.run({"SET", "a", std::string(30'000'000, 'x')});
    scene.primary.options().service_max_us = 3000;
    Client& slow = scene.client();
    Client& reader = scene.client();
    Client& writer = scene.client();
    slow.stop_reading();
    slow.say("GET a\r\n");
    reader.say("GET n\r\nGET n\r\n");
    writer.say("INCR n\r\nGET n\r\n");
    REQUIRE(scene.hears(writer, ":1\r\n$1\r\n1\r\n", 20'000));
    CHECK(scene.world.run_until([&] { return reader.heard.size() >= 10; }, 1000));
    CHECK_FALSE(reader.closed);
    closed += scene.plane.clients().connected == 2 ? 1 : 0;
  }
  CHECK(closed > 0);
  CHECK(closed < 10);
}

TEST_CASE("session: a server that breaks in the middle of a large reply takes the client with it") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    Scene scene(seed);
    scene.config.limits.stream_above_bytes = 1000;
    scene.config.routing.reads = ReadPolicy::primary;
    scene.plane.config_changed();
    const std::string large(3'000'000, 'x');
    scene.primary.run({"SET", "a", large});
    const std::string rdb = scene.primary.save();
    Client& client = scene.client();
    client.say("GET a\r\n");
    scene.world.run_for(static_cast<int64_t>(seed % 10));
    scene.primary.crash();
    scene.primary.start(rdb);
    CHECK(scene.world.run_until([&] { return client.closed || client.heard.size() == large.size() + 12; }, 20'000));
    const std::string whole = "$3000000\r\n" + large + "\r\n";
    CHECK(whole.starts_with(client.heard));
  }
}

}  // namespace sidestream::routing
