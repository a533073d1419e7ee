// secrets.h: making secrets, hashing them, and comparing them without telling by the time how much was right.
#pragma once

#include <string>
#include <string_view>

namespace sidestream {

/// 64 lower-case hexadecimal digits.
std::string sha256_hex(std::string_view bytes);
bool is_sha256_hex(std::string_view text);
/// From the system's source of randomness, for passwords.
std::string random_hex(size_t digits);
/// Takes as long for equal texts as for different ones of the same length.
bool equal_in_constant_time(std::string_view a, std::string_view b);

}  // namespace sidestream
