// conflicts.cc: what stays wrong although every single value is right. Each finding names the option to be changed and
// says what to do.
#include <fmt/format.h>

#include <set>

#include "common/ip_network.h"
#include "config/faults.h"
#include "config/options.h"

namespace sidestream {
namespace {

void check_tls(const Config& config, std::vector<Conflict>& found) {
  const TlsConfig& tls = config.tls;
  const auto pair = [&](std::string_view cert_name, const std::string& cert, std::string_view key_name,
                        const std::string& key) {
    if (cert.empty() == key.empty()) return;
    const std::string_view given = cert.empty() ? key_name : cert_name, missing = cert.empty() ? cert_name : key_name;
    found.push_back({given, fmt::format("a certificate and its key belong together; set {} too", missing)});
  };
  pair("tls.listen-cert", tls.listen_cert, "tls.listen-key", tls.listen_key);
  pair("tls.node-cert", tls.node_cert, "tls.node-key", tls.node_key);
  if (tls.require_client_cert && tls.client_ca.empty()) {
    found.push_back({"tls.require-client-cert", "which certificates count? Set tls.client-ca"});
  }
  if (!tls.listen_cert.empty()) return;
  const auto needs_cert = [&](std::string_view option, const Address& address) {
    if (address.transport != Transport::tls) return;
    found.push_back({option, fmt::format("{} needs tls.listen-cert and tls.listen-key", address.url())});
  };
  for (const Address& address : config.listen) needs_cert("listen", address);
  needs_cert("service-listen", config.service_listen);
  needs_cert("read-listen", config.read_listen);
  needs_cert("admin", config.admin);
}

void check_front_door(const Config& config, std::vector<Conflict>& found) {
  for (const std::string& text : config.proxy_protocol_from) {
    const auto network = IpNetwork::parse(text);
    if (!network.ok()) found.push_back({"proxy-protocol-from", network.error().detail});
  }
  if (config.proxy_protocol != "no" && config.proxy_protocol_from.empty()) {
    found.push_back({"proxy-protocol", "whose header is to be believed? Set proxy-protocol-from"});
  }
}

/// Both names for the same place would compete for one port.
void check_addresses(const Config& config, std::vector<Conflict>& found) {
  std::set<std::string> taken;
  const auto take = [&](std::string_view option, const Address& address) {
    if (address.empty() || (address.path.empty() && address.port == 0)) return;
    if (!taken.insert(address.text()).second) {
      found.push_back({option, fmt::format("{} is used twice; each listening address needs its own", address.text())});
    }
  };
  for (const Address& address : config.listen) take("listen", address);
  take("service-listen", config.service_listen);
  take("read-listen", config.read_listen);
  take("admin", config.admin);
  for (const NodeConfig& node : config.nodes) {
    if (taken.contains(node.address.text())) {
      found.push_back({"nodes", fmt::format("{} is our own address; a node is another server", node.address.text())});
    }
  }
}

void check_servers(const Config& config, std::vector<Conflict>& found) {
  if (config.nodes.empty() && config.replicaof.empty() && config.sentinel.addresses.empty()) {
    found.push_back({"nodes",
                     "there is no server to stand in front of; name at least one (--node HOST:PORT), what to follow "
                     "(--replicaof HOST:PORT), or Sentinels that know (sentinel.addresses)"});
  }
  std::set<std::string> seen;
  for (const NodeConfig& node : config.nodes) {
    const std::string address = node.address.text();
    if (node.address.empty())
      found.push_back({"nodes", "a node has no address"});
    else if (!seen.insert(address).second)
      found.push_back({"nodes", fmt::format("{} is named twice", address)});
    if (!node.address.empty() && node.address == config.replicaof) {
      found.push_back(
          {"replicaof", fmt::format("{} is one of our nodes; only another server can be followed", address)});
    }
  }
}

void check_sentinel(const Config& config, std::vector<Conflict>& found) {
  const Sentinel& sentinel = config.sentinel;
  if (!sentinel.addresses.empty() && sentinel.master_name.empty()) {
    found.push_back(
        {"sentinel.master-name", "is needed with sentinel.addresses: the name given in `sentinel monitor`"});
  }
  if (sentinel.addresses.empty() && !sentinel.master_name.empty()) {
    found.push_back({"sentinel.addresses", "is needed with sentinel.master-name: where the Sentinels listen"});
  }
  if (sentinel.quorum > static_cast<int64_t>(sentinel.addresses.size())) {
    found.push_back({"sentinel.quorum", fmt::format("{} cannot agree where only {} are asked", sentinel.quorum,
                                                    sentinel.addresses.size())});
  }
}

void check_faults(const Config& config, std::vector<Conflict>& found) {
  if (!config.faults.empty() && !config.fault_injection) {
    found.push_back({"faults", "is for tests only: set fault-injection: yes as well, in the file"});
  }
  for (const std::string& text : config.faults) {
    const auto fault = parse_fault(text);
    if (!fault.ok()) found.push_back({"faults", fault.error().detail});
  }
}

}  // namespace

std::vector<Conflict> conflicts(const Config& config) {
  std::vector<Conflict> found;
  if (config.listen.empty()) found.push_back({"listen", "there must be at least one address to listen on"});
  check_addresses(config, found);
  check_front_door(config, found);
  check_tls(config, found);
  check_servers(config, found);
  check_sentinel(config, found);
  check_faults(config, found);
  for (const Rule& rule : config.routing.rules) {
    if (rule.keys.empty() && rule.commands.empty()) {
      found.push_back({"routing.rules", "a rule without keys and commands matches everything; use routing.reads"});
    }
  }
  return found;
}

}  // namespace sidestream
