// session_fuzz.cc: clients of a whole simulated instance in front of a primary and a replica. The fuzzer writes the
// clients' requests and chooses how they are cut into pieces.
//
// Honest half of the inputs: what a client hears is byte for byte what a lone server would have said, so there are as
// many replies as requests, in their order. Other half: the requests may be any bytes, and a dishonest way to the
// primary drops, repeats, cuts and forges its replies; nothing may break, and when the way is honest again the
// instance serves.
#include <memory>
#include <string>
#include <vector>

#include "proxy/resp/reply.h"
#include "proxy/resp/request.h"
#include "proxy/resp/writer.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/sim/instance_host.h"

namespace sidestream::fuzz {
namespace {

using namespace sim;

constexpr int kDoorPort = 6379;
constexpr size_t kRequestsMax = 200;

FakeNodeOptions node_at(const std::string& host, int port) {
  FakeNodeOptions options;
  options.host = host;
  options.port = port;
  options.snapshot_max_ms = options.load_max_ms = 1;
  return options;
}

/// A way to a server. Up: as it is. Down: reply by reply, as the script says, until a replication link begins.
class CrookedWay {
 public:
  CrookedWay(SimWorld& world, std::string host, int port, Address server)
      : seams_(world.at(host)), server_(std::move(server)), listener_(seams_.network.listen(Address{host, port, {}})) {
    CHECK(listener_.ok());
    tasks_.add(accept_all());
  }
  /// The next replies are treated as the script says, one byte and its text each.
  void be_crooked(Input script) { script_ = script; }
  /// A reply that was swallowed or doubled shifts all behind it for good: such links end.
  void be_honest() {
    script_ = Input(nullptr, 0);
    for (auto& link : links_) close(*link);
  }

 private:
  struct Link {
    std::unique_ptr<ByteStream> client, server;
    bool replication = false;
    std::string pending;  // of replies
    bool cut = false;
    TaskSet directions;  // last: cancelled first
  };

  Task<void> accept_all() {
    for (;;) {
      auto stream = co_await listener_.value()->accept();
      if (!stream.ok()) co_return;
      links_.push_back(std::make_unique<Link>());
      links_.back()->client = std::move(stream).value();
      tasks_.add(run(*links_.back()));
    }
  }

  Task<void> run(Link& link) {
    auto server = co_await seams_.network.connect(server_);
    if (!server.ok()) co_return close(link);
    link.server = std::move(server).value();
    link.directions.add(down(link));
    char room[4096];
    for (;;) {
      auto n = co_await link.client->read(room);
      if (!n.ok() || n.value() == 0 || link.cut) co_return close(link);
      const std::string_view bytes(room, n.value());
      link.replication = link.replication || bytes.find("PSYNC") != std::string_view::npos;
      link.server->write(bytes);
    }
  }

  Task<void> down(Link& link) {
    char room[4096];
    for (;;) {
      auto n = co_await link.server->read(room);
      if (!n.ok() || n.value() == 0) {
        link.cut = true;
        link.client->close_write();
        co_return;
      }
      link.pending.append(room, n.value());
      if (link.replication || script_.empty()) {
        link.client->write(link.pending);
        link.pending.clear();
      } else {
        forge(link);
      }
    }
  }

  void forge(Link& link) {
    for (;;) {
      resp::ReplyScanner scanner;
      if (scanner.scan(link.pending) != resp::ReplyScanner::State::complete) return;
      const std::string reply = link.pending.substr(0, scanner.size());
      link.pending.erase(0, scanner.size());
      switch (script_.take_below(16)) {
        case 0:
          break;  // never comes
        case 1:
          link.client->write(reply + reply);
          break;
        case 2:
          link.client->write(script_.take_text(script_.take()));
          break;
        case 3:
          link.client->write(reply.substr(0, reply.size() / 2));
          break;
        case 4:
          link.client->write("-LOADING Redis is loading the dataset in memory\r\n");
          break;
        case 5:
          link.client->write("*3\r\n$6\r\nmaster\r\n:" + std::to_string(script_.take()) + "\r\n*0\r\n");
          break;
        case 6:
          link.client->write("*1000000000\r\n");
          break;
        case 7:
          link.client->write("$9223372036854775807\r\n");
          break;
        case 8:
          link.cut = true;
          link.client->close_write();
          return;
        default:
          link.client->write(reply);
      }
    }
  }

