// auditing.cc: whom the drift audit compares with whom, and the way back for a replica that differs.
//
// The measure is the server whose stream we pass on: the primary node, or on a replica the upstream, an instance (which
// asks its own primary) or a stock server. Compared with it are our own nodes. Nobody is while a role changes, while an
// upstream is held, or without a stream: offsets prove nothing then.
#include <algorithm>
#include <charconv>

#include "common/log.h"
#include "proxy/instance/steering.h"

namespace sidestream::instance {
namespace {

constexpr int kAbsoluteExpirySince = 7;  // major version

AuditPlace place_of(const Node& node) {
  AuditPlace place;
  place.address = node.identity().address;
  place.name = node.name();
  place.is_instance = node.is_instance();
  int major = 0;
  std::from_chars(node.version().data(), node.version().data() + node.version().size(), major);
  place.absolute_expiry = major >= kAbsoluteExpirySince;
  place.databases = databases_in_use(node.last_info());
  return place;
}

}  // namespace

std::vector<AuditPlace> Steering::audited_nodes() const {
  const auto links = relay_.replicas();
  std::vector<AuditPlace> places;
  for (const auto& node : nodes_) {
    const auto* link = link_of(*node, links);
    if (link == nullptr || link->state != "online" || !node->view().reachable || node->view().loading) continue;
    places.push_back(place_of(*node));
    places.back().link_id = link->id;
    places.back().resynced = link->sent > 0;
  }
  return places;
}

void Steering::feed_audit() {
  if (audit_.is_idle()) return relay_.distrust({});
  const Node* writer = this->writer();
  const bool settled = !changing_role_ && !writes_shared_ && writer != nullptr && writer->view().reachable &&
                       !writer->view().loading && relay_.upstream().state == "connected";
  const auto measure = settled ? std::optional(place_of(*writer)) : std::nullopt;
  audit_.set_places(measure, audited_nodes());
  std::vector<Address> distrusted;
  for (const auto& link : relay_.replicas()) {
    const Node* node = node_of(link);
    if (node == nullptr || !audit_.differs(node->name())) continue;
    distrusted.push_back(node->identity().address);
    distrusted.push_back(Address{link.host, link.port, ""});
  }
  relay_.distrust(std::move(distrusted));
}

Result<void> Steering::resync(const Address& replica) {
  for (const auto& link : relay_.replicas()) {
    const Node* node = node_of(link);
    const bool is_meant =
        Address{link.host, link.port, ""} == replica || (node != nullptr && node->name() == replica.text());
    if (!is_meant || link.rdb_only) continue;
    auto begun = relay_.resync(link.id);
    if (begun.ok()) log_notice("instance", "{} gets all data anew, on request", replica.text());
    return begun;
  }
  return Error{Errc::refused,
               replica.text() + " is no replica that is attached now; SIDESTREAM NODES has their addresses"};
}

}  // namespace sidestream::instance
