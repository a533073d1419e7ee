// spool_test.cc: what the spool keeps, for how long, and what it finds again.
#include "proxy/replication/spool.h"

#include "tests/support/sim_world.h"
#include "tests/unit/unit_test.h"

namespace sidestream::replication {
namespace {

const ReplId kId = *ReplId::parse(std::string(40, 'a'));

struct Scene {
  Scene() : host(world.at("10.0.0.2")), disk(world.host("10.0.0.2").files()) {
    config.dir = "/dir";
    open();
  }
  /// A new process; `open` says what an earlier one left.
  void open() {
    spool.reset();
    spool = std::make_unique<Spool>(host, config);
    run(prepare());
  }
  Task<void> prepare() {
    auto prepared = co_await spool->prepare();
    CHECK(prepared.ok());
  }
  void run(Task<void> task) {
    tasks.add(std::move(task));
    CHECK(world.run_until([this] { return tasks.empty(); }, 60'000));
  }
  /// One of `size` bytes at `offset`; it is kept unless it fails.
  std::shared_ptr<Snapshot> take(int64_t offset, size_t size) {
    std::shared_ptr<Snapshot> taken;
    run(fill(offset, size, taken));
    world.run_for(50);  // the label
    return taken;
  }
  Task<void> fill(int64_t offset, size_t size, std::shared_ptr<Snapshot>& taken) {
    const ReplOffset at{offset};
    auto created = co_await spool->create(kId, at, 0);
    CHECK(created.ok());
    taken = created.value();
    std::string bytes = empty_rdb(kId, ReplOffset{offset});
    bytes.resize(size, 'x');
    auto appended = co_await taken->append(bytes);
    if (!appended.ok()) co_return;
    CHECK(taken->complete().ok());
    spool->keep(taken);
  }
  Result<void> check(const std::shared_ptr<Snapshot>& snapshot) {
    Result<void> outcome;
    run(compare(snapshot, outcome));
    return outcome;
  }
  Task<void> compare(std::shared_ptr<Snapshot> snapshot, Result<void>& outcome) {
    auto checked = co_await spool->check(std::move(snapshot));
    outcome = std::move(checked);
  }
  size_t files() { return disk.paths().size(); }

  sim::SimWorld world{1};
  World host;
  sim::SimFiles& disk;
  Config config;
  std::unique_ptr<Spool> spool;
  TaskSet tasks;
};

TEST_CASE("a snapshot that was kept is there after a restart, with all it was") {
  Scene scene;
  auto before = scene.take(700, 5000);
  CHECK(before->rdb_version() == 9);
  CHECK(scene.files() == 2);
  const int64_t taken_ms = before->taken_ms();
  before.reset();  // it would outlive its spool
  scene.open();
  REQUIRE(scene.spool->kept().size() == 1);
  const auto found = scene.spool->kept().front();
  CHECK(found->replid() == kId);
  CHECK(found->offset() == ReplOffset{700});
  CHECK(found->rdb_version() == 9);
  CHECK(found->received() == 5000);
  CHECK(found->total() == 5000);
  CHECK(found->taken_ms() == taken_ms);
  CHECK(found->is_complete());
  CHECK_FALSE(found->is_checked());
  CHECK(scene.check(found).ok());
  CHECK(found->is_checked());
  CHECK(scene.spool->bytes() == 5000);
}

TEST_CASE("labels: what is written is read, what is damaged is refused") {
  const SnapshotLabel label{kId, ReplOffset{12}, 11, 345, 0xdeadbeef, 1700000000000};
  const std::string line = encode_label(label);
  CHECK(decode_label(line).value() == label);
  CHECK(decode_label(line + "behind").value() == label);
  for (size_t i = 0; i < line.size(); ++i) {
    std::string spoilt = line;
    spoilt[i] = static_cast<char>(spoilt[i] ^ 1);
    CAPTURE(i);
    CHECK_FALSE(decode_label(spoilt).ok());
    CHECK_FALSE(decode_label(line.substr(0, i)).ok());
  }
}

TEST_CASE("a crash while it is written leaves nothing, at whatever operation") {
  for (int64_t moment_us = 0; moment_us < 6000; moment_us += 37) {
    CAPTURE(moment_us);
    Scene scene;
    std::shared_ptr<Snapshot> taken;
    scene.tasks.add(scene.fill(5, 3000, taken));
    scene.world.run_until([&, end = scene.host.clock.now_us() + moment_us] { return scene.host.clock.now_us() >= end; },
                          100);
    taken.reset();
    scene.tasks.cancel_all();
    scene.spool.reset();
    if (moment_us % 2 != 0) scene.disk.lose_power();
    scene.open();
    scene.world.run_for(50);
    CHECK(scene.files() == 2 * scene.spool->kept().size());
    for (const auto& found : scene.spool->kept()) CHECK(scene.check(found).ok());
  }
}

TEST_CASE("damage: a changed byte is found when the bytes are read, another length at once") {
  Scene scene;
  scene.take(5, 3000);
  scene.disk.find("/dir/snapshot-1.rdb")->at(1500) ^= 1;
  scene.open();
  REQUIRE(scene.spool->kept().size() == 1);
  {
    const auto found = scene.spool->kept().front();
    CHECK(scene.check(found).error().code == Errc::protocol);
  }
  CHECK(scene.spool->kept().empty());
  scene.world.run_for(50);
  CHECK(scene.files() == 0);

  scene.take(6, 3000);
  for (const size_t size : {size_t{2999}, size_t{3001}}) {
    scene.disk.find("/dir/snapshot-2.rdb")->resize(size);
    if (size == 3001) scene.open();
  }
  CHECK(scene.spool->kept().empty());
  CHECK(scene.files() == 0);
}

TEST_CASE("so many are kept, the newest; who is being sent an older one keeps its file") {
  Scene scene;
  scene.config.snapshot.keep = 2;
  auto reader = scene.take(1, 1000);
  for (int64_t offset = 2; offset <= 5; ++offset) scene.take(offset, 1000);
  REQUIRE(scene.spool->kept().size() == 2);
  CHECK(scene.spool->kept().front()->offset() == ReplOffset{4});
  CHECK(scene.files() == 6);
  CHECK(scene.spool->bytes() == 3000);
  reader.reset();
  scene.world.run_for(50);
  CHECK(scene.files() == 4);
  CHECK(scene.spool->bytes() == 2000);
}

TEST_CASE("one that is too old goes") {
  Scene scene;
  scene.config.snapshot.max_age_s = 60;
  scene.take(1, 1000);
  scene.world.run_for(59'000);
  scene.spool->enforce_bounds();
  CHECK(scene.spool->kept().size() == 1);
  scene.world.run_for(2'000);
  scene.open();
  scene.world.run_for(50);
  CHECK(scene.spool->kept().empty());
  CHECK(scene.files() == 0);
}

TEST_CASE("max-disk: older ones make room, one that does not fit fails and says why") {
  Scene scene;
  scene.config.snapshot.keep = 10;
  scene.config.snapshot.max_disk_bytes = 5000;
  for (int64_t offset = 1; offset <= 4; ++offset) scene.take(offset, 2000);
  CHECK(scene.spool->kept().size() == 2);
  CHECK(scene.spool->bytes() == 4000);
  const auto large = scene.take(5, 5001);
  CHECK(large->failed());
  CHECK(large->failure().code == Errc::over_limit);
  CHECK(large->failure().detail.find("snapshot.max-disk") != std::string::npos);
}

}  // namespace
}  // namespace sidestream::replication
