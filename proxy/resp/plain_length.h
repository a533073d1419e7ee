// plain_length.h: the line that nearly every frame begins with, read in one tight loop; for the parsers of this room
// and the stream's. What is not plain is left to their careful code, which also knows the error texts.
//
//   line = type 1*10DIGIT CR LF                  ; no sign, no leading zero
#pragma once

#include <cstdint>

namespace sidestream::resp {

/// Reads the line at `at`, never beyond `end`. Returns the byte behind it; nullptr: not plain, or not all there.
inline const char* read_plain_length(const char* at, const char* end, char type, int64_t& length) {
  if (end - at < 4 || *at != type) return nullptr;
  int64_t value = static_cast<unsigned char>(at[1]) - '0';
  if (value < 0 || value > 9) return nullptr;
  const char* digit = at + 2;
  const char* const last = end - digit > 10 ? digit + 10 : end - 1;  // a CR there has its LF within `end`
  while (digit < last && *digit >= '0' && *digit <= '9') value = value * 10 + (*digit++ - '0');
  const bool leading_zero = at[1] == '0' && digit != at + 2;
  if (digit >= last || digit[0] != '\r' || digit[1] != '\n' || leading_zero) return nullptr;
  length = value;
  return digit + 2;
}

}  // namespace sidestream::resp
