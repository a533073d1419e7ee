// special_commands.h: which commands a session has to look at more closely; see client_faults.cc.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "proxy/resp/command_table.h"

namespace sidestream::routing {

/// Whether the configuration denies this command.
bool is_denied(const Config& config, const resp::CommandEntry& entry);
/// Those that are denied, and those with faults.
std::vector<std::string> special_commands(const Config& config, const resp::CommandTable& table);

}  // namespace sidestream::routing
