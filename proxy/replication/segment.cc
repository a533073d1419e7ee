// segment.cc: see segment.h.
#include "proxy/replication/segment.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <optional>

#include "proxy/replication/sealed_line.h"

namespace sidestream::replication {
namespace {

static_assert(std::endian::native == std::endian::little, "segments are written as the machine holds them");

constexpr std::string_view kMagic = "sidestream-segment 1";
constexpr std::string_view kNamePrefix = "segment-";
constexpr size_t kNumberDigits = 10;
constexpr char kFrameMagic[4] = {'S', 'F', 'r', '\0'};
constexpr char kPackedFrameMagic[4] = {'S', 'F', 'z', '\0'};
constexpr size_t kLengthAt = 4, kCrcAt = 8, kFirstAt = 12;

/// Over all of a frame but its crc.
uint32_t frame_checksum(std::string_view frame) {
  return checksum(frame.substr(kFirstAt), checksum(frame.substr(0, kCrcAt)));
}

template <class T>
T load(std::string_view bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

template <class T>
void store(std::string& bytes, size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

Error damaged(std::string_view what) { return Error{Errc::protocol, "damaged: " + std::string(what)}; }

/// 0: it is not there; nothing: it is no such number. All digits are written, so that the line's length is known
/// before.
std::optional<uint64_t> parse_packed_size(const Unsealed& line) {
  const auto field = line.fields.find("packed_size");
  if (field == line.fields.end()) return 0;
  uint64_t size = 0;
  for (const char digit : field->second) {
    if (digit < '0' || digit > '9') return std::nullopt;
    size = size * 10 + static_cast<uint64_t>(digit - '0');
  }
  const bool fits = field->second.size() + sizeof " packed_size=" - 1 == kPackedSizeField;
  return fits && size > 0 ? std::optional(size) : std::nullopt;
}

}  // namespace

std::string segment_name(uint64_t number) { return fmt::format("{}{:0{}}", kNamePrefix, number, kNumberDigits); }

uint64_t segment_number(std::string_view name) {
  if (!name.starts_with(kNamePrefix) || name.size() != kNamePrefix.size() + kNumberDigits) return 0;
  uint64_t number = 0;
  for (const char digit : name.substr(kNamePrefix.size())) {
    if (digit < '0' || digit > '9') return 0;
    number = number * 10 + static_cast<uint64_t>(digit - '0');
  }
  return number;
}

std::string encode_segment_header(const SegmentHeader& header) {
  const std::string packed = header.packed_size > 0 ? fmt::format(" packed_size={:013}", header.packed_size) : "";
  return seal(fmt::format("{} number={} previous={} first={} replid={} replid2={} second_offset={} boundary={}{}",
                          kMagic, header.number, header.previous, header.first, header.history.replid.text(),
                          header.history.replid2.text(), header.history.second_offset, header.boundary.value, packed));
}

Result<SegmentHeader> decode_segment_header(std::string_view bytes, size_t& size) {
  auto line = unseal(kMagic, bytes);
  RETURN_IF_ERROR(line);
  const auto number = line.value().number("number"), previous = line.value().number("previous");
  const auto first = line.value().number("first"), boundary = line.value().number("boundary");
  const auto second_offset = line.value().number("second_offset");
  const auto replid = line.value().id("replid"), replid2 = line.value().id("replid2");
  if (!number || !previous || !first || !boundary || !second_offset || !replid || !replid2 || replid->empty() ||
      *number < 1 || *previous < 0 || *previous >= *number || *first < 1 || *boundary < 0) {
    return damaged("its header");
  }
  size = line.value().size;
  const auto packed_size = parse_packed_size(line.value());
  if (!packed_size) return damaged("its header");
  return SegmentHeader{static_cast<uint64_t>(*number),
                       static_cast<uint64_t>(*previous),
                       *first,
                       History{*replid, *replid2, *second_offset},
                       ReplOffset{*boundary},
                       *packed_size};
}

void append_frame(std::string& out, int64_t first, std::string_view payload, bool packed) {
  CHECK(payload.size() <= kFrameBytesMax);
  const size_t at = out.size();
  out.append(packed ? kPackedFrameMagic : kFrameMagic, sizeof kFrameMagic);
  out.append(kFrameHeaderBytes - sizeof kFrameMagic, '\0');
  out.append(payload);
  store(out, at + kLengthAt, static_cast<uint32_t>(payload.size()));
  store(out, at + kFirstAt, first);
  store(out, at + kCrcAt, frame_checksum(std::string_view(out).substr(at)));
}

Result<FrameHeader> decode_frame_header(std::string_view bytes) {
  if (bytes.size() < kFrameHeaderBytes) return damaged("a frame is cut");
  FrameHeader header;
  header.packed = std::memcmp(bytes.data(), kPackedFrameMagic, sizeof kPackedFrameMagic) == 0;
  if (!header.packed && std::memcmp(bytes.data(), kFrameMagic, sizeof kFrameMagic) != 0) {
    return damaged("no frame where one should be");
  }
  header.length = load<uint32_t>(bytes, kLengthAt);
  header.crc = load<uint32_t>(bytes, kCrcAt);
  header.first = load<int64_t>(bytes, kFirstAt);
  if (header.length == 0 || header.length > kFrameBytesMax || header.first < 1) return damaged("a frame's header");
  return header;
}

Result<std::string_view> check_frame(std::string_view frame) {
  auto header = decode_frame_header(frame);
  RETURN_IF_ERROR(header);
  if (frame.size() < kFrameHeaderBytes + header.value().length) return damaged("a frame is cut");
  frame = frame.substr(0, kFrameHeaderBytes + header.value().length);
  if (frame_checksum(frame) != header.value().crc) return damaged("a frame's checksum");
  return frame.substr(kFrameHeaderBytes);
}

}  // namespace sidestream::replication
