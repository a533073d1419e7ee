// segment_log.cc: see segment_log.h.
#include "proxy/replication/segment_log.h"

#include <algorithm>
#include <map>
#include <utility>

#include "common/log.h"
#include "common/text.h"
#include "proxy/replication/packed_frame.h"

namespace sidestream::replication {
namespace {

constexpr std::string_view kTag = "backlog";
constexpr int64_t kSegmentsPerLog = 16;  // so that dropping the oldest costs a sixteenth
constexpr int64_t kSegmentBytesMin = 16 << 10;
constexpr int64_t kSegmentBytesMax = 64 << 20;
constexpr int64_t kGatherMs = 20;
constexpr int64_t kGatherBytes = kFrameBytesMax / 2;
constexpr size_t kWriteBytes = 2 << 20;  // at once, when there is much to write
constexpr int64_t kSyncMs = 1'000;
constexpr int64_t kRetryMs = 1'000;

}  // namespace

SegmentLog::SegmentLog(World& world, const Config& config, const Backlog& memory)
    : world_(world), config_(config), memory_(memory), directory_(config.dir + "/backlog") {}

int64_t SegmentLog::bytes() const {
  int64_t sum = 0;
  for (const SegmentRef& segment : segments_) sum += static_cast<int64_t>(segment->bytes);
  return sum;
}

uint64_t SegmentLog::segment_bytes_max() const {
  const int64_t share = config_.repl_backlog_disk_size / kSegmentsPerLog;
  return static_cast<uint64_t>(std::clamp(share, kSegmentBytesMin, kSegmentBytesMax));
}

/// Of the segment that holds `from`.
size_t SegmentLog::index_of(int64_t from) const {
  const auto next = std::upper_bound(segments_.begin(), segments_.end(), from,
                                     [](int64_t byte, const SegmentRef& segment) { return byte < segment->first; });
  return static_cast<size_t>(next - segments_.begin()) - 1;
}

int64_t SegmentLog::end_of(size_t index) const {
  return index + 1 < segments_.size() ? segments_[index + 1]->first : end_;
}

// --- at start ------------------------------------------------------------------------------------------------------

Task<Result<std::optional<SegmentLog::Found>>> SegmentLog::load() {
  if (!enabled()) co_return std::optional<Found>();
  auto made = co_await world_.files.make_directory(directory_);
  CO_RETURN_IF_ERROR(made);
  auto headers = co_await read_headers();
  CO_RETURN_IF_ERROR(headers);
  tasks_.add(write_out());
  tasks_.add(sync_every_second());
  tasks_.add(pack_full_segments());
  if (headers.value().empty()) co_return std::optional<Found>();
  for (const SegmentHeader& header : headers.value()) {
    auto segment = std::make_shared<Segment>();
    segment->number = header.number;
    segment->first = header.first;
    segment->bytes = header.packed_size;
    segment->packed = header.packed_size > 0;
    segments_.push_back(std::move(segment));
  }
  const SegmentHeader newest = headers.value().back();
  auto end = co_await scan(segments_.back());
  if (!end.ok()) {
    log_warning(kTag, "{}: {}; its history is not used", path_of(newest.number), end.error().detail);
    retire(segments_.size());
    co_return std::optional<Found>();
  }
  end_ = end.value();
  for (size_t i = 0; i + 1 < segments_.size(); ++i) {  // near enough: the others are not looked at before they are read
    if (segments_[i]->packed) continue;
    segments_[i]->bytes = static_cast<uint64_t>(std::max<int64_t>(end_of(i) - segments_[i]->first, 0));
  }
  history_ = newest.history;
  boundary_ = newest.boundary;
  begun_ = turned_ = true;
  log_notice(kTag, "found {} to {} of history {} in {} segments", first_byte(), end_ - 1, history_.replid.text(),
             segments_.size());
  co_return Found{history_, first_byte(), ReplOffset::before(end_), boundary_};
}

/// The newest chain, oldest first; other segments are removed.
Task<Result<SegmentLog::Headers>> SegmentLog::read_headers() {
  auto names = co_await world_.files.list(directory_);
  CO_RETURN_IF_ERROR(names);
  std::map<uint64_t, SegmentHeader> found;
  std::vector<uint64_t> numbers;
  for (const std::string& name : names.value()) {
    const uint64_t number = segment_number(name);
    if (name.ends_with(kPackingSuffix)) tasks_.add(remove_file(directory_ + "/" + name));
    if (number == 0) continue;
    numbers.push_back(number);
    last_number_ = std::max(last_number_, number);
    auto header = co_await read_header(number);
    if (header.ok()) {
      found.emplace(number, std::move(header).value());
    } else {
      log_warning(kTag, "{}: {}", path_of(number), header.error().detail);
    }
  }
  Headers chain;
  uint64_t number = found.empty() ? 0 : found.rbegin()->first;
  for (auto at = found.find(number); at != found.end(); at = found.find(at->second.previous)) {
    chain.push_back(at->second);
  }
  std::reverse(chain.begin(), chain.end());
  for (const uint64_t each : numbers) {
    const bool used =
        std::any_of(chain.begin(), chain.end(), [&](const auto& header) { return header.number == each; });
    if (!used) tasks_.add(remove(each));
  }
  co_return std::move(chain);
}

Task<Result<SegmentHeader>> SegmentLog::read_header(uint64_t number) {
  std::string path = path_of(number);
  auto file = co_await world_.files.open(std::move(path), Files::Mode::read);
  CO_RETURN_IF_ERROR(file);
  std::string bytes(kSegmentHeaderBytesMax, '\0');
  auto n = co_await file.value()->read_at(0, bytes);
  CO_RETURN_IF_ERROR(n);
  size_t size = 0;
  auto header = decode_segment_header(std::string_view(bytes).substr(0, n.value()), size);
  if (header.ok() && header.value().number != number) co_return Error{Errc::protocol, "it was renamed"};
  co_return std::move(header);
}

/// Finds and checks the frames of a segment, up to the first that is not whole. The byte behind the last one.
Task<Result<int64_t>> SegmentLog::scan(SegmentRef segment) {
  std::string path = path_of(segment->number);
  auto file = co_await world_.files.open(std::move(path), Files::Mode::read);
  CO_RETURN_IF_ERROR(file);
  std::string buffer(kSegmentHeaderBytesMax + kFrameHeaderBytes + kFrameBytesMax, '\0');
  std::vector<FrameAt> frames;
  int64_t end = segment->first;
  uint64_t at = 0;
  for (bool more = true; more;) {
    auto n = co_await file.value()->read_at(at, buffer);
    CO_RETURN_IF_ERROR(n);
    std::string_view rest = std::string_view(buffer).substr(0, n.value());
    const size_t read = rest.size();
    if (at == 0) {
      size_t size = 0;
      auto header = decode_segment_header(rest, size);
      CO_RETURN_IF_ERROR(header);
      rest.remove_prefix(size);
    }
    for (;;) {
      const auto payload = check_frame(rest);
      if (!payload.ok() || decode_frame_header(rest).value().first != end) break;
      const auto size = unpacked_size(decode_frame_header(rest).value(), payload.value());
      if (!size.ok()) break;
      frames.push_back({end, at + (read - rest.size())});
      end += static_cast<int64_t>(size.value());
      rest.remove_prefix(kFrameHeaderBytes + payload.value().size());
    }
    more = read > rest.size();
    at += read - rest.size();
  }
  segment->frames = std::move(frames);
  segment->bytes = at;
  segment->indexed = true;
  co_return end;
}

// --- what happens to the history -----------------------------------------------------------------------------------

void SegmentLog::begin(const History& history, ReplOffset offset, ReplOffset boundary) {
  retire(segments_.size());
  end_ = offset.next_byte();
  boundary_ = boundary;
  begun_ = true;
  rename(history);
}

void SegmentLog::rename(const History& history) {
  history_ = history;
  turned_ = true;
  ++turns_;
  work_.notify_all();
}

void SegmentLog::cut(ReplOffset offset) {
  end_ = std::min(end_, offset.next_byte());
  boundary_ = offset;
  while (!segments_.empty() && segments_.back()->first >= end_) {
    retired_.push_back(segments_.back()->number);
    segments_.pop_back();
  }
  rename(history_);
}

void SegmentLog::grew(ReplOffset boundary) {
  boundary_ = boundary;
  work_.notify_all();
}

/// The oldest ones are history no longer.
void SegmentLog::retire(size_t count) {
  for (size_t i = 0; i < count; ++i) {
    retired_.push_back(segments_.front()->number);
    segments_.pop_front();
  }
}

void SegmentLog::trim() {
  size_t count = 0;
  for (int64_t sum = bytes(); sum > config_.repl_backlog_disk_size && count + 1 < segments_.size(); ++count) {
    sum -= static_cast<int64_t>(segments_[count]->bytes);
  }
  retire(count);
  // What the newest segment has replaced goes when that one stands, the past at once.
  if (turned_) return;
  for (const uint64_t number : std::exchange(retired_, {})) tasks_.add(remove(number));
}

Task<void> SegmentLog::remove(uint64_t number) { return remove_file(path_of(number)); }

Task<void> SegmentLog::remove_file(std::string path) {
  auto removed = co_await world_.files.remove(std::move(path));
  if (!removed.ok()) log_warning(kTag, "{}", removed.error().detail);  // the next start removes it
}

// --- writing -------------------------------------------------------------------------------------------------------

Task<void> SegmentLog::write_out() {
  for (;;) {
    while (!has_work()) co_await work_.wait();
    writing_ = true;
    auto outcome = co_await write_next();
    writing_ = false;
    report(outcome);
    if (outcome.ok()) continue;
    // What the file holds behind its last good frame is not known any more: go on in another one.
    turned_ = true;
    co_await world_.clock.sleep(kRetryMs);
  }
}

Task<void> SegmentLog::suspend() {
  suspended_ = true;
  work_.notify_all();  // who waits for company has it
  while (writing_) co_await world_.clock.sleep(1);
}

void SegmentLog::resume() {
  suspended_ = false;
  turned_ = true;  // what the newest file holds is not known any more
  work_.notify_all();
}

/// Little writes wait for company.
Task<void> SegmentLog::gather() {
  const int64_t until_us = world_.clock.now_us() + kGatherMs * 1000;
  for (bool notified = true; notified && !suspended_ && memory_.end() - end_ < kGatherBytes;) {
    const bool woken = co_await work_.wait_until(world_.clock, until_us);
    notified = woken;
  }
}

Task<Result<void>> SegmentLog::write_next() {
  co_await gather();
  begin_anew_if_outrun();
  if (turned_ || segments_.back()->bytes >= segment_bytes_max()) {
    auto opened = co_await open_next();
    CO_RETURN_IF_ERROR(opened);
  }
  if (turned_ || memory_.oldest() > end_ || memory_.end() <= end_) co_return Result<void>();
  const SegmentRef segment = segments_.back();
  const std::shared_ptr<File> file = file_;
  const uint64_t turns = turns_;
  std::vector<FrameAt> frames;
  int64_t next = end_;
  std::string bytes;
  while (next < memory_.end() && bytes.size() < kWriteBytes) {
    const Slice slice = memory_.slice(next, kFrameBytesMax);
    frames.push_back({next, segment->bytes + bytes.size()});
    append_frame(bytes, next, slice.bytes);
    next += static_cast<int64_t>(slice.bytes.size());
  }
  auto written = co_await file->write_at(segment->bytes, bytes);
  CO_RETURN_IF_ERROR(written);
  if (turns != turns_) co_return Result<void>();  // the history took another turn: another segment goes on
  segment->frames.insert(segment->frames.end(), frames.begin(), frames.end());
  segment->bytes += bytes.size();
  end_ = next;
  if (unsynced_.empty() || unsynced_.back() != file_) unsynced_.push_back(file_);
  trim();
  co_return Result<void>();
}

/// The disk was so slow, or broken for so long, that the memory tier has dropped what comes next.
void SegmentLog::begin_anew_if_outrun() {
  if (memory_.oldest() <= end_) return;
  if (!segments_.empty())
    log_warning(kTag, "the disk is too slow: {} bytes were missed, the history on disk begins anew",
                memory_.oldest() - end_);
  begin(history_, ReplOffset::before(memory_.oldest()), boundary_);
}

Task<Result<void>> SegmentLog::open_next() {
  const uint64_t turns = turns_;
  const uint64_t previous = segments_.empty() ? 0 : segments_.back()->number;
  const SegmentHeader header{++last_number_, previous, end_, history_, boundary_};
  const std::string line = encode_segment_header(header);
  std::string path = path_of(header.number);
  auto file = co_await world_.files.open(std::move(path), Files::Mode::create);
  CO_RETURN_IF_ERROR(file);
  auto written = co_await file.value()->write_at(0, line);
  if (!written.ok() || turns != turns_) {
    tasks_.add(remove(header.number));
    co_return std::move(written);
  }
  auto segment = std::make_shared<Segment>();
  segment->number = header.number;
  segment->first = header.first;
  segment->bytes = line.size();
  segment->indexed = true;
  segments_.push_back(std::move(segment));
  file_ = std::move(file).value();
  turned_ = false;
  if (unsynced_.empty() || unsynced_.back() != file_) unsynced_.push_back(file_);
  trim();
  co_return Result<void>();
}

/// Beside the writing, which must not wait for it: memory goes on meanwhile.
Task<void> SegmentLog::sync_every_second() {
  for (;;) {
    co_await world_.clock.sleep(kSyncMs);
    for (const std::shared_ptr<File>& file : std::exchange(unsynced_, {})) {
      auto synced = co_await file->sync();
      if (synced.ok()) continue;
      log_warning(kTag, "{}", synced.error().detail);
      turned_ = true;  // what the file holds is not known any more: go on in another one
    }
  }
}

void SegmentLog::report(const Result<void>& outcome) {
  const std::string words = outcome.ok() ? "" : outcome.error().detail;
  if (words == trouble_) return;
  if (words.empty()) {
    log_notice(kTag, "the history is kept on disk again");
  } else {
    log_warning(kTag, "only the history in memory grows: {}", words);
  }
  trouble_ = words;
}

// --- reading -------------------------------------------------------------------------------------------------------

Task<Result<Slice>> SegmentLog::read(int64_t from, size_t most) {
  CHECK(from >= first_byte() && from < end_);
  const SegmentRef segment = segments_[index_of(from)];
  auto slice = co_await read_frame(segment, from);
  const auto now = std::find(segments_.begin(), segments_.end(), segment);
  if (now == segments_.end()) co_return Error{Errc::over_limit, "the history was dropped from disk meanwhile"};
  const auto index = static_cast<size_t>(now - segments_.begin());
  if (!slice.ok()) {
    log_warning(kTag, "{}: {}; the history begins behind it now", path_of(segment->number), slice.error().detail);
    if (index + 1 == segments_.size()) turned_ = true;
    retire(index + 1);
    work_.notify_all();
    co_return std::move(slice);
  }
  const int64_t there = end_of(index) - from;
  if (there <= 0) co_return Error{Errc::over_limit, "the history was cut meanwhile"};
  std::string_view& bytes = slice.value().bytes;
  bytes = bytes.substr(0, std::min(most, static_cast<size_t>(there)));
  co_return std::move(slice);
}

/// The rest of the frame that holds `from`. A segment that is replaced meanwhile is looked at again.
Task<Result<Slice>> SegmentLog::read_frame(SegmentRef segment, int64_t from) {
  for (;;) {
    const uint64_t replaced = segment->replaced;
    auto slice = co_await try_read_frame(segment, from);
    if (slice.ok() || (!segment->being_replaced && segment->replaced == replaced)) co_return std::move(slice);
    while (segment->being_replaced) co_await world_.clock.sleep(1);
  }
}

Task<Result<Slice>> SegmentLog::try_read_frame(SegmentRef segment, int64_t from) {
  if (!segment->indexed) {
    auto scanned = co_await scan(segment);
    CO_RETURN_IF_ERROR(scanned);
  }
  const auto behind = std::upper_bound(segment->frames.begin(), segment->frames.end(), from,
                                       [](int64_t byte, const FrameAt& frame) { return byte < frame.first; });
  if (behind == segment->frames.begin()) co_return Error{Errc::protocol, "damaged: a frame is missing"};
  const FrameAt frame = *(behind - 1);
  const uint64_t end = behind == segment->frames.end() ? segment->bytes : behind->at;
  std::string path = path_of(segment->number);
  auto file = co_await world_.files.open(std::move(path), Files::Mode::read);
  CO_RETURN_IF_ERROR(file);
  BlockRef block = Block::make(static_cast<size_t>(end - frame.at));
  const std::span<char> room(block->data(), block->capacity());
  auto n = co_await file.value()->read_at(frame.at, room);
  CO_RETURN_IF_ERROR(n);
  auto payload = check_frame(std::string_view(block->data(), n.value()));
  CO_RETURN_IF_ERROR(payload);
  const FrameHeader header = decode_frame_header(std::string_view(block->data(), n.value())).value();
  auto size = unpacked_size(header, payload.value());
  CO_RETURN_IF_ERROR(size);
  const auto skipped = static_cast<size_t>(from - frame.first);
  if (header.first != frame.first || skipped >= size.value()) {
    co_return Error{Errc::protocol, "damaged: a frame is missing"};
  }
  if (!header.packed) co_return Slice{block, payload.value().substr(skipped)};
  BlockRef unpacked = Block::make(size.value());
  const std::span<char> whole(unpacked->data(), size.value());
  auto done = unpack(payload.value(), whole);
  CO_RETURN_IF_ERROR(done);
  co_return Slice{unpacked, std::string_view(unpacked->data(), size.value()).substr(skipped)};
}

}  // namespace sidestream::replication
