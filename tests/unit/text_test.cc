// text_test.cc: tables of what people write: numbers, sizes, times, patterns, addresses.
#include "common/text.h"

#include <string>
#include <vector>

#include "common/byte_stream.h"
#include "common/world.h"
#include "tests/unit/unit_test.h"

namespace sidestream {
namespace {

struct Number {
  std::string text;
  std::optional<int64_t> value;
};

TEST_CASE("text: integers are decimal digits and nothing else") {
  const std::vector<Number> table = {{"0", 0},
                                     {"7", 7},
                                     {"-7", -7},
                                     {"9223372036854775807", INT64_MAX},
                                     {"-9223372036854775808", INT64_MIN},
                                     {"9223372036854775808", std::nullopt},
                                     {"", std::nullopt},
                                     {"-", std::nullopt},
                                     {"-0", std::nullopt},
                                     {"010", std::nullopt},
                                     {"-01", std::nullopt},
                                     {"0x10", std::nullopt},
                                     {"+1", std::nullopt},
                                     {" 1", std::nullopt},
                                     {"1 ", std::nullopt},
                                     {"--1", std::nullopt},
                                     {"1.5", std::nullopt},
                                     {std::string("1\0", 2), std::nullopt}};
  for (const Number& row : table) {
    CAPTURE(row.text);
    CHECK(parse_int(row.text) == row.value);
  }
}

TEST_CASE("text: sizes in Redis units") {
  const std::vector<Number> table = {{"0", 0},
                                     {"1024", 1024},
                                     {"5b", 5},
                                     {"1k", 1000},
                                     {"1kb", 1024},
                                     {"1m", 1000000},
                                     {"64mb", 64LL << 20},
                                     {"64MB", 64LL << 20},
                                     {"1Gb", 1LL << 30},
                                     {"2g", 2000000000},
                                     {"", std::nullopt},
                                     {"mb", std::nullopt},
                                     {"-1", std::nullopt},
                                     {"1 mb", std::nullopt},
                                     {"1.5gb", std::nullopt},
                                     {"1tb", std::nullopt},
                                     {"010", std::nullopt},
                                     {"9223372036854775807", INT64_MAX},
                                     {"9007199254740993kb", std::nullopt}};
  for (const Number& row : table) {
    CAPTURE(row.text);
    CHECK(parse_bytes(row.text) == row.value);
  }
}

TEST_CASE("text: times") {
  const std::vector<Number> table = {{"250ms", 250},
                                     {"5s", 5000},
                                     {"2m", 120000},
                                     {"1h", 3600000},
                                     {"60", 60000},
                                     {"0", 0},
                                     {"", std::nullopt},
                                     {"s", std::nullopt},
                                     {"-5s", std::nullopt},
                                     {"5 s", std::nullopt},
                                     {"5S", std::nullopt},
                                     {"1d", std::nullopt},
                                     {"1.5s", std::nullopt},
                                     {"9223372036854775s", 9223372036854775000},
                                     {"9223372036854776s", std::nullopt}};
  for (const Number& row : table) {
    CAPTURE(row.text);
    CHECK(parse_duration_ms(row.text, 1000) == row.value);
  }
  CHECK(parse_duration_ms("60", 1) == 60);
}

TEST_CASE("text: words") {
  CHECK(to_lower("GeT|\xc4") == "get|\xc4");
  CHECK(to_upper("get_1") == "GET_1");
  CHECK(iequals("PiNg", "pInG"));
  CHECK_FALSE(iequals("ping", "pin"));
  CHECK_FALSE(iequals("ping", "pong"));
  CHECK(split("a,b", ',') == std::vector<std::string>{"a", "b"});
  CHECK(split(",a,", ',') == std::vector<std::string>{"", "a", ""});
  CHECK(split("", ',') == std::vector<std::string>{""});
  CHECK(trim(" \ta b\r\n") == "a b");
  CHECK(trim(" \t").empty());
  CHECK(printable(std::string("a\0\r\xff~", 5)) == "a\\x00\\x0d\\xff~");
  CHECK(printable("abcdef", 3) == "abc...");
  CHECK(printable("abc", 3) == "abc");
  CHECK(human_bytes(17) == "17 B");
  CHECK(human_bytes(1023) == "1023 B");
  CHECK(human_bytes(1536 * 1024) == "1.5 MiB");
}

TEST_CASE("text: the closest word") {
  const std::vector<std::string> words = {"listen", "nodes", "replicaof", "repl-timeout"};
  CHECK(closest("lisen", words) == "listen");
  CHECK(closest("replciaof", words) == "replicaof");
  CHECK(closest("nodes", words) == "nodes");
  CHECK(closest("metrics", words).empty());
  CHECK(closest("", words).empty());
}

TEST_CASE("text: patterns as Redis matches them") {
  struct Row {
    std::string pattern, text;
    bool match;
  };
  const std::vector<Row> table = {{"", "", true},
                                  {"", "a", false},
                                  {"*", "", true},
                                  {"*", "anything", true},
                                  {"**a", "bca", true},
                                  {"?", "", false},
                                  {"?", "a", true},
                                  {"h?llo", "hello", true},
                                  {"h*llo", "hllo", true},
                                  {"h*llo", "heeello", true},
                                  {"*llo*", "hello world", true},
                                  {"*ab", "aab", true},
                                  {"stock:*", "stock:1", true},
                                  {"stock:*", "stoc", false},
                                  {"h[ae]llo", "hello", true},
                                  {"h[ae]llo", "hillo", false},
                                  {"h[^e]llo", "hallo", true},
                                  {"h[^e]llo", "hello", false},
                                  {"h[a-c]llo", "hbllo", true},
                                  {"h[c-a]llo", "hbllo", true},
                                  {"h[a-c]llo", "hdllo", false},
                                  {"[\\]]", "]", true},
                                  {"[a", "a", true},
                                  {"\\*", "*", true},
                                  {"\\*", "a", false},
                                  {"a\\", "a\\", true},
                                  {"HELLO", "hello", false}};
  for (const Row& row : table) {
    CAPTURE(row.pattern);
    CAPTURE(row.text);
    CHECK(glob_match(row.pattern, row.text) == row.match);
  }
  CHECK(glob_match("HE[A-L]*", "hello", true));
  // Stock would take exponential time here without its own guard.
  std::string hostile;
  for (int i = 0; i < 50; ++i) hostile += "a*";
  CHECK_FALSE(glob_match(hostile + "b", std::string(2000, 'a')));
}

TEST_CASE("text: addresses") {
  struct Row {
    std::string text, host;
    int port;
    std::string path, printed;
  };
  const std::vector<Row> good = {{"127.0.0.1:6379", "127.0.0.1", 6379, "", "127.0.0.1:6379"},
                                 {"redis.example 6379", "redis.example", 6379, "", "redis.example:6379"},
                                 {" h:1 ", "h", 1, "", "h:1"},
                                 {"tcp://h:1", "h", 1, "", "h:1"},
                                 {"[::1]:6379", "::1", 6379, "", "[::1]:6379"},
                                 {"::1 6379", "::1", 6379, "", "[::1]:6379"},
                                 {"h:0", "h", 0, "", "h:0"},
                                 {"unix:/run/redis.sock", "", 0, "/run/redis.sock", "unix:/run/redis.sock"}};
  for (const Row& row : good) {
    CAPTURE(row.text);
    const Result<Address> address = parse_address(row.text);
    REQUIRE(address.ok());
    CHECK(address.value().host == row.host);
    CHECK(address.value().port == row.port);
    CHECK(address.value().path == row.path);
    CHECK(address.value().text() == row.printed);
    const Result<Address> again = parse_address(address.value().text());
    REQUIRE(again.ok());
    CHECK(again.value() == address.value());
  }
  for (const char* text : {"", "h", "h:", ":6379", "h:65536", "h:-1", "h:1x", "h:01", "unix:", "tls://h"}) {
    CAPTURE(text);
    const Result<Address> address = parse_address(text);
    REQUIRE_FALSE(address.ok());
    CHECK(address.error().code == Errc::config);
    CHECK(address.error().detail.find(text) != std::string::npos);
  }
  CHECK(Address{}.empty());
  CHECK(parse_address("tls://h:1").value().transport == Transport::tls);
  CHECK(parse_address("tls://h:1").value().url() == "tls://h:1");
  CHECK(parse_address("tcp://h:1").value().url() == "tcp://h:1");
  CHECK(parse_address("h:1").value().url() == "h:1");
  CHECK(parse_address("tls://h:1").value() == parse_address("h:1").value());
}

TEST_CASE("text: forty hexadecimal digits") {
  struct Counter : Random {
    uint64_t next() override { return ++value; }
    uint64_t value = 0;
  } random;
  CHECK(random.hex40() == "0000000000000001000000000000000200000000");
  CHECK(random.below(10) == 4);
}

}  // namespace
}  // namespace sidestream
