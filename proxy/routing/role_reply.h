// role_reply.h: ROLE's reply, read in place: it frames every batch, so it costs no allocation.
//
//   primary = *3 "master" :offset *replicas          replica = *5 "slave" host :port state :offset
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/byte_stream.h"
#include "proxy/resp/repl_offset.h"

namespace sidestream::routing {

struct RoleReply {
  bool primary = false;
  std::string_view upstream;  // a replica's host and port as they stand in the reply, for comparing; else empty
  bool connected = false;     // a replica's link to its primary is up
  ReplOffset offset;
};

/// RoleReply::upstream of a replica that was told REPLICAOF with this host and port.
std::string role_upstream(const Address& upstream);

/// nullopt: an error reply, or something else that is not ROLE's. Views into `frame`.
std::optional<RoleReply> parse_role(std::string_view frame);

}  // namespace sidestream::routing
