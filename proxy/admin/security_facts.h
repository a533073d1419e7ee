// security_facts.h: what the front door and TLS have to tell, gathered once for INFO, status and metrics.
#pragma once

#include <cstdint>

#include "proxy/admin/group.h"

namespace sidestream::admin {

struct SecurityFacts {
  uint64_t tls_handshakes = 0;
  uint64_t tls_handshakes_failed = 0;
  uint64_t failed_logins = 0;
  uint64_t refused_by_rules = 0;  // commands
  uint64_t proxy_headers = 0;
  uint64_t proxy_headers_failed = 0;
  int64_t listen_cert_expires_s = 0;  // seconds since 1970; 0: there is none
  int64_t node_cert_expires_s = 0;
};

SecurityFacts security_facts(Group& group);

}  // namespace sidestream::admin
