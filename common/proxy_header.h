// proxy_header.h: the header of the PROXY protocol, versions 1 and 2: who a load balancer says that its client is.
// https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
//
// Happy path: feed what has arrived so far to parse_proxy_header() until it says complete; the conversation begins
// behind `bytes`. Failure modes: absent, since these are not the first bytes of a header; bad, with the reason. It is
// strict, and asks for no more than kProxyHeaderMax bytes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sidestream {

inline constexpr size_t kProxyHeaderMax = 4096;  // what a balancer tells besides addresses (TLVs) is skipped

struct ProxyHeader {
  enum class State { incomplete, complete, absent, bad };
  State state = State::incomplete;
  size_t bytes = 0;     // complete: of the header
  std::string source;   // complete: the client as "host:port"; empty: the connection is the balancer's own
  std::string problem;  // bad
};

ProxyHeader parse_proxy_header(std::string_view arrived);

}  // namespace sidestream
