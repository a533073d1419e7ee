// stream.cc: see stream.h.
#include "proxy/replication/stream.h"

#include <algorithm>
#include <utility>

#include "common/text.h"

namespace sidestream::replication {

void Stream::begin(History history, ReplOffset offset, ReplOffset in_sync_from) {
  CHECK(in_sync_from >= offset);
  history_ = std::move(history);
  backlog_.restart(offset);
  in_sync_from_ = in_sync_from;
  // Until we are in sync the scanner stands at the beginning: what it calls a boundary is the last we can vouch for.
  scanner_.reset(offset);
  changed.notify_all();
}

void Stream::shift(ReplId new_id) {
  history_.shift(std::move(new_id), offset());
  changed.notify_all();
}

void Stream::truncate_to(ReplOffset offset) {
  if (offset.next_byte() >= backlog_.first_byte()) {
    backlog_.truncate_to(offset);
  } else {
    backlog_.restart(offset);  // one command was larger than the backlog
  }
  in_sync_from_ = offset;
  scanner_.reset(offset);
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
  if (scanned.ok()) {
    backlog_.commit(n);
  } else {
    backlog_.commit(static_cast<size_t>(std::max<int64_t>(scanner_.command_boundary() - offset(), 0)));
  }
  changed.notify_all();
  return scanned;
}

void Stream::command(const StreamScanner::Command& command) {
  const auto args = command.args;
  listener_.stream_command(command);
  if (args.size() == 3 && iequals(args[0], "REPLCONF") && iequals(args[1], "GETACK")) {
    listener_.stream_getack(command.before);
  }
}

}  // namespace sidestream::replication
