// faults.cc: see the header.
#include "config/faults.h"

#include <algorithm>

#include "common/text.h"

namespace sidestream {
namespace {

constexpr int64_t kLongestMs = 3'600'000;
constexpr const char* kWanted = "wanted commands=NAME+NAME;share=PERCENT with delay=TIME or error=TEXT, not '";

/// "10", "0.5": in thousandths; nothing: it is none.
std::optional<int64_t> permille(std::string_view percent) {
  const size_t dot = percent.find('.');
  const auto whole = parse_int(percent.substr(0, dot));
  const auto tenths = dot == std::string_view::npos ? std::optional<int64_t>(0) : parse_int(percent.substr(dot + 1));
  if (!whole || !tenths || *whole < 0 || *tenths < 0 || *tenths > 9 || *whole * 10 + *tenths > 1000)
    return std::nullopt;
  return *whole * 10 + *tenths;
}

}  // namespace

bool Fault::concerns(std::string_view command) const {
  const auto fits = [&](const std::string& each) {
    return command == each || (command.starts_with(each) && command[each.size()] == '|');
  };
  return commands.empty() || std::any_of(commands.begin(), commands.end(), fits);
}

Result<Fault> parse_fault(std::string_view text) {
  const Error wrong{Errc::config, kWanted + printable(text) + "'"};
  Fault fault;
  for (const std::string& field : split(text, ';')) {
    const size_t equals = field.find('=');
    if (equals == std::string::npos) return wrong;
    const std::string name = to_lower(trim(std::string_view(field).substr(0, equals)));
    const std::string value(trim(std::string_view(field).substr(equals + 1)));
    if (value.empty()) return wrong;
    if (name == "commands") {
      for (const std::string& command : split(value, '+')) fault.commands.push_back(to_lower(command));
    } else if (name == "share") {
      const auto share = permille(value);
      if (!share) return wrong;
      fault.share_permille = *share;
    } else if (name == "delay") {
      const auto delay_ms = parse_duration_ms(value, 1000);
      if (!delay_ms || *delay_ms < 0 || *delay_ms > kLongestMs) return wrong;
      fault.delay_ms = *delay_ms;
    } else if (name == "error") {
      fault.error = value;
    } else {
      return wrong;
    }
  }
  if (fault.delay_ms == 0 && fault.error.empty()) return wrong;
  return fault;
}

}  // namespace sidestream
