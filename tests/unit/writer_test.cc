// writer_test.cc: the bytes of every form, and that our own readers understand them.
#include "proxy/resp/writer.h"

#include <string>

#include "proxy/resp/reply.h"
#include "tests/unit/unit_test.h"

namespace sidestream::resp {
namespace {

/// What `append` appends, to something that is already there.
template <class... Args>
std::string written(void (*append)(std::string&, Args...), Args... args) {
  std::string out = "before";
  append(out, args...);
  REQUIRE(out.starts_with("before"));
  return out.substr(6);
}

TEST_CASE("writer: lines and numbers") {
  CHECK(written<std::string_view>(append_simple, "OK") == "+OK\r\n");
  CHECK(written<std::string_view>(append_error, "ERR no\r\nsuch thing") == "-ERR no  such thing\r\n");
  CHECK(written<int64_t>(append_integer, 0) == ":0\r\n");
  CHECK(written<int64_t>(append_integer, INT64_MIN) == ":-9223372036854775808\r\n");
  CHECK(written<int64_t>(append_integer, INT64_MAX) == ":9223372036854775807\r\n");
  CHECK(written<int64_t>(append_array, 3) == "*3\r\n");
  CHECK(written<int64_t>(append_array, -1) == "*-1\r\n");
}

TEST_CASE("writer: bulks keep every byte") {
  CHECK(written<std::string_view>(append_bulk, "") == "$0\r\n\r\n");
  const std::string bytes("a\r\n\0b", 5);
  CHECK(written<std::string_view>(append_bulk, bytes) == "$5\r\n" + bytes + "\r\n");
}

TEST_CASE("writer: forms that depend on the protocol") {
  CHECK(written(append_null, 2) == "$-1\r\n");
  CHECK(written(append_null, 3) == "_\r\n");
  CHECK(written<int64_t, int>(append_map, 2, 2) == "*4\r\n");
  CHECK(written<int64_t, int>(append_map, 2, 3) == "%2\r\n");
  CHECK(written<std::string_view, int>(append_text, "role:master", 2) == "$11\r\nrole:master\r\n");
  CHECK(written<std::string_view, int>(append_text, "role:master", 3) == "=15\r\ntxt:role:master\r\n");
}

TEST_CASE("writer: commands") {
  CHECK(command({"GET", "k"}) == "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
  CHECK(command({}) == "*0\r\n");
  const Value value = parse_value(command({"SET", "", "v\r\n"}));
  REQUIRE(value.elements.size() == 3);
  CHECK(value.elements[1].text.empty());
  CHECK(value.elements[2].text == "v\r\n");
}

}  // namespace
}  // namespace sidestream::resp
