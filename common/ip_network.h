// ip_network.h: an address or a network in numbers, "10.0.0.0/8" or "::1", and which hosts are in it.
// Failure modes: Errc::config with what is wrong with the text. A host that is no number is in no network.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "common/result.h"

namespace sidestream {

class IpNetwork {
 public:
  static Result<IpNetwork> parse(std::string_view text);
  /// `host`: a number, without port. 10.0.0.1 and ::ffff:10.0.0.1 are the same.
  bool contains(std::string_view host) const;

 private:
  std::array<uint8_t, 16> bytes_{};  // as IPv6
  int bits_ = 128;
};

/// "10.0.0.1:5", "[::1]:5" -> the host alone; "unix" and the like stay as they are.
std::string_view host_of(std::string_view peer);
/// Of this machine: 127.0.0.0/8, ::1, a unix socket.
bool is_loopback(std::string_view peer);

}  // namespace sidestream
