// peers.h: the replicas that the primary of a foreign group names: servers that follow it beside us and that Sentinel
// commands, not we. A gateway reads from them.
//
// Happy path: each replica of the primary's INFO is watched like a node, and may be read while it is up, has the
// primary's history and its link. Failure modes: one that the primary names no more is left; one that is another
// instance (ourselves among them) is not read, since it would ask others in its turn.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "proxy/admin/group.h"
#include "proxy/instance/node.h"
#include "proxy/routing/facts.h"

namespace sidestream::instance {

class Peers {
 public:
  /// All outlive the peers.
  Peers(World& world, const Config& config, Node::Owner& owner);
  /// What the primary's INFO replication lists.
  void update(std::string_view info);
  /// Those that may be read, with what they had when they were looked at. `history`: the primary's.
  std::vector<routing::TargetFacts> targets(const replication::History& history) const;
  std::vector<admin::PeerFacts> facts(const replication::History& history) const;

 private:
  World& world_;
  const Config& config_;
  Node::Owner& owner_;
  std::vector<std::unique_ptr<Node>> peers_;
};

/// The addresses of the `slaveN:` lines that name a port. Pure.
std::vector<Address> replicas_in(std::string_view info);

}  // namespace sidestream::instance
