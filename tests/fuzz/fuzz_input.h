// fuzz_input.h: what a fuzz target makes of the fuzzer's bytes: decisions from the front, raw text from the rest.
//
// Happy path: take() decisions, then rest(). Failure modes: none; an input that is used up decides 0 for ever.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "common/check.h"

/// One run. A property that does not hold is a failed CHECK.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace sidestream::fuzz {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : bytes_(reinterpret_cast<const char*>(data), size) {}
  bool empty() const { return bytes_.empty(); }
  uint8_t take() {
    if (bytes_.empty()) return 0;
    const auto byte = static_cast<uint8_t>(bytes_.front());
    bytes_.remove_prefix(1);
    return byte;
  }
  size_t take_below(size_t bound) { return bound == 0 ? 0 : take() % bound; }
  /// At most `size` bytes.
  std::string_view take_text(size_t size) {
    const auto text = bytes_.substr(0, size);
    bytes_.remove_prefix(text.size());
    return text;
  }
  std::string_view rest() const { return bytes_; }

 private:
  std::string_view bytes_;
};

/// A text as it arrives: in pieces of `size`, the last one shorter.
inline std::vector<std::string_view> pieces_of(std::string_view text, size_t size) {
  std::vector<std::string_view> pieces;
  for (size_t at = 0; at < text.size(); at += size) pieces.push_back(text.substr(at, size));
  return pieces;
}

}  // namespace sidestream::fuzz
