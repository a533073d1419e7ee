// status_view.h: the JSON of /api/v1/status as a picture for the terminal: upstream, instance, and below it the nodes
// and replicas.
#pragma once

#include <string>
#include <string_view>

#include "common/result.h"

namespace sidestream {

/// Errc::protocol when `json` is no status. `colour`: ANSI colours for states.
Result<std::string> draw_status(std::string_view json, bool colour);
/// Ready, its upstream connected unless it is the primary, every node online.
bool is_synced(std::string_view json);

}  // namespace sidestream
