// membership.cc: nodes that come, go and get another weight while everything runs.
//
// A node that goes is no longer watched or commanded. It is not told to leave: as long as it follows us it is a replica
// like any other, and its data is its owner's affair. One that comes is judged by the plan as at a start: it may hold
// data of another history, and is left alone then.
#include <algorithm>

#include "common/log.h"
#include "proxy/instance/steering.h"

namespace sidestream::instance {
namespace {

bool is_same(const NodeConfig& a, const NodeConfig& b) {
  return a.address == b.address && a.address.transport == b.address.transport;
}

}  // namespace

Result<void> Steering::may_have(const std::vector<NodeConfig>& nodes) const {
  if (nodes.empty() != nodes_.empty()) {
    return Error{Errc::refused,
                 "nodes: the first cannot come and the last cannot go at run time; that needs a restart"};
  }
  if (changing_role_ || !succession_.empty() || !recovery_.empty()) {
    return Error{Errc::refused, "nodes: the primary is changing just now; try again in a moment"};
  }
  if (master_ || !primary_) return {};
  const NodeConfig& primary = nodes_[*primary_]->identity();
  const auto is_primary = [&](const NodeConfig& each) { return is_same(each, primary); };
  if (std::any_of(nodes.begin(), nodes.end(), is_primary)) return {};
  return Error{Errc::refused,
               "nodes: " + primary.address.text() + " is the primary and cannot go; FAILOVER to another node first"};
}

void Steering::take_nodes() {
  const Node* primary = primary_ ? nodes_[*primary_].get() : nullptr;
  auto before = std::exchange(nodes_, {});
  for (const NodeConfig& wanted : config_.nodes) {
    const auto known =
        std::find_if(before.begin(), before.end(), [&](const auto& each) { return is_same(each->identity(), wanted); });
    if (known != before.end()) {
      (*known)->set_identity(wanted);
      nodes_.push_back(std::move(*known));
      before.erase(known);
      continue;
    }
    log_notice("instance", "{} is one of our nodes from now on", wanted.address.text());
    nodes_.push_back(std::make_unique<Node>(world_, config_, wanted, false, *this));
    nodes_.back()->start();
  }
  for (auto& gone : before) {
    log_notice("instance", "{} is none of our nodes any more", gone->name());
    gone->set_duty(Duty::foreign);
    audit_.forget(gone->name());
    left_.push_back(std::move(gone));
  }
  primary_.reset();
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].get() == primary) primary_ = i;
  }
  promotable_.reset();
  table_from_ = nullptr;
}

void Steering::lead_nodes_to(const Address& follow) {
  port_ = follow.port;
  follow_tls_ = follow.transport == Transport::tls;
  relay_.set_announce(follow_port(), config_.announce_ip);
  introduce_anew();
}

void Steering::introduce_anew() {
  for (const auto& node : nodes_) node->introduce_anew();
}

}  // namespace sidestream::instance
