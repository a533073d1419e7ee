// proxy_header.cc: see the header.
#include "common/proxy_header.h"

#include <arpa/inet.h>

#include <array>

#include "common/byte_stream.h"
#include "common/text.h"

namespace sidestream {
namespace {

using State = ProxyHeader::State;
using namespace std::string_view_literals;

constexpr std::string_view kOne = "PROXY "sv;
constexpr size_t kOneMax = 107;  // with its line end, says the specification
constexpr std::string_view kTwo = "\r\n\r\n\0\r\nQUIT\n"sv;
constexpr size_t kTwoFixed = 16;

ProxyHeader bad(std::string problem) { return {State::bad, 0, {}, std::move(problem)}; }
ProxyHeader complete(size_t bytes, std::string source) { return {State::complete, bytes, std::move(source), {}}; }

/// Begins like `mark`, as far as it has arrived.
bool may_be(std::string_view arrived, std::string_view mark) {
  const size_t n = std::min(arrived.size(), mark.size());
  return arrived.substr(0, n) == mark.substr(0, n);
}

bool is_host(int family, const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> number{};
  return inet_pton(family, text.c_str(), number.data()) == 1;
}

bool is_port(const std::string& text) {
  const auto port = parse_int(text);
  return port && *port >= 0 && *port <= 65535 && std::to_string(*port) == text;
}

/// "PROXY TCP4 10.0.0.1 10.0.0.2 1234 6379\r\n"
ProxyHeader parse_one(std::string_view arrived) {
  const size_t end = arrived.find('\n');
  if (end == std::string_view::npos) {
    return arrived.size() >= kOneMax ? bad("the line is too long") : ProxyHeader{};
  }
  if (end + 1 > kOneMax) return bad("the line is too long");
  if (arrived[end - 1] != '\r') return bad("the line does not end with CR LF");
  const std::vector<std::string> words = split(arrived.substr(0, end - 1), ' ');
  if (words[1] == "UNKNOWN") return complete(end + 1, "");
  const int family = words[1] == "TCP4" ? AF_INET : words[1] == "TCP6" ? AF_INET6 : AF_UNSPEC;
  if (family == AF_UNSPEC) return bad("it is neither TCP4 nor TCP6 nor UNKNOWN");
  if (words.size() != 6) return bad("there are not two addresses and two ports");
  if (!is_host(family, words[2]) || !is_host(family, words[3])) return bad("an address is none of its family");
  if (!is_port(words[4]) || !is_port(words[5])) return bad("a port is not a number up to 65535");
  return complete(end + 1, Address{words[2], static_cast<int>(*parse_int(words[4])), {}}.text());
}

size_t number_at(std::string_view bytes, size_t at) {
  return static_cast<unsigned char>(bytes[at]) * size_t{256} + static_cast<unsigned char>(bytes[at + 1]);
}

/// Source, destination, source port, destination port; `size` bytes an address.
std::string source_of(std::string_view addresses, int family, size_t size) {
  std::array<char, INET6_ADDRSTRLEN> host{};
  inet_ntop(family, addresses.data(), host.data(), host.size());
  return Address{host.data(), static_cast<int>(number_at(addresses, 2 * size)), {}}.text();
}

ProxyHeader parse_two(std::string_view arrived) {
  if (arrived.size() < kTwoFixed) return {};
  const auto version_and_command = static_cast<unsigned char>(arrived[12]);
  const auto family = static_cast<unsigned char>(arrived[13]);
  const size_t length = number_at(arrived, 14), whole = kTwoFixed + length;
  if (version_and_command >> 4 != 2) return bad("its version is not 2");
  const unsigned command = version_and_command & 0xf;
  if (command > 1) return bad("its command is neither LOCAL nor PROXY");
  if (whole > kProxyHeaderMax) return bad("it is longer than 4 kB");
  const bool local = command == 0;
  size_t wanted = 0;
  if (!local && family == 0x11) wanted = 12;
  if (!local && family == 0x21) wanted = 36;
  if (!local && family == 0x31) wanted = 216;
  if (!local && family != 0 && wanted == 0) return bad("its family is none that carries a stream");
  if (length < wanted) return bad("it is too short for its addresses");
  if (arrived.size() < whole) return {};
  const std::string_view addresses = arrived.substr(kTwoFixed, length);
  if (wanted == 12) return complete(whole, source_of(addresses, AF_INET, 4));
  if (wanted == 36) return complete(whole, source_of(addresses, AF_INET6, 16));
  return complete(whole, "");
}

}  // namespace

ProxyHeader parse_proxy_header(std::string_view arrived) {
  if (may_be(arrived, kTwo)) return parse_two(arrived);
  if (!may_be(arrived, kOne)) return {State::absent, 0, {}, {}};
  return arrived.size() < kOne.size() ? ProxyHeader{} : parse_one(arrived);
}

}  // namespace sidestream
