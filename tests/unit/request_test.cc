// request_test.cc: requests as tables of bytes, each whole, cut after every byte and in a buffer that moves.
// The expected words are what redis-server 7.0.15 answers to the same bytes.
#include "proxy/resp/request.h"

#include <string>
#include <vector>

#include "proxy/resp/plain_length.h"
#include "proxy/resp/writer.h"
#include "tests/unit/unit_test.h"

namespace sidestream::resp {
namespace {

using State = RequestParser::State;
using Words = std::vector<std::string>;

Words words(const Request& request) { return {request.args.begin(), request.args.end()}; }

/// Feeds `bytes` one by one, each time in a buffer at another place. Gives the state at the end or at the first that
/// is not incomplete.
State feed_bytewise(RequestParser& parser, const std::string& bytes, Request& request, std::string& buffer) {
  State state = State::incomplete;
  for (size_t size = 0; size <= bytes.size() && state == State::incomplete; ++size) {
    buffer = std::string(bytes.data(), size);
    buffer.shrink_to_fit();
    state = parser.next(buffer, request);
  }
  return state;
}

struct Good {
  std::string bytes;
  Words args;
};

const std::vector<Good> kGood = {
    {"*1\r\n$4\r\nPING\r\n", {"PING"}},
    {"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", {"GET", ""}},
    {"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$6\r\na\r\n$1\r\r\n", {"SET", "k", "a\r\n$1\r"}},
    {"*1\r\n$4\r\nPINGXX", {"PING"}},  // stock skips what follows a bulk unseen
    {"*1\rX$4\rYPINGZZ", {"PING"}},    // and what follows a CR
    {"*0\r\n", {}},
    {"*-1\r\n", {}},
    {"*-5\r\n", {}},
    {"PING\r\n", {"PING"}},
    {"PING\n", {"PING"}},
    {"\r\n", {}},
    {"\n", {}},
    {"  \t \r\n", {}},
    {"  set  k\tv \r\n", {"set", "k", "v"}},
    {"ECHO \"\"\r\n", {"ECHO", ""}},
    {"ECHO 'a\\'b'\r\n", {"ECHO", "a'b"}},
    {"ECHO 'a\\n'\r\n", {"ECHO", "a\\n"}},
    {"ECHO \"\\x41\\n\\r\\t\\b\\a\\q\\\"\"\r\n", {"ECHO", "A\n\r\t\b\aq\""}},
    {"ECHO \"\\xZZ\\x4\"\r\n", {"ECHO", "xZZx4"}},
    {"ECHO \"\\xfF\\x00\"\r\n", {"ECHO", std::string("\xff\0", 2)}},
    {"ECHO ab\"c d\"\r\n", {"ECHO", "abc d"}},
    {"ECHO a\\x41\r\n", {"ECHO", "a\\x41"}},
    {"PING\vx\r\n", {"PING\vx"}},
    {"\vPING\r\n", {"PING"}},
};

struct Bad {
  std::string bytes;
  std::string error;
};

const std::vector<Bad> kBad = {
    {"*abc\r\n", "invalid multibulk length"},
    {"*01\r\n", "invalid multibulk length"},
    {"*-0\r\n", "invalid multibulk length"},
    {"*+1\r\n", "invalid multibulk length"},
    {"* 1\r\n", "invalid multibulk length"},
    {"*\r\n", "invalid multibulk length"},
    {"*2147483648\r\n", "invalid multibulk length"},
    {"*99999999999999999999\r\n", "invalid multibulk length"},
    {"*18446744073709551617\r\n", "invalid multibulk length"},
    {"*1\r\n$18446744073709551620\r\nPING\r\n", "invalid bulk length"},
    {"*1\r\n+PING\r\n", "expected '$', got '+'"},
    {"*1\r\nxPING\r\n", "expected '$', got 'x'"},
    {"*1\r\n\r\n", "expected '$', got '\r'"},  // the writer turns it into the blank that stock shows
    {"*1\r\n$-1\r\n", "invalid bulk length"},
    {"*1\r\n$abc\r\n", "invalid bulk length"},
    {"*1\r\n$\r\n", "invalid bulk length"},
    {"*1\r\n$04\r\n", "invalid bulk length"},
    {"*1\r\n$536870913\r\n", "invalid bulk length"},
    {"*1\r\n$999999999999999999\r\n", "invalid bulk length"},
    {"*1\r\n$9999999999999999999\r\n", "invalid bulk length"},
    {"*2\r\n$3\r\nGET\r\n:1\r\n", "expected '$', got ':'"},
    {"PING \"a\r\n", "unbalanced quotes in request"},
    {"PING 'a\r\n", "unbalanced quotes in request"},
    {"PING \"a\"b\r\n", "unbalanced quotes in request"},
    {"PING a'b'c\r\n", "unbalanced quotes in request"},
    {"PING \"abc\\\r\n", "unbalanced quotes in request"},
};

TEST_CASE("plain lengths: canonical numbers and nothing else, never a byte too far") {
  const auto read = [](const std::string& bytes, int64_t& length) {
    const std::vector<char> exact(bytes.begin(), bytes.end());  // a sanitizer sees what is read behind it
    const char* end = read_plain_length(exact.data(), exact.data() + exact.size(), '$', length);
    return end == nullptr ? -1 : end - exact.data();
  };
  int64_t length = -1;
  for (const int64_t number : {0L, 1L, 9L, 10L, 65535L, 2147483648L, 9999999999L}) {
    const std::string line = "$" + std::to_string(number) + "\r\n";
    CHECK(read(line + "x", length) == static_cast<ptrdiff_t>(line.size()));
    CHECK(length == number);
    CHECK(read(line, length) == static_cast<ptrdiff_t>(line.size()));
    for (size_t cut = 0; cut < line.size(); ++cut) CHECK(read(line.substr(0, cut), length) == -1);
  }
  for (const char* line : {"$00\r\n", "$01\r\n", "$-1\r\n", "$+1\r\n", "$\r\n\r\n", "$1\n\n\n", "$1\r1\n", "*1\r\n",
                           "$1x\r\n", "$10000000000\r\n", "$99999999999999999999999\r\n"}) {
    CAPTURE(line);
    CHECK(read(line, length) == -1);
  }
}

TEST_CASE("requests: whole and byte by byte") {
  for (const Good& good : kGood) {
    CAPTURE(good.bytes);
    RequestParser parser;
    Request request;
    REQUIRE(parser.next(good.bytes, request) == State::ok);
    CHECK(words(request) == good.args);
    CHECK(parser.consumed() == good.bytes.size());
    CHECK(request.is_inline == (good.bytes[0] != '*'));
    CHECK(request.raw == (request.is_inline ? "" : good.bytes));

    Request slow;
    std::string buffer;
    REQUIRE(feed_bytewise(parser, good.bytes, slow, buffer) == State::ok);
    CHECK(words(slow) == good.args);
    CHECK(buffer.size() == good.bytes.size());
  }
}

TEST_CASE("requests: protocol errors in stock's words") {
  for (const Bad& bad : kBad) {
    CAPTURE(bad.bytes);
    RequestParser parser;
    Request request;
    REQUIRE(parser.next(bad.bytes, request) == State::bad);
    CHECK(parser.error() == "Protocol error: " + bad.error);

    RequestParser slow;
    std::string buffer;
    REQUIRE(feed_bytewise(slow, bad.bytes, request, buffer) == State::bad);
    CHECK(slow.error() == parser.error());
  }
}

TEST_CASE("requests: lines end within 64 KB") {
  const size_t most = 64 * 1024;
  const auto outcome = [](const std::string& bytes) {
    RequestParser parser;
    Request request;
    return parser.next(bytes, request) == State::bad ? parser.error() : "";
  };
  CHECK(outcome(std::string(most, 'x')).empty());
  CHECK(outcome(std::string(most + 1, 'x')) == "Protocol error: too big inline request");
  CHECK(outcome(std::string(most + 1, 'x') + "\n").empty());
  CHECK(outcome("*" + std::string(most - 1, '1')).empty());
  CHECK(outcome("*" + std::string(most, '1')) == "Protocol error: too big mbulk count string");
  CHECK(outcome("*1\r\n$" + std::string(most - 1, '1')).empty());
  CHECK(outcome("*1\r\n$" + std::string(most, '1')) == "Protocol error: too big bulk count string");
}

TEST_CASE("requests: a pipeline is taken apart, one request at a time") {
  std::string bytes;
  std::vector<Words> expected;
  for (const Good& good : kGood) {
    bytes += good.bytes;
    expected.push_back(good.args);
  }
  RequestParser parser;
  Request request;
  std::vector<Words> seen;
  std::string_view rest = bytes;
  while (parser.next(rest, request) == State::ok) {
    seen.push_back(words(request));
    rest.remove_prefix(parser.consumed());
  }
  CHECK(rest.empty());
  CHECK(seen == expected);
}

TEST_CASE("requests: what was understood is not looked at again") {
  RequestParser parser;
  Request request;
  std::string bytes = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nval";
  REQUIRE(parser.next(bytes, request) == State::incomplete);
  CHECK(parser.expected() == bytes.size() + 4);
  const size_t understood = bytes.find("$5");
  for (size_t i = 1; i < understood; ++i) bytes[i] = '?';
  bytes += "ue\r\n";
  REQUIRE(parser.next(bytes, request) == State::ok);
  CHECK(words(request) == Words{"???", "?", "value"});
}

TEST_CASE("requests: many arguments in many pieces") {
  Words args(5000, "argument");
  const std::vector<std::string_view> views(args.begin(), args.end());
  std::string bytes;
  append_command(bytes, views);
  RequestParser parser;
  Request request;
  for (size_t size = 0; size < bytes.size(); size += 777) {
    REQUIRE(parser.next(std::string_view(bytes).substr(0, size), request) == State::incomplete);
  }
  REQUIRE(parser.next(bytes, request) == State::ok);
  CHECK(words(request) == args);
  REQUIRE(parser.next("*1\r\n$4\r\nPING\r\n", request) == State::ok);
  CHECK(words(request) == Words{"PING"});
  CHECK(request.args.capacity() < args.size());
}

TEST_CASE("requests: limits") {
  RequestParser parser;
  Request request;
  SUBCASE("bulk length") {
    parser.limits.bulk_bytes_max = 10;
    CHECK(parser.next("*1\r\n$10\r\n", request) == State::incomplete);
    RequestParser other;
    other.limits.bulk_bytes_max = 10;
    CHECK(other.next("*1\r\n$11\r\n", request) == State::bad);
  }
  SUBCASE("a length near the end of all numbers is only a claim") {
    parser.limits.bulk_bytes_max = INT64_MAX;
    CHECK(parser.next("*1\r\n$9223372036854775807\r\nx", request) == State::incomplete);
    CHECK(parser.expected() > size_t{INT64_MAX});
  }
  SUBCASE("a count is only a claim") {
    CHECK(parser.next("*2147483647\r\n$1\r\nx\r\n", request) == State::incomplete);
    CHECK(parser.expected() == 0);
  }
  SUBCASE("arguments") {
    parser.limits.arguments_max = 1024 * 1024;
    CHECK(parser.next("*1048577\r\n", request) == State::bad);
    CHECK(parser.error() == "Protocol error: invalid multibulk length");
  }
  SUBCASE("before authentication") {
    parser.limits.authenticated = false;
    CHECK(parser.next("*11\r\n", request) == State::bad);
    CHECK(parser.error() == "Protocol error: unauthenticated multibulk length");
    CHECK(parser.next("*10\r\n$16385\r\n", request) == State::bad);
    CHECK(parser.error() == "Protocol error: unauthenticated bulk length");
    CHECK(parser.next("*10\r\n$16384\r\n", request) == State::incomplete);
  }
}

TEST_CASE("requests: inline words survive a move of their request") {
  RequestParser parser;
  Request request;
  REQUIRE(parser.next("get \"k\"\r\n", request) == State::ok);
  const Request moved = std::move(request);
  CHECK(words(moved) == Words{"get", "k"});
}

}  // namespace
}  // namespace sidestream::resp
