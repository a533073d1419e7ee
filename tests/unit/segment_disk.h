// segment_disk.h: a backlog of two tiers on a simulated disk, and what it should hold.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "proxy/replication/segment_log.h"
#include "tests/support/sim_world.h"
#include "tests/unit/unit_test.h"

namespace sidestream::replication {

inline const std::string kId(40, 'a');
inline const std::string kOldId(40, 'b');

inline History history_of(const std::string& id) { return {*ReplId::parse(id), {}, -1}; }

/// A memory tier, a disk tier behind it, and what both should hold.
struct Disk {
  explicit Disk(uint64_t seed, int64_t memory_bytes = 1000, int64_t disk_bytes = 1 << 20)
      : world(seed), host(world.at("10.0.0.1")), memory(memory_bytes) {
    config.dir = "/dir";
    config.repl_backlog_size = memory_bytes;
    config.repl_backlog_disk_size = disk_bytes;
    boot();
  }
  void boot() { log = std::make_unique<SegmentLog>(host, config, memory); }

  std::optional<SegmentLog::Found> load() {
    std::optional<SegmentLog::Found> found;
    bool done = false;
    tasks.add(load_into(found, done));
    CHECK(world.run_until([&] { return done; }, 10'000));
    return found;
  }
  Task<void> load_into(std::optional<SegmentLog::Found>& found, bool& done) {
    auto loaded = co_await log->load();
    CHECK(loaded.ok());
    if (loaded.ok()) found = std::move(loaded).value();
    if (found) memory.restart(found->offset);
    done = true;
  }
  void begin(int64_t offset, const std::string& id = kId) {
    memory.restart(ReplOffset{offset});
    base = offset;
    model.clear();
    log->begin(history_of(id), ReplOffset{offset}, ReplOffset{offset});
  }
  void append(std::string_view bytes) {
    memory.append(bytes);
    model += bytes;
    log->grew(ReplOffset::before(memory.end()));
  }
  bool settle() {
    return world.run_until([this] { return log->end() == memory.end(); }, 60'000);
  }
  std::string read(int64_t from) {
    std::string bytes;
    bool done = false;
    tasks.add(read_into(from, bytes, done));
    CHECK(world.run_until([&] { return done; }, 60'000));
    return bytes;
  }
  Task<void> read_into(int64_t from, std::string& bytes, bool& done) {
    while (from < log->end()) {
      auto slice = co_await log->read(from, 700);
      if (!slice.ok()) {
        bytes = "lost";
        break;
      }
      bytes += slice.value().bytes;
      from += static_cast<int64_t>(slice.value().bytes.size());
    }
    done = true;
  }
  std::string expected(int64_t from) const { return model.substr(static_cast<size_t>(from - base - 1)); }
  void restart(bool power_loss) {
    tasks.cancel_all();
    log.reset();
    if (power_loss) host_files().lose_power();
    memory.restart(ReplOffset{0});
    boot();
  }
  sim::SimFiles& host_files() { return world.host("10.0.0.1").files(); }

  sim::SimWorld world;
  World host;
  Config config;
  Backlog memory;
  std::unique_ptr<SegmentLog> log;
  std::string model;
  int64_t base = 0;
  TaskSet tasks;
};

}  // namespace sidestream::replication
