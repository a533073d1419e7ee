// backlog_test.cc: the backlog against a plain string that remembers everything.
#include "proxy/replication/backlog.h"

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tests/unit/unit_test.h"

namespace sidestream::replication {
namespace {

std::string read_all(const Backlog& backlog, int64_t from) {
  std::string bytes;
  while (from < backlog.end()) {
    const Slice slice = backlog.slice(from, 100'000);
    bytes += slice.bytes;
    from += static_cast<int64_t>(slice.bytes.size());
  }
  return bytes;
}

TEST_CASE("a new backlog is empty and continues at the next byte") {
  Backlog backlog(1000);
  backlog.restart(ReplOffset{50});
  CHECK(backlog.first_byte() == 51);
  CHECK(backlog.end() == 51);
  CHECK(backlog.range().histlen == 0);
}

TEST_CASE("histlen is exact to the byte") {
  Backlog backlog(16);
  backlog.append("0123456789");
  CHECK(backlog.range().histlen == 10);
  backlog.append("abcdefghij");
  CHECK(backlog.range().histlen == 16);
  CHECK(backlog.first_byte() == 5);
  CHECK(read_all(backlog, 5) == "456789abcdefghij");
  backlog.resize(4);
  CHECK(read_all(backlog, backlog.first_byte()) == "ghij");
  backlog.resize(8);
  CHECK(backlog.range().histlen == 4);  // what is gone is gone
}

TEST_CASE("released bytes are gone, room that was handed out before is not") {
  Backlog backlog(1 << 20);
  for (int i = 0; i < 100; ++i) backlog.append(std::string(5000, 'x'));
  const auto room = backlog.write_space();
  std::memcpy(room.data(), "behind", 6);
  backlog.release();
  CHECK(backlog.range().histlen == 0);
  CHECK(backlog.oldest() == 500'001);
  CHECK(backlog.memory_bytes() <= 256 * 1024);
  backlog.commit(6);
  CHECK(read_all(backlog, 500'001) == "behind");
}

TEST_CASE("bytes that were cut off stay unchanged for those who hold a slice of them") {
  Backlog backlog(1000);
  backlog.append("SET k v1");
  const Slice held = backlog.slice(1, 100);
  backlog.truncate_to(ReplOffset{6});
  CHECK(backlog.end() == 7);
  backlog.append("XX");
  CHECK(held.bytes == "SET k v1");
  CHECK(read_all(backlog, 1) == "SET k XX");
}

TEST_CASE("random operations agree with a naive model") {
  std::mt19937_64 dice(7);
  for (int run = 0; run < 60; ++run) {
    const int64_t base = static_cast<int64_t>(dice() % 1000);
    int64_t size = 1 + static_cast<int64_t>(dice() % 200'000);
    Backlog backlog(size);
    backlog.restart(ReplOffset{base});
    std::string model;  // byte base + 1 + i
    int64_t first = base + 1;
    std::vector<std::pair<Slice, std::string>> held;
    for (int step = 0; step < 300; ++step) {
      const int64_t end = base + 1 + static_cast<int64_t>(model.size());
      const auto what = dice() % 20;
      if (what == 0) {
        size = 1 + static_cast<int64_t>(dice() % 200'000);
        backlog.resize(size);
      } else if (what == 1 && end > first) {
        const int64_t keep = first + static_cast<int64_t>(dice() % static_cast<uint64_t>(end - first + 1));
        backlog.truncate_to(ReplOffset::before(keep));
        model.resize(static_cast<size_t>(keep - base - 1));
      } else if (what == 2 && end > first) {
        const Slice slice =
            backlog.slice(first + static_cast<int64_t>(dice() % static_cast<uint64_t>(end - first)), 5000);
        held.emplace_back(slice, std::string(slice.bytes));
      } else {
        const auto room = backlog.write_space();
        REQUIRE(!room.empty());
        const size_t n = std::min<size_t>(room.size(), 1 + dice() % 20'000);
        for (size_t i = 0; i < n; ++i) room[i] = static_cast<char>(dice());
        model.append(room.data(), n);
        backlog.commit(n);
      }
      const int64_t now = base + 1 + static_cast<int64_t>(model.size());
      first = std::max(first, now - size);
      REQUIRE(backlog.end() == now);
      REQUIRE(backlog.first_byte() == first);
      REQUIRE(backlog.memory_bytes() <= static_cast<size_t>(size) + 3 * 256 * 1024);
    }
    CHECK(read_all(backlog, first) == model.substr(static_cast<size_t>(first - base - 1)));
    for (const auto& [slice, bytes] : held) CHECK(slice.bytes == bytes);
  }
}

}  // namespace
}  // namespace sidestream::replication
