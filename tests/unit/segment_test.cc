// segment_test.cc: the format of segments, and the log of segments on a disk that is full, slow, torn and spoilt.
#include "proxy/replication/segment.h"

#include <string>

#include "tests/unit/segment_disk.h"
#include "tests/unit/unit_test.h"

namespace sidestream::replication {
namespace {

TEST_CASE("a header survives its text, and no byte of it can be changed unnoticed") {
  const SegmentHeader header{7, 6, 1001, {*ReplId::parse(kId), *ReplId::parse(kOldId), 900}, ReplOffset{950}};
  const std::string text = encode_segment_header(header);
  CHECK(text.size() < kSegmentHeaderBytesMax);
  size_t size = 0;
  auto read = decode_segment_header(text + "SF...", size);
  REQUIRE(read.ok());
  CHECK(size == text.size());
  CHECK(read.value().number == 7);
  CHECK(read.value().previous == 6);
  CHECK(read.value().first == 1001);
  CHECK(read.value().history.replid == header.history.replid);
  CHECK(read.value().history.replid2 == header.history.replid2);
  CHECK(read.value().history.second_offset == 900);
  CHECK(read.value().boundary.value == 950);
  for (size_t at = 0; at < text.size(); ++at) {
    std::string spoilt = text;
    spoilt[at] = static_cast<char>(spoilt[at] ^ 1);
    CHECK_FALSE(decode_segment_header(spoilt, size).ok());
    CHECK_FALSE(decode_segment_header(text.substr(0, at), size).ok());
  }
}

TEST_CASE("a frame gives its payload back, and no byte of it can be changed unnoticed") {
  std::string frame;
  append_frame(frame, 123456789012, "*1\r\n$4\r\nPING\r\n");
  const std::string followed = frame + "more";
  auto payload = check_frame(followed);
  REQUIRE(payload.ok());
  CHECK(payload.value() == "*1\r\n$4\r\nPING\r\n");
  CHECK(decode_frame_header(frame).value().first == 123456789012);
  for (size_t at = 0; at < frame.size(); ++at) {
    std::string spoilt = frame;
    spoilt[at] = static_cast<char>(spoilt[at] ^ 0x10);
    CHECK_FALSE(check_frame(spoilt).ok());
    CHECK_FALSE(check_frame(std::string_view(frame).substr(0, at)).ok());
  }
}

TEST_CASE("names of segments") {
  CHECK(segment_number(segment_name(1)) == 1);
  CHECK(segment_number(segment_name(1234567890)) == 1234567890);
  for (const char* other : {"segment-1", "segment-00000000x1", "snapshot-1.rdb", "", "segment-00000000011"}) {
    CHECK(segment_number(other) == 0);
  }
}

TEST_CASE("what left the memory is read from disk, byte for byte, over many segments") {
  Disk disk(1, 1000, 256 * 1024);
  CHECK_FALSE(disk.load().has_value());
  disk.begin(500);
  for (int i = 0; i < 300; ++i) {
    disk.append("write number " + std::to_string(i) + std::string(static_cast<size_t>(i), '.'));
    if (i % 3 == 0) REQUIRE(disk.settle());
  }
  REQUIRE(disk.settle());
  CHECK(disk.log->first_byte() == 501);
  CHECK(disk.host_files().paths().size() > 2);
  for (const int64_t from : {501, 502, 777, 20'000, 40'001}) CHECK(disk.read(from) == disk.expected(from));
}

TEST_CASE("the oldest segments go when the size is reached") {
  Disk disk(2, 1000, 64 * 1024);
  (void)disk.load();
  disk.begin(0);
  for (int i = 0; i < 400; ++i) {
    disk.append(std::string(900, static_cast<char>('a' + i % 26)));
    REQUIRE(disk.settle());
    CHECK(disk.log->bytes() <= 64 * 1024 + 17 * 1024);
  }
  CHECK(disk.log->first_byte() > 250'000);
  CHECK(disk.read(disk.log->first_byte()) == disk.expected(disk.log->first_byte()));
  uint64_t used = 0;
  for (const std::string& path : disk.host_files().paths()) used += disk.host_files().find(path)->size();
  CHECK(used <= 90 * 1024);
}

TEST_CASE("after a restart the history goes on where its last whole frame ended") {
  for (const bool power_loss : {false, true}) {
    for (uint64_t seed = 1; seed < 40; ++seed) {
      Disk disk(seed, 100'000, 256 * 1024);
      (void)disk.load();
      disk.begin(100);
      for (uint64_t i = 0; i < 20 + seed; ++i) {
        disk.append(std::string(300 + i, static_cast<char>('a' + i % 26)));
        disk.world.run_for(static_cast<int64_t>((i * seed) % 90));
      }
      const int64_t written = disk.log->end();
      disk.restart(power_loss);
      const auto found = disk.load();
      if (!found) {
        CHECK((power_loss || written == 101));
        continue;
      }
      CHECK(found->history.replid == *ReplId::parse(kId));
      CHECK(found->first_byte == 101);
      CHECK(found->offset.value <= disk.base + static_cast<int64_t>(disk.model.size()));
      if (!power_loss) CHECK(found->offset.next_byte() >= written);
      std::string there = disk.read(101);
      if (power_loss && there == "lost") {  // a hole before the end: what is behind it is good
        CHECK(disk.log->first_byte() > 101);
        continue;
      }
      CHECK(there == disk.model.substr(0, static_cast<size_t>(found->offset.value - 100)));
      // It goes on from there.
      disk.model.resize(there.size());
      disk.append("and on");
      REQUIRE(disk.settle());
      CHECK(disk.read(101) == there + "and on");
    }
  }
}

TEST_CASE("a cut and a new id begin a segment; what was behind the cut is gone, also after a restart") {
  Disk disk(3, 100'000, 256 * 1024);
  (void)disk.load();
  disk.begin(0);
  disk.append(std::string(30'000, 'a'));
  REQUIRE(disk.settle());
  disk.append(std::string(30'000, 'b'));
  REQUIRE(disk.settle());
  disk.memory.truncate_to(ReplOffset{20'000});
  disk.model.resize(20'000);
  disk.log->cut(ReplOffset{20'000});
  disk.log->rename({*ReplId::parse(kOldId), *ReplId::parse(kId), 20'001});
  disk.append("behind the fork");
  REQUIRE(disk.settle());
  CHECK(disk.read(1) == disk.model);
  disk.restart(false);
  const auto found = disk.load();
  REQUIRE(found.has_value());
  CHECK(found->history.replid == *ReplId::parse(kOldId));
  CHECK(found->history.second_offset == 20'001);
  CHECK(found->first_byte == 1);
  CHECK(disk.read(1) == disk.model);
}

TEST_CASE("another history replaces what is on disk") {
  Disk disk(4);
  (void)disk.load();
  disk.begin(0);
  disk.append(std::string(5000, 'a'));
  REQUIRE(disk.settle());
  disk.begin(77, kOldId);
  disk.append("new");
  REQUIRE(disk.settle());
  disk.world.run_for(1000);
  CHECK(disk.host_files().paths().size() == 1);
  disk.restart(true);
  const auto found = disk.load();
  if (found) CHECK(found->history.replid == *ReplId::parse(kOldId));
}

TEST_CASE("a full disk is reported, the history in memory goes on, and the disk when there is room again") {
  Disk disk(5, 10'000);
  (void)disk.load();
  disk.begin(0);
  disk.append(std::string(5000, 'a'));
  REQUIRE(disk.settle());
  disk.host_files().capacity = disk.host_files().used() + 100;
  disk.append(std::string(3000, 'b'));
  disk.world.run_for(5000);
  CHECK(disk.log->trouble().find("no space left") != std::string::npos);
  CHECK(disk.read(1) == disk.model.substr(0, 5000));
  SUBCASE("within what memory holds: nothing is missing") {
    disk.host_files().capacity = UINT64_MAX;
    REQUIRE(disk.settle());
    CHECK(disk.log->trouble().empty());
    CHECK(disk.read(1) == disk.model);
  }
  SUBCASE("beyond: the disk begins anew") {
    disk.append(std::string(20'000, 'c'));
    disk.world.run_for(5000);
    disk.host_files().capacity = UINT64_MAX;
    disk.append("x");
    REQUIRE(disk.settle());
    CHECK(disk.log->first_byte() == disk.memory.first_byte());
    CHECK(disk.read(disk.log->first_byte()) == disk.expected(disk.log->first_byte()));
  }
}

TEST_CASE("a spoilt segment costs itself and what is older") {
  Disk disk(6, 1000, 256 * 1024);
  (void)disk.load();
  disk.begin(0);
  for (int i = 0; i < 90; ++i) {
    disk.append(std::string(1000, static_cast<char>('a' + i % 26)));
    REQUIRE(disk.settle());
  }
  const auto paths = disk.host_files().paths();
  REQUIRE(paths.size() >= 4);
  disk.restart(false);
  REQUIRE(disk.load().has_value());
  std::string& victim = *disk.host_files().find(paths[1]);
  victim[victim.size() / 2] = static_cast<char>(~victim[victim.size() / 2]);
  CHECK(disk.read(1) == "lost");
  const int64_t first = disk.log->first_byte();
  CHECK(first > 17'000);
  CHECK(disk.read(first) == disk.expected(first));
}

}  // namespace
}  // namespace sidestream::replication
