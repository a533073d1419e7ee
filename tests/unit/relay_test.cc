// relay_test.cc: the relay between a scripted primary and scripted replicas, in memory: in pieces of every size, cut
// off after every byte, cancelled after every byte; and the corners of the protocol one by one.
#include "proxy/replication/relay.h"

#include <algorithm>

#include "proxy/resp/writer.h"
#include "tests/unit/scripted_primary.h"
#include "tests/unit/unit_test.h"

namespace sidestream::replication {
namespace {

const std::string kId(40, 'a');
const std::string kNewId(40, 'b');
constexpr int64_t kBase = ScriptedPrimary::kBase;

std::string first_commands() {
  return resp::command({"SELECT", "0"}) + resp::command({"SET", "k", "v\r\n*1"}) +
         resp::command({"REPLCONF", "GETACK", "*"}) + resp::command({"MULTI"}) + resp::command({"INCR", "n"}) +
         resp::command({"EXEC"}) + resp::command({"ping"});
}

struct Observed : RelayObserver {
  std::string commands;  // names
  int64_t last_end = 0;
  void stream_command(std::span<const std::string_view> args, bool, ReplOffset end) override {
    CHECK(end.value > last_end);
    last_end = end.value;
    commands += std::string(args[0]) + " ";
  }
  void upstream_changed() override {}
  void replica_changed(uint64_t) override {}
};

/// A primary, a relay that follows it, and a door for replicas.
struct Scene {
  explicit Scene(uint64_t seed = 1) : world(seed), primary(world, kId, first_commands()), host(world.at("10.0.0.2")) {
    config.dir = "/spool";
    config.repl_timeout = 5;
    relay = std::make_unique<Relay>(host, config, observed, "run-id-of-the-relay");
    relay->set_announce(7000, "");
    tasks.add(begin());
  }
  Task<void> begin() {
    auto started = co_await relay->start();
    CHECK(started.ok());
    relay->follow(primary.address(), Credentials());
  }
  bool caught_up() {
    return relay->has_history() && relay->upstream().state == "connected" && relay->offset().value == primary.end();
  }
  bool settle(int64_t ms = 60'000) {
    return world.run_until([this] { return caught_up(); }, ms);
  }

  sim::SimWorld world;
  ScriptedPrimary primary;
  World host;
  Config config;
  Observed observed;
  std::unique_ptr<Relay> relay;
  TaskSet tasks;
};

/// The replica's end of a connection to the relay.
class ScriptedReplica {
 public:
  ScriptedReplica(Scene& scene, ReplicaHello hello, SyncRequest request, std::string leftover = {}) {
    scene.tasks.add(attach(scene, std::move(hello), std::move(request), std::move(leftover)));
  }
  std::string got;
  bool closed = false;
  void say(const std::string& bytes) { link_->write(bytes); }
  void ack(int64_t offset) {
    const std::string number = std::to_string(offset);
    say(resp::command({"REPLCONF", "ACK", number}));
  }
  void leave() {
    reading_.cancel_all();
    link_.reset();
  }

