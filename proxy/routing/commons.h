// commons.h: what the cores of one plane share. Everything here may be used from any loop; only scripts, which
// take their time anyway, coming and going, and refused logins know a lock.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>

#include "proxy/routing/address_book.h"
#include "proxy/routing/freshness.h"
#include "proxy/routing/login_brake.h"
#include "proxy/routing/script_cache.h"

namespace sidestream::routing {

struct Commons {
  FreshnessTable freshness;
  ScriptCache scripts;
  LoginBrake login_brake;
  AddressBook addresses;
  std::atomic<size_t> clients{0};                     // accepted and not gone, for limits.maxclients
  std::array<std::atomic<int64_t>, 64> heartbeats{};  // when each core last ticked, in ms; 0: it has not begun
  std::atomic<size_t> held_bytes{0};  // for hold.max-bytes, which several loops at once may pass by a request each
};

}  // namespace sidestream::routing
