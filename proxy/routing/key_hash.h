// key_hash.h: the hash of keys. Only spread and speed count: a collision makes a read stricter, never wrong.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace sidestream::routing {
namespace detail {

template <class Word>
uint64_t load(const char* from) {
  Word word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

/// The last eight bytes, or all of a shorter key; with the key's size no two keys of that size are the same.
inline uint64_t load_end(std::string_view key) {
  const char* const first = key.data();
  const char* const end = first + key.size();
  if (key.size() >= 8) return load<uint64_t>(end - 8);
  if (key.size() >= 4) return load<uint32_t>(first) | load<uint32_t>(end - 4) << 32;
  if (key.empty()) return 0;
  return load<uint8_t>(first) | load<uint8_t>(first + key.size() / 2) << 8 | load<uint8_t>(end - 1) << 16;
}

inline uint64_t mix(uint64_t bits) {
  bits *= 0x9e3779b97f4a7c15;
  return bits ^ bits >> 32;
}

}  // namespace detail

inline uint64_t hash_key(std::string_view key) {
  uint64_t hash = key.size();
  for (size_t at = 0; at + 8 < key.size(); at += 8) {
    hash = detail::mix(hash ^ detail::load<uint64_t>(key.data() + at));
  }
  return detail::mix(detail::mix(hash ^ detail::load_end(key)));
}

}  // namespace sidestream::routing
