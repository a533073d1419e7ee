// drift_compare_test.cc: what two answers about a key mean, and when they prove anything.
#include "proxy/instance/drift_compare.h"

#include <optional>

#include "proxy/routing/key_watch.h"
#include "tests/unit/unit_test.h"

namespace sidestream::instance {
namespace {

using resp::Value;

Value integer(int64_t number) {
  Value value;
  value.type = Value::Type::integer;
  value.integer = number;
  return value;
}

Value text(std::string words, Value::Type type = Value::Type::bulk) {
  Value value;
  value.type = type;
  value.text = std::move(words);
  return value;
}

Value array(const std::vector<std::string>& words) {
  Value value;
  value.type = Value::Type::array;
  for (const std::string& word : words) value.elements.push_back(text(word));
  return value;
}

/// As a server answers questions_about() a key of `type`.
Reading read(const std::string& type, Value value, int64_t ttl_ms = -1, std::optional<int64_t> expires_at_ms = {}) {
  std::vector<Value> answers = {text(type, Value::Type::simple), integer(ttl_ms)};
  if (expires_at_ms) answers.push_back(integer(*expires_at_ms));
  answers.push_back(std::move(value));
  return reading_of(answers, type);
}

Reading missing(const std::string& asked_for = "string") {
  const std::vector<Value> answers = {text("none", Value::Type::simple), integer(-2), Value()};
  return reading_of(answers, asked_for);
}

Verdict verdict(const Reading& primary, const Reading& replica) { return compare(primary, replica).verdict; }
bool equal(const Reading& primary, const Reading& replica) { return verdict(primary, replica) == Verdict::equal; }
bool differs(const Reading& primary, const Reading& replica) { return verdict(primary, replica) == Verdict::differs; }
bool unclear(const Reading& primary, const Reading& replica) { return verdict(primary, replica) == Verdict::unclear; }

}  // namespace

TEST_CASE("equal values are equal whatever order and form they come in") {
  CHECK(equal(read("string", text("a")), read("string", text("a"))));
  CHECK(equal(read("set", array({"a", "b", "c"})), read("set", array({"c", "a", "b"}))));
  CHECK(equal(read("hash", array({"f", "1", "g", "2"})), read("hash", array({"g", "2", "f", "1"}))));
  CHECK(equal(read("zset", array({"m", "0.10000000000000001"})), read("zset", array({"m", "0.1"}))));
  CHECK(equal(read("zset", array({"m", "-0"})), read("zset", array({"m", "0"}))));
  CHECK(equal(read("stream", array({})), read("stream", array({}))));
  CHECK(equal(missing(), missing()));
}

TEST_CASE("what differs is named, without the value") {
  CHECK(differs(read("string", text("a")), read("string", text("b"))));
  CHECK(differs(read("list", array({"a", "b"})), read("list", array({"b", "a"}))));
  CHECK(differs(read("hash", array({"f", "1", "g", "2"})), read("hash", array({"f", "2", "g", "1"}))));
  CHECK(differs(read("zset", array({"m", "0.1"})), read("zset", array({"m", "0.2"}))));
  CHECK(differs(read("set", array({"ab", "c"})), read("set", array({"a", "bc"}))));
  CHECK_EQ(compare(read("string", text("a")), missing()).what, "a string at the primary, missing at the replica");
  CHECK_EQ(compare(missing(), read("string", text("a"))).what, "missing at the primary, a string at the replica");
  CHECK_EQ(compare(read("string", text("secret")), read("string", text("b"))).what, "string with another value");
}

TEST_CASE("another type is a difference; when both changed theirs nothing is known") {
  const std::vector<Value> list = {text("list", Value::Type::simple), integer(-1),
                                   text("WRONGTYPE", Value::Type::error)};
  CHECK(differs(read("string", text("a")), reading_of(list, "string")));
  CHECK(unclear(reading_of(list, "string"), reading_of(list, "string")));
}

TEST_CASE("a count that PFCOUNT keeps in a HyperLogLog is no part of its value") {
  const std::string head = std::string("HYLL") + std::string(4, '\0');
  CHECK(equal(read("string", text(head + "12345678registers")), read("string", text(head + "87654321registers"))));
  CHECK(differs(read("string", text(head + "12345678registers")), read("string", text(head + "12345678REGISTERS"))));
}

TEST_CASE("expiry: clocks may differ by seconds, points in time may not") {
  CHECK(unclear(read("string", text("a"), 9000), missing()));  // by the replica's clock it is gone already
  CHECK(unclear(missing(), read("string", text("a"), 9000)));
  CHECK(differs(read("string", text("a"), 60'000), missing()));
  CHECK(differs(read("string", text("a"), 60'000), read("string", text("a"))));
  CHECK(equal(read("string", text("a"), 60'000), read("string", text("a"), 30'000)));  // before 7.0 they are late
  CHECK(equal(read("string", text("a"), 500, 1'000'000), read("string", text("a"), 700, 1'000'900)));
  CHECK(differs(read("string", text("a"), 500, 1'000'000), read("string", text("a"), 5000, 1'004'500)));
}

TEST_CASE("what could not be read as one value is no difference") {
  CHECK(unclear(read("string", text("LOADING", Value::Type::error)), read("string", text("a"))));
  CHECK(unclear(read("string", Value()), read("string", text("a"))));  // it expired behind TYPE
  CHECK(unclear(read("hash", array({})), read("hash", array({"f", "1"}))));
  CHECK(unclear(read("string", text("a"), -2), read("string", text("a"))));
  CHECK(unclear(reading_of({}, "string"), read("string", text("a"))));
}

TEST_CASE("every type is asked in its own words") {
  for (const char* type : {"string", "list", "set", "hash", "zset", "stream"}) CHECK(can_read(type));
  CHECK_FALSE(can_read("ReJSON-RL"));
  const auto asked = questions_about("a key", "zset", true);
  REQUIRE_EQ(asked.size(), size_t{4});
  CHECK(asked.back() == Words{"ZRANGE", "a key", "0", "-1", "WITHSCORES"});
  CHECK(asked[2] == Words{"PEXPIRETIME", "a key"});
  CHECK_EQ(questions_about("k", "string", false).size(), size_t{3});
}

TEST_CASE("offsets prove only what was not written in between") {
  const ReplOffset at{100};
  const Bracket still{at, at, at, at, at, at};
  CHECK(is_proof(still, routing::KeyWatch::kNever));
  CHECK(is_proof(still, at));  // both have it
  Bracket busy{{100}, {110}, {120}, {130}, {90}, {140}};
  CHECK(is_proof(busy, {95}));
  CHECK(is_proof(busy, {100}));
  CHECK_FALSE(is_proof(busy, {101}));
  CHECK_FALSE(is_proof(busy, {140}));
  busy.replica_before = {109};  // what the primary had is not there yet
  CHECK_FALSE(is_proof(busy, {95}));
  busy = {{100}, {110}, {120}, {130}, {90}, {129}};  // its last writes were not seen
  CHECK_FALSE(is_proof(busy, {95}));
  busy = {{100}, {110}, {120}, {130}, {101}, {140}};  // nor its first
  CHECK_FALSE(is_proof(busy, {95}));
}

TEST_CASE("databases that hold keys") {
  CHECK(databases_in_use("# Keyspace\r\ndb0:keys=1,expires=0\r\ndb15:keys=3,expires=0\r\n") == std::vector<int>{0, 15});
  CHECK(databases_in_use("# Server\r\ndb_name:x\r\n").empty());
}

TEST_CASE("a key watch knows the last write to each of its keys") {
  routing::KeyWatch watch;
  watch.begin(std::vector<std::string>{"a", "b"});
  CHECK_EQ(watch.last_write(0), routing::KeyWatch::kNever);
  watch.wrote(routing::hash_key("a"), {7});
  watch.wrote(routing::hash_key("c"), {9});
  CHECK_EQ(watch.last_write(0), ReplOffset{7});
  CHECK_EQ(watch.last_write(1), routing::KeyWatch::kNever);
  watch.wrote_anything({8});
  CHECK_EQ(watch.last_write(0), ReplOffset{8});
  CHECK_EQ(watch.last_write(1), ReplOffset{8});
  watch.begin(std::vector<std::string>{"a"});
  CHECK_EQ(watch.last_write(0), routing::KeyWatch::kNever);
}

}  // namespace sidestream::instance
