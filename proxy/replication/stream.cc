// stream.cc: see stream.h.
#include "proxy/replication/stream.h"

#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/text.h"

namespace sidestream::replication {
namespace {

/// For bytes whose commands were told to everybody in an earlier run.
class Silent final : public StreamScanner::Visitor {
  void command(const StreamScanner::Command&) override {}
};

}  // namespace

Task<Result<void>> Stream::restore() {
  auto loaded = co_await disk_.load();
  CO_RETURN_IF_ERROR(loaded);
  if (!loaded.value()) co_return Result<void>();
  const SegmentLog::Found found = *loaded.value();
  backlog_.restart(found.offset);
  in_sync_from_ = std::max(found.offset, found.boundary);
  scanner_.reset(found.offset);
  if (found.boundary < found.offset) {
    auto scanned = co_await rescan(found.boundary);
    if (!scanned.ok()) {
      log_warning("backlog", "the history on disk is not used: {}", scanned.error().detail);
      co_return Result<void>();
    }
  }
  history_ = found.history;
  co_return Result<void>();
}

/// Finds where commands end, from a place where one did to the end.
Task<Result<void>> Stream::rescan(ReplOffset from) {
  if (from.next_byte() < first_byte()) co_return Error{Errc::io, "the beginning of its last command is missing"};
  scanner_.reset(from);
  Silent nobody;
  while (scanner_.position() < offset()) {
    const int64_t next = scanner_.position().next_byte();
    auto slice = co_await disk_.read(next, kFrameBytesMax);
    CO_RETURN_IF_ERROR(slice);
    auto fed = scanner_.feed(slice.value().bytes, nobody);
    CO_RETURN_IF_ERROR(fed);
  }
  co_return Result<void>();
}

BacklogRange Stream::held() const {
  const bool on_disk = disk_.first_byte() < disk_.end() && disk_.end() >= backlog_.oldest();
  const int64_t first = on_disk ? std::min(disk_.first_byte(), backlog_.first_byte()) : backlog_.first_byte();
  return {first, backlog_.end() - first};
}

void Stream::begin(History history, ReplOffset offset, ReplOffset in_sync_from) {
  CHECK(in_sync_from >= offset);
  history_ = std::move(history);
  backlog_.restart(offset);
  in_sync_from_ = in_sync_from;
  // Until we are in sync the scanner stands at the beginning: what it calls a boundary is the last we can vouch for.
  scanner_.reset(offset);
  disk_.begin(history_, offset, in_sync_from);
  ++turns_;
  changed.notify_all();
}

void Stream::shift(ReplId new_id) {
  history_.shift(std::move(new_id), offset());
  disk_.rename(history_);
  ++turns_;
  changed.notify_all();
}

void Stream::truncate_to(ReplOffset offset) {
  if (offset.next_byte() >= backlog_.first_byte()) {
    backlog_.truncate_to(offset);
  } else {
    backlog_.restart(offset);  // the command was larger than what is in memory
  }
  in_sync_from_ = offset;
  scanner_.reset(offset);
  disk_.cut(offset);
  ++turns_;
  changed.notify_all();
}

void Stream::release() {
  CHECK(safe_boundary() == offset());
  backlog_.release();
  disk_.begin(history_, offset(), offset());
  ++turns_;
  changed.notify_all();
}

Result<void> Stream::received(size_t n) {
  std::string_view bytes(backlog_.write_space().data(), n);
  if (!in_sync()) {
    const int64_t skipped = std::min(in_sync_from_ - offset(), static_cast<int64_t>(n));
    bytes.remove_prefix(static_cast<size_t>(skipped));
    if (offset() + skipped == in_sync_from_) scanner_.reset(in_sync_from_);
  }
  auto scanned = bytes.empty() ? Result<void>() : scanner_.feed(bytes, *this);
  if (!bytes.empty()) listener_.stream_read(scanner_.command_boundary());
  // Who falls behind finds the bytes on disk, if they get there.
  backlog_.keep_for(disk_.works() ? disk_.end() : listener_.stream_wanted());
  if (scanned.ok()) {
    backlog_.commit(n);
  } else {
    backlog_.commit(static_cast<size_t>(std::max<int64_t>(scanner_.command_boundary() - offset(), 0)));
  }
  disk_.grew(std::max(in_sync_from_, scanner_.safe_boundary()));
  changed.notify_all();
  return scanned;
}

void Stream::command(const StreamScanner::Command& command) {
  const auto args = command.args;
  listener_.stream_command(command);
  if (args.size() == 3 && args[0].size() == 8 && iequals(args[0], "REPLCONF") && iequals(args[1], "GETACK")) {
    listener_.stream_getack(command.before);
  }
}

}  // namespace sidestream::replication
