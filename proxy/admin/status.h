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
/// One line a node: address, role, state, offset, lag.
std::string nodes_text(Group& group);
/// Section "Sidestream" of INFO, title included.
std::string sidestream_section(Group& group);

}  // namespace sidestream::admin
