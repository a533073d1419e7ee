// request_fuzz.cc: requests of clients, as RequestParser finds them: the same whether the bytes come at once or in
// pieces, and the same arguments and error texts as a plain reading of stock's rules gives.
#include <cctype>
#include <optional>
#include <string>
#include <vector>

#include "common/text.h"
#include "proxy/resp/request.h"
#include "tests/fuzz/fuzz_input.h"

namespace sidestream::fuzz {
namespace {

using State = resp::RequestParser::State;

struct Found {
  State state = State::incomplete;
  std::vector<std::string> args;
  size_t consumed = 0;
  std::string error;
};

Found bad(const std::string& text) { return {State::bad, {}, 0, "Protocol error: " + text}; }
bool blank(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

/// What stands for one character inside double quotes, at `line[i]`; moves i behind it.
char unescape(std::string_view line, size_t& i) {
  if (line[i] != '\\' || i + 1 >= line.size()) return line[i++];
  const auto hex = [&](size_t at) { return std::isxdigit(static_cast<unsigned char>(line[at])) != 0; };
  if (line[i + 1] == 'x' && i + 3 < line.size() && hex(i + 2) && hex(i + 3)) {
    const int value = std::stoi(std::string(line.substr(i + 2, 2)), nullptr, 16);
    i += 4;
    return static_cast<char>(value);
  }
  const char c = line[i + 1];
  i += 2;
  switch (c) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'b':
      return '\b';
    case 'a':
      return '\a';
    default:
      return c;
  }
}

/// sdssplitargs() of stock; nullopt: unbalanced quotes.
std::optional<std::vector<std::string>> words(std::string_view line) {
  std::vector<std::string> all;
  size_t i = 0;
  for (;;) {
    while (i < line.size() && blank(line[i])) ++i;
    if (i >= line.size()) return all;
    std::string word;
    char quote = 0;
    for (bool done = false; !done;) {
      if (i >= line.size()) {
        if (quote != 0) return std::nullopt;
        done = true;
      } else if (quote == 0) {
        const char c = line[i];
        if (c == ' ' || c == '\n' || c == '\r' || c == '\t')
          done = true;
        else if (c == '"' || c == '\'')
          quote = c, ++i;
        else
          word += c, ++i;
      } else if (line[i] == quote) {
        ++i;
        if (i < line.size() && !blank(line[i])) return std::nullopt;
        done = true;
      } else if (quote == '\'') {
        if (line[i] == '\\' && i + 1 < line.size() && line[i + 1] == '\'') ++i;
        word += line[i++];
      } else {
        word += unescape(line, i);
      }
    }
    all.push_back(std::move(word));
  }
}

Found read_inline(std::string_view bytes) {
  const size_t newline = bytes.find('\n');
  if (newline == std::string_view::npos) {
    return bytes.size() > 64 * 1024 ? bad("too big inline request") : Found{};
  }
  std::string_view line = bytes.substr(0, newline);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  auto args = words(line);
  if (!args) return bad("unbalanced quotes in request");
  return {State::ok, *std::move(args), newline + 1, {}};
}

/// The line at `at`, without its type; nullopt: it has no end yet. Stock looks for a CR and skips one byte more.
std::optional<std::string_view> line_at(std::string_view bytes, size_t at, size_t& next) {
  const size_t end = bytes.find('\r', at);
  if (end == std::string_view::npos || end + 2 > bytes.size()) return std::nullopt;
  next = end + 2;
  return bytes.substr(at + 1, end - at - 1);
}

Found read_multibulk(std::string_view bytes, bool authenticated) {
  size_t at = 0;
  const auto head = line_at(bytes, 0, at);
  if (!head)
    return bytes.find('\r') == std::string_view::npos && bytes.size() > 64 * 1024 ? bad("too big mbulk count string")
                                                                                  : Found{};
  const auto count = parse_int(*head);
  if (!count || *count > 2147483647) return bad("invalid multibulk length");
  if (!authenticated && *count > 10) return bad("unauthenticated multibulk length");
  Found found;
  for (int64_t i = 0; i < *count; ++i) {
    if (at >= bytes.size()) return {};
    size_t body = 0;
    const auto line = line_at(bytes, at, body);
    if (!line)
      return bytes.find('\r', at) == std::string_view::npos && bytes.size() - at > 64 * 1024
                 ? bad("too big bulk count string")
                 : Found{};
    if (bytes[at] != '$') return bad(std::string("expected '$', got '") + bytes[at] + "'");
    const auto length = parse_int(*line);
    if (!length || *length < 0 || *length > 512LL * 1024 * 1024) return bad("invalid bulk length");
    if (!authenticated && *length > 16384) return bad("unauthenticated bulk length");
    if (static_cast<uint64_t>(*length) + 2 > bytes.size() - body) return {};
    found.args.emplace_back(bytes.substr(body, static_cast<size_t>(*length)));
    at = body + static_cast<size_t>(*length) + 2;
  }
  found.state = State::ok;
  found.consumed = at;
  return found;
}

Found reference(std::string_view bytes, bool authenticated) {
  if (bytes.empty()) return {};
  return bytes[0] == '*' ? read_multibulk(bytes, authenticated) : read_inline(bytes);
}

/// Each call sees a copy of its own: views into an older buffer show under a sanitizer.
Found parse(std::string_view bytes, size_t piece, bool authenticated) {
  resp::RequestParser parser;
  parser.limits.authenticated = authenticated;
  resp::Request request;
  std::string copy;
  for (size_t seen = std::min(piece, bytes.size());; seen = std::min(seen + piece, bytes.size())) {
    copy = std::string(bytes.substr(0, seen));
    const State state = parser.next(copy, request);
    if (state == State::incomplete && seen < bytes.size()) continue;
    Found found;
    found.state = state;
    if (state == State::bad) found.error = parser.error();
    if (state != State::ok) return found;
    for (const auto& arg : request.args) found.args.emplace_back(arg);
    found.consumed = parser.consumed();
    CHECK(request.is_inline || request.raw == bytes.substr(0, found.consumed));
    return found;
  }
}

void compare(const Found& expected, const Found& actual) {
  CHECK(actual.state == expected.state);
  CHECK(actual.args == expected.args);
  CHECK(actual.consumed == expected.consumed);
  CHECK(actual.error == expected.error);
}

}  // namespace
}  // namespace sidestream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sidestream;
  fuzz::Input input(data, size);
  const uint8_t how = input.take();
  const size_t piece = 1 + how % 16;
  const bool authenticated = how < 200;
  std::string_view bytes = input.rest();
  while (!bytes.empty()) {
    const fuzz::Found expected = fuzz::reference(bytes, authenticated);
    fuzz::compare(expected, fuzz::parse(bytes, bytes.size(), authenticated));
    fuzz::compare(expected, fuzz::parse(bytes, piece, authenticated));
    if (expected.state != fuzz::State::ok) break;
    bytes.remove_prefix(expected.consumed);
  }
  return 0;
}
