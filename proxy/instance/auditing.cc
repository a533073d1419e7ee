// auditing.cc: whom the drift audit compares with whom, the way back for a replica that differs, and who is known to,
// which a restart must not forget: a file in `dir`, "drifted", a name a line.
//
// Happy path: the measure is the server whose stream we pass on: the primary node, or on a replica the upstream, an
// instance (which asks its own primary) or a stock server. Compared with it are our own nodes. Failure modes: while a
// role changes, an upstream is held, or there is no stream nobody is compared: offsets prove nothing then. A file that
// cannot be read, or a difference found less than half a second before a crash, is forgotten: the audit meets it again.
#include <algorithm>
#include <charconv>
#include <span>

#include "common/log.h"
#include "common/replace_file.h"
#include "common/text.h"
#include "proxy/instance/instance.h"

namespace sidestream::instance {
namespace {

constexpr int kAbsoluteExpirySince = 7;  // major version
constexpr size_t kFileMax = 16 * 1024;   // hundreds of names; of more, the rest is found anew
constexpr int64_t kKeepMs = 500;
constexpr std::string_view kName = "drifted";

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

/// Empty: there is no such file, or it cannot be read.
Task<std::string> read_names(World& world, std::string path) {
  auto file = co_await world.files.open(path, Files::Mode::read);
  if (!file.ok()) co_return std::string();
  std::string names(kFileMax, '\0');
  const std::span<char> into(names);
  auto size = co_await file.value()->read_at(0, into);
  if (!size.ok()) log_warning("instance", "which replicas differ is not known: {}", size.error().detail);
  names.resize(size.ok() ? size.value() : 0);
  co_return std::move(names);
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

Task<void> Instance::recall_drift() {
  std::string path = config_.dir + "/" + std::string(kName);
  std::string kept = co_await read_names(world_, std::move(path));
  const std::vector<std::string> names = split(kept, '\n');
  for (const NodeConfig& node : config_.nodes) {
    const std::string name = node.address.text();
    if (std::find(names.begin(), names.end(), name) == names.end()) continue;
    log_warning("node " + name, "its data was found to differ before the restart: not read until SIDESTREAM RESYNC");
    steering_->audit().recall(name);
  }
  tasks_.add(keep_drift(std::move(kept)));
}

/// `kept`: what is on the disk.
Task<void> Instance::keep_drift(std::string kept) {
  for (;;) {
    co_await world_.clock.sleep(kKeepMs);
    std::string now;
    for (const std::string& each : steering_->audit().drifted()) now += each + "\n";
    if (retired_ || now == kept) continue;
    std::string name(kName), lines = now;
    auto written = co_await replace_file(world_.files, config_.dir, std::move(name), std::move(lines));
    if (written.ok()) kept = now;
  }
}

}  // namespace sidestream::instance
