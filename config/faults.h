// faults.h: what goes wrong on purpose, so that users can test their own applications (options `fault-injection` and
// `faults`).
//
// A fault is a text: "commands=GET+SET;share=10;delay=50ms" or "share=0.5;error=ERR on purpose". Without `commands` it
// is about all of them, without `share` (percent) always. Failure modes: another text is an Error that says what is
// wanted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace sidestream {

struct Fault {
  std::vector<std::string> commands;  // lower case, names or "container|sub"; empty: all
  int64_t share_permille = 1000;
  int64_t delay_ms = 0;
  std::string error;  // the reply instead of the server's; empty: none

  bool concerns(std::string_view command) const;
};

/// Errc::config.
Result<Fault> parse_fault(std::string_view text);

}  // namespace sidestream
