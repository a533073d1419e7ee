// scenario.h: what the simulation runs: a scenario builds a small group in a world, lets it live through faults, calms
// the world, and waits until everything has converged. What went wrong stands in world.failure().
#pragma once

#include <string>
#include <vector>

#include "tests/support/chronicle.h"
#include "tests/support/fake_node.h"
#include "tests/support/sim_world.h"

namespace sidestream::sim {

/// Fake nodes replicating with each other, nothing of ours: proves the fakes and the checkers.
void run_nodes(SimWorld& world);
/// The relay between fake nodes.
void run_relay(SimWorld& world);
/// Whole instances between fake nodes and applications.
void run_instance(SimWorld& world);
/// Three instances in a chain, fenced, while the role of the primary moves.
void run_switch(SimWorld& world);

struct Scenario {
  const char* name;
  void (*run)(SimWorld& world);
};

/// A node of a group whose options are up to the dice.
FakeNodeOptions roll_node(SimRandom& dice, const std::string& host);
/// One random write, now and then a transaction, in one of three databases.
void write_something(SimWorld& world, FakeNode& node);
/// Writes at random moments to `primary` (which may be replaced, or null for a while) until the task is cancelled.
Task<void> keep_writing(SimWorld& world, FakeNode*& primary, int64_t pause_max_ms);
/// Runs at full speed again.
void heal(FakeNode& node);
/// Whether all nodes are at the primary's offset of its history, with its data.
bool converged(const FakeNode& primary, const std::vector<FakeNode*>& replicas);
/// For the message when they do not.
std::string describe(const FakeNode& node);

}  // namespace sidestream::sim
