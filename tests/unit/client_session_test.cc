// client_session_test.cc: whole conversations through the plane, in memory: in pieces of every size, cut off after
// every byte; order, freshness and the promises about writes while servers are slow, break and come back.
#include "proxy/routing/client_session.h"

#include <map>
#include <memory>

#include "proxy/resp/reply.h"
#include "proxy/resp/writer.h"
#include "proxy/routing/limits.h"
#include "proxy/routing/plane.h"
#include "tests/support/fake_node.h"
#include "tests/unit/unit_test.h"

namespace sidestream::routing {
namespace {

using sim::FakeNode;
using sim::FakeNodeOptions;

/// An instance that knows nothing: its own commands echo their names.
struct PlainHost final : PlaneHost {
  Task<Answer> answer_local(Caller caller, std::vector<std::string> args) override {
    Answer answer;
    answer.becomes_replica = args[0] == "PSYNC";
    if (answer.becomes_replica) co_return answer;
    if (args[0] == "INFO" && args.size() > 1) co_await clock->sleep(3'600'000);
    if (args[0] == "WAIT") {
      auto fence = co_await plane->fence(caller);
      co_return fence.ok() ? ":" + std::to_string(fence.value().value) + "\r\n" : "-ERR no fence\r\n";
    }
    co_return "+" + args[0] + " later\r\n";
  }
  std::optional<std::string> answer_at_once(const Caller&, std::span<const std::string_view> args) override {
    if (args[0] == "WAIT" || args[0] == "INFO" || args[0] == "PSYNC") return std::nullopt;
    return "+" + std::string(args[0]) + "\r\n";
  }
  void adopt_replica(std::unique_ptr<ByteStream> stream, uint64_t, std::vector<std::string>,
                     std::string leftover) override {
    stream->write("+replica " + leftover + "\r\n");
  }
  std::string ping_reply() override { return "+PONG\r\n"; }
  bool role_is_primary(Face) override { return true; }
  void session_ended(uint64_t) override { ++ended; }
  Plane* plane = nullptr;
  Clock* clock = nullptr;
  int ended = 0;
};

FakeNodeOptions node_at(const std::string& host) {
  FakeNodeOptions options;
  options.host = host;
  options.snapshot_max_ms = options.load_max_ms = 1;
  return options;
}

/// A client that says what it is told and remembers what it hears.
class Client {
 public:
  Client(World world, Address door) { tasks_.add(talk(world, std::move(door))); }
  void say(std::string_view bytes) { stream_ ? stream_->write(bytes) : void(first_ += bytes); }
  void say(std::initializer_list<std::string_view> command) { say(resp::command(command)); }
  void finish() { stream_->close_write(); }
  void stop_reading() { tasks_.cancel_all(); }
  void leave() {
    tasks_.cancel_all();
    stream_.reset();
  }
  std::string heard;
  bool closed = false;

 private:
  Task<void> talk(World world, Address door) {
    auto stream = co_await world.network.connect(door);
    CHECK(stream.ok());
    stream_ = std::move(stream).value();
    stream_->write(first_);
    std::string room(4096, '\0');
    for (;;) {
      auto n = co_await stream_->read(room);
      if (!n.ok() || n.value() == 0) break;
      heard.append(room, 0, n.value());
    }
    closed = true;
  }
  std::unique_ptr<ByteStream> stream_;
  std::string first_;
  TaskSet tasks_;
};

/// One loop for those who look closely, one to three for those who try many seeds.
Config with_loops(uint64_t seed) {
  Config config;
  config.threads = seed > 1 ? static_cast<int64_t>(1 + seed % 3) : 1;
  return config;
}

/// A primary, a replica of it, and a plane in front of them.
struct Scene {
  explicit Scene(uint64_t seed = 1, bool started = true)
      : world(seed), primary(world, chronicle, node_at("10.0.0.1")), replica(world, chronicle, node_at("10.0.0.2")),
        here(world.at("10.0.0.9")), config(with_loops(seed)), plane(here, config, host),
        listener(here.network.listen(door)) {
    host.plane = &plane;
    host.clock = &here.clock;
    tasks.add(accept());
    if (started) start();
  }
  ~Scene() {
    clients.clear();
    tasks.cancel_all();
  }
  void start() {
    primary.start();
    replica.start({}, primary.address());
    learn();
    CHECK(world.run_until([this] { return replica.link_up(); }, 10'000));
    tell_targets();
    world.run_for(500);
  }
  void learn() {
    plane.set_commands(resp::CommandTable::from_command_reply(resp::parse_value(primary.run({"COMMAND"}))), "7.0.15",
                       16);
    PrimaryFacts facts;
    facts.address = primary.address();
    plane.set_primary(facts);
  }
  void tell_targets() {
    TargetFacts facts;
    facts.address = replica.address();
    facts.online = replica.link_up();
    facts.acked = ReplOffset{replica.offset()};
    plane.set_targets({facts});
  }
  Task<void> accept() {
    for (;;) {
      auto stream = co_await listener.value()->accept();
      if (stream.ok()) plane.adopt(std::move(stream).value(), Face::node);
    }
  }
  Client& client() {
    clients.push_back(std::make_unique<Client>(world.at("10.0.0.8"), door));
    world.run_for(5);
    return *clients.back();
  }
  Counters counters() {  // of all loops
    bool done = false;
    tasks.add(look_around(done));
    CHECK(world.run_until([&] { return done; }, 1000));
    return plane.counters();
  }
  Task<void> look_around(bool& done) {
    co_await plane.look_around();
    done = true;
  }
  bool hears(Client& client, const std::string& text, int64_t ms = 5000) {
    const bool heard = world.run_until([&] { return client.heard.size() >= text.size(); }, ms);
    CHECK(client.heard == text);
    return heard;
  }

  sim::SimWorld world;
  sim::Chronicle chronicle{world};
  FakeNode primary, replica;
  World here;
  Address door{"10.0.0.9", 6379, {}};
  Config config;
  PlainHost host;
  Plane plane;
  Result<std::unique_ptr<Listener>> listener;
  TaskSet tasks;
  std::vector<std::unique_ptr<Client>> clients;
};

struct Exchange {
  std::string said, heard;
};

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
  Scene scene(2);
  Client& client = scene.client();
  client.say({"INFO", "slowly"});
  client.finish();
  CHECK(scene.world.run_until([&] { return scene.plane.clients().connected == 0; }, 2 * limits::kLastAnswerMs));
}

TEST_CASE("session: nothing is left behind") {
  auto world = std::make_unique<Scene>();
  Client& client = world->client();
  client.say(conversation().said);
  world->world.run_for(50);
  CHECK(world->host.ended == 1);
}

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
