// snapshot.cc: see snapshot.h.
#include "proxy/replication/snapshot.h"

#include <algorithm>
#include <utility>

namespace sidestream::replication {
namespace {

constexpr std::string_view kPrefix = "snapshot-";
constexpr std::string_view kSuffix = ".rdb";
// All aux fields of any known server fit.
constexpr size_t kHeadBytes = 1024;

}  // namespace

Task<Result<void>> Spool::prepare() {
  auto made = co_await world_.files.make_directory(directory_);
  CO_RETURN_IF_ERROR(made);
  auto names = co_await world_.files.list(directory_);
  CO_RETURN_IF_ERROR(names);
  for (const std::string& name : names.value()) {
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) continue;
    auto removed = co_await world_.files.remove(directory_ + "/" + name);
    CO_RETURN_IF_ERROR(removed);
  }
  co_return Result<void>();
}

Task<Result<std::shared_ptr<Snapshot>>> Spool::create(ReplId replid, ReplOffset offset, int64_t size) {
  const std::string path =
      directory_ + "/" + std::string(kPrefix) + std::to_string(++last_number_) + std::string(kSuffix);
  auto file = co_await world_.files.open(path, Files::Mode::create);
  CO_RETURN_IF_ERROR(file);
  co_return std::make_shared<Snapshot>(*this, std::move(file).value(), path, std::move(replid), offset, size);
}

Task<void> Spool::remove(World& world, std::string path) {
  // A file that cannot be removed now is removed at the next start.
  auto removed = co_await world.files.remove(path);
  (void)removed;
}

Snapshot::Snapshot(Spool& spool, std::unique_ptr<File> file, std::string path, ReplId replid, ReplOffset offset,
                   int64_t size)
    : spool_(spool),
      file_(std::move(file)),
      path_(std::move(path)),
      replid_(std::move(replid)),
      offset_(offset),
      total_(size) {}

Snapshot::~Snapshot() { spool_.removals_.add(Spool::remove(spool_.world_, path_)); }

Task<Result<void>> Snapshot::append(std::string_view bytes) {
  auto written = co_await file_->write_at(static_cast<uint64_t>(received_), bytes);
  if (written.ok() && head_.size() < kHeadBytes) {
    head_.append(bytes.substr(0, kHeadBytes - head_.size()));
    if (head_.size() == kHeadBytes) written = check_head();
  }
  if (!written.ok()) {
    fail(written.error());
    co_return std::move(written).error();
  }
  received_ += static_cast<int64_t>(bytes.size());
  changed.notify_all();
  co_return Result<void>();
}

Result<void> Snapshot::complete() {
  auto sane = head_.empty() ? Result<void>(Error{Errc::protocol, "the snapshot is empty"}) : check_head();
  if (!sane.ok()) {
    fail(sane.error());
    return sane;
  }
  complete_ = true;
  total_ = received_;
  file_.reset();
  changed.notify_all();
  return {};
}

void Snapshot::fail(Error error) {
  if (failed() || complete_) return;
  failure_ = std::move(error);
  file_.reset();
  changed.notify_all();
}

Result<void> Snapshot::check_head() {
  auto head = sniff_rdb(head_);
  RETURN_IF_ERROR(head);
  const bool other_id = head.value().repl_id && *head.value().repl_id != replid_;
  const bool other_offset = head.value().repl_offset && *head.value().repl_offset != offset_.value;
  if (other_id || other_offset) {
    return Error{Errc::protocol, "the snapshot belongs to another history than was announced with it"};
  }
  return {};
}

}  // namespace sidestream::replication
