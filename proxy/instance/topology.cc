// topology.cc: tests/unit/topology_test.cc has the table of situations.
#include "proxy/instance/topology.h"

#include <algorithm>

namespace sidestream::instance {
namespace {

bool promoted_from(const NodeView& node, const replication::History& history) {
  return node.is_master && !history.replid.empty() && node.replid2 == history.replid;
}

std::optional<size_t> only(const std::vector<NodeView>& nodes, bool (*fits)(const NodeView&)) {
  std::optional<size_t> found;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!fits(nodes[i])) continue;
    if (found) return std::nullopt;
    found = i;
  }
  return found;
}

std::string names(const std::vector<NodeView>& nodes, bool (*fits)(const NodeView&)) {
  std::string text;
  for (const NodeView& node : nodes) {
    if (fits(node)) text += (text.empty() ? "" : ", ") + node.name;
  }
  return text;
}

bool is_up_master(const NodeView& node) { return node.reachable && node.is_master; }
bool is_full_master(const NodeView& node) { return is_up_master(node) && !node.empty && !node.loading; }
// One that was heard a moment ago and is down now may hold the data all the same.
bool is_silent(const NodeView& node) { return !node.reachable; }

/// The node that writes our history, or else the one that took it over, if the one we follow does not. A replica that
/// comes back from an old snapshot looks like one that was promoted then: it would take all that came since with it.
std::optional<size_t> successor(const Situation& s) {
  for (size_t i = 0; i < s.nodes.size(); ++i) {
    if (is_up_master(s.nodes[i]) && s.has_history && s.nodes[i].replid == s.history.replid) return i;
  }
  for (size_t i = 0; i < s.nodes.size(); ++i) {
    if (!s.nodes[i].reachable || s.nodes[i].restarted) continue;
    if (s.has_history && promoted_from(s.nodes[i], s.history)) return i;
  }
  return std::nullopt;
}

/// Another node than the primary that was our replica a moment ago.
std::optional<size_t> promoted_by_hand(const Situation& s) {
  for (size_t i = 0; i < s.nodes.size(); ++i) {
    const NodeView& node = s.nodes[i];
    if (i != s.primary && node.reachable && !node.restarted && promoted_from(node, s.history)) return i;
  }
  return std::nullopt;
}

bool has_all_of(const NodeView& node, const NodeView& other) { return has_all_of(node, other.replid, other.offset); }

/// It holds neither our history nor what ours was or became: what it held of it, if ever, is gone for good.
bool is_unrelated(const NodeView& node, const Situation& s) {
  const auto is_known = [&](const replication::ReplId& id) {
    return !id.empty() && (id == s.history.replid || id == s.history.replid2);
  };
  return s.has_history && !is_known(node.replid) && !is_known(node.replid2);
}

/// Where all nodes are our replicas somebody was demoted and nobody promoted: a switch broke off. With every node in
/// sight the one that has what all the others have has all that was ever acknowledged.
std::optional<size_t> most_advanced(const Situation& s) {
  std::optional<size_t> best;
  for (size_t i = 0; i < s.nodes.size(); ++i) {
    const NodeView& node = s.nodes[i];
    if (!node.reachable || node.loading || !node.follows_us) return std::nullopt;
    if ((node.empty || is_unrelated(node, s)) && best) continue;
    const bool first = !best || s.nodes[*best].empty || is_unrelated(s.nodes[*best], s);
    if (first || !has_all_of(s.nodes[*best], node)) best = i;
  }
  if (!best || s.nodes[*best].empty) return best;
  const NodeView& node = s.nodes[*best];
  const auto lacks = [&](const NodeView& other) {
    return !other.empty && !is_unrelated(other, s) && !has_all_of(node, other);
  };
  if (std::any_of(s.nodes.begin(), s.nodes.end(), lacks)) return std::nullopt;  // they went on apart from each other
  return !s.has_history || has_all_of(node, s.history.replid, s.offset) ? best : std::nullopt;
}

