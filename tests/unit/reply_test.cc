// reply_test.cc: borders of replies, whole and cut after every byte; the tree; INFO fields. hiredis' reader is the
// second opinion for RESP2.
#include "proxy/resp/reply.h"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "tests/unit/unit_test.h"

namespace sidestream::resp {
namespace {

using State = ReplyScanner::State;

const std::vector<std::string> kReplies = {
    "+OK\r\n",
    "+\r\n",
    "+a\rb\r\n",
    "-ERR no\r\n",
    ":-12\r\n",
    "$-1\r\n",
    "$0\r\n\r\n",
    "$7\r\na\r\n$1\r\n\r\n",
    "*-1\r\n",
    "*0\r\n",
    "*2\r\n$1\r\na\r\n*-1\r\n",
    "*1\r\n*1\r\n*2\r\n*0\r\n*1\r\n:1\r\n",
    "_\r\n",
    ",3.25\r\n",
    ",-inf\r\n",
    "#t\r\n",
    "(3492890328409238509324850943850943825024385\r\n",
    "!8\r\nERR a\r\nb\r\n",
    "=15\r\ntxt:Some string\r\n",
    "%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n",
    "%0\r\n",
    "~3\r\n:1\r\n:2\r\n#f\r\n",
    ">3\r\n+message\r\n$1\r\nc\r\n$1\r\nm\r\n",
    "|1\r\n+ttl\r\n:3600\r\n$1\r\nv\r\n",
    "|0\r\n+v\r\n",
    "*2\r\n|1\r\n+a\r\n%1\r\n+b\r\n:1\r\n:2\r\n+last\r\n",
    "|1\r\n|1\r\n+x\r\n+y\r\n+a\r\n:1\r\n+v\r\n",
};

TEST_CASE("replies: each ends where it ends, however it arrives") {
  for (const std::string& reply : kReplies) {
    CAPTURE(reply);
    const std::string bytes = reply + "+the next\r\n";
    ReplyScanner whole;
    REQUIRE(whole.scan(bytes) == State::complete);
    CHECK(whole.size() == reply.size());
    CHECK(whole.scan(bytes) == State::complete);

    ReplyScanner bytewise;
    for (size_t size = 0; size < reply.size(); ++size) {
      REQUIRE(bytewise.scan(std::string_view(bytes).substr(0, size)) == State::incomplete);
    }
    REQUIRE(bytewise.scan(reply) == State::complete);
    CHECK(bytewise.size() == reply.size());
  }
}

TEST_CASE("replies: one behind the other") {
  std::string bytes;
  for (const std::string& reply : kReplies) bytes += reply;
  ReplyScanner scanner;
  std::string_view rest = bytes;
  for (const std::string& reply : kReplies) {
    REQUIRE(scanner.scan(rest) == State::complete);
    CHECK(rest.substr(0, scanner.size()) == reply);
    rest.remove_prefix(scanner.size());
    scanner.reset();
  }
  CHECK(scanner.scan(rest) == State::incomplete);
}

TEST_CASE("replies: what no server sends is bad at once") {
  const std::vector<std::string> bad = {"HTTP/1.1 400 Bad Request",
                                        "\r\n",
                                        "x",
                                        "$?\r\n",
                                        "*?\r\n",
                                        "$abc\r\n",
                                        "$\r\n",
                                        "$-2\r\n",
                                        "*-2\r\n",
                                        "=-1\r\n",
                                        "~-1\r\n",
                                        "%-1\r\n",
                                        "*4294967296\r\n",
                                        "$9999999999999999999\r\n",
                                        "$" + std::string(40, '1'),
                                        "*1\r\n*2\r\n+ok\r\nx"};
  for (const std::string& bytes : bad) {
    CAPTURE(bytes);
    ReplyScanner scanner;
    CHECK(scanner.scan(bytes) == State::bad);
  }
}

TEST_CASE("replies: counts and lengths are only claims") {
  ReplyScanner scanner;
  CHECK(scanner.scan("*4294967295\r\n%4294967295\r\n$9223372036854775807\r\nx") == State::incomplete);
}

TEST_CASE("replies: deep nesting needs no stack") {
  std::string bytes;
  for (int i = 0; i < 200'000; ++i) bytes += "*1\r\n";
  ReplyScanner scanner;
  CHECK(scanner.scan(bytes) == State::incomplete);
  bytes += ":1\r\n";
  CHECK(scanner.scan(bytes) == State::complete);
  CHECK(scanner.size() == bytes.size());
}

TEST_CASE("replies: what was looked at is not looked at again") {
  std::string bytes = "*2\r\n$3\r\nabc\r\n+long line";
  ReplyScanner scanner;
  REQUIRE(scanner.scan(bytes) == State::incomplete);
  // An end that appears in the part already searched is not seen; one that is cut in two is.
  bytes.replace(bytes.find("long"), 2, "\r\n");
  bytes += "\r";
  REQUIRE(scanner.scan(bytes) == State::incomplete);
  bytes += "\n";
  REQUIRE(scanner.scan(bytes) == State::complete);
  CHECK(scanner.size() == bytes.size());
}

/// Size of the first reply according to hiredis; 0: incomplete, -1: bad.
int64_t hiredis_size(const std::string& bytes) {
  redisReader* reader = redisReaderCreate();
  void* reply = nullptr;
  const int rc =
      redisReaderFeed(reader, bytes.data(), bytes.size()) == REDIS_OK ? redisReaderGetReply(reader, &reply) : REDIS_ERR;
  // The reader moves what is left to the front only when much was read; small inputs stay where they are.
  const int64_t size = rc != REDIS_OK ? -1 : reply == nullptr ? 0 : static_cast<int64_t>(reader->pos);
  if (reply != nullptr) freeReplyObject(reply);
  redisReaderFree(reader);
  return size;
}

std::string random_reply(std::mt19937& chance, int depth) {
  const auto upto = [&](uint32_t n) { return static_cast<int>(chance() % (n + 1)); };
  const int kind = upto(depth > 0 ? 5 : 4);
  if (kind == 0) return "+s" + std::string(static_cast<size_t>(upto(5)), 'x') + "\r\n";
  if (kind == 1) return "-ERR\r\n";
  if (kind == 2) return ":" + std::to_string(upto(1000)) + "\r\n";
  if (kind == 3) return upto(1) == 0 ? "$-1\r\n" : "*-1\r\n";
  if (kind == 4) {
    const std::string text(static_cast<size_t>(upto(20)), "\r\n$*+"[upto(4)]);
    return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
  }
  const int count = upto(4);
  std::string out = "*" + std::to_string(count) + "\r\n";
  for (int i = 0; i < count; ++i) out += random_reply(chance, depth - 1);
  return out;
}

TEST_CASE("replies: hiredis sees the same borders") {
  std::mt19937 chance(1);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = random_reply(chance, 5) + random_reply(chance, 5);
    bytes.resize(chance() % (bytes.size() + 1));  // often cut
    CAPTURE(bytes);
    ReplyScanner scanner;
    const State state = scanner.scan(bytes);
    const int64_t size = state == State::complete ? static_cast<int64_t>(scanner.size()) : state == State::bad ? -1 : 0;
    REQUIRE(size == hiredis_size(bytes));
  }
}

TEST_CASE("values") {
  const Value value = parse_value("*6\r\n+OK\r\n-ERR no\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n*1\r\n*0\r\n");
  REQUIRE(value.type == Value::Type::array);
  REQUIRE(value.elements.size() == 6);
  CHECK(value.elements[0].type == Value::Type::simple);
  CHECK(value.elements[0].text == "OK");
  CHECK(value.elements[1].is_error());
  CHECK(value.elements[1].text == "ERR no");
  CHECK(value.elements[2].type == Value::Type::integer);
  CHECK(value.elements[2].integer == -7);
  CHECK(value.elements[3].type == Value::Type::bulk);
  CHECK(value.elements[3].text == "a\r\n");
  CHECK(value.elements[4].type == Value::Type::nil);
  REQUIRE(value.elements[5].elements.size() == 1);
  CHECK(value.elements[5].elements[0].type == Value::Type::array);
  CHECK(parse_value("*-1\r\n").type == Value::Type::nil);
}

TEST_CASE("values: what is broken says so") {
  for (const char* bytes : {"", "+OK", "*2\r\n:1\r\n", "hello\r\n", "%1\r\n+a\r\n+b\r\n", "*1\r\n?\r\n"}) {
    CAPTURE(bytes);
    const Value value = parse_value(bytes);
    CHECK(value.is_error());
    CHECK(value.text == "protocol");
  }
}

TEST_CASE("values: as deep as COMMAND needs, and no deeper than is safe") {
  const auto nested = [](int depth) {
    std::string bytes;
    for (int i = 0; i < depth; ++i) bytes += "*1\r\n";
    return parse_value(bytes + ":1\r\n");
  };
  CHECK_FALSE(nested(8).is_error());
  CHECK(nested(100'000).is_error());
}

TEST_CASE("info fields") {
  const std::string_view info = "# Replication\r\nrole:slave\r\nmaster_host:::1\r\nempty:\r\nbare\r\nlast:1";
  CHECK(info_field(info, "role") == "slave");
  CHECK(info_field(info, "master_host") == "::1");
  CHECK(info_field(info, "last") == "1");
  CHECK(info_field(info, "empty").empty());
  CHECK(info_field(info, "host").empty());
  CHECK(info_field(info, "rol").empty());
  CHECK(info_field(info, "bare").empty());
  CHECK(info_field("", "role").empty());
}

}  // namespace
}  // namespace sidestream::resp
