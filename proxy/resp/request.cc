// request.cc: requests, found in place. Grammar and failure modes: request.h. Error texts are those of stock 7.0.
#include "proxy/resp/request.h"

#include <algorithm>
#include <cctype>
#include <string>

#include "common/text.h"
#include "proxy/resp/plain_length.h"
#include "proxy/resp/request_tail.h"

namespace sidestream::resp {
namespace {

constexpr size_t kLineBytesMax = 64 * 1024;    // PROTO_INLINE_MAX_SIZE
constexpr size_t kArgumentsKept = 1024;        // room that a parser keeps after a larger request
constexpr int64_t kStrangerArgumentsMax = 10;  // before authentication
constexpr int64_t kStrangerBulkBytesMax = 16384;

template <class T>
void clear_and_trim(std::vector<T>& items) {
  if (items.capacity() > kArgumentsKept) items = std::vector<T>();  // `= {}` would keep the room
  items.clear();
}

bool is_blank(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const int letter = std::tolower(static_cast<unsigned char>(c));
  return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/// Takes what stands for one character inside double quotes from the front of `line`.
char take_escaped(std::string_view& line) {
  const char c = line[0];
  if (c != '\\' || line.size() < 2) {
    line.remove_prefix(1);
    return c;
  }
  if (line[1] == 'x' && line.size() >= 4 && hex_value(line[2]) >= 0 && hex_value(line[3]) >= 0) {
    const int value = hex_value(line[2]) * 16 + hex_value(line[3]);
    line.remove_prefix(4);
    return static_cast<char>(value);
  }
  static constexpr std::string_view kNames = "nrtba";
  static constexpr std::string_view kBytes = "\n\r\t\b\a";
  const size_t known = kNames.find(line[1]);
  const char escaped = known == std::string_view::npos ? line[1] : kBytes[known];
  line.remove_prefix(2);
  return escaped;
}

/// Takes a quoted part, quotes included. False: it does not end, or something is glued to its end.
bool take_quoted(std::string_view& line, std::string& out) {
  const char quote = line[0];
  line.remove_prefix(1);
  while (!line.empty() && line[0] != quote) {
    if (quote == '"') {
      out += take_escaped(line);
    } else {
      if (line.starts_with("\\'")) line.remove_prefix(1);
      out += line[0];
      line.remove_prefix(1);
    }
  }
  if (line.empty()) return false;
  line.remove_prefix(1);
  return line.empty() || is_blank(line[0]);
}

/// Takes one word, appending its plain form to `out`. False: unbalanced quotes.
bool take_word(std::string_view& line, std::string& out) {
  static constexpr std::string_view kEnds = " \t\r";  // fewer than are skipped in front of a word: so does stock
  while (!line.empty() && kEnds.find(line[0]) == std::string_view::npos) {
    if (line[0] == '"' || line[0] == '\'') return take_quoted(line, out);
    out += line[0];
    line.remove_prefix(1);
  }
  return true;
}

}  // namespace

/// A line "<type><number>CR LF" at position_.
struct RequestParser::Line {
  enum class Kind { number, not_a_number, incomplete, too_long };
  Kind kind = Kind::incomplete;
  int64_t number = 0;
  size_t next = 0;  // where the following line starts
};

RequestParser::State RequestParser::next(std::string_view bytes, Request& request) {
  if (finished_) {
    if (take_whole(bytes, request)) return State::ok;
    finished_ = false;
    position_ = 0;
    arguments_left_ = -1;
    found_.clear();
  }
  expected_ = 0;
  if (bytes.empty()) return State::incomplete;
  return bytes[0] == '*' ? parse_multibulk(bytes, request) : parse_inline(bytes, request);
}

bool RequestParser::take_whole(std::string_view bytes, Request& request) {
  const char* at = bytes.data();
  const char* const end = at + bytes.size();
  int64_t count = 0;
  at = read_plain_length(at, end, '*', count);
  if (at == nullptr || count > static_cast<int64_t>(kArgumentsKept) || !limits.authenticated) return false;
  if (request.args.capacity() > kArgumentsKept) clear_and_trim(request.args);
  request.args.resize(static_cast<size_t>(count));
  for (std::string_view& argument : request.args) {
    int64_t length = 0;
    at = read_plain_length(at, end, '$', length);
    if (at == nullptr || length > limits.bulk_bytes_max || length + 2 > end - at) return false;
    argument = {at, static_cast<size_t>(length)};
    at += length + 2;
  }
  position_ = static_cast<size_t>(at - bytes.data());
  expected_ = 0;
  request.raw = bytes.substr(0, position_);
  request.is_inline = false;
  return true;
}

RequestParser::State RequestParser::fail(std::string text) {
  finished_ = true;
  error_ = "Protocol error: " + std::move(text);
  return State::bad;
}

RequestParser::State RequestParser::parse_inline(std::string_view bytes, Request& request) {
  const size_t newline = bytes.find('\n');
  if (newline == std::string_view::npos) {
    return bytes.size() > kLineBytesMax ? fail("too big inline request") : State::incomplete;
  }
  std::string_view line = bytes.substr(0, newline);
  if (line.ends_with('\r')) line.remove_suffix(1);

  request.raw = {};
  request.is_inline = true;
  clear_and_trim(request.args);
  request.unquoted.clear();
  // Room for all, so that views stay valid while words are added; never the string's inner buffer, which would move
  // with the request.
  request.unquoted.reserve(line.size() + sizeof(std::string));
  for (;;) {
    while (!line.empty() && is_blank(line[0])) line.remove_prefix(1);
    if (line.empty()) break;
    const size_t start = request.unquoted.size();
    if (!take_word(line, request.unquoted)) return fail("unbalanced quotes in request");
    request.args.emplace_back(request.unquoted.data() + start, request.unquoted.size() - start);
  }
  position_ = newline + 1;
  finished_ = true;
  return State::ok;
}

RequestParser::State RequestParser::parse_multibulk(std::string_view bytes, Request& request) {
  if (arguments_left_ < 0) {
    const State state = read_count(bytes);
    if (state != State::ok) return state;
  }
  for (; arguments_left_ > 0; --arguments_left_) {
    const State state = read_bulk(bytes);
    if (state != State::ok) return state;
  }
  request.raw = bytes.substr(0, position_);
  request.is_inline = false;
  clear_and_trim(request.args);
  for (const Argument& argument : found_) request.args.push_back(bytes.substr(argument.offset, argument.length));
  clear_and_trim(found_);
  finished_ = true;
  return State::ok;
}

int64_t RequestParser::peek(std::string_view bytes, Request& request, size_t most) const {
  if (arguments_left_ <= 0 || bytes.empty() || bytes[0] != '*') return 0;
  request.raw = bytes;
  request.is_inline = false;
  clear_and_trim(request.args);
  for (const Argument& argument : found_) {
    if (request.args.size() == most) break;
    request.args.push_back(bytes.substr(argument.offset, argument.length));
  }
  return arguments_left_ + static_cast<int64_t>(found_.size());
}

RequestTail RequestParser::leave(std::string_view bytes) {
  finished_ = true;
  const size_t known_until = expected_ > bytes.size() ? expected_ - bytes.size() : 0;
  const std::string_view begun = bytes.substr(position_);
  return {arguments_left_, known_until, begun.size(), known_until > 0 ? std::string_view() : begun, limits};
}

RequestParser::Line RequestParser::read_length(std::string_view bytes) const {
  // Nearly always a few digits and a CR: one pass. Anything else is looked at again, slowly.
  Line line;
  size_t at = position_ + 1;
  const size_t digits_end = std::min(bytes.size(), at + 18);
  while (at < digits_end && bytes[at] >= '0' && bytes[at] <= '9') line.number = line.number * 10 + (bytes[at++] - '0');
  const bool plain = at < bytes.size() && bytes[at] == '\r' && at > position_ + 1 &&
                     (bytes[position_ + 1] != '0' || at == position_ + 2) && bytes[position_] != '\r';
  if (!plain) {
    at = bytes.find('\r', position_);
    if (at == std::string_view::npos) {
      if (bytes.size() - position_ > kLineBytesMax) line.kind = Line::Kind::too_long;
      return line;
    }
  }
  if (at + 2 > bytes.size()) return line;
  line.next = at + 2;
  line.kind = Line::Kind::number;
  if (plain) return line;
  const auto number = parse_int(bytes.substr(position_ + 1, at - position_ - 1));
  if (number) line.number = *number;
  if (!number) line.kind = Line::Kind::not_a_number;
  return line;
}

RequestParser::State RequestParser::read_count(std::string_view bytes) {
  const Line line = read_length(bytes);
  if (line.kind == Line::Kind::incomplete) return State::incomplete;
  if (line.kind == Line::Kind::too_long) return fail("too big mbulk count string");
  if (line.kind == Line::Kind::not_a_number || line.number > limits.arguments_max) {
    return fail("invalid multibulk length");
  }
  if (!limits.authenticated && line.number > kStrangerArgumentsMax) return fail("unauthenticated multibulk length");
  arguments_left_ = line.number;  // none or fewer: the request ends here
  position_ = line.next;
  return State::ok;
}

RequestParser::State RequestParser::read_bulk(std::string_view bytes) {
  if (position_ >= bytes.size()) return State::incomplete;
  const Line line = read_length(bytes);
  if (line.kind == Line::Kind::incomplete) return State::incomplete;
  if (line.kind == Line::Kind::too_long) return fail("too big bulk count string");
  if (bytes[position_] != '$') return fail("expected '$', got '" + std::string(1, bytes[position_]) + "'");
  if (line.kind == Line::Kind::not_a_number || line.number < 0 || line.number > limits.bulk_bytes_max) {
    return fail("invalid bulk length");
  }
  if (!limits.authenticated && line.number > kStrangerBulkBytesMax) return fail("unauthenticated bulk length");
  const size_t length = static_cast<size_t>(line.number);
  const size_t end = line.next + length + 2;
  if (end > bytes.size()) {
    expected_ = end;
    return State::incomplete;
  }
  found_.push_back({line.next, length});
  position_ = end;
  return State::ok;
}

}  // namespace sidestream::resp
