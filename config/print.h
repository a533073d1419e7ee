// print.h: the configuration as YAML, and the two reference files, all made by looping over the option table.
#pragma once

#include <string>
#include <string_view>

#include "config/sources.h"

namespace sidestream {

/// Valid YAML that load_yaml() reads back to the same Config; secrets are masked, each line tells its source.
std::string print_config(const Loaded& loaded);
/// config/sidestream.yaml: every option with its default, explained. Passes --check-config as it stands.
std::string reference_yaml();
/// config/README.md: the same as tables.
std::string reference_markdown();

}  // namespace sidestream
