// introductions.cc: see the header.
#include "config/introductions.h"

namespace sidestream {

void set_introductions(const Config& config, Introductions& introductions) {
  using Mode = Introductions::Mode;
  introductions.mode = config.proxy_protocol == "require"  ? Mode::required
                       : config.proxy_protocol == "accept" ? Mode::accepted
                                                           : Mode::none;
  introductions.from.clear();
  for (const std::string& text : config.proxy_protocol_from) {
    auto network = IpNetwork::parse(text);
    if (network.ok()) introductions.from.push_back(network.value());
  }
  introductions.timeout_ms = config.limits.handshake_timeout_ms;
}

}  // namespace sidestream
