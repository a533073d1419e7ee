// peers.cc: see peers.h.
#include "proxy/instance/peers.h"

#include <algorithm>

#include "common/text.h"

namespace sidestream::instance {
namespace {

constexpr size_t kPeersMax = 100;  // more replicas than that beside us are not read
constexpr int64_t kHeardMs = 3000;

std::string_view part(std::string_view line, std::string_view name) {
  const size_t at = line.find(name);
  if (at == std::string_view::npos) return {};
  line.remove_prefix(at + name.size());
  return line.substr(0, line.find(','));
}

constexpr std::string_view kOnline = "online";

std::string_view state_of(const Node& peer, const replication::History& history) {
  const NodeView& view = peer.view();
  if (!view.reachable || !peer.heard_within(kHeardMs)) return "down";
  if (peer.is_instance()) return "instance";
  if (view.loading) return "loading";
  if (view.is_master || !peer.link_up()) return "syncing";
  return view.replid == history.replid ? kOnline : "foreign";
}

}  // namespace

std::vector<Address> replicas_in(std::string_view info) {
  std::vector<Address> found;
  for (size_t i = 0; found.size() < kPeersMax; ++i) {
    const std::string_view line = resp::info_field(info, "slave" + std::to_string(i));
    if (line.empty()) return found;
    const auto port = parse_int(part(line, "port="));
    const std::string host(part(line, "ip="));
    if (!host.empty() && port && *port > 0) found.push_back(Address{host, static_cast<int>(*port), ""});
  }
  return found;
}

Peers::Peers(World& world, const Config& config, Node::Owner& owner) : world_(world), config_(config), owner_(owner) {}

void Peers::update(std::string_view info) {
  const std::vector<Address> named = replicas_in(info);
  std::erase_if(peers_, [&](const auto& peer) {
    return !peer->is_waited_for() && std::find(named.begin(), named.end(), peer->identity().address) == named.end();
  });
  for (const Address& address : named) {
    const auto known = [&](const auto& peer) { return peer->identity().address == address; };
    if (std::any_of(peers_.begin(), peers_.end(), known)) continue;
    NodeConfig identity;
    identity.address = address;
    peers_.push_back(std::make_unique<Node>(world_, config_, std::move(identity), true, owner_));
    peers_.back()->start();
  }
}

std::vector<routing::TargetFacts> Peers::targets(const replication::History& history) const {
  std::vector<routing::TargetFacts> targets;
  for (const auto& peer : peers_) {
    if (peer->is_instance() || !peer->view().heard) continue;
    routing::TargetFacts target;
    target.address = peer->identity().address;
    target.beside_us = true;
    target.online = state_of(*peer, history) == kOnline;
    target.acked = peer->view().offset;
    target.upstream = peer->view().upstream;
    target.user = config_.masteruser;
    target.password = config_.masterauth;
    targets.push_back(std::move(target));
  }
  return targets;
}

std::vector<admin::PeerFacts> Peers::facts(const replication::History& history) const {
  std::vector<admin::PeerFacts> facts;
  for (const auto& peer : peers_) {
    facts.push_back({peer->name(), std::string(state_of(*peer, history)), peer->view().offset});
  }
  return facts;
}

}  // namespace sidestream::instance
