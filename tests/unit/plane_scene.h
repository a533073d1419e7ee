// plane_scene.h: a primary, a replica of it, a plane in front of them and clients, all in memory, for tests of what
// clients hear.
//
// Happy path: Scene starts everything; client() connects; say(), and hears() runs the world until the answer is there.
// Failure modes: what was heard is not what was expected: a failed check with both.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/resp/reply.h"
#include "proxy/resp/writer.h"
#include "proxy/routing/client_session.h"
#include "proxy/routing/plane.h"
#include "tests/support/fake_node.h"
#include "tests/unit/unit_test.h"

namespace sidestream::routing {

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

inline FakeNodeOptions node_at(const std::string& host) {
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
inline Config with_loops(uint64_t seed) {
  Config config;
  config.threads = seed > 1 ? static_cast<int64_t>(1 + seed % 3) : 1;
  config.protected_mode = false;  // its clients are on other hosts
  return config;
}

/// A primary, a replica of it, and a plane in front of them.
struct Scene {
  explicit Scene(uint64_t seed = 1, bool started = true)
      : world(seed),
        primary(world, chronicle, node_at("10.0.0.1")),
        replica(world, chronicle, node_at("10.0.0.2")),
        here(world.at("10.0.0.9")),
        config(with_loops(seed)),
        plane(here, config, host),
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
  void tell_targets(std::optional<Address> upstream = std::nullopt) {
    TargetFacts facts;
    facts.upstream = std::move(upstream);
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
  /// Of all loops.
  Counters counters() {
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

}  // namespace sidestream::routing
