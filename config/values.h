// values.h: between texts and the members of Config, by kind; the bottom half of the option table (options.h).
//
// Failure modes: a text that does not fit is Errc::config with what is wanted; the slot is then unchanged.
#pragma once

#include "config/options.h"

namespace sidestream {

Result<void> read_value(const Slot& slot, const Type& type, std::string_view text);
std::string write_value(const Slot& slot, const Type& type);
/// N of "quorum:N"; 0 for anything else.
size_t quorum_of(std::string_view text);
/// "64mb" for 67108864: the largest unit that divides it.
std::string size_text(int64_t bytes);

}  // namespace sidestream
