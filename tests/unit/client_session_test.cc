// client_session_test.cc: whole conversations through the plane, in memory: in pieces of every size, cut off after
// every byte; order, freshness and the promises about writes while servers are slow, break and come back.
#include "proxy/routing/client_session.h"

#include <map>

#include "proxy/routing/limits.h"
#include "tests/unit/plane_scene.h"

namespace sidestream::routing {
namespace {

/// Everything a session can do, with replies that do not depend on timing.
const Exchange& conversation() {
  static const Exchange kAll = [] {
    Exchange all;
    const auto add = [&](const std::string& command, const std::string& reply) {
      all.said += command + "\r\n";
      all.heard += reply;
    };
    add("PING", "+PONG\r\n");
    add("SET a 1", "+OK\r\n");
    add("GET a", "$1\r\n1\r\n");
    add("INCR n", ":1\r\n");
    add("MULTI", "+OK\r\n");
    add("INCR n", "+QUEUED\r\n");
    add("GET a", "+QUEUED\r\n");
    add("EXEC", "*2\r\n:2\r\n$1\r\n1\r\n");
    add("GET n", "$1\r\n2\r\n");
    add("MULTI", "+OK\r\n");
    add("SLAVEOF NO ONE", "+QUEUED\r\n");
    add("CONFIG REWRITE", "+QUEUED\r\n");
    add("EXEC", "*2\r\n+SLAVEOF\r\n+CONFIG\r\n");
    add("WATCH n", "+OK\r\n");
    add("MULTI", "+OK\r\n");
    add("INCR n", "+QUEUED\r\n");
    add("EXEC", "*1\r\n:3\r\n");
    add("EXEC", "-ERR EXEC without MULTI\r\n");
    add("SELECT 3", "+OK\r\n");
    add("GET a", "$-1\r\n");
    add("SET a 3", "+OK\r\n");
    add("SELECT 0", "+OK\r\n");
    add("GET a", "$1\r\n1\r\n");
    add("SELECT 16", "-ERR DB index is out of range\r\n");
    add("CLIENT REPLY SKIP", "");
    add("SET a 4", "");
    add("GET a", "$1\r\n4\r\n");
    add("CLIENT REPLY OFF", "");
    add("SET a 5", "");
    add("CLIENT REPLY ON", "+OK\r\n");
    add("GET a", "$1\r\n5\r\n");
    add("INFO", "+INFO later\r\n");
    add("SUBSCRIBE __sentinel__:hello", "*3\r\n$9\r\nsubscribe\r\n$18\r\n__sentinel__:hello\r\n:1\r\n");
    add("PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    add("GET a",
        "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this "
        "context\r\n");
    add("UNSUBSCRIBE", "*3\r\n$11\r\nunsubscribe\r\n$18\r\n__sentinel__:hello\r\n:0\r\n");
    add("NONSENSE x", "-ERR unknown command 'NONSENSE', with args beginning with: 'x' \r\n");
    add("GET", "-ERR wrong number of arguments for 'get' command\r\n");
    add("RESET", "+RESET\r\n");
    add("QUIT", "+OK\r\n");
    return all;
  }();
  return kAll;
}

}  // namespace

TEST_CASE("session: a conversation in pieces of every size") {
  const Exchange& all = conversation();
  for (const int size : {1, 2, 3, 5, 7, 16, 64, 4096}) {
    const auto piece = static_cast<size_t>(size);
    CAPTURE(piece);
    Scene scene(piece);
    Client& client = scene.client();
    for (size_t at = 0; at < all.said.size(); at += piece) {
      client.say(all.said.substr(at, piece));
      scene.world.run_for(1);
    }
    scene.hears(client, all.heard);
    CHECK(scene.world.run_until([&] { return client.closed; }, 1000));
    CHECK(scene.plane.clients().connected == 0);
  }
}

TEST_CASE("session: a client that goes after any byte takes everything with it, and harms nobody") {
  const Exchange& all = conversation();
  Scene scene;
  for (size_t bytes = 0; bytes < all.said.size(); bytes += 3) {
    CAPTURE(bytes);
    Client& client = scene.client();
    client.say(std::string_view(all.said).substr(0, bytes));
    scene.world.run_for(bytes % 4);  // before, while and after it is executed
    bytes % 2 == 0 ? client.leave() : client.finish();
    CHECK(scene.world.run_until([&] { return scene.plane.clients().connected == 0; }, 3000));
    scene.clients.clear();
  }
  Client& other = scene.client();
  other.say("SET a 1\r\nGET a\r\n");
  scene.hears(other, "+OK\r\n$1\r\n1\r\n");
}

TEST_CASE("session: one pipeline over two servers reads as from one") {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    Scene scene(seed);
    scene.primary.options().service_max_us = 3000;
    scene.replica.options().service_max_us = 3000;
    scene.replica.options().apply_max_ms = seed % 3 == 0 ? 20 : 0;
    Client& client = scene.client();
    std::map<std::string, int> values;
    std::string expected;
    for (int i = 0; i < 300; ++i) {
      const std::string key = "k" + std::to_string(scene.world.dice().below(8));
      if (scene.world.dice().chance(300)) {
        client.say({"INCR", key});
        expected += ":" + std::to_string(++values[key]) + "\r\n";
      } else {
        client.say({"GET", key});
        const std::string value = std::to_string(values[key]);
        expected += values[key] == 0 ? "$-1\r\n" : "$" + std::to_string(value.size()) + "\r\n" + value + "\r\n";
      }
      if (i % 50 == 49) scene.world.run_for(static_cast<int64_t>(seed % 7));
    }
    REQUIRE(scene.hears(client, expected, 60'000));
  }
}

TEST_CASE("session: fresh reads never see less than an acknowledged write, and replicas serve") {
  uint64_t by_replica = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    Scene scene(seed);
    scene.replica.options().apply_max_ms = 1 + static_cast<int64_t>(seed % 40);
    Client& writer = scene.client();
    Client& reader = scene.client();
    for (int i = 1; i <= 60; ++i) {
      const std::string key = "k" + std::to_string(i % 5);
      const std::string value = std::to_string(i);
      writer.heard.clear();
      reader.heard.clear();
      writer.say({"SET", key, value});
      scene.hears(writer, "+OK\r\n");
      reader.say({"GET", key});
      scene.hears(reader, "$" + std::to_string(value.size()) + "\r\n" + value + "\r\n");
      reader.heard.clear();
      reader.say({"GET", "untouched"});
      scene.hears(reader, "$-1\r\n");
      if (scene.world.dice().chance(200)) scene.world.run_for(30);
    }
    by_replica += scene.counters().reads_replica;
  }
  CHECK(by_replica > 600);
}

TEST_CASE("session: a replica that is reset behind our back is not believed") {
  Scene scene;
  Client& client = scene.client();
  client.say("SET a new\r\n");
  scene.hears(client, "+OK\r\n");
  scene.world.run_for(1500);
  scene.tell_targets();
  client.heard.clear();
  // The facts still say online: only the ROLE in front of the reads can tell.
  scene.replica.promote();
  scene.replica.run({"FLUSHALL"});
  scene.replica.run({"SET", "a", "other"});
  client.say("GET a\r\n");
  scene.hears(client, "$3\r\nnew\r\n");
  CHECK(scene.plane.counters().retried_reads == 1);
}

TEST_CASE("session: a replica that follows somebody else is not believed, however far it is") {
  Scene scene;
  FakeNode other(scene.world, scene.chronicle, node_at("10.0.0.3"));
  other.start();
  Client& client = scene.client();
  client.say("GET b\r\nSET a new\r\n");  // the first read learns whom the replica follows
  scene.hears(client, "$-1\r\n+OK\r\n");
  scene.replica.replicaof(other.address());
  CHECK(scene.world.run_until([&] { return scene.replica.link_up(); }, 60'000));
  for (int i = 0; i < 500; ++i) other.run({"SET", "a", "other"});
  CHECK(scene.world.run_until([&] { return scene.replica.offset() == other.offset(); }, 10'000));
  CHECK(other.offset() > scene.primary.offset());
  for (int i = 0; i < 4; ++i) {  // the first makes us ask how far it is
    client.heard.clear();
    client.say("GET a\r\n");
    scene.hears(client, "$3\r\nnew\r\n");
    scene.world.run_for(10);
  }
}

TEST_CASE("session: a replica that must say that it follows us is not believed when it does not, even at first") {
  Scene scene;
  FakeNode other(scene.world, scene.chronicle, node_at("10.0.0.3"));
  other.start();
  Client& client = scene.client();
  client.say("SET a new\r\n");
  scene.hears(client, "+OK\r\n");
  const auto read = [&] {
    const auto before = scene.replica.counters().reads;
    for (int i = 0; i < 4; ++i) {  // the first makes us ask how far it is
      client.heard.clear();
      client.say("GET a\r\n");
      scene.hears(client, "$3\r\nnew\r\n");
      scene.world.run_for(10);
    }
    return scene.replica.counters().reads - before;
  };
  scene.tell_targets(scene.primary.address());
  scene.world.run_for(1500);
  CHECK(read() > 0);
  CHECK(scene.counters().retried_reads == 0);
  // What was known of it is void, its link is down, and up again; but by now it was led away.
  scene.replica.replicaof(other.address());
  scene.tell_targets(scene.primary.address());
  CHECK(scene.world.run_until([&] { return scene.replica.link_up(); }, 60'000));
  for (int i = 0; i < 500; ++i) other.run({"SET", "a", "other"});
  CHECK(scene.world.run_until([&] { return scene.replica.offset() == other.offset(); }, 10'000));
  scene.tell_targets(scene.primary.address());
  read();
  CHECK(scene.counters().retried_reads > 0);
}

TEST_CASE("session: a write whose connection breaks is not sent again, a read is") {
  Scene scene;
  scene.primary.freeze(true);
  Client& client = scene.client();
  client.say("INCR n\r\nGET n\r\nGET never\r\n");
  scene.world.run_for(50);
  scene.primary.crash();
  scene.world.run_for(20);
  scene.primary.start();
  CHECK(scene.world.run_until([&] { return client.heard.size() > 100; }, 5000));
  const std::string unknown =
      "-ERR the connection to the primary broke before the reply: the outcome of this write is unknown\r\n";
  scene.hears(client, unknown + "$-1\r\n$-1\r\n");
  CHECK(scene.primary.counters().writes == 0);
  CHECK(scene.plane.counters().unknown_outcomes == 1);
}

TEST_CASE("session: writes wait for a primary, then go through or are refused retryably") {
  Scene scene(1, false);
  scene.primary.start();
  scene.learn();
  scene.plane.set_primary(std::nullopt);
  Client& client = scene.client();
  Client& gone = scene.client();
  client.say("SET a 1\r\nGET a\r\n");
  gone.say("SET b 1\r\n");
  scene.world.run_for(300);
  CHECK(client.heard.empty());
  gone.leave();
  scene.world.run_for(10);
  scene.learn();
  scene.hears(client, "+OK\r\n$1\r\n1\r\n");
  scene.world.run_for(100);
  CHECK(scene.primary.run({"EXISTS", "b"}) == ":0\r\n");  // its client had gone
  CHECK(scene.plane.counters().held_writes == 2);

  scene.plane.set_primary(std::nullopt);
  client.heard.clear();
  client.say("SET a 2\r\nSET a 3\r\nPING\r\n");
  scene.world.run_for(990);
  CHECK(client.heard.empty());
  scene.world.run_for(30);
  const std::string refused =
      "-MASTERDOWN Link with MASTER is down and writes could not be held any longer; try again.\r\n";
  CHECK(client.heard == refused + refused + "+PONG\r\n");
}

TEST_CASE("session: WAIT's fence lies behind the client's writes") {
  Scene scene;
  Client& client = scene.client();
  client.say("SET a 1\r\nWAIT 0 0\r\n");
  scene.world.run_for(50);
  CHECK(client.heard == "+OK\r\n:" + std::to_string(scene.primary.offset()) + "\r\n");
  Client& reader = scene.client();
  reader.say("GET a\r\nWAIT 0 0\r\n");
  scene.hears(reader, "$1\r\n1\r\n:0\r\n");
}

TEST_CASE("session: bad input is answered as stock does and closes this connection only") {
  Scene scene;
  Client& good = scene.client();
  const std::pair<std::string, std::string> cases[] = {
      {"PING\r\n*1\r\n$-5\r\n", "+PONG\r\n-ERR Protocol error: invalid bulk length\r\n"},
      {"GET a\r\n*1\r\n+x\r\n", "$-1\r\n-ERR Protocol error: expected '$', got '+'\r\n"},
      {"SET a \"\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"},
      {"POST / HTTP/1.1\r\n", ""},
  };
  for (const auto& [said, heard] : cases) {
    CAPTURE(said);
    Client& bad = scene.client();
    bad.say(said);
    CHECK(scene.world.run_until([&] { return bad.closed; }, 3000));
    CHECK(bad.heard == heard);
  }
  good.say("PING\r\n");
  scene.hears(good, "+PONG\r\n");
}

TEST_CASE("session: a password is asked for, and strangers are kept short") {
  Scene scene;
  scene.config.requirepass = "secret";
  scene.plane.config_changed();
  Client& client = scene.client();
  client.say("PING\r\nAUTH wrong\r\nAUTH default secret\r\nPING\r\n");
  scene.hears(client,
              "-NOAUTH Authentication required.\r\n-WRONGPASS invalid username-password pair or user is disabled.\r\n"
              "+OK\r\n+PONG\r\n");
  Client& stranger = scene.client();
  stranger.say("*11\r\n");
  CHECK(scene.world.run_until([&] { return stranger.closed; }, 1000));
  CHECK(stranger.heard == "-ERR Protocol error: unauthenticated multibulk length\r\n");
}

TEST_CASE("session: maxclients, and the places kept for Sentinel") {
  Scene scene;
  scene.config.limits.maxclients = 1;
  scene.client();
  Client& sentinel = scene.client();
  sentinel.say("PING\r\nSUBSCRIBE __sentinel__:hello\r\n");
  scene.hears(sentinel, "+PONG\r\n*3\r\n$9\r\nsubscribe\r\n$18\r\n__sentinel__:hello\r\n:1\r\n");
  Client& application = scene.client();
  application.say("GET a\r\n");
  CHECK(scene.world.run_until([&] { return application.closed; }, 1000));
  CHECK(application.heard == "-ERR max number of clients reached\r\n");
}

TEST_CASE("session: PSYNC hands the stream over with what was read behind it") {
  Scene scene;
  Client& replica = scene.client();
  replica.say("REPLCONF listening-port 7000\r\nPSYNC ? -1\r\nREPLCONF ACK 0\r\n");
  CHECK(scene.world.run_until([&] { return replica.closed; }, 1000));
  CHECK(replica.heard == "+REPLCONF\r\n+replica REPLCONF ACK 0\r\n\r\n");
  CHECK(scene.plane.clients().connected == 0);
}

TEST_CASE("session: whoever leaves before a slow answer is not waited for") {
  for (const uint64_t seed : {1, 2, 3}) {
    Scene scene(seed);
    Client& client = scene.client();
    client.say({"INFO", "slowly"});
    scene.world.run_for(100);
    client.finish();
    scene.world.run_for(limits::kLastAnswerMs / 2);
    CHECK(scene.plane.clients().connected == 1);
    CHECK(scene.world.run_until([&] { return scene.plane.clients().connected == 0; }, limits::kLastAnswerMs));
  }
}

TEST_CASE("session: nothing is left behind") {
  auto world = std::make_unique<Scene>();
  Client& client = world->client();
  client.say(conversation().said);
  world->world.run_for(50);
  CHECK(world->host.ended == 1);
}

}  // namespace sidestream::routing
