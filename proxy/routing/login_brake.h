// login_brake.h: how long a refused login waits for its answer: longer with each failure from the same address, so that
// trying passwords takes years. Only refusals wait, and only the client that gets one.
//
// Failure modes: addresses share the slots of a fixed table, so somebody may be slowed down by another; only if he
// fails himself.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string_view>

namespace sidestream::routing {

class LoginBrake {
 public:
  static constexpr int64_t kFirstMs = 100, kLongestMs = 3200, kForgottenAfterMs = 60'000;

  /// A login of this host failed: how long to wait before saying so.
  int64_t failed(std::string_view host, int64_t now_ms) {
    const std::lock_guard lock(mutex_);
    Slot& slot = slots_[std::hash<std::string_view>()(host) % slots_.size()];
    const bool lately = slot.delay_ms > 0 && now_ms - slot.last_ms < kForgottenAfterMs;
    slot.delay_ms = lately ? std::min(slot.delay_ms * 2, kLongestMs) : kFirstMs;
    slot.last_ms = now_ms;
    return slot.delay_ms;
  }

 private:
  struct Slot {
    int64_t last_ms = 0, delay_ms = 0;
  };
  std::mutex mutex_;  // the cores share it: otherwise more of them would mean more guesses
  std::array<Slot, 256> slots_;
};

}  // namespace sidestream::routing
