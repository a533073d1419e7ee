// introductions.h: what the configuration says about PROXY headers, as the network wants it.
#pragma once

#include "common/proxy_network.h"
#include "config/config.h"

namespace sidestream {

/// For connections that come from now on. What conflicts() has not checked is left out.
void set_introductions(const Config& config, Introductions& introductions);

}  // namespace sidestream