/// Of several primaries, the one that writes our history. If another went on with it, only a person knows.
std::optional<size_t> writer_of_ours(const Situation& s) {
  std::optional<size_t> found;
  for (size_t i = 0; i < s.nodes.size(); ++i) {
    if (!is_full_master(s.nodes[i]) || !s.has_history) continue;
    if (promoted_from(s.nodes[i], s.history)) return std::nullopt;
    if (s.nodes[i].replid == s.history.replid) found = i;
  }
  return found;
}

void choose_first_primary(const Situation& s, Plan& plan) {
  const std::string silent = names(s.nodes, is_silent);
  if (!silent.empty() && !s.heard_long_enough) {
    plan.trouble = "waiting for an answer of " + silent;
    return;
  }
  if (auto full = only(s.nodes, is_full_master)) {
    plan.primary = full;
    return;
  }
  plan.primary = writer_of_ours(s);
  if (plan.primary) return;
  const std::string masters = names(s.nodes, is_full_master);
  if (!masters.empty()) {
    plan.trouble = "several nodes hold data as primaries: " + masters +
                   "; make all but one replicas, or empty them, so that no data is lost by a guess";
    return;
  }
  const auto first_empty = std::find_if(s.nodes.begin(), s.nodes.end(), is_up_master);
  if (first_empty != s.nodes.end() && silent.empty()) {
    plan.primary = static_cast<size_t>(first_empty - s.nodes.begin());
    return;
  }
  plan.promote = most_advanced(s);
  plan.trouble = silent.empty() ? "no node is a primary; promote one (REPLICAOF NO ONE on that node), or set replicaof"
                                : "no node that answers holds data as a primary, and there is no answer from " + silent;
}

void choose_primary(const Situation& s, Plan& plan) {
  if (!s.primary) {
    choose_first_primary(s, plan);
    return;
  }
  const NodeView& current = s.nodes[*s.primary];
  if (current.reachable && current.is_master && !s.held) {
    plan.primary = s.primary;
    plan.adopt = promoted_by_hand(s);
    return;
  }
  plan.primary = successor(s);
  if (plan.primary) return;
  if (current.reachable && current.is_master) {
    plan.primary = s.primary;  // it is waited for; why it is held, the relay says
  } else if (current.reachable) {
    plan.promote = most_advanced(s);
    plan.trouble = "the primary node " + current.name + " became a replica, and no other node went on with its history";
  } else {
    plan.primary = s.primary;  // it may come back; until then there is nobody better
    plan.trouble = "the primary node " + current.name + " does not answer";
  }
}

Duty duty_of(const Situation& s, const Plan& plan, size_t index) {
  const NodeView& node = s.nodes[index];
  if (plan.primary == index) return Duty::primary;
  if (plan.adopt == index) return Duty::unknown;  // until we know what became of it
  if (!node.heard || (!plan.primary && !s.follows_upstream) || !s.has_history) return Duty::unknown;
  if (node.follows_us || node.consented || node.empty || is_of_history(node, s.history)) return Duty::follow;
  // A replica of ours that just lost its link may know the id that we are about to learn: only a primary is foreign
  // for certain, or a replica of somebody else.
  return Duty::foreign;
}

}  // namespace

bool has_all_of(const NodeView& node, const replication::ReplId& replid, ReplOffset offset) {
  return replication::holds_all({node.replid, node.replid2, node.second_offset}, node.offset, replid, offset);
}

bool is_of_history(const NodeView& node, const replication::History& history) {
  if (history.contains(node.replid, node.offset)) return true;
  // Promoted, and not a byte written since.
  return promoted_from(node, history) && node.offset.next_byte() == node.second_offset;
}

Plan make_plan(const Situation& situation) {
  Plan plan;
  plan.duties.resize(situation.nodes.size(), Duty::unknown);
  if (!situation.follows_upstream) choose_primary(situation, plan);
  std::string foreign;
  for (size_t i = 0; i < situation.nodes.size(); ++i) {
    plan.duties[i] = duty_of(situation, plan, i);
    if (plan.duties[i] == Duty::foreign) foreign += (foreign.empty() ? "" : ", ") + situation.nodes[i].name;
  }
  if (!foreign.empty() && plan.trouble.empty()) {
    plan.trouble = "left alone because it holds data of another history: " + foreign +
                   "; empty it (FLUSHALL) or remove it from nodes";
  }
  return plan;
}

}  // namespace sidestream::instance
