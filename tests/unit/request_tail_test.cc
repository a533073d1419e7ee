// request_tail_test.cc: the rest of a request ends where the parser would have found its end, wherever it was left and
// in whatever pieces it comes; what is malformed gets the parser's words.
#include "proxy/resp/request_tail.h"

#include <optional>

#include "proxy/resp/writer.h"
#include "tests/unit/unit_test.h"

namespace sidestream::resp {
namespace {

struct Outcome {
  RequestTail::State state = RequestTail::State::more;
  size_t end = 0;  // bytes that belong to the request
  std::string error;
};

/// Leaves the request after `head` bytes; nullopt: it is complete or bad by then, or not even its count is known.
std::optional<Outcome> pass(std::string_view bytes, size_t head, size_t piece) {
  RequestParser parser;
  Request request;
  if (parser.next(bytes.substr(0, head), request) != RequestParser::State::incomplete) return std::nullopt;
  if (parser.peek(bytes.substr(0, head), request, 8) == 0) return std::nullopt;
  RequestTail tail = parser.leave(bytes.substr(0, head));
  Outcome outcome;
  outcome.end = head;
  while (outcome.state == RequestTail::State::more && outcome.end < bytes.size()) {
    size_t taken = 0;
    outcome.state = tail.pass(bytes.substr(outcome.end, piece), taken);
    outcome.end += taken;
    if (outcome.state == RequestTail::State::more)
      CHECK((outcome.end - head) % piece * (bytes.size() - outcome.end) == 0);
  }
  outcome.error = tail.error();
  return outcome;
}

}  // namespace

TEST_CASE("request tail: ends where the request ends") {
  const std::string requests[] = {command({"SET", "key", "value"}),
                                  command({"MSET", "a", "", "bb", std::string(70, 'x')}),
                                  "*3\r\n$3\r\nSET\r\n$2\r\nab\r\n$10\r\n0123456789\r\n"};
  for (const std::string& request : requests) {
    const std::string bytes = request + command({"PING"});
    size_t left = 0;
    for (size_t head = 1; head < request.size(); ++head) {
      for (const size_t piece : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, size_t{1000}}) {
        CAPTURE(head);
        CAPTURE(piece);
        const auto outcome = pass(bytes, head, piece);
        if (!outcome) continue;
        ++left;
        CHECK(outcome->state == RequestTail::State::done);
        CHECK(outcome->end == request.size());
      }
    }
    CHECK(left > 50);
  }
}

TEST_CASE("request tail: says of bad lengths what the parser says") {
  const std::pair<std::string, std::string> cases[] = {
      {"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$x\r\n", "Protocol error: invalid bulk length"},
      {"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$-1\r\n", "Protocol error: invalid bulk length"},
      {"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$600000000\r\n", "Protocol error: invalid bulk length"},
      {"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n:1\r\n", "Protocol error: expected '$', got ':'"},
      {"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$" + std::string(70'000, '1'), "Protocol error: too big bulk count string"},
  };
  for (const auto& [bytes, error] : cases) {
    const auto outcome = pass(bytes, 15, 16);
    REQUIRE(outcome);
    CHECK(outcome->state == RequestTail::State::bad);
    CHECK(outcome->error == error);
  }
}

TEST_CASE("request tail: the parser starts afresh after a request that was left") {
  RequestParser parser;
  Request request;
  const std::string first = command({"SET", "k", "value"});
  const std::string beginning = first.substr(0, 20);
  CHECK(parser.next(beginning, request) == RequestParser::State::incomplete);
  CHECK(parser.peek(beginning, request, 1) == 3);
  CHECK(request.args.size() == 1);
  parser.leave(beginning);
  const std::string second = command({"PING"});
  CHECK(parser.next(second, request) == RequestParser::State::ok);
  CHECK(request.name() == "PING");
}

}  // namespace sidestream::resp
