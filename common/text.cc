// text.cc: small strict parsers. Tables of cases are in tests/unit/text_test.cc.
#include "common/text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdio>

#include "common/byte_stream.h"
#include "common/world.h"

namespace sidestream {
namespace {

char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row.back();
}

std::optional<int64_t> scaled(std::string_view digits, int64_t unit) {
  const auto number = parse_int(digits);
  if (!number || *number < 0 || (unit != 0 && *number > INT64_MAX / unit)) return std::nullopt;
  return *number * unit;
}

}  // namespace

std::optional<int64_t> parse_int(std::string_view text) {
  const std::string_view digits = !text.empty() && text[0] == '-' ? text.substr(1) : text;
  if (digits.empty() || (digits.size() > 1 && digits[0] == '0') || text == "-0") return std::nullopt;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<int64_t> parse_bytes(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const std::string unit = to_lower(text.substr(digits));
  static constexpr std::array<std::pair<std::string_view, int64_t>, 8> kUnits{{{"", 1},
                                                                               {"b", 1},
                                                                               {"k", 1000},
                                                                               {"kb", 1024},
                                                                               {"m", 1000 * 1000},
                                                                               {"mb", 1024 * 1024},
                                                                               {"g", 1000LL * 1000 * 1000},
                                                                               {"gb", 1024LL * 1024 * 1024}}};
  for (const auto& [name, factor] : kUnits) {
    if (unit == name) return scaled(text.substr(0, digits), factor);
  }
  return std::nullopt;
}

std::optional<int64_t> parse_duration_ms(std::string_view text, int64_t bare_unit_ms) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const std::string_view unit = text.substr(digits);
  int64_t factor = 0;
  if (unit.empty()) factor = bare_unit_ms;
  if (unit == "ms") factor = 1;
  if (unit == "s") factor = 1000;
  if (unit == "m") factor = 60'000;
  if (unit == "h") factor = 3'600'000;
  if (factor == 0) return std::nullopt;
  return scaled(text.substr(0, digits), factor);
}

std::string to_lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

std::string to_upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return out;
}

bool iequals_letters(const char* a, const char* b, size_t size) {
  return std::equal(a, a + size, b, [](char x, char y) { return lower(x) == lower(y); });
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const size_t end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.remove_suffix(1);
  return text;
}

std::string printable(std::string_view bytes, size_t max) {
  std::string out;
  for (const char c : bytes) {
    if (out.size() >= max) return out + "...";
    if (c >= 0x20 && c < 0x7f) {
      out += c;
    } else {
      char hex[5];
      std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned char>(c));
      out += hex;
    }
  }
  return out;
}

namespace {

/// Matches one [class] at the front of `pattern` (behind the bracket) and moves past it.
bool match_class(std::string_view& pattern, char c, bool ignore_case) {
  const auto fold = [&](char x) { return ignore_case ? lower(x) : x; };
  const bool negated = !pattern.empty() && pattern[0] == '^';
  if (negated) pattern.remove_prefix(1);
  bool found = false;
  while (!pattern.empty() && pattern[0] != ']') {
    if (pattern[0] == '\\' && pattern.size() >= 2) {
      found |= fold(pattern[1]) == fold(c);
      pattern.remove_prefix(2);
    } else if (pattern.size() >= 3 && pattern[1] == '-') {
      const char from = fold(pattern[0]);
      const char to = fold(pattern[2]);
      found |= fold(c) >= std::min(from, to) && fold(c) <= std::max(from, to);
      pattern.remove_prefix(3);
    } else {
      found |= fold(pattern[0]) == fold(c);
      pattern.remove_prefix(1);
    }
  }
  if (!pattern.empty()) pattern.remove_prefix(1);
  return found != negated;
}

}  // namespace

bool glob_match(std::string_view pattern, std::string_view text, bool ignore_case) {
  // Iterative with one point to come back to: hostile patterns cost |pattern| * |text|, not more.
  const auto fold = [&](char x) { return ignore_case ? lower(x) : x; };
  std::string_view star_pattern;
  std::string_view star_text;
  bool has_star = false;
  for (;;) {
    bool matched = false;
    if (!pattern.empty() && pattern[0] == '*') {
      pattern.remove_prefix(1);
      star_pattern = pattern;
      star_text = text;
      has_star = true;
      continue;
    }
    if (text.empty()) {
      if (pattern.empty()) return true;
    } else if (!pattern.empty()) {
      std::string_view rest = pattern.substr(1);
      if (pattern[0] == '?') {
        matched = true;
      } else if (pattern[0] == '[') {
        matched = match_class(rest, text[0], ignore_case);
      } else if (pattern[0] == '\\' && pattern.size() >= 2) {
        matched = fold(pattern[1]) == fold(text[0]);
        rest = pattern.substr(2);
      } else {
        matched = fold(pattern[0]) == fold(text[0]);
      }
      if (matched) {
        pattern = rest;
        text.remove_prefix(1);
        continue;
      }
    }
    if (!has_star || star_text.empty()) return false;
    star_text.remove_prefix(1);
    text = star_text;
    pattern = star_pattern;
  }
}

std::string closest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = 3;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string human_bytes(int64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  char out[32];
  std::snprintf(out, sizeof out, unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return out;
}

std::string Random::hex40() {
  std::string out;
  while (out.size() < 40) {
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(next()));
    out += digits;
  }
  out.resize(40);
  return out;
}

std::string Address::text() const {
  if (!path.empty()) return "unix:" + path;
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::string Address::url() const {
  if (transport == Transport::tls) return "tls://" + text();
  return transport == Transport::plain ? "tcp://" + text() : text();
}

Result<Address> parse_address(std::string_view text) {
  const auto refuse = [&](const char* why) {
    return Error{Errc::config, "'" + std::string(text) + "' is not an address: " + why +
                                   " (wanted HOST:PORT, [IPV6]:PORT, tls://HOST:PORT or unix:/PATH)"};
  };
  Address address;
  std::string_view rest = trim(text);
  if (rest.starts_with("unix:")) {
    address.path = rest.substr(5);
    if (address.path.empty()) return refuse("the path is missing");
    return address;
  }
  if (rest.starts_with("tls://")) address.transport = Transport::tls;
  if (rest.starts_with("tcp://")) address.transport = Transport::plain;
  if (address.transport != Transport::unsaid) rest.remove_prefix(6);
  const size_t split_at = rest.find_last_of(": ");
  if (split_at == std::string_view::npos) return refuse("the port is missing");
  std::string_view host = trim(rest.substr(0, split_at));
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  const auto port = parse_int(trim(rest.substr(split_at + 1)));
  if (!port || *port < 0 || *port > 65535) return refuse("the port must be a number from 0 to 65535");
  if (host.empty()) return refuse("the host is missing");
  address.host = host;
  address.port = static_cast<int>(*port);
  return address;
}

}  // namespace sidestream
