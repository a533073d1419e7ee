// key_watch.h: whether a few keys were written while somebody looks at them, as the relayed stream tells it. Exact
// where the freshness map is only safe: no pending marks, no collisions that last, and nothing for keys nobody watches.
//
// Happy path: begin() with the keys, Plane::watch() it, look at servers, ask last_write(). Failure modes: none; what
// cannot be pinned to keys counts as a write to all of them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "proxy/resp/repl_offset.h"
#include "proxy/routing/key_hash.h"

namespace sidestream::routing {

class KeyWatch {
 public:
  static constexpr ReplOffset kNever{-1};

  /// These keys from now on, instead of those before. Databases are not told apart: stricter, never wrong.
  void begin(std::span<const std::string> keys) {
    keys_.clear();
    filter_.fill(0);
    anything_ = kNever;
    for (const std::string& key : keys) {
      keys_.push_back({hash_key(key), kNever});
      filter_[word_of(keys_.back().hash)] |= bit_of(keys_.back().hash);
    }
  }

  /// A write to the key with this hash ends at `end`. Called for every key of the stream, so most calls end here.
  void wrote(uint64_t hash, ReplOffset end) {
    if ((filter_[word_of(hash)] & bit_of(hash)) == 0) return;
    for (Watched& key : keys_) {
      if (key.hash == hash) key.last = std::max(key.last, end);
    }
  }
  void wrote_anything(ReplOffset end) { anything_ = std::max(anything_, end); }

  /// Where the last write to the key at `index` of begin() ends; kNever: there was none since.
  ReplOffset last_write(size_t index) const { return std::max(keys_[index].last, anything_); }

 private:
  struct Watched {
    uint64_t hash;
    ReplOffset last;
  };
  static size_t word_of(uint64_t hash) { return hash >> 6 & 7; }
  static uint64_t bit_of(uint64_t hash) { return uint64_t{1} << (hash & 63); }

  std::vector<Watched> keys_;
  std::array<uint64_t, 8> filter_ = {};
  ReplOffset anything_ = kNever;
};

}  // namespace sidestream::routing
