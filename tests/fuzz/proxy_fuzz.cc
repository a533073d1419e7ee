// proxy_fuzz.cc: the header of the PROXY protocol: it means the same wherever it is cut, never more than has arrived,
// and a header that was made by the book is understood.
#include <string>

#include "common/byte_stream.h"
#include "common/ip_network.h"
#include "common/proxy_header.h"
#include "tests/fuzz/fuzz_input.h"

namespace sidestream::fuzz {
namespace {

using State = ProxyHeader::State;

/// What is known once is not taken back when more arrives.
void check_any(std::string_view bytes) {
  ProxyHeader known;
  for (size_t n = 0; n <= bytes.size(); ++n) {
    const ProxyHeader header = parse_proxy_header(bytes.substr(0, n));
    if (header.state == State::incomplete) {
      CHECK(n < kProxyHeaderMax);
      CHECK(known.state == State::incomplete);
      continue;
    }
    CHECK((header.state == State::bad) == !header.problem.empty());
    if (header.state == State::complete) CHECK(header.bytes > 0 && header.bytes <= n);
    if (!header.source.empty()) CHECK(parse_address(header.source).ok());
    if (known.state == State::incomplete) known = header;
    CHECK(header.state == known.state);
    CHECK(header.bytes == known.bytes);
    CHECK(header.source == known.source);
  }
}

/// Version 2 with addresses of the fuzzer's choice and anything behind them.
void check_made(Input& input) {
  const bool six = input.take() % 2 == 1;
  const size_t size = six ? 16 : 4;
  std::string addresses;
  for (size_t i = 0; i < 2 * size + 4; ++i) addresses += static_cast<char>(input.take());
  const std::string more(input.rest().substr(0, 512));
  const size_t length = addresses.size() + more.size();
  std::string header("\r\n\r\n\0\r\nQUIT\n\x21", 13);
  header += six ? '\x21' : '\x11';
  header += static_cast<char>(length >> 8);
  header += static_cast<char>(length & 0xff);
  header += addresses + more;
  const ProxyHeader parsed = parse_proxy_header(header + "PING\r\n");
  CHECK(parsed.state == State::complete);
  CHECK(parsed.bytes == header.size());
  const std::string host(host_of(parsed.source));
  const auto network = IpNetwork::parse(host);
  CHECK(network.ok() && network.value().contains(host));
}

}  // namespace
}  // namespace sidestream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sidestream::fuzz;
  Input input(data, size);
  if (input.take() % 2 == 0) {
    check_any(input.rest());
  } else {
    check_made(input);
  }
  return 0;
}
