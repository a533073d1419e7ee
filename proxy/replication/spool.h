// spool.h: the directory of the snapshots: makes room for new ones, keeps complete ones for later, within the bounds of
// the options `snapshot.*`, and finds again what an earlier run kept.
//
//   snapshot-N.rdb     the bytes as they came
//   snapshot-N.label   what they are (snapshot.h); written when the bytes are complete and synced
//
// Happy path: prepare() at start; create(), and keep() once it is complete; the newest `snapshot.keep` stay, also over
// a restart, until they are too old or need too much room. Who still reads a file keeps it alive. Failure modes: a
// crash at any moment leaves bytes without a label, which the next start removes; bytes that are not what the label
// says (check()) are dropped; a full disk fails the snapshot that is written, nothing else.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "common/world.h"
#include "config/config.h"
#include "proxy/replication/snapshot.h"

namespace sidestream::replication {

class Spool {
 public:
  using SnapshotRef = std::shared_ptr<Snapshot>;
  /// Both outlive the spool, which outlives its snapshots.
  Spool(World& world, const Config& config) : world_(world), config_(config), directory_(config.dir) {}

  /// Creates the directory, finds what was kept, removes leftovers. Errc::io.
  Task<Result<void>> prepare();
  /// A new, empty snapshot of `replid` at `offset`. `size` in bytes, 0: not known before the end. Errc::io, or
  /// over_limit when it cannot fit.
  Task<Result<SnapshotRef>> create(ReplId replid, ReplOffset offset, int64_t size);
  /// A complete one stays; older ones may have to go.
  void keep(SnapshotRef snapshot);
  /// Reads one of an earlier run once: then it may be served. Errc::protocol: it is damaged, and dropped.
  Task<Result<void>> check(SnapshotRef snapshot);
  /// What is too old, or too many, goes. Called once a second.
  void enforce_bounds();

  /// These are not kept any longer.
  void drop_if(const std::function<bool(const Snapshot&)>& unwanted);

  /// Complete ones, oldest first.
  const std::deque<SnapshotRef>& kept() const { return kept_; }
  /// Size of all snapshot files, those included that are arriving or only still being sent.
  int64_t bytes() const { return bytes_; }

 private:
  friend class Snapshot;
  Task<Result<void>> find(std::string path, bool labelled);
  Task<Result<SnapshotLabel>> read_label(std::string path);
  Task<Result<void>> compare(SnapshotRef snapshot);
  Task<void> write_label(SnapshotRef snapshot);
  Task<Result<void>> label_file(File& file, const Snapshot& snapshot);
  Task<void> remove(std::string path, bool labelled);
  Result<void> make_room(int64_t more);
  void drop(SnapshotRef snapshot);
  void left(const Snapshot& snapshot);
  bool is_too_old(const Snapshot& snapshot) const;

  World& world_;
  const Config& config_;
  const std::string directory_;
  int64_t last_number_ = 0;
  int64_t bytes_ = 0;
  TaskSet removals_;
  std::deque<SnapshotRef> kept_;
  TaskSet labelling_;
};

}  // namespace sidestream::replication
