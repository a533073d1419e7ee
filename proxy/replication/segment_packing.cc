// segment_packing.cc: repl-backlog-compress: segments that are full are written anew, compressed, and take the place of
// those that they were made of. See segment_log.h.
//
// Happy path: every now and then the oldest segment that is full and not compressed is read, packed frame by frame
// into another file, with pauses so that nobody waits for it; its header, which says how long it is, comes last; then
// it is synced and renamed. A reader that has the old file open reads on; one that opened the wrong one of the two
// looks again. Failure modes: the segment is dropped meanwhile, or the disk fails: the new file is removed, the segment
// stays as it is. A crash leaves a file that no start looks at but to remove it.
#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/text.h"
#include "proxy/replication/packed_frame.h"
#include "proxy/replication/segment_log.h"

namespace sidestream::replication {
namespace {

constexpr std::string_view kTag = "backlog";
constexpr int64_t kLookMs = 1'000;
constexpr int64_t kFrameEveryMs = 2;  // 32 MB/s
constexpr int64_t kRetryMs = 60'000;

}  // namespace

Task<void> SegmentLog::pack_full_segments() {
  FramePacker packer;
  for (;;) {
    co_await world_.clock.sleep(kLookMs);
    const SegmentRef segment = next_to_pack();
    if (segment == nullptr) continue;
    auto packed = co_await pack(segment, packer);
    if (packed.ok()) continue;
    log_warning(kTag, "{} is not compressed: {}", path_of(segment->number), packed.error().detail);
    co_await remove_file(packing_path(segment->number));
    co_await world_.clock.sleep(kRetryMs);
  }
}

/// The newest one is still written, or was cut.
SegmentLog::SegmentRef SegmentLog::next_to_pack() const {
  if (!enabled() || config_.repl_backlog_compress != "zstd") return nullptr;
  for (size_t i = 0; i + 1 < segments_.size(); ++i) {
    if (!segments_[i]->packed) return segments_[i];
  }
  return nullptr;
}

bool SegmentLog::is_kept(const SegmentRef& segment) const {
  return std::find(segments_.begin(), segments_.end(), segment) != segments_.end();
}

Task<Result<void>> SegmentLog::pack(SegmentRef segment, FramePacker& packer) {
  auto header = co_await read_header(segment->number);
  CO_RETURN_IF_ERROR(header);
  const std::string fresh = packing_path(segment->number);
  auto opened = co_await world_.files.open(fresh, Files::Mode::create);
  CO_RETURN_IF_ERROR(opened);
  const std::unique_ptr<File> file = std::move(opened).value();
  const auto place = std::find(segments_.begin(), segments_.end(), segment);
  if (place == segments_.end()) co_return Error{Errc::refused, "it was dropped meanwhile"};
  const int64_t end = end_of(static_cast<size_t>(place - segments_.begin()));
  uint64_t at = encode_segment_header(header.value()).size() + kPackedSizeField;
  std::vector<FrameAt> frames;
  for (int64_t next = segment->first; next < end;) {
    auto slice = co_await read_frame(segment, next);
    CO_RETURN_IF_ERROR(slice);
    if (!is_kept(segment)) co_return Error{Errc::refused, "it was dropped meanwhile"};
    const size_t size = std::min({slice.value().bytes.size(), kPackedBytesMax, static_cast<size_t>(end - next)});
    std::string frame;
    packer.append(frame, next, slice.value().bytes.substr(0, size));
    auto written = co_await file->write_at(at, frame);
    CO_RETURN_IF_ERROR(written);
    frames.push_back({next, at});
    at += frame.size();
    next += static_cast<int64_t>(size);
    co_await world_.clock.sleep(kFrameEveryMs);
  }
  header.value().packed_size = at;
  const std::string line = encode_segment_header(header.value());
  auto headed = co_await file->write_at(0, line);
  CO_RETURN_IF_ERROR(headed);
  auto synced = co_await file->sync();
  CO_RETURN_IF_ERROR(synced);
  auto placed = co_await put_in_place(segment, std::move(frames), at);
  co_return std::move(placed);
}

/// The file and the index of its frames change together, as far as readers see.
Task<Result<void>> SegmentLog::put_in_place(SegmentRef segment, std::vector<FrameAt> frames, uint64_t bytes) {
  if (!is_kept(segment)) co_return Error{Errc::refused, "it was dropped meanwhile"};
  segment->being_replaced = true;
  auto renamed = co_await world_.files.rename(packing_path(segment->number), path_of(segment->number));
  segment->being_replaced = false;
  ++segment->replaced;
  if (!renamed.ok()) co_return std::move(renamed);
  segment->frames = std::move(frames);
  segment->bytes = bytes;
  segment->indexed = segment->packed = true;
  if (!is_kept(segment)) co_await remove(segment->number);  // it was dropped, and came back
  co_return Result<void>();
}

SegmentLog::Packing SegmentLog::packing() const {
  Packing packing;
  for (size_t i = 0; i < segments_.size(); ++i) {
    if (!segments_[i]->packed) continue;
    ++packing.segments;
    packing.history_bytes += end_of(i) - segments_[i]->first;
    packing.disk_bytes += static_cast<int64_t>(segments_[i]->bytes);
  }
  return packing;
}

}  // namespace sidestream::replication
