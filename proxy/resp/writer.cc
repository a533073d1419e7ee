// writer.cc: RESP out. Nothing can fail; the grammar is the one of reply.h and request.h.
#include "proxy/resp/writer.h"

#include <charconv>

namespace sidestream::resp {
namespace {

/// "<type><number>CR LF"
void append_head(std::string& out, char type, int64_t number) {
  char line[24];
  line[0] = type;
  char* end = std::to_chars(line + 1, line + sizeof line - 2, number).ptr;
  *end++ = '\r';
  *end++ = '\n';
  out.append(line, end);
}

}  // namespace

void append_simple(std::string& out, std::string_view text) {
  out += '+';
  out += text;
  out += "\r\n";
}

void append_error(std::string& out, std::string_view text) {
  out += '-';
  for (const char c : text) out += c == '\r' || c == '\n' ? ' ' : c;
  out += "\r\n";
}

void append_integer(std::string& out, int64_t value) { append_head(out, ':', value); }

void append_bulk(std::string& out, std::string_view bytes) {
  append_head(out, '$', static_cast<int64_t>(bytes.size()));
  out += bytes;
  out += "\r\n";
}

void append_null(std::string& out, int protocol) { out += protocol >= 3 ? "_\r\n" : "$-1\r\n"; }

void append_array(std::string& out, int64_t elements) { append_head(out, '*', elements); }

void append_map(std::string& out, int64_t pairs, int protocol) {
  if (protocol >= 3) return append_head(out, '%', pairs);
  append_head(out, '*', 2 * pairs);
}

void append_set(std::string& out, int64_t elements, int protocol) {
  append_head(out, protocol >= 3 ? '~' : '*', elements);
}

void append_text(std::string& out, std::string_view text, int protocol) {
  if (protocol < 3) return append_bulk(out, text);
  append_head(out, '=', static_cast<int64_t>(text.size()) + 4);
  out += "txt:";
  out += text;
  out += "\r\n";
}

void append_command(std::string& out, std::span<const std::string_view> args) {
  append_array(out, static_cast<int64_t>(args.size()));
  for (const std::string_view arg : args) append_bulk(out, arg);
}

void append_command(std::string& out, std::initializer_list<std::string_view> args) {
  append_command(out, std::span(args.begin(), args.size()));
}

std::string command(std::initializer_list<std::string_view> args) {
  std::string out;
  append_command(out, args);
  return out;
}

std::string simple(std::string_view text) {
  std::string reply;
  append_simple(reply, text);
  return reply;
}

std::string error(std::string_view text) {
  std::string reply;
  append_error(reply, text);
  return reply;
}

std::string integer(int64_t value) {
  std::string reply;
  append_integer(reply, value);
  return reply;
}

}  // namespace sidestream::resp
