// tls_config.cc: see the header.
#include "config/tls_config.h"

#include <algorithm>

namespace sidestream {
namespace {

TlsSettings server_settings(const TlsConfig& tls) {
  TlsSettings settings;
  settings.cert = tls.listen_cert;
  settings.key = tls.listen_key;
  settings.ca = tls.client_ca;
  settings.require_peer = tls.require_client_cert;
  settings.only_1_3 = tls.min_version == "1.3";
  return settings;
}

TlsSettings client_settings(const TlsConfig& tls) {
  TlsSettings settings;
  settings.cert = tls.node_cert;
  settings.key = tls.node_key;
  settings.ca = tls.node_ca;
  settings.check_name = tls.node_verify == "full";
  settings.expected_name = tls.node_name;
  settings.only_1_3 = tls.min_version == "1.3";
  return settings;
}

}  // namespace

Result<void> load_tls(const Config& config, TlsInForce& in_force) {
  TlsInForce::Context server, client;
  if (!config.tls.listen_cert.empty()) {
    auto made = TlsContext::for_server(server_settings(config.tls));
    RETURN_IF_ERROR(made);
    server = std::move(made).value();
  }
  auto made = TlsContext::for_client(client_settings(config.tls));  // REPLICAOF tls://... may come at any time
  RETURN_IF_ERROR(made);
  client = std::move(made).value();
  in_force.set(std::move(server), std::move(client), config.tls.nodes);
  return {};
}

}  // namespace sidestream
