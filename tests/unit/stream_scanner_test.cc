// stream_scanner_test.cc: one stream, cut at every size: always the same commands, boundaries and errors.
#include "proxy/replication/stream_scanner.h"

#include <vector>

#include "proxy/resp/writer.h"
#include "tests/unit/unit_test.h"

namespace sidestream::replication {
namespace {

struct Seen {
  std::vector<std::string> args;
  bool truncated;
  int64_t before, end;
  bool operator==(const Seen&) const = default;
};

struct Record : StreamScanner::Visitor {
  std::vector<Seen> seen;
  void command(const StreamScanner::Command& command) override {
    seen.push_back(
        {{command.args.begin(), command.args.end()}, command.truncated, command.before.value, command.end.value});
  }
};

struct Outcome {
  std::vector<Seen> seen;
  std::string error;
  int64_t boundary, safe;
  bool operator==(const Outcome&) const = default;
};

Outcome scan(const std::string& bytes, size_t chunk, int64_t from = 100) {
  StreamScanner scanner;
  scanner.reset(ReplOffset{from});
  Record record;
  std::string error;
  for (size_t at = 0; at < bytes.size() && error.empty(); at += chunk) {
    const std::string part = bytes.substr(at, chunk);  // a copy: views into an old chunk must not be used
    const auto fed = scanner.feed(part, record);
    if (!fed.ok()) error = fed.error().detail;
  }
  return {record.seen, error.empty() ? "" : "broken", scanner.command_boundary().value, scanner.safe_boundary().value};
}

std::string set(const std::string& key, const std::string& value) { return resp::command({"SET", key, value}); }

TEST_CASE("commands, arguments and boundaries") {
  const std::string first = resp::command({"SELECT", "0"});
  const std::string second = set("k", "");
  const Outcome outcome = scan(first + second, 1000);
  REQUIRE(outcome.seen.size() == 2);
  const auto length = static_cast<int64_t>(first.size());
  CHECK(outcome.seen[0] == Seen{{"SELECT", "0"}, false, 100, 100 + length});
  CHECK(outcome.seen[1] ==
        Seen{{"SET", "k", ""}, false, 100 + length, 100 + length + static_cast<int64_t>(second.size())});
  CHECK(outcome.safe == outcome.boundary);
}

TEST_CASE("every chunk size gives the same") {
  const std::string stream = resp::command({"SELECT", "3"}) + set("a", "line\r\n*3\r\n$1\r\n") + "\n" +
                             set("b", std::string(5000, 'v')) + resp::command({"multi"}) +
                             set(std::string(300, 'k'), "x") + resp::command({"EXEC"}) + "*0\r\n" +
                             resp::command({"REPLCONF", "GETACK", "*"}) + "\r\n" +
                             set("nul", std::string("\0\xff", 2)) + resp::command({"PING"}) + "*2\r\n$4\r\nPI";
  const Outcome whole = scan(stream, stream.size());
  CHECK(whole.error.empty());
  CHECK(whole.seen.size() == 9);
  for (size_t chunk = 1; chunk < stream.size(); ++chunk) {
    if (chunk > 700 && chunk % 97 != 0) continue;
    CAPTURE(chunk);
    CHECK(scan(stream, chunk) == whole);
  }
}

TEST_CASE("inside a transaction there is no safe boundary") {
  const std::string before = set("a", "1");
  const std::string inside = resp::command({"MULTI"}) + set("b", "2") + resp::command({"SELECT", "1"});
  const Outcome open = scan(before + inside, 7);
  CHECK(open.safe == 100 + static_cast<int64_t>(before.size()));
  CHECK(open.boundary == 100 + static_cast<int64_t>(before.size() + inside.size()));
  const Outcome closed = scan(before + inside + resp::command({"exec"}), 7);
  CHECK(closed.safe == closed.boundary);
}

TEST_CASE("large arguments are cut, many are left out, whatever the chunks") {
  std::string many = "*5001\r\n$4\r\nMSET\r\n";
  for (int i = 0; i < 5000; ++i) many += "$20\r\n" + std::string(20, 'x') + "\r\n";
  const std::string stream = set("k", std::string(300'000, 'v')) + many + set("k2", "v2");
  const Outcome whole = scan(stream, stream.size());
  REQUIRE(whole.seen.size() == 3);
  CHECK(whole.seen[0].truncated);
  CHECK(whole.seen[0].args[1] == "k");
  CHECK(whole.seen[0].args[2].size() == StreamScanner::kArgumentBytesMax);
  CHECK(whole.seen[1].truncated);
  CHECK(whole.seen[1].args.size() < 5001);
  CHECK_FALSE(whole.seen[2].truncated);
  for (const size_t chunk : {1ul, 2ul, 33ul, 1000ul, 65'536ul, 100'001ul}) CHECK(scan(stream, chunk) == whole);
}

TEST_CASE("what is no stream is an error, and the sane part before it is known") {
  const std::string good = set("a", "1");
  const std::vector<std::string> bads = {"SET a b\r\n",
                                         "+OK\r\n",
                                         "*x\r\n",
                                         "*1\r\nPING\r\n",
                                         "*1\r\n$-1\r\n",
                                         "*1\r\n$x\r\n",
                                         "*1\r\n:4\r\n",
                                         "*99999999999999999999\r\n",
                                         "*" + std::string(100, '1')};
  for (const std::string& bad : bads) {
    for (size_t chunk = 1; chunk <= good.size() + bad.size(); ++chunk) {
      CAPTURE(bad);
      CAPTURE(chunk);
      const Outcome outcome = scan(good + bad, chunk);
      CHECK(outcome.error == "broken");
      CHECK(outcome.boundary == 100 + static_cast<int64_t>(good.size()));
      CHECK(outcome.seen.size() == 1);
    }
  }
}

}  // namespace
}  // namespace sidestream::replication
