// packing_test.cc: segments that are compressed, on a disk that fails, at any moment of it.
#include <string>

#include "proxy/replication/packed_frame.h"
#include "tests/unit/segment_disk.h"
#include "tests/unit/unit_test.h"

namespace sidestream::replication {
namespace {

std::string text_of(int i) { return "*3\r\n$3\r\nSET\r\n$5\r\nkey:" + std::to_string(i % 10) + "\r\n$1\r\nv\r\n"; }

std::string noise(size_t size, uint32_t seed) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24);
  return bytes;
}

TEST_CASE("a packed frame gives its bytes back, and no byte of it can be changed unnoticed") {
  FramePacker packer;
  std::string bytes;
  for (int i = 0; i < 100; ++i) bytes += text_of(i);
  std::string frame;
  packer.append(frame, 77, bytes);
  CHECK(frame.size() < bytes.size() / 3);
  const FrameHeader header = decode_frame_header(frame).value();
  CHECK(header.packed);
  CHECK(header.first == 77);
  const std::string_view payload = check_frame(frame).value();
  REQUIRE(unpacked_size(header, payload).value() == bytes.size());
  std::string unpacked(bytes.size(), '\0');
  REQUIRE(unpack(payload, unpacked).ok());
  CHECK(unpacked == bytes);
  std::string too_small(bytes.size() - 1, '\0');
  CHECK_FALSE(unpack(payload, too_small).ok());
  for (size_t at = 0; at < frame.size(); ++at) {
    std::string spoilt = frame;
    spoilt[at] = static_cast<char>(spoilt[at] ^ 0x10);
    CHECK_FALSE(check_frame(spoilt).ok());
  }
}

TEST_CASE("what does not get smaller stays as it is") {
  FramePacker packer;
  std::string frame;
  const std::string bytes = noise(5000, 1);
  packer.append(frame, 1, bytes);
  CHECK_FALSE(decode_frame_header(frame).value().packed);
  CHECK(check_frame(frame).value() == bytes);
}

TEST_CASE("a header tells how long a packed file is") {
  SegmentHeader header{7, 6, 1001, history_of(kId), ReplOffset{950}};
  const size_t plain = encode_segment_header(header).size();
  size_t size = 0;
  CHECK(decode_segment_header(encode_segment_header(header), size).value().packed_size == 0);
  for (const uint64_t bytes : {uint64_t{1}, uint64_t{64} << 20, uint64_t{9'999'999'999'999}}) {
    header.packed_size = bytes;
    CHECK(encode_segment_header(header).size() == plain + kPackedSizeField);
    CHECK(decode_segment_header(encode_segment_header(header), size).value().packed_size == bytes);
  }
}

/// A history of many segments; the compression is on, or will be.
struct Packed : Disk {
  explicit Packed(uint64_t seed, bool on = true) : Disk(seed, 4000, 1 << 20) {
    config.repl_backlog_compress = on ? "zstd" : "no";
    load();
    begin(0);
  }
  void write(int lines) {
    for (int i = 0; i < lines; ++i) {
      append(text_of(++written));
      if (i % 50 == 0) REQUIRE(settle());
    }
    REQUIRE(settle());
  }
  bool all_packed() {
    return world.run_until([this] { return log->packing().segments >= 3; }, 120'000);
  }
  int written = 0;
};

TEST_CASE("full segments are packed, count with their new size, and are read byte for byte") {
  Packed disk(1);
  disk.write(12'000);  // 64 KiB each
  REQUIRE(disk.all_packed());
  CHECK(disk.log->packing().ratio() > 3);
  CHECK(disk.log->bytes() < disk.log->end() / 2);
  CHECK(disk.read(1) == disk.expected(1));
  CHECK(disk.read(70'000) == disk.expected(70'000));
  const int64_t packed_bytes = disk.log->bytes();
  disk.restart(true);
  REQUIRE(disk.load().has_value());
  CHECK(disk.log->first_byte() == 1);
  CHECK(disk.log->packing().segments >= 3);
  CHECK(disk.log->bytes() == packed_bytes);
  CHECK(disk.read(1) == disk.expected(1).substr(0, static_cast<size_t>(disk.log->end()) - 1));
}

TEST_CASE("more history fits when it is packed") {
  for (const bool on : {false, true}) {
    Packed disk(2, on);
    for (int round = 0; round < 8; ++round) {
      disk.write(5'000);
      disk.world.run_until([] { return false; }, 20'000);
    }
    CHECK(disk.log->bytes() <= disk.config.repl_backlog_disk_size);
    CHECK(disk.read(disk.log->first_byte()) == disk.expected(disk.log->first_byte()));
    CHECK((disk.log->first_byte() == 1) == on);
  }
}

TEST_CASE("a reader that is in the middle of a segment reads on while it is replaced") {
  Packed disk(3);
  disk.write(6'000);
  std::string got;
  int64_t from = 1;
  while (from < disk.log->end()) {  // a little, time passes, a little more
    std::string piece;
    bool done = false;
    const auto read_once = [](Packed& d, int64_t at, std::string& bytes, bool& finished) -> Task<void> {
      auto slice = co_await d.log->read(at, 5'000);
      CHECK(slice.ok());
      if (slice.ok()) bytes = slice.value().bytes;
      finished = true;
    };
    disk.tasks.add(read_once(disk, from, piece, done));
    REQUIRE(disk.world.run_until([&] { return done; }, 60'000));
    REQUIRE_FALSE(piece.empty());
    got += piece;
    from += static_cast<int64_t>(piece.size());
    disk.world.run_until([] { return false; }, 137);
  }
  CHECK(disk.log->packing().segments > 0);
  CHECK(got == disk.expected(1));
}

TEST_CASE("killed at any moment of it, nothing is lost and nothing is left over") {
  for (int moment = 0; moment < 60; ++moment) {
    Packed disk(100 + static_cast<uint64_t>(moment));
    disk.write(6'000);
    disk.world.run_until([] { return false; }, 1'500);  // all is synced
    disk.world.run_until([] { return false; }, moment * 23);
    const int64_t end = disk.log->end();
    disk.restart(moment % 2 == 0);
    REQUIRE(disk.load().has_value());
    CHECK(disk.log->first_byte() == 1);
    CHECK(disk.log->end() == end);
    CHECK(disk.read(1) == disk.expected(1));
  }
}

TEST_CASE("a disk that fails while it is packed costs nothing of the history") {
  for (int moment = 0; moment < 40; ++moment) {
    Packed disk(200 + static_cast<uint64_t>(moment), false);
    disk.write(9'000);
    disk.world.run_until([] { return false; }, 1'500);
    disk.config.repl_backlog_compress = "zstd";
    disk.world.run_until([] { return false; }, 900 + moment * 5);
    disk.host_files().fail_next = 1;
    disk.world.run_until([] { return false; }, 3'000);
    disk.host_files().fail_next = 0;
    CHECK(disk.read(1) == disk.expected(1));
    REQUIRE(disk.all_packed());  // later
    CHECK(disk.read(1) == disk.expected(1));
    for (const std::string& path : disk.host_files().paths()) CHECK_FALSE(path.ends_with(SegmentLog::kPackingSuffix));
  }
}

}  // namespace
}  // namespace sidestream::replication
