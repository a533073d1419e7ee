// packed_frame.cc: see packed_frame.h.
#include "proxy/replication/packed_frame.h"

#include <zstd.h>

namespace sidestream::replication {
namespace {

constexpr int kLevel = 3;  // half a millisecond for a frame

Error damaged() { return Error{Errc::protocol, "damaged: a frame does not unpack"}; }

}  // namespace

void FramePacker::Free::operator()(ZSTD_CCtx_s* context) const { ZSTD_freeCCtx(context); }

FramePacker::FramePacker() : context_(ZSTD_createCCtx()), room_(ZSTD_compressBound(kPackedBytesMax), '\0') {
  CHECK(context_ != nullptr);
}

FramePacker::~FramePacker() = default;

void FramePacker::append(std::string& out, int64_t first, std::string_view bytes) {
  CHECK(!bytes.empty() && bytes.size() <= kPackedBytesMax);
  const size_t size = ZSTD_compressCCtx(context_.get(), room_.data(), room_.size(), bytes.data(), bytes.size(), kLevel);
  CHECK(ZSTD_isError(size) == 0);
  const bool smaller = size < bytes.size();
  append_frame(out, first, smaller ? std::string_view(room_).substr(0, size) : bytes, smaller);
}

Result<size_t> unpacked_size(const FrameHeader& header, std::string_view payload) {
  if (!header.packed) return payload.size();
  const auto size = ZSTD_getFrameContentSize(payload.data(), payload.size());
  if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR || size == 0 || size > kPackedBytesMax) {
    return damaged();
  }
  return static_cast<size_t>(size);
}

Result<void> unpack(std::string_view payload, std::span<char> into) {
  const size_t size = ZSTD_decompress(into.data(), into.size(), payload.data(), payload.size());
  if (ZSTD_isError(size) != 0 || size != into.size()) return damaged();
  return {};
}

}  // namespace sidestream::replication
