// status.h: the state of the instance for people and programs: the JSON of /api/v1/status and SIDESTREAM STATUS, the
// lines of SIDESTREAM NODES, INFO sidestream and the facts behind INFO replication.
#pragma once

#include <string>

#include "proxy/admin/group.h"
#include "proxy/admin/info.h"

namespace sidestream::admin {

/// Facts for INFO replication and ROLE. The service face is a primary on every instance.
ReplicationFacts replication_facts(Group& group, routing::Face face);
/// The contract's JSON, one line.
std::string status_json(Group& group);
/// Events with a number above `after`, the oldest first: [{"number", "wall_ms", "level", "tag", "text"}].
std::string events_json(uint64_t after);
/// How long servers took, a line for each route and class and node.
std::string latency_text(Group& group);
/// One line a node: address, role, state, offset, lag.
std::string nodes_text(Group& group);
/// What the drift audit knows of each replica, names of keys included.
std::string audit_text(Group& group);
/// Section "Sidestream" of INFO, title included.
std::string sidestream_section(Group& group);

}  // namespace sidestream::admin
