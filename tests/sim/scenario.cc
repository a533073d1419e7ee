// scenario.cc: what scenarios share: random nodes, random writes, convergence.
#include "tests/sim/scenario.h"

#include <algorithm>

namespace sidestream::sim {

FakeNodeOptions roll_node(SimRandom& dice, const std::string& host) {
  FakeNodeOptions options;
  options.host = host;
  options.diskless_sync = dice.chance(500);
  options.diskless_load = dice.chance(500);
  options.backlog_bytes = size_t{1} << dice.between(10, 18);
  options.ping_period_ms = dice.chance(500) ? 10'000 : dice.between(1000, 5000);
  options.repl_timeout_ms = dice.chance(700) ? 60'000 : dice.between(6000, 20'000);
  options.service_max_us = dice.chance(300) ? dice.between(1, 20'000) : 0;
  options.apply_max_ms = dice.chance(300) ? dice.between(1, 400) : 0;
  options.snapshot_max_ms = dice.chance(500) ? 20 : dice.between(1, 3000);
  options.load_max_ms = dice.chance(500) ? 10 : dice.between(1, 2500);
  return options;
}

void write_something(SimWorld& world, FakeNode& node) {
  SimRandom& dice = world.dice();
  const int db = static_cast<int>(dice.below(3)) * 2;
  const std::string key = "key:" + std::to_string(dice.below(20));
  const std::string list = "list:" + std::to_string(dice.below(5));
  const std::string value(dice.below(dice.chance(30) ? 6000 : 60), static_cast<char>('a' + dice.below(26)));
  const uint64_t kind = dice.below(100);
  if (kind < 50) {
    node.run({"SET", key, value}, db);
  } else if (kind < 70) {
    node.run({"INCR", "counter:" + std::to_string(dice.below(5))}, db);
  } else if (kind < 80) {
    node.run({"RPUSH", list, value.substr(0, 40), "\r\n*1\r\n$4\r\nPING\r\n"}, db);
  } else if (kind < 87) {
    node.run({"DEL", key, list}, db);
  } else if (kind < 99) {
    node.run({"MULTI"}, db);
    node.run({"INCR", "pair:a"}, db);
    if (dice.chance(300)) node.run({"SELECT", std::to_string(dice.below(6))}, db);
    node.run({"MSET", key, value, "pair:b", value}, db);
    node.run({dice.chance(900) ? "EXEC" : "DISCARD"}, db);
  } else {
    node.run({"FLUSHALL"}, db);
  }
}

Task<void> keep_writing(SimWorld& world, FakeNode*& primary, int64_t pause_max_ms) {
  for (;;) {
    const int64_t pause_ms = world.dice().between(0, pause_max_ms);
    co_await world.clock().sleep(pause_ms);
    if (primary == nullptr || !primary->running() || primary->is_replica()) continue;
    const uint64_t burst = world.dice().chance(100) ? world.dice().below(40) : 1;
    for (uint64_t i = 0; i < burst; ++i) write_something(world, *primary);
  }
}

void heal(FakeNode& node) {
  node.freeze(false);
  node.options().apply_max_ms = 0;
  node.options().service_max_us = 0;
}

bool converged(const FakeNode& primary, const std::vector<FakeNode*>& replicas) {
  return std::all_of(replicas.begin(), replicas.end(), [&](const FakeNode* node) {
    return node->link_up() && !node->loading() && node->offset() == primary.offset() &&
           node->replid() == primary.replid() && node->data().digest() == primary.data().digest();
  });
}

std::string describe(const FakeNode& node) {
  return fmt::format("{} {} link {} id {} at {} data {:x}", node.name(), node.is_replica() ? "replica" : "primary",
                     node.link_up() ? "up" : "down", node.replid().substr(0, 8), node.offset(), node.data().digest());
}

}  // namespace sidestream::sim
