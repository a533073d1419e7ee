// snapshot.cc: see snapshot.h.
#include "proxy/replication/snapshot.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "proxy/replication/sealed_line.h"
#include "proxy/replication/spool.h"

namespace sidestream::replication {
namespace {

constexpr std::string_view kMagic = "sidestream-snapshot 1";
// All aux fields of any known server fit.
constexpr size_t kHeadBytes = 1024;

}  // namespace

std::string encode_label(const SnapshotLabel& label) {
  return seal(fmt::format("{} replid={} offset={} rdb={} bytes={} checksum={} taken_ms={}", kMagic, label.replid.text(),
                          label.offset.value, label.rdb_version, label.bytes, label.checksum, label.taken_ms));
}

Result<SnapshotLabel> decode_label(std::string_view bytes) {
  auto line = unseal(kMagic, bytes);
  RETURN_IF_ERROR(line);
  const auto replid = line.value().id("replid");
  const auto offset = line.value().number("offset"), rdb = line.value().number("rdb");
  const auto size = line.value().number("bytes"), checksum = line.value().number("checksum");
  const auto taken_ms = line.value().number("taken_ms");
  if (!replid || replid->empty() || !offset || *offset < 0 || !rdb || *rdb < 0 || *rdb > 9999 || !size || *size < 1 ||
      !checksum || *checksum < 0 || *checksum > UINT32_MAX || !taken_ms) {
    return Error{Errc::protocol, "damaged: its fields"};
  }
  return SnapshotLabel{*replid,  ReplOffset{*offset}, static_cast<int>(*rdb), *size, static_cast<uint32_t>(*checksum),
                       *taken_ms};
}

Snapshot::Snapshot(Spool& spool, std::string path, ReplId replid, ReplOffset offset, int64_t size)
    : spool_(spool), path_(std::move(path)), total_(size) {
  label_.replid = std::move(replid);
  label_.offset = offset;
  label_.taken_ms = spool.world_.clock.wall_ms();
}

Snapshot::Snapshot(Spool& spool, std::string path, SnapshotLabel label)
    : asked_at_us(-1),
      spool_(spool),
      path_(std::move(path)),
      label_(std::move(label)),
      total_(label_.bytes),
      complete_(true),
      checked_(false),
      stays_(true) {}

Snapshot::~Snapshot() { spool_.left(*this); }

Task<Result<void>> Snapshot::append(std::string_view bytes) {
  auto room = spool_.make_room(static_cast<int64_t>(bytes.size()));
  if (!room.ok()) {
    fail(room.error());
    co_return std::move(room);
  }
  auto written = co_await file_->write_at(static_cast<uint64_t>(received()), bytes);
  if (written.ok() && head_.size() < kHeadBytes) {
    head_.append(bytes.substr(0, kHeadBytes - head_.size()));
    written = check_head();
  }
  if (!written.ok()) {
    fail(written.error());
    co_return std::move(written);
  }
  label_.checksum = checksum(bytes, label_.checksum);
  label_.bytes += static_cast<int64_t>(bytes.size());
  spool_.bytes_ += static_cast<int64_t>(bytes.size());
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
  total_ = received();
  changed.notify_all();
  return {};
}

bool Snapshot::is_empty() const {
  const auto head = sniff_rdb(head_);
  return head.ok() && head.value().empty;
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
  label_.rdb_version = head.value().version;
  const bool other_id = head.value().repl_id && *head.value().repl_id != replid();
  const bool other_offset = head.value().repl_offset && *head.value().repl_offset != offset().value;
  if (other_id || other_offset) {
    return Error{Errc::protocol, "the snapshot belongs to another history than was announced with it"};
  }
  return {};
}

}  // namespace sidestream::replication
