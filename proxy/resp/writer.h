// writer.h: RESP out. Appends to a string; nothing else.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace sidestream::resp {

void append_simple(std::string& out, std::string_view text);
/// `text` holds code and words ("ERR no such thing"); CR and LF become blanks.
void append_error(std::string& out, std::string_view text);
void append_integer(std::string& out, int64_t value);
void append_bulk(std::string& out, std::string_view bytes);
/// RESP2: $-1, RESP3: _
void append_null(std::string& out, int protocol);
void append_array(std::string& out, int64_t elements);
/// RESP3 a map of `pairs`, RESP2 a flat array of twice as many.
void append_map(std::string& out, int64_t pairs, int protocol);
/// RESP3 a set, RESP2 an array.
void append_set(std::string& out, int64_t elements, int protocol);
/// RESP3 a verbatim text, RESP2 a bulk (INFO, CLIENT LIST).
void append_text(std::string& out, std::string_view text, int protocol);

/// A command as an array of bulks.
void append_command(std::string& out, std::span<const std::string_view> args);
void append_command(std::string& out, std::initializer_list<std::string_view> args);
std::string command(std::initializer_list<std::string_view> args);

// The same as replies of their own.
std::string simple(std::string_view text);
std::string error(std::string_view text);
std::string integer(int64_t value);

}  // namespace sidestream::resp
