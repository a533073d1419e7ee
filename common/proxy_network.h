// proxy_network.h: connections that a load balancer introduces: a listener whose streams know their real client.
//
// Happy path: a connection from an address that is trusted with it begins with a PROXY header (proxy_header.h); its
// stream has the client in the header as its peer and begins behind it. Everybody else's goes through untouched, and
// pays nothing. TLS comes behind the header, so this network stands below that one. Failure modes: a malformed header,
// none where one is required, or too little of one within the time limit: that connection is closed and counted; at
// most kIntroducedMax are waited for. A header from an address that is not trusted is left in the stream, where it is
// no command.
#pragma once

#include <memory>
#include <vector>

#include "common/byte_stream.h"
#include "common/clock.h"
#include "common/ip_network.h"

namespace sidestream {

inline constexpr size_t kIntroducedMax = 1024;

/// What is in force, for connections that come from now on. Used on the loop that listens.
struct Introductions {
  enum class Mode { none, accepted, required };
  Mode mode = Mode::none;
  std::vector<IpNetwork> from;     // who is trusted; unix sockets know no addresses and are not
  int64_t timeout_ms = 10'000;     // 0: for ever
  uint64_t heard = 0, failed = 0;  // connections with a header, and closed for want of a good one
};

/// Both outlive the network; `introductions` counts for addresses that say so (Address::introduced).
std::unique_ptr<Network> make_proxy_network(Network& below, Clock& clock, Introductions& introductions);

}  // namespace sidestream
