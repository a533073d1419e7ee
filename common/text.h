// text.h: numbers, sizes, times and names as people write them. Strict: a number is decimal digits and nothing
// else (yaml-cpp would read 010 as eight and 0x10 as sixteen).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace sidestream {

/// Decimal, optional leading '-', no spaces, no leading zeros beyond a single 0, within int64.
std::optional<int64_t> parse_int(std::string_view text);
/// Redis units: 1k = 1000, 1kb = 1024, m/mb, g/gb, case does not matter; a bare number is bytes.
std::optional<int64_t> parse_bytes(std::string_view text);
/// "250ms", "5s", "2m", "1h"; a bare number counts in `bare_unit_ms`. Result in milliseconds.
std::optional<int64_t> parse_duration_ms(std::string_view text, int64_t bare_unit_ms);

std::string to_lower(std::string_view text);
std::string to_upper(std::string_view text);
bool iequals_letters(const char* a, const char* b, size_t size);
inline bool iequals(std::string_view a, std::string_view b) {
  return a.size() == b.size() && iequals_letters(a.data(), b.data(), a.size());
}
std::vector<std::string> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);
/// For logs and error texts: unprintable bytes as \xHH, cut at `max` characters.
std::string printable(std::string_view bytes, size_t max = 128);
/// Redis' glob (stringmatchlen): * ? [a-z] [^x] and backslash.
bool glob_match(std::string_view pattern, std::string_view text, bool ignore_case = false);
/// The candidate within two edits of `word`, or empty.
std::string closest(std::string_view word, const std::vector<std::string>& candidates);
/// "1.5 MiB", "312 KiB", "17 B".
std::string human_bytes(int64_t bytes);

}  // namespace sidestream
