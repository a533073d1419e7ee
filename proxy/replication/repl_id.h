// repl_id.h: the name of a history: forty hexadecimal digits, or none. Primaries compare them without case,
// stock replicas with it, so the spelling we were told is the spelling we pass on.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "common/text.h"

namespace sidestream::replication {

class ReplId {
 public:
  static constexpr size_t kDigits = 40;

  /// No history. Equal to nothing a peer can send.
  ReplId() = default;
  /// Nothing unless `text` is forty hexadecimal digits.
  static std::optional<ReplId> parse(std::string_view text) {
    if (text.size() != kDigits || text.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos) return {};
    ReplId id;
    if (text != std::string(kDigits, '0')) id.text_ = text;
    return id;
  }

  bool empty() const { return text_.empty(); }
  /// As INFO prints it: forty zeros for none.
  std::string text() const { return empty() ? std::string(kDigits, '0') : text_; }
  /// Whether a peer means this history.
  bool matches(std::string_view other) const { return !empty() && iequals(text_, other); }
  friend bool operator==(const ReplId& a, const ReplId& b) { return iequals(a.text_, b.text_); }

 private:
  std::string text_;
};

}  // namespace sidestream::replication
