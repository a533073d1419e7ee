// topology.h: who is primary and what each node should be doing. Pure: what the nodes said in, a plan out.
//
// Happy path: with `replicaof` every node follows us; without it one node is the primary, we follow that one and the
// others follow us. When all nodes are our replicas, a switch was interrupted half-way: the most advanced takes over.
// Failure modes: when the nodes do not say clearly who is primary, or hold data of another history,
// the plan is to wait and to say why. A wrong guess would wipe a node; the operator or Sentinel knows better.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/byte_stream.h"
#include "proxy/replication/history.h"

namespace sidestream::instance {

/// What a node said about itself last.
struct NodeView {
  std::string name;        // its configured address, for people
  bool heard = false;      // answered at least once
  bool reachable = false;  // answered lately
  bool loading = false;
  bool is_master = false;
  bool follows_us = false;  // its master is this instance
  Address upstream;         // whom it follows, in its own words
  bool restarted = false;   // another process than the one that followed us: nobody promoted it, it just lost its role
  bool empty = false;       // holds no keys
  int64_t keys = 0;         // as it said last, when it was not loading
  int64_t priority = 100;   // replica-priority: lower is promoted before higher, 0 never
  bool consented = false;   // held our history when the operator pointed us elsewhere
  replication::ReplId replid;
  replication::ReplId replid2;
  int64_t second_offset = -1;
  ReplOffset offset;
};

enum class Duty {
  unknown,  // not heard of yet, or the plan is not clear
  primary,  // we follow it
  follow,   // follows us, or is to be told so
  foreign,  // holds data of another history: left alone
};

struct Situation {
  bool follows_upstream = false;   // `replicaof` is set: nobody here is primary
  bool heard_long_enough = false;  // silent nodes are down, not slow
  bool has_history = false;
  bool held = false;              // the primary came back with another history, which must not replace ours
  replication::History history;   // the relay's
  ReplOffset offset;              // its last whole command
  std::optional<size_t> primary;  // the node we follow now
  std::vector<NodeView> nodes;
};

struct Plan {
  std::optional<size_t> primary;
  std::optional<size_t> promote;  // nobody is primary though all are ours, and this one has everything
  std::optional<size_t> adopt;    // somebody promoted it while `primary` is still one
  std::vector<Duty> duties;
  std::string trouble;  // why there is no primary or which nodes are left alone; empty: all clear
};

/// Whether it has all up to `offset` of that history: it is there, or went on from it under a new id.
bool has_all_of(const NodeView& node, const replication::ReplId& replid, ReplOffset offset);
/// Whether a node's data is a part of `history`.
bool is_of_history(const NodeView& node, const replication::History& history);
Plan make_plan(const Situation& situation);

}  // namespace sidestream::instance
