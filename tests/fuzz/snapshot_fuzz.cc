// snapshot_fuzz.cc: a snapshot on its way: the lines in front of it, its payload, sized or up to a mark, and the stream
// behind it, over a connection that cuts it anywhere and may end anywhere.
//
//   input = 0 piece text        what a server sends, any bytes: nothing breaks, and nothing hangs
//         | 1 decisions text    a proper one: the file holds the payload and not a byte more, and what comes behind is
//         left on the connection; ended early, it is an error, and the file is gone
#include <memory>
#include <string>

#include "common/signal.h"
#include "proxy/replication/handshake.h"
#include "proxy/replication/spool.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/sim_world.h"

namespace sidestream::fuzz {
namespace {

using namespace replication;

const ReplId kId = *ReplId::parse(std::string(40, 'a'));
constexpr int64_t kTimeoutMs = 1000;

struct Scene {
  Scene() : host(world.at("10.0.0.2")) {
    config.dir = "/dir";
    world.weather().latency_min_us = 1;
    world.weather().latency_max_us = 2;
  }

  /// What became of `bytes`, sent in pieces and followed by the end of the connection.
  void receive(std::string_view bytes, size_t piece) {
    tasks.add(serve(bytes, piece));
    tasks.add(take());
    CHECK(world.run_until([this] { return tasks.empty(); }, 60'000));
    snapshot.reset();
    world.run_for(100);  // a file that nobody wants goes
  }

  Task<void> serve(std::string_view bytes, size_t piece) {
    auto listener = world.at("10.0.0.1").network.listen(Address{"10.0.0.1", 1, {}});
    auto stream = co_await listener.value()->accept();
    for (const std::string_view each : pieces_of(bytes, piece)) {
      stream.value()->write(each);
      co_await world.clock().sleep(1);
    }
  }

  Task<void> take() {
    Address server_address{"10.0.0.1", 1, {}};
    auto opened = co_await host.network.connect(std::move(server_address));
    NodeConnection server(host, std::move(opened).value(), kTimeoutMs);
    auto ended = co_await conversation(server);
    outcome = std::move(ended);
    if (!outcome.ok() && snapshot != nullptr) snapshot->fail(outcome.error());
    if (!outcome.ok()) co_return;
    behind = server.take_leftover();
    for (;;) {
      auto chunk = co_await server.read_chunk();
      if (!chunk.ok()) co_return;
      behind.append(chunk.value());
    }
  }

  Task<Result<void>> conversation(NodeConnection& server) {
    auto prepared = co_await spool.prepare();
    CHECK(prepared.ok());
    auto header = co_await read_payload_header(server);
    CO_RETURN_IF_ERROR(header);
    const ReplOffset at{1};
    auto created = co_await spool.create(kId, at, header.value().size);
    CHECK(created.ok());
    snapshot = std::move(created).value();
    TransferProgress progress;
    auto received = co_await receive_payload(server, std::move(header).value(), snapshot, false, progress);
    CO_RETURN_IF_ERROR(received);
    file = *world.host("10.0.0.2").files().find(snapshot->path());
    co_return Result<void>();
  }

  sim::SimWorld world{1};
  World host;
  Config config;
  Spool spool{host, config};
  std::shared_ptr<Snapshot> snapshot;
  Result<void> outcome;
  std::string file, behind;
  TaskSet tasks;
};

void check_proper(Input& input) {
  const size_t piece = 1 + input.take_below(80);
  const bool marked = input.take() % 2 == 0;
  const size_t newlines = input.take_below(3);
  const std::string mark(40, static_cast<char>('a' + input.take_below(2)));
  const size_t stream_bytes = input.take_below(50);
  const uint8_t cut = input.take();
  std::string payload = "REDIS0009";
  for (const char c : input.rest())
    payload += c % 3 == 0 ? mark.substr(0, static_cast<uint8_t>(c) % 40) : std::string(1, c);
  payload = payload.substr(0, payload.find(mark));  // a server chooses a mark that it does not hold
  if (marked && (payload + mark).find(mark) != payload.size()) payload += '.';
  const std::string behind(stream_bytes, '*');
  std::string sent(newlines, '\n');
  sent += marked ? "$EOF:" + mark + "\r\n" + payload + mark : "$" + std::to_string(payload.size()) + "\r\n" + payload;
  const size_t whole = sent.size();
  sent += behind;
  if (cut % 4 == 0) sent.resize(sent.size() * cut / 256);
  Scene scene;
  scene.receive(sent, piece);
  CHECK(scene.outcome.ok() == (sent.size() >= whole));
  CHECK(scene.world.host("10.0.0.2").files().paths().empty());  // nobody kept it
  if (!scene.outcome.ok()) return;
  CHECK(scene.file == payload);
  CHECK(scene.behind == sent.substr(whole));
}

}  // namespace
}  // namespace sidestream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sidestream::fuzz;
  Input input(data, std::min<size_t>(size, 4096));
  if (input.take() % 2 == 0) {
    const size_t piece = 1 + input.take_below(80);
    Scene scene;
    scene.receive(input.rest(), piece);
  } else {
    check_proper(input);
  }
  return 0;
}