 private:
  Task<void> attach(Scene& scene, ReplicaHello hello, SyncRequest request, std::string leftover) {
    static int port = 20'000;
    const Address door{"10.0.0.2", ++port, {}};
    auto listener = scene.host.network.listen(door);
    auto connected = co_await scene.world.at("10.0.0.3").network.connect(door);
    auto accepted = co_await listener.value()->accept();
    link_ = std::move(connected).value();
    reading_.add(read());
    scene.relay->adopt(std::move(accepted).value(), std::move(hello), std::move(request), std::move(leftover));
  }
  Task<void> read() {
    std::string room(1000, '\0');
    for (;;) {
      auto n = co_await link_->read(room);
      if (!n.ok() || n.value() == 0) break;
      got.append(room, 0, n.value());
    }
    closed = true;
  }
  std::unique_ptr<ByteStream> link_;
  TaskSet reading_;
};

ReplicaHello modern() {
  ReplicaHello hello;
  hello.listening_port = 6380;
  hello.eof = hello.psync2 = true;
  return hello;
}
SyncRequest from(int64_t next_byte, std::string id = kId) { return {true, std::move(id), next_byte, false}; }
SyncRequest anything() { return {true, "?", -1, false}; }

void check_whole(Scene& scene) {
  scene.world.run_for(20);  // for the last ACK to arrive
  CHECK(scene.observed.commands == "SELECT SET REPLCONF MULTI INCR EXEC ping ");
  CHECK(scene.relay->history().replid.text() == kId);
  CHECK(scene.relay->safe_boundary() == scene.relay->offset());
  const int64_t getack_at = kBase + static_cast<int64_t>(first_commands().find("*3\r\n$8\r\nREPLCONF"));
  CHECK(std::count(scene.primary.acks.begin(), scene.primary.acks.end(), getack_at) >= 1);
}

TEST_CASE("attach in pieces of every size") {
  for (size_t piece = 1; piece < 400; piece = piece < 60 ? piece + 1 : piece + 37) {
    for (const bool sized : {false, true}) {
      for (const bool knows_filter : {false, true}) {
        CAPTURE(piece);
        Scene scene;
        scene.primary.piece = piece;
        scene.primary.sized = sized;
        scene.primary.knows_filter = knows_filter;
        REQUIRE(scene.settle());
        check_whole(scene);
        CHECK(scene.primary.full_syncs == 1);
        CHECK(scene.relay->counters().snapshots_fetched == (knows_filter ? 0 : 1));
      }
    }
  }
}

TEST_CASE("attach with the connection cut after every byte") {
  Scene whole;
  REQUIRE(whole.settle());
  whole.world.run_for(20);
  const int64_t total = whole.primary.sent;
  REQUIRE(total > 300);
  for (int64_t cut = 0; cut < total; ++cut) {
    CAPTURE(cut);
    Scene scene;
    scene.primary.cut_after = cut;
    REQUIRE(scene.settle());
    check_whole(scene);
    CHECK(scene.primary.full_syncs <= 2);
  }
}

TEST_CASE("attach cancelled after every byte leaves nothing behind") {
  Scene whole;
  REQUIRE(whole.settle());
  const int64_t total = whole.primary.sent;
  for (int64_t stop = 0; stop <= total; ++stop) {
    CAPTURE(stop);
    Scene scene;
    scene.primary.piece = 1;
    scene.primary.knows_filter = stop % 2 == 0;
    REQUIRE(scene.world.run_until([&] { return scene.primary.sent >= stop; }, 60'000));
    scene.tasks.cancel_all();
    scene.relay.reset();
    scene.world.run_for(10);
    scene.primary.drop_connections();
    CHECK(scene.world.host("10.0.0.2").files().open_count() == 0);
  }
}

TEST_CASE("an active backlog is taken over without a snapshot, from the middle of a command") {
  Scene scene;
  scene.primary.active_backlog = true;
  scene.primary.first_byte = kBase + 6;
  REQUIRE(scene.settle());
  CHECK(scene.primary.full_syncs == 0);
  CHECK(scene.relay->backlog_range().first_byte == kBase + 6);
  CHECK(scene.observed.commands.empty());
  scene.primary.append(resp::command({"SET", "x", "y"}));
  REQUIRE(scene.settle());
  CHECK(scene.observed.commands == "SET ");
}

TEST_CASE("a lost link goes on at the next byte, also inside a command") {
  Scene scene;
  REQUIRE(scene.settle());
  const std::string command = resp::command({"SET", "half", "command"});
  scene.primary.append(command.substr(0, 11));
  REQUIRE(scene.settle());
  CHECK(scene.relay->safe_boundary().value == scene.primary.end() - 11);
  scene.primary.drop_connections();
  scene.primary.append(command.substr(11));
  REQUIRE(scene.settle());
  CHECK(scene.primary.asked.back() ==
        "PSYNC " + kId + " " + std::to_string(kBase + static_cast<int64_t>(first_commands().size()) + 12));
  CHECK(scene.primary.full_syncs == 1);
  CHECK(scene.relay->safe_boundary() == scene.relay->offset());
}

TEST_CASE("a promoted upstream: what it does not have is dropped, replicas continue under the old id") {
  Scene scene;
  REQUIRE(scene.settle());
  const int64_t fork = scene.primary.end();
  scene.primary.append(resp::command({"SET", "lost", "write"}));
  REQUIRE(scene.settle());
  ScriptedReplica with_less(scene, modern(), from(fork + 1));
  REQUIRE(scene.world.run_until([&] { return with_less.got.size() > 50; }, 1000));
  scene.primary.stream.resize(static_cast<size_t>(fork - kBase));
  scene.primary.replid2 = kId;
  scene.primary.second_offset = fork + 1;
  scene.primary.replid = kNewId;
  scene.primary.drop_connections();
  scene.primary.append(resp::command({"SET", "new", "history"}));
  REQUIRE(scene.settle());
  CHECK(scene.primary.full_syncs == 1);
  CHECK(scene.relay->history().replid.text() == kNewId);
  CHECK(scene.relay->history().replid2.text() == kId);
  CHECK(scene.relay->history().second_offset == fork + 1);
  CHECK(with_less.closed);
  ScriptedReplica again(scene, modern(), from(fork + 1));
  REQUIRE(scene.world.run_until([&] { return again.got.ends_with("history\r\n"); }, 1000));
  CHECK(again.got == "+CONTINUE " + kNewId + "\r\n" + resp::command({"SET", "new", "history"}));
}

TEST_CASE("partial resync: exactly the bytes from the one asked for") {
  for (int64_t next = kBase + 1; next <= kBase + 1 + static_cast<int64_t>(first_commands().size()); ++next) {
    Scene scene;
    REQUIRE(scene.settle());
    ScriptedReplica replica(scene, modern(), from(next));
    scene.world.run_for(1500);
    CHECK(replica.got == "+CONTINUE " + kId + "\r\n" + first_commands().substr(static_cast<size_t>(next - kBase - 1)));
  }
}

TEST_CASE("a client without psync2 is not told an id") {
  Scene scene;
  REQUIRE(scene.settle());
  ScriptedReplica replica(scene, ReplicaHello(), from(scene.primary.end() + 1));
  scene.world.run_for(100);
  CHECK(replica.got == "+CONTINUE\r\n");
}

TEST_CASE("full resync: nothing follows a marked snapshot before the first ACK, then the stream and nothing else") {
  Scene scene;
  REQUIRE(scene.settle());
  scene.primary.piece = 1;  // so slow that the snapshot is passed on while it arrives
  ScriptedReplica replica(scene, modern(), anything());
  scene.world.run_for(3000);
  const std::string header = "+FULLRESYNC " + kId + " 1000\r\n$EOF:";
  REQUIRE(replica.got.find(header) != std::string::npos);
  CHECK(replica.got.find_first_not_of('\n') == replica.got.find('+'));
  const std::string rest = replica.got.substr(replica.got.find(header) + header.size());
  CHECK(rest.find(scene.primary.payload) != std::string::npos);
  CHECK(rest.find("SELECT") == std::string::npos);
  CHECK(scene.relay->replicas().at(0).state == "send_bulk");
  const size_t before = replica.got.size();
  replica.say("\n");
  scene.world.run_for(100);
  CHECK(replica.got.size() == before);
  replica.ack(0);
  scene.world.run_for(100);
  CHECK(replica.got.substr(before) == first_commands());
  CHECK(scene.relay->replicas().at(0).state == "online");
}

TEST_CASE("a client without eof gets a length; SYNC gets no +FULLRESYNC") {
  Scene scene;
  REQUIRE(scene.settle());
  ScriptedReplica old(scene, ReplicaHello(), SyncRequest{false, "", -1, false});
  scene.world.run_for(3000);
  const std::string expected =
      "$" + std::to_string(scene.primary.payload.size()) + "\r\n" + scene.primary.payload + first_commands();
  REQUIRE(old.got.find('$') != std::string::npos);
  CHECK(old.got.find_first_not_of('\n') == old.got.find('$'));
  CHECK(old.got.substr(old.got.find('$')) == expected);
}

TEST_CASE("one snapshot serves many, a snapshot-only client gets a fresh one and no stream") {
  Scene scene;
  REQUIRE(scene.settle());
  std::vector<std::unique_ptr<ScriptedReplica>> replicas;
  for (int i = 0; i < 6; ++i) {
    ReplicaHello hello = modern();
    hello.listening_port = 6380 + i;
    replicas.push_back(std::make_unique<ScriptedReplica>(scene, hello, anything()));
  }
  scene.world.run_for(5000);
  for (const auto& replica : replicas) {
    CHECK(replica->got.find("+FULLRESYNC") != std::string::npos);
    CHECK_FALSE(replica->closed);
  }
  CHECK(scene.primary.snapshots == 1);
  CHECK(scene.relay->counters().snapshots_shared == 5);
  ReplicaHello backup = modern();
  backup.rdb_only = true;
  ScriptedReplica only(scene, backup, anything());
  scene.world.run_for(5000);
  CHECK(scene.primary.snapshots == 2);
  CHECK(only.closed);
  CHECK(only.got.find("SELECT") == std::string::npos);
}

TEST_CASE("a replica that is ahead waits, kept alive, until we have its bytes") {
  Scene scene;
  REQUIRE(scene.settle());
  const std::string next = resp::command({"SET", "a", "b"});
  ScriptedReplica replica(scene, modern(), from(scene.primary.end() + static_cast<int64_t>(next.size()) + 1));
  scene.world.run_for(3500);
  CHECK(replica.got == "\n\n\n");
  scene.primary.append(next);
  scene.world.run_for(100);
  CHECK(replica.got == "\n\n\n+CONTINUE " + kId + "\r\n");
}

TEST_CASE("who holds a history that we do not know gets no old data from us while no upstream tells what it is") {
  Scene scene;
  REQUIRE(scene.settle());
  scene.relay->unfollow();
  SyncRequest unknown = from(scene.primary.end() + 500);
  unknown.replid = kNewId;
  ScriptedReplica replica(scene, modern(), unknown);
  scene.world.run_for(60'000);
  CHECK(replica.got.find_first_not_of('\n') == std::string::npos);
  CHECK_FALSE(replica.closed);
  scene.relay->follow(scene.primary.address(), Credentials());
  scene.world.run_for(5000);
  CHECK(replica.got.find("+FULLRESYNC " + kId) != std::string::npos);
}

TEST_CASE("who leaves while a snapshot is fetched for him: what has arrived of it goes") {
  Scene scene;
  REQUIRE(scene.settle());
  scene.world.weather().socket_buffer = 16;  // some bytes a round trip
  const auto files = [&] {
    const auto paths = scene.world.host("10.0.0.2").files().paths();
    return std::count_if(paths.begin(), paths.end(), [](const auto& path) { return path.ends_with(".rdb"); });
  };
  const auto kept = files();
  ScriptedReplica replica(scene, modern(), anything());
  REQUIRE(scene.world.run_until([&] { return files() > kept; }, 10'000));
  replica.leave();
  scene.world.run_for(1000);
  CHECK(files() == kept);
}

TEST_CASE("a snapshot that was asked for and does not come is asked for anew when another upstream is followed") {
  Scene scene;
  REQUIRE(scene.settle());
  scene.primary.psync_reply = "\n";  // it has to wait itself, perhaps for one of ours
  ScriptedReplica replica(scene, modern(), anything());
  scene.world.run_for(500);
  REQUIRE(scene.relay->snapshot().state == "fetching");
  scene.primary.psync_reply.clear();
  scene.relay->follow(scene.primary.address(), Credentials());
  CHECK(scene.world.run_until([&] { return replica.got.find("+FULLRESYNC") != std::string::npos; }, 3000));
}

TEST_CASE("refusals") {
  Scene scene;
  REQUIRE(scene.settle());
  SyncRequest failover = from(scene.primary.end() + 1);
  failover.failover = true;
  ScriptedReplica promoter(scene, modern(), failover);
  ReplicaHello filtered;
  filtered.rdb_filter = "";
  ScriptedReplica deaf(scene, filtered, anything());
  scene.world.run_for(100);
  CHECK(promoter.got == "-ERR PSYNC FAILOVER can't be sent to a master.\r\n");
  CHECK(promoter.closed);
  CHECK(deaf.got == "-ERR Filtered replica requires EOF capability\r\n");
  // Who waits for an answer when we must close gets the one that costs nothing.
  ScriptedReplica ahead(scene, modern(), from(scene.primary.end() + 100));
  scene.world.run_for(100);
  CHECK(scene.relay->kick_replicas("test") == 1);
  scene.world.run_for(100);
  CHECK(ahead.got == kNoMasterLink);
  CHECK(ahead.closed);
  CHECK(scene.relay->replicas().empty());
}

TEST_CASE("an instance that only wants the stream gets an empty snapshot at a command's end") {
  Scene scene;
  REQUIRE(scene.settle());
  scene.primary.append("*3\r\n$3\r\nSET");
  REQUIRE(scene.settle());
  ReplicaHello hello = modern();
  hello.rdb_filter = "";
  ScriptedReplica replica(scene, hello, anything());
  scene.world.run_for(100);
  const int64_t at = kBase + static_cast<int64_t>(first_commands().size());
  CHECK(replica.got.starts_with("+FULLRESYNC " + kId + " " + std::to_string(at) + "\r\n$EOF:"));
  const size_t before = replica.got.size();
  replica.ack(at);
  scene.world.run_for(100);
  CHECK(replica.got.substr(before) == "*3\r\n$3\r\nSET");
  CHECK(scene.primary.snapshots == 0);
}

TEST_CASE("a silent replica, a talkative one and a second of the same name are closed") {
  Scene scene;
  REQUIRE(scene.settle());
  ScriptedReplica silent(scene, modern(), from(scene.primary.end() + 1));
  ReplicaHello other = modern();
  other.listening_port = 6390;
  ScriptedReplica busy(scene, other, from(scene.primary.end() + 1),
                       "\n\n*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$4\r\n1001\r\n");
  for (int second = 0; second < 4; ++second) {
    scene.world.run_for(1000);
    busy.say("\n");
  }
  CHECK_FALSE(silent.closed);
  scene.world.run_for(3000);
  CHECK(silent.closed);
  CHECK_FALSE(busy.closed);
  ScriptedReplica again(scene, other, from(scene.primary.end() + 1));
  scene.world.run_for(100);
  CHECK(busy.closed);
  CHECK_FALSE(again.closed);
  again.say("SET a b\r\n");
  scene.world.run_for(100);
  CHECK(again.closed);
}

TEST_CASE("a broken stream is not passed on, the upstream is asked again, then given up") {
  Scene scene;
  REQUIRE(scene.settle());
  const int64_t good = scene.primary.end();
  ScriptedReplica replica(scene, modern(), from(good + 1));
  scene.world.run_for(100);
  scene.primary.asked.clear();
  scene.primary.append("SET inline command\r\n");
  scene.world.run_until([&] { return scene.primary.asked.size() >= 2; }, 10'000);
  REQUIRE(scene.primary.asked.size() == 2);
  CHECK(scene.primary.asked[0] == "PSYNC " + kId + " " + std::to_string(good + 1));
  CHECK(scene.primary.asked[1] == "PSYNC ? -1");
  CHECK(replica.got == "+CONTINUE " + kId + "\r\n");
}

TEST_CASE("what an upstream may say to PSYNC without costing us anything") {
  for (const std::string reply :
       {"-NOMASTERLINK Can't SYNC while not connected with my master\r\n", "-LOADING loading\r\n",
        "-ERR unknown command\r\n", "+WHATEVER\r\n", "+FULLRESYNC x 1\r\n"}) {
    CAPTURE(reply);
    Scene scene;
    REQUIRE(scene.settle());
    const ReplOffset before = scene.relay->offset();
    scene.primary.psync_reply = reply;
    scene.primary.drop_connections();
    scene.world.run_for(5000);
    CHECK(scene.relay->has_history());
    CHECK(scene.relay->offset() == before);
    CHECK_FALSE(scene.relay->upstream().last_error.empty());
    CHECK(scene.relay->upstream().state != "connected");
    scene.primary.psync_reply.clear();
    REQUIRE(scene.settle());
    CHECK(scene.primary.full_syncs == 1);
  }
}

TEST_CASE("we do not follow ourselves") {
  Scene scene;
  scene.primary.info_extra = "run_id:run-id-of-the-relay\r\n";
  scene.world.run_for(3000);
  CHECK(scene.relay->upstream().last_error == "that is this instance itself");
  CHECK(scene.primary.asked.empty());
}

TEST_CASE("truncation to the last whole command") {
  Scene scene;
  REQUIRE(scene.settle());
  const ReplOffset boundary = scene.relay->offset();
  ScriptedReplica replica(scene, modern(), from(boundary.next_byte()));
  scene.primary.append(resp::command({"MULTI"}) + "*3\r\n$3\r\nSE");
  REQUIRE(scene.settle());
  scene.world.run_for(100);
  scene.relay->truncate_to_safe_boundary();
  CHECK(scene.relay->offset() == boundary);
  scene.world.run_for(100);
  CHECK(replica.closed);
  CHECK(scene.relay->upstream().state == "none");
}

TEST_CASE("a full disk costs only those who need a snapshot") {
  Scene scene;
  REQUIRE(scene.settle());
  ScriptedReplica online(scene, modern(), from(scene.primary.end() + 1));
  scene.world.host("10.0.0.2").files().capacity = 10;
  ReplicaHello hello = modern();
  hello.listening_port = 1;
  ScriptedReplica fresh(scene, hello, anything());
  for (int second = 0; second < 8; ++second) {
    scene.world.run_for(1000);
    online.say("\n");
  }
  CHECK_FALSE(online.closed);
  CHECK(fresh.got.find("SELECT") == std::string::npos);
  scene.world.host("10.0.0.2").files().capacity = UINT64_MAX;
  ScriptedReplica later(scene, hello, anything());
  scene.world.run_for(3000);
  CHECK(later.got.find(scene.primary.payload) != std::string::npos);
}

}  // namespace
}  // namespace sidestream::replication
