// segment.cc: see segment.h.
#include "proxy/replication/segment.h"

#include <fmt/format.h>
#include <zlib.h>

#include <bit>
#include <cstring>
#include <map>
#include <optional>

#include "common/text.h"

namespace sidestream::replication {
namespace {

static_assert(std::endian::native == std::endian::little, "segments are written as the machine holds them");

constexpr std::string_view kMagic = "sidestream-segment 1";
constexpr std::string_view kNamePrefix = "segment-";
constexpr std::string_view kCrcField = " crc=";
constexpr size_t kCrcDigits = 8;
constexpr size_t kNumberDigits = 10;
constexpr char kFrameMagic[4] = {'S', 'F', 'r', '\0'};
constexpr size_t kLengthAt = 4, kCrcAt = 8, kFirstAt = 12;

uint32_t checksum(std::string_view bytes, uint32_t before = 0) {
  return static_cast<uint32_t>(crc32_z(before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

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

using Fields = std::map<std::string, std::string, std::less<>>;

std::optional<int64_t> number_of(const Fields& fields, std::string_view name) {
  const auto found = fields.find(name);
  return found == fields.end() ? std::nullopt : parse_int(found->second);
}

std::optional<ReplId> id_of(const Fields& fields, std::string_view name) {
  const auto found = fields.find(name);
  return found == fields.end() ? std::nullopt : ReplId::parse(found->second);
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
  std::string line = fmt::format("{} number={} previous={} first={} replid={} replid2={} second_offset={} boundary={}",
                                 kMagic, header.number, header.previous, header.first, header.history.replid.text(),
                                 header.history.replid2.text(), header.history.second_offset, header.boundary.value);
  line += fmt::format("{}{:08x}\n", kCrcField, checksum(line));
  return line;
}

Result<SegmentHeader> decode_segment_header(std::string_view bytes, size_t& size) {
  const size_t newline = bytes.substr(0, kSegmentHeaderBytesMax).find('\n');
  if (!bytes.starts_with(kMagic)) return damaged("not a segment");
  if (newline == std::string_view::npos) return damaged("its header has no end");
  const std::string_view line = bytes.substr(0, newline);
  const size_t crc_at = line.rfind(kCrcField);
  const bool right = crc_at != std::string_view::npos && line.size() == crc_at + kCrcField.size() + kCrcDigits &&
                     line.substr(crc_at + kCrcField.size()) == fmt::format("{:08x}", checksum(line.substr(0, crc_at)));
  if (!right) return damaged("its header's checksum");
  Fields fields;
  for (const std::string& field : split(line.substr(kMagic.size(), crc_at - kMagic.size()), ' ')) {
    const size_t equals = field.find('=');
    if (equals != std::string::npos) fields.emplace(field.substr(0, equals), field.substr(equals + 1));
  }
  const auto number = number_of(fields, "number"), previous = number_of(fields, "previous");
  const auto first = number_of(fields, "first"), boundary = number_of(fields, "boundary");
  const auto second_offset = number_of(fields, "second_offset");
  const auto replid = id_of(fields, "replid"), replid2 = id_of(fields, "replid2");
  if (!number || !previous || !first || !boundary || !second_offset || !replid || !replid2 || replid->empty() ||
      *number < 1 || *previous < 0 || *previous >= *number || *first < 1 || *boundary < 0) {
    return damaged("its header");
  }
  size = newline + 1;
  return SegmentHeader{static_cast<uint64_t>(*number), static_cast<uint64_t>(*previous), *first,
                       History{*replid, *replid2, *second_offset}, ReplOffset{*boundary}};
}

void append_frame(std::string& out, int64_t first, std::string_view payload) {
  CHECK(payload.size() <= kFrameBytesMax);
  const size_t at = out.size();
  out.append(kFrameMagic, sizeof kFrameMagic);
  out.append(kFrameHeaderBytes - sizeof kFrameMagic, '\0');
  out.append(payload);
  store(out, at + kLengthAt, static_cast<uint32_t>(payload.size()));
  store(out, at + kFirstAt, first);
  store(out, at + kCrcAt, frame_checksum(std::string_view(out).substr(at)));
}

Result<FrameHeader> decode_frame_header(std::string_view bytes) {
  if (bytes.size() < kFrameHeaderBytes) return damaged("a frame is cut");
  if (std::memcmp(bytes.data(), kFrameMagic, sizeof kFrameMagic) != 0) return damaged("no frame where one should be");
  FrameHeader header;
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
