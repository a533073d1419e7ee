// plain_length.h: the line that nearly every frame begins with, read in a few instructions; for the parsers here and
// the stream's. What is not plain is left to their careful code, which also knows the error texts.
//
//   line = type 1*10DIGIT CR LF                  ; no sign, no leading zero
#pragma once

#include <cstdint>
#include <cstring>

namespace sidestream::resp {
namespace detail {

inline bool is_line_end(const char* at) { return std::memcmp(at, "\r\n", 2) == 0; }
inline unsigned digit_of(char c) { return static_cast<unsigned char>(c) - unsigned{'0'}; }

}  // namespace detail

/// Reads the line at `at`, never beyond `end`. Returns the byte behind it; nullptr: not plain, or not all there.
inline const char* read_plain_length(const char* at, const char* end, char type, int64_t& length) {
  if (end - at < 4 || *at != type) return nullptr;
  const char* const first = at + 1;
  uint64_t value = detail::digit_of(*first);
  if (value > 9) return nullptr;
  if (detail::is_line_end(first + 1)) {
    length = static_cast<int64_t>(value);
    return first + 3;
  }
  const char* const last = end - first > 12 ? first + 11 : end - 1;  // a CR before it has its LF within `end`
  const char* digit = first + 1;
  for (; digit < last && detail::digit_of(*digit) <= 9; ++digit) value = value * 10 + detail::digit_of(*digit);
  if (digit >= last || !detail::is_line_end(digit) || *first == '0') return nullptr;
  length = static_cast<int64_t>(value);
  return digit + 2;
}

}  // namespace sidestream::resp