  /// The streams go when the client end is told, not the links: their coroutines are still running.
  void close(Link& link) {
    link.cut = true;
    link.client->close_write();
    if (link.server) link.server->close_write();
  }

  World seams_;
  Address server_;
  Result<std::unique_ptr<Listener>> listener_;
  Input script_{nullptr, 0};
  std::vector<std::unique_ptr<Link>> links_;
  TaskSet tasks_;
};

/// Sends what it is told, in pieces, and keeps what it hears.
class Client {
 public:
  Client(World world, Address door, std::string says, size_t piece) : clock_(world.clock) {
    tasks_.add(talk(world, std::move(door), std::move(says), piece));
  }
  std::string heard;
  bool said = false;

 private:
  Task<void> talk(World world, Address door, std::string says, size_t piece) {
    auto stream = co_await world.network.connect(door);
    CHECK(stream.ok());
    stream_ = std::move(stream).value();
    tasks_.add(listen());
    for (size_t at = 0; at < says.size(); at += piece) {
      stream_->write(std::string_view(says).substr(at, piece));
      if (piece < 32) co_await clock_.sleep(1);
    }
    said = true;
  }
  Task<void> listen() {
    std::string room(4096, '\0');
    for (;;) {
      auto n = co_await stream_->read(room);
      if (!n.ok() || n.value() == 0) co_return;
      heard.append(room, 0, n.value());
    }
  }
  Clock& clock_;
  std::unique_ptr<ByteStream> stream_;
  TaskSet tasks_;
};

/// Commands whose replies depend on nothing but the commands before them, on two keys of each kind.
std::string request(Input& input) {
  static const std::vector<std::vector<std::string_view>> kCommands = {
      {"GET", "a"},
      {"SET", "a", "?"},
      {"INCR", "n"},
      {"GET", "n"},
      {"MGET", "a", "b", "n"},
      {"MSET", "a", "?", "b", "?"},
      {"DEL", "a"},
      {"EXISTS", "a", "b"},
      {"RPUSH", "l", "?"},
      {"LRANGE", "l", "0", "-1"},
      {"TYPE", "l"},
      {"MULTI"},
      {"EXEC"},
      {"DISCARD"},
      {"WATCH", "a", "n"},
      {"UNWATCH"},
      {"SELECT", "0"},
      {"SELECT", "3"},
      {"PING"},
      {"ECHO", "?"},
      {"STRLEN", "b"},
      {"APPEND", "b", "?"},
      {"GET"},
      {"INCR", "l"},
      {"DBSIZE"},
      {"RESET"},
      {"QUIT"},
      {"get", "b"},
      {"PING", "?"},
      {"LLEN", "l"},
      {"INCRBY", "n", "5"},
      {"SELECT", "x"},
      {"FLUSHALL"},
  };
  static constexpr std::string_view kOdd[] = {
      "\r\n",
      "*0\r\n",
      "*-1\r\n",
      "PING\r\n",
      "get a\n",
      "SET a 'x y'\r\n",
      "*1\r\n$-1\r\n",
      "*1\r\n+PING\r\n",
      "*x\r\n",
      "set \"a\" \"unbalanced\r\n",
      "*2\r\n$3\r\nGET\r\n$1\r\naXX",
      "*1\r\n$4\r\n",
  };
  const size_t which = input.take_below(kCommands.size() + std::size(kOdd) / 2);
  if (which >= kCommands.size()) return std::string(kOdd[input.take_below(std::size(kOdd))]);
  std::vector<std::string> filled;
  std::vector<std::string_view> args;
  filled.reserve(kCommands[which].size());
  for (const auto word : kCommands[which]) {
    args.push_back(word == "?" ? filled.emplace_back(input.take_text(input.take_below(20))) : word);
  }
  std::string out;
  resp::append_command(out, args);
  return out;
}

struct Scene {
  Scene()
      : world(1),
        primary(world, chronicle, node_at("10.0.0.1", 6380)),
        lone(world, chronicle, node_at("10.0.0.5", 6379)),
        replica(world, chronicle, node_at("10.0.0.2", 6379)),
        way(world, "10.0.0.1", kDoorPort, primary.address()),
        instance(world, config(), "10.0.0.9") {
    primary.start();
    lone.start();
    replica.start();
    instance.boot();
    const bool up = world.run_until([&] { return serves() && replica.link_up(); }, 60'000);
    CHECK(up);
  }
  static Config config() {
    Config config;
    for (const char* host : {"10.0.0.1", "10.0.0.2"}) {
      NodeConfig node;
      node.address = Address{host, kDoorPort, {}};
      config.nodes.push_back(node);
    }
    config.wipe_guard = "pass";
    return config;
  }
  bool serves() { return instance.running() && instance.group().is_primary() && instance.caught_up_with(primary); }
  std::unique_ptr<Client> client(const Address& door, std::string says, size_t piece) {
    return std::make_unique<Client>(world.at("10.0.0.8"), door, std::move(says), piece);
  }

  SimWorld world;
  Chronicle chronicle{world};
  FakeNode primary, lone, replica;
  CrookedWay way;
  InstanceHost instance;
};

bool ends_connection(std::string_view request) {
  resp::RequestParser parser;
  resp::Request parsed;
  return parser.next(request, parsed) != resp::RequestParser::State::ok || parsed.name() == "QUIT";
}

void honest(Input input) {
  Scene scene;
  const size_t piece = 1 + input.take_below(128);
  std::string says;
  // Behind a request that ends the connection nothing is sent: the reset would eat replies, here as there.
  bool ends = false;
  for (size_t i = 0; i < kRequestsMax && !input.empty() && !ends; ++i) {
    const std::string next = request(input);
    says += next;
    ends = ends_connection(next);
  }
  const auto expected = scene.client(scene.lone.address(), says, piece);
  const auto actual = scene.client(scene.instance.address(), says, piece);
  const auto all = [&] { return actual->heard.size() >= expected->heard.size() && expected->said && actual->said; };
  scene.world.run_until([&] { return expected->said; }, 60'000);
  scene.world.run_for(200);
  scene.world.run_until(all, 10'000);
  scene.world.run_for(50);  // more than was due would come now
  if (actual->heard != expected->heard) {
    fprintf(stderr, "said:\n%s\nexpected:\n%s\nheard:\n%s\n", says.c_str(), expected->heard.c_str(),
            actual->heard.c_str());
  }
  CHECK(actual->heard == expected->heard);
}

void crooked(Input input) {
  Scene scene;
  const size_t piece = 1 + input.take_below(128);
  const size_t size = input.rest().size();
  const std::string_view script = input.take_text(size / 2);
  std::string says;
  for (size_t i = 0; i < kRequestsMax && !input.empty(); ++i) {
    says += input.take_below(8) == 0 ? std::string(input.take_text(input.take())) : request(input);
  }
  scene.way.be_crooked(Input(reinterpret_cast<const uint8_t*>(script.data()), script.size()));
  const auto bold = scene.client(scene.instance.address(), says, piece);
  const auto other =
      scene.client(scene.instance.address(InstanceHost::kServicePort), "SET a 1\r\nGET a\r\nINCR n\r\n", 7);
  scene.world.run_for(2000);
  scene.way.be_honest();
  scene.world.calm();
  bool served = false;
  for (int i = 0; i < 60 && !served; ++i) {
    const auto late = scene.client(scene.instance.address(), "SET late 1\r\nGET late\r\nPING\r\n", 64);
    const std::string want = "+OK\r\n$1\r\n1\r\n+PONG\r\n";
    scene.world.run_until([&] { return late->heard.size() >= want.size(); }, 2000);
    served = late->heard == want;
  }
  if (!served) fprintf(stderr, "%s\n", scene.instance.describe().c_str());
  CHECK(served);
}

}  // namespace
}  // namespace sidestream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sidestream::fuzz;
  Input input(data, size);
  if (input.take() % 2 == 0) {
    honest(input);
  } else {
    crooked(input);
  }
  return 0;
}
