// packed_frame.h: frames of a segment (segment.h) that are compressed with zstd, each by itself, so that a reader needs
// no other. Pure bytes.
//
// Failure modes: what does not unpack to what it says is Errc::protocol. What zstd does not make smaller stays as it
// is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "common/result.h"
#include "proxy/replication/segment.h"

struct ZSTD_CCtx_s;

namespace sidestream::replication {

/// Of the stream in one packed frame: what is packed, and unpacked, at once.
inline constexpr size_t kPackedBytesMax = 64 * 1024;

class FramePacker {
 public:
  FramePacker();
  ~FramePacker();
  FramePacker(const FramePacker&) = delete;
  FramePacker& operator=(const FramePacker&) = delete;
  /// `bytes`: at most kPackedBytesMax, from `first` on.
  void append(std::string& out, int64_t first, std::string_view bytes);

 private:
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const;
  };
  std::unique_ptr<ZSTD_CCtx_s, Free> context_;
  std::string room_;
};

/// How much of the stream a checked frame's payload stands for.
Result<size_t> unpacked_size(const FrameHeader& header, std::string_view payload);
/// The payload of a packed frame; `into` has the room that it needs.
Result<void> unpack(std::string_view payload, std::span<char> into);

}  // namespace sidestream::replication
