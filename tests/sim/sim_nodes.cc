// sim_nodes.cc: fake nodes replicate with each other, in a chain and side by side, without anything of ours in between.
//
// Happy path: every checker that judges the relay is satisfied by nodes that do what stock does. Failure modes: a
// checker that fires here is wrong, or the fake is.
#include <algorithm>
#include <memory>

#include "tests/sim/scenario.h"

namespace sidestream::sim {
namespace {

/// p <- a <- c, p <- b at the start; promotions and restarts turn it around.
struct Group {
  SimWorld& world;
  Chronicle chronicle{world};
  std::vector<std::unique_ptr<FakeNode>> nodes;
  FakeNode* primary = nullptr;

  explicit Group(SimWorld& outside) : world(outside) {
    for (int i = 1; i <= 4; ++i) {
      auto options = roll_node(world.dice(), "10.0.0." + std::to_string(i));
      nodes.push_back(std::make_unique<FakeNode>(world, chronicle, std::move(options)));
      nodes.back()->start();
    }
    primary = nodes[0].get();
    nodes[1]->replicaof(nodes[0]->address());
    nodes[2]->replicaof(nodes[0]->address());
    nodes[3]->replicaof(nodes[1]->address());
  }

  FakeNode& any() { return *nodes[world.dice().below(nodes.size())]; }

  /// What an operator or Sentinel does: promote one, point the others at it.
  void switch_to(FakeNode& chosen) {
    if (!loaded()) return;
    primary = &chosen;
    chosen.promote();
    for (auto& node : nodes) {
      if (node.get() != &chosen && node->running()) node->replicaof(chosen.address());
    }
  }

  /// Nobody can be told anything while it loads.
  bool loaded() {
    const auto idle = [&] {
      return std::none_of(nodes.begin(), nodes.end(), [](const auto& node) { return node->loading(); });
    };
    return world.run_until(idle, 10'000);
  }

  void restart(FakeNode& node) {
    const bool is_primary = &node == primary;
    const bool with_rdb = world.dice().chance(600);
    const std::string rdb = with_rdb ? node.save() : std::string();
    if (with_rdb && world.dice().chance(300)) world.run_for(world.dice().between(0, 500));  // saved some time before
    node.crash();
    world.run_for(world.dice().between(0, 3000));
    if (is_primary)
      node.start(rdb);
    else
      node.start(rdb, primary->address());
  }

  void trouble() {
    switch (world.dice().below(10)) {
      case 0:
        return world.cut_any();
      case 1:
        return world.part(any().options().host, any().options().host);
      case 2:
        return world.rejoin("10.0.0.1", "10.0.0.2");
      case 3:
        return any().freeze(true);
      case 4:
        return any().freeze(false);
      case 5:
        return restart(any());
      case 6:
        return switch_to(any());
      case 7:
        return any().kick_replicas();
      default:
        return;
    }
  }
};

}  // namespace

void run_nodes(SimWorld& world) {
  world.weather() = Weather::roll(world.dice());
  Group group(world);
  TaskSet load;
  load.add(keep_writing(world, group.primary, world.dice().between(20, 400)));
  const int64_t troubles = world.dice().between(0, 30);
  for (int64_t i = 0; i < troubles && !world.failed(); ++i) {
    world.run_for(world.dice().between(0, 2000));
    group.trouble();
  }
  load.cancel_all();
  world.calm();
  for (auto& node : group.nodes) heal(*node);
  std::vector<FakeNode*> replicas;
  for (auto& node : group.nodes) {
    if (node.get() == group.primary) continue;
    replicas.push_back(node.get());
  }
  if (!world.run_until([&] { return converged(*group.primary, replicas); }, 200'000) && !world.failed()) {
    std::string states;
    for (auto& node : group.nodes) states += "\n  " + describe(*node);
    world.fail("not converged:" + states);
  }
}

}  // namespace sidestream::sim
