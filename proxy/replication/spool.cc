// spool.cc: see spool.h.
#include "proxy/replication/spool.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "common/log.h"
#include "common/text.h"
#include "proxy/replication/sealed_line.h"

namespace sidestream::replication {
namespace {

constexpr std::string_view kTag = "snapshot";
constexpr std::string_view kPrefix = "snapshot-";
constexpr std::string_view kSuffix = ".rdb";
constexpr std::string_view kLabelSuffix = ".label";
constexpr size_t kCheckChunk = 256 * 1024;

std::string label_path(const std::string& path) {
  return path.substr(0, path.size() - kSuffix.size()) + std::string(kLabelSuffix);
}

/// The N of "snapshot-N" and the given end; 0: another name.
int64_t number_of(std::string_view name, std::string_view suffix) {
  if (!name.starts_with(kPrefix) || !name.ends_with(suffix)) return 0;
  return parse_int(name.substr(kPrefix.size(), name.size() - kPrefix.size() - suffix.size())).value_or(0);
}

Error damaged(const std::string& what) { return Error{Errc::protocol, "damaged: " + what}; }

}  // namespace

// --- at start ------------------------------------------------------------------------------------------------------

Task<Result<void>> Spool::prepare() {
  auto made = co_await world_.files.make_directory(directory_);
  CO_RETURN_IF_ERROR(made);
  auto names = co_await world_.files.list(directory_);
  CO_RETURN_IF_ERROR(names);
  std::vector<int64_t> numbers, labels;
  for (const std::string& name : names.value()) {
    if (const int64_t number = number_of(name, kSuffix)) numbers.push_back(number);
    if (const int64_t number = number_of(name, kLabelSuffix)) labels.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  for (const int64_t number : numbers) last_number_ = std::max(last_number_, number);
  for (const int64_t number : labels) {
    if (std::binary_search(numbers.begin(), numbers.end(), number)) continue;
    auto removed = co_await world_.files.remove(directory_ + "/" + std::string(kPrefix) + std::to_string(number) +
                                                std::string(kLabelSuffix));
    CO_RETURN_IF_ERROR(removed);
  }
  kept_.clear();  // of an attempt before that failed halfway
  for (const int64_t number : numbers) {
    const bool labelled = std::find(labels.begin(), labels.end(), number) != labels.end();
    std::string path = directory_ + "/" + std::string(kPrefix) + std::to_string(number) + std::string(kSuffix);
    auto found = co_await find(std::move(path), labelled);
    CO_RETURN_IF_ERROR(found);
  }
  enforce_bounds();
  co_return Result<void>();
}

/// Takes over one file, or removes it. An Error is one of the disk, not of the file.
Task<Result<void>> Spool::find(std::string path, bool labelled) {
  if (labelled) {
    auto label = co_await read_label(path);
    if (label.ok()) {
      log_notice(kTag, "found {}: {} at offset {}, {}", path, label.value().replid.text(), label.value().offset.value,
                 human_bytes(label.value().bytes));
      bytes_ += label.value().bytes;
      kept_.push_back(std::make_shared<Snapshot>(*this, std::move(path), std::move(label).value()));
      co_return Result<void>();
    }
    log_warning(kTag, "{}: {}; it is not used", path, label.error().detail);
    auto gone = co_await world_.files.remove(label_path(path));
    CO_RETURN_IF_ERROR(gone);
  }
  co_return co_await world_.files.remove(std::move(path));
}

/// The label of a file of the length that it names.
Task<Result<SnapshotLabel>> Spool::read_label(std::string path) {
  auto opened = co_await world_.files.open(label_path(path), Files::Mode::read);
  CO_RETURN_IF_ERROR(opened);
  std::string bytes(kSealedLineBytesMax, '\0');
  auto n = co_await opened.value()->read_at(0, bytes);
  CO_RETURN_IF_ERROR(n);
  auto label = decode_label(std::string_view(bytes).substr(0, n.value()));
  CO_RETURN_IF_ERROR(label);
  auto file = co_await world_.files.open(path, Files::Mode::read);
  CO_RETURN_IF_ERROR(file);
  char end[2];
  auto last = co_await file.value()->read_at(static_cast<uint64_t>(label.value().bytes - 1), end);
  CO_RETURN_IF_ERROR(last);
  if (last.value() != 1) co_return damaged("it is not as long as its label says");
  co_return std::move(label);
}

Task<Result<void>> Spool::check(SnapshotRef snapshot) {
  auto outcome = co_await compare(snapshot);
  if (outcome.ok()) {
    snapshot->checked_ = true;
  } else {
    log_warning(kTag, "{}: {}; it is not used", snapshot->path(), outcome.error().detail);
    drop(snapshot);
  }
  co_return std::move(outcome);
}

/// With the checksum of its label.
Task<Result<void>> Spool::compare(SnapshotRef snapshot) {
  auto file = co_await world_.files.open(snapshot->path(), Files::Mode::read);
  CO_RETURN_IF_ERROR(file);
  std::string chunk(kCheckChunk, '\0');
  uint32_t sum = 0;
  int64_t at = 0;
  while (at < snapshot->received()) {
    auto n = co_await file.value()->read_at(static_cast<uint64_t>(at), chunk);
    CO_RETURN_IF_ERROR(n);
    if (n.value() == 0) break;
    sum = checksum(std::string_view(chunk).substr(0, n.value()), sum);
    at += static_cast<int64_t>(n.value());
  }
  if (at != snapshot->received() || sum != snapshot->label_.checksum) co_return damaged("its checksum");
  co_return Result<void>();
}

// --- new ones ------------------------------------------------------------------------------------------------------

Task<Result<Spool::SnapshotRef>> Spool::create(ReplId replid, ReplOffset offset, int64_t size) {
  const std::string path =
      directory_ + "/" + std::string(kPrefix) + std::to_string(++last_number_) + std::string(kSuffix);
  if (auto room = make_room(size); !room.ok()) co_return std::move(room).error();
  // There before its file: who is called off while that is being made leaves none behind.
  auto snapshot = std::make_shared<Snapshot>(*this, path, std::move(replid), offset, size);
  auto file = co_await world_.files.open(path, Files::Mode::create);
  CO_RETURN_IF_ERROR(file);
  snapshot->file_ = std::move(file).value();
  co_return std::move(snapshot);
}

/// For `more` bytes. What is only kept for later goes first.
Result<void> Spool::make_room(int64_t more) {
  const int64_t bound = config_.snapshot.max_disk_bytes;
  if (bound == 0) return {};
  while (bytes_ + more > bound && !kept_.empty()) drop(kept_.front());
  if (bytes_ + more <= bound) return {};
  return Error{Errc::over_limit, "snapshots would take more than snapshot.max-disk, " + human_bytes(bound)};
}

void Spool::keep(SnapshotRef snapshot) {
  CHECK(snapshot->is_complete());
  labelling_.add(write_label(snapshot));
  kept_.push_back(std::move(snapshot));
  enforce_bounds();
}

Task<void> Spool::write_label(SnapshotRef snapshot) {
  const std::unique_ptr<File> file = std::move(snapshot->file_);
  auto written = co_await label_file(*file, *snapshot);
  if (!written.ok()) {
    log_warning(kTag, "{} will not outlive this process: {}", snapshot->path(), written.error().detail);
    co_return;
  }
  const bool dropped = std::find(kept_.begin(), kept_.end(), snapshot) == kept_.end();
  snapshot->stays_ = !dropped;
}

Task<Result<void>> Spool::label_file(File& file, const Snapshot& snapshot) {
  auto synced = co_await file.sync();
  CO_RETURN_IF_ERROR(synced);
  auto label = co_await world_.files.open(label_path(snapshot.path()), Files::Mode::create);
  CO_RETURN_IF_ERROR(label);
  const std::string line = encode_label(snapshot.label_);
  auto written = co_await label.value()->write_at(0, line);
  CO_RETURN_IF_ERROR(written);
  co_return co_await label.value()->sync();
}

// --- the end of one ------------------------------------------------------------------------------------------------

bool Spool::is_too_old(const Snapshot& snapshot) const {
  const int64_t bound_s = config_.snapshot.max_age_s;
  return bound_s != 0 && world_.clock.wall_ms() - snapshot.taken_ms() > bound_s * 1000;
}

void Spool::enforce_bounds() {
  while (std::ssize(kept_) > config_.snapshot.keep) drop(kept_.front());
  while (!kept_.empty() && is_too_old(*kept_.front())) drop(kept_.front());
  const int64_t bound = config_.snapshot.max_disk_bytes;
  while (bound != 0 && bytes_ > bound && !kept_.empty()) drop(kept_.front());
}

/// It goes with its last user.
void Spool::drop(SnapshotRef snapshot) {
  snapshot->stays_ = false;
  std::erase(kept_, snapshot);
}

void Spool::drop_if(const std::function<bool(const Snapshot&)>& unwanted) {
  for (const SnapshotRef& each : std::deque<SnapshotRef>(kept_)) {
    if (unwanted(*each)) drop(each);
  }
}

void Spool::left(const Snapshot& snapshot) {
  bytes_ -= snapshot.received();
  if (!snapshot.stays_) removals_.add(remove(snapshot.path(), snapshot.complete_));
}

Task<void> Spool::remove(std::string path, bool labelled) {
  // What cannot be removed now is removed at the next start.
  if (labelled) {
    auto gone = co_await world_.files.remove(label_path(path));
    (void)gone;
  }
  auto removed = co_await world_.files.remove(path);
  (void)removed;
}

}  // namespace sidestream::replication
