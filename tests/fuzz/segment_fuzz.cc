// segment_fuzz.cc: what lies on disk: no bytes break the decoders, nothing damaged is taken for good, and what was
// written is read back.
//
//   input = 0 file              bytes of a file: header lines, labels, frames
//         | 1 decisions text    a segment of frames cut from the text, packed or not; then one byte of it is changed,
//                               or its end is cut
#include <string>
#include <vector>

#include "proxy/replication/packed_frame.h"
#include "proxy/replication/segment.h"
#include "proxy/replication/snapshot.h"
#include "tests/fuzz/fuzz_input.h"

namespace sidestream::fuzz {
namespace {

using namespace replication;

const ReplId kId = *ReplId::parse(std::string(40, 'a'));

/// The payloads of the frames behind `at` that are whole and follow each other, as a reader takes them.
std::string read_frames(std::string_view file, size_t at, int64_t first) {
  std::string payload;
  for (;;) {
    const auto checked = check_frame(file.substr(at));
    if (!checked.ok()) return payload;
    const auto header = decode_frame_header(file.substr(at));
    CHECK(header.ok());
    if (header.value().first != first + static_cast<int64_t>(payload.size())) return payload;
    const auto size = unpacked_size(header.value(), checked.value());
    if (!size.ok()) return payload;
    std::string bytes(checked.value());
    if (header.value().packed) {
      bytes.assign(size.value(), '\0');
      if (!unpack(checked.value(), bytes).ok()) return payload;
    }
    CHECK(bytes.size() == size.value());
    payload += bytes;
    at += kFrameHeaderBytes + checked.value().size();
  }
}

void check_any_file(std::string_view file) {
  size_t size = 0;
  const auto header = decode_segment_header(file, size);
  if (header.ok()) {
    CHECK(size <= file.size() && size <= kSegmentHeaderBytesMax);
    CHECK(header.value().number > header.value().previous);
    size_t again = 0;
    const auto twice = decode_segment_header(encode_segment_header(header.value()), again);
    CHECK(twice.ok() && twice.value().first == header.value().first);
    CHECK(twice.value().packed_size == header.value().packed_size);
    (void)read_frames(file, size, header.value().first);
  }
  const auto label = decode_label(file);
  if (label.ok()) CHECK(decode_label(encode_label(label.value())).value() == label.value());
  (void)check_frame(file);
  (void)segment_number(file);
}

void check_damage(Input& input) {
  const uint8_t cut = input.take(), where = input.take(), change = input.take();
  const int64_t first = 1 + input.take();
  const uint8_t size_of_pieces = input.take();
  const bool packs = size_of_pieces >= 128;
  const size_t piece = (1 + size_of_pieces % 64) * (packs ? 64 : 1);
  const std::string text(input.rest());
  static FramePacker packer;
  const SegmentHeader header{3, 2, first, History{kId, {}, -1}, ReplOffset{first - 1}, packs ? text.size() : 0};
  std::string file = encode_segment_header(header);
  const size_t frames_at = file.size();
  int64_t next = first;
  for (const std::string_view each : pieces_of(text, piece)) {
    packs ? packer.append(file, next, each) : append_frame(file, next, each);
    next += std::ssize(each);
  }
  CHECK(read_frames(file, frames_at, first) == text);
  if (cut % 2 == 0) {
    file.resize(file.size() - std::min<size_t>(file.size(), where));
  } else {
    file[file.size() * where / 256] = static_cast<char>(file[file.size() * where / 256] ^ change);
  }
  size_t size = 0;
  if (decode_segment_header(file, size).ok() && size == frames_at) {
    const std::string got = read_frames(file, frames_at, first);
    CHECK(text.starts_with(got));
  }
}

}  // namespace
}  // namespace sidestream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sidestream::fuzz;
  Input input(data, size);
  if (input.take() % 2 == 0) {
    check_any_file(input.rest());
  } else {
    check_damage(input);
  }
  return 0;
}
