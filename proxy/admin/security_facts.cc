// security_facts.cc: see the header.
#include "proxy/admin/security_facts.h"

namespace sidestream::admin {

SecurityFacts security_facts(Group& group) {
  SecurityFacts facts;
  const routing::ClientCounts clients = group.plane().clients();
  facts.failed_logins = clients.failed_logins;
  facts.refused_by_rules = clients.refused_by_rules;
  if (const Introductions* introductions = group.world().introductions; introductions != nullptr) {
    facts.proxy_headers = introductions->heard;
    facts.proxy_headers_failed = introductions->failed;
  }
  const TlsInForce* tls = group.world().tls;
  if (tls == nullptr) return facts;
  facts.tls_handshakes = tls->handshakes;
  facts.tls_handshakes_failed = tls->failed_handshakes;
  if (const auto server = tls->server()) facts.listen_cert_expires_s = server->expires_s();
  if (const auto client = tls->client()) facts.node_cert_expires_s = client->expires_s();
  return facts;
}

}  // namespace sidestream::admin
