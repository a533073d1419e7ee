// segment.h: how a piece of the stream lies on disk. Pure bytes: encoding, decoding, checking.
//
//   segment = header *frame                       ; file "segment-NNNNNNNNNN", numbered in the order of writing
//   header  = a sealed line (sealed_line.h), "sidestream-segment 1 ..."             ; `head -1` shows what a file holds
//   frame   = "SF" kind %x00 length(4) crc(4) first(8) length*OCTET               ; little endian
//   kind    = "r" / "z"                           ; the stream's bytes as they are, or packed (packed_frame.h)
//
// `first` is the number of the frame's first byte in the history; frames of a segment are contiguous. crc is that of
// the frame without the crc itself. A segment says which one it continues (`previous`, 0: none): its own first byte is
// where the one before ends, whatever else lies there. So a fork, a cut and a new id each begin a segment, and no byte
// once written is ever changed.
// Failure modes: anything that does not check out is Errc::protocol; what stands before it is good.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/result.h"
#include "proxy/replication/history.h"
#include "proxy/replication/sealed_line.h"

namespace sidestream::replication {

struct SegmentHeader {
  uint64_t number = 0;
  uint64_t previous = 0;  ///< the segment that ends where this one begins; 0: none, the disk's history begins here
  int64_t first = 1;      ///< number of its first byte
  History history;        ///< as of its first byte
  /// End of a command outside a transaction: from here on the commands can be found again. May lie in an earlier
  /// segment, or ahead while a backlog that begins in the middle of a command is taken over.
  ReplOffset boundary;
  uint64_t packed_size = 0;  ///< of the file, when its frames are packed; 0: they are not
};

inline constexpr size_t kSegmentHeaderBytesMax = kSealedLineBytesMax;
/// What `packed_size` adds to a header.
inline constexpr size_t kPackedSizeField = sizeof " packed_size=0000000000000" - 1;
inline constexpr size_t kFrameHeaderBytes = 20;
/// Payload of one frame: what a reader gets at once.
inline constexpr size_t kFrameBytesMax = 256 * 1024;

std::string segment_name(uint64_t number);
/// 0: not a segment's name.
uint64_t segment_number(std::string_view name);

std::string encode_segment_header(const SegmentHeader& header);
/// `bytes`: the beginning of a file. `size` is set to the header's length.
Result<SegmentHeader> decode_segment_header(std::string_view bytes, size_t& size);

void append_frame(std::string& out, int64_t first, std::string_view payload, bool packed = false);

struct FrameHeader {
  bool packed = false;
  size_t length = 0;
  uint32_t crc = 0;
  int64_t first = 0;
};
/// Only the form is checked. `bytes` holds at least kFrameHeaderBytes.
Result<FrameHeader> decode_frame_header(std::string_view bytes);
/// `frame`: header and payload. The payload, once its checksum was found right.
Result<std::string_view> check_frame(std::string_view frame);

}  // namespace sidestream::replication
