// large_keys.h: keys that gave a reply larger than limits.stream-above when they were last read. They are read over a
// connection of their own from the start, so that nobody has to wait behind them.
//
// Happy path: a reply that turns out large on a shared connection adds the keys of its request; one that turns out
// small removes them again. Failure modes: none; a key that was pushed out by another is learnt anew.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

namespace sidestream::routing {

class LargeKeys {
 public:
  bool any() const { return count_ > 0; }
  /// The first of these hashes that is known; 0: none.
  uint64_t find(std::span<const uint64_t> hashes) const {
    const auto known = [this](uint64_t hash) { return hash != 0 && slots_[hash % kSlots] == hash; };
    const auto found = std::find_if(hashes.begin(), hashes.end(), known);
    return found == hashes.end() ? 0 : *found;
  }
  void add(uint64_t hash) {
    if (hash == 0) return;
    uint64_t& slot = slots_[hash % kSlots];
    if (slot == 0) ++count_;
    slot = hash;
  }
  void forget(uint64_t hash) {
    uint64_t& slot = slots_[hash % kSlots];
    if (slot != hash || hash == 0) return;
    slot = 0;
    --count_;
  }

 private:
  static constexpr size_t kSlots = 1024;
  std::array<uint64_t, kSlots> slots_{};  // 0: free
  size_t count_ = 0;
};

}  // namespace sidestream::routing
