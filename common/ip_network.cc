// ip_network.cc: see the header.
#include "common/ip_network.h"

#include <arpa/inet.h>

#include <algorithm>
#include <optional>
#include <string>

#include "common/text.h"

namespace sidestream {
namespace {

using Bytes = std::array<uint8_t, 16>;
constexpr int kMappedBits = 96;  // in front of an IPv4 address

/// The number as IPv6, and whether it was written as IPv4.
std::optional<std::pair<Bytes, bool>> parse_host(std::string_view text) {
  const std::string host(text);
  Bytes bytes{};
  if (inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1) return std::pair(bytes, false);
  bytes[10] = bytes[11] = 0xff;
  if (inet_pton(AF_INET, host.c_str(), bytes.data() + 12) == 1) return std::pair(bytes, true);
  return std::nullopt;
}

bool same_bits(const Bytes& a, const Bytes& b, int bits) {
  const auto whole = static_cast<size_t>(bits / 8);
  if (!std::equal(a.begin(), a.begin() + static_cast<ptrdiff_t>(whole), b.begin())) return false;
  const int rest = bits % 8;
  return rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0;
}

}  // namespace

Result<IpNetwork> IpNetwork::parse(std::string_view text) {
  const size_t slash = text.find('/');
  const auto host = parse_host(text.substr(0, slash));
  if (!host) {
    return Error{Errc::config,
                 "wanted an address or a network in numbers such as 10.0.0.0/8 or ::1, not '" + printable(text) + "'"};
  }
  IpNetwork network;
  network.bytes_ = host->first;
  if (slash == std::string_view::npos) return network;
  const int most = host->second ? 32 : 128;
  const auto bits = parse_int(text.substr(slash + 1));
  if (!bits || *bits < 0 || *bits > most) {
    return Error{Errc::config, "behind the / of '" + printable(text) + "' there must be 0 to " + std::to_string(most)};
  }
  network.bits_ = static_cast<int>(*bits) + (host->second ? kMappedBits : 0);
  return network;
}

bool IpNetwork::contains(std::string_view host) const {
  const auto number = parse_host(host);
  return number && same_bits(number->first, bytes_, bits_);
}

std::string_view host_of(std::string_view peer) {
  const size_t colon = peer.rfind(':');
  if (colon == std::string_view::npos) return peer;
  std::string_view host = peer.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return host;
}

bool is_loopback(std::string_view peer) {
  static const IpNetwork kFour = IpNetwork::parse("127.0.0.0/8").value();
  static const IpNetwork kSix = IpNetwork::parse("::1").value();
  const std::string_view host = host_of(peer);
  return host == "unix" || kFour.contains(host) || kSix.contains(host);
}

}  // namespace sidestream
