// page.h: the status page, one file that needs nothing else, as it was when this was built.
#pragma once

#include <string_view>

namespace sidestream::admin {

extern const std::string_view kPage;
/// Its Content-Security-Policy: its own script and style by their hashes, requests to the same address, nothing else.
extern const std::string_view kPagePolicy;

}  // namespace sidestream::admin
