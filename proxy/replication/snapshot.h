// snapshot.h: one RDB in a spool file, written once and read by many, also while it is still arriving.
//
// Happy path: Spool::create(), append() for each chunk, complete(); readers open the file at path() and wait for
// `changed` when they are faster than the writer. The file goes when the last user has gone. Failure modes: a full disk
// or a source that breaks: failed(), with the reason; it concerns only those who use this snapshot. A source whose RDB
// names another history than it promised: Errc::protocol. Files that a killed process left behind are removed at start.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/signal.h"
#include "common/world.h"
#include "proxy/replication/psync.h"

namespace sidestream::replication {

class Snapshot;

/// The directory of the snapshots. Outlives them.
class Spool {
 public:
  Spool(World& world, std::string directory) : world_(world), directory_(std::move(directory)) {}
  /// Creates the directory, removes leftovers. Errc::io.
  Task<Result<void>> prepare();
  /// A new, empty snapshot of `replid` at `offset`. `size` in bytes, 0: not known before the end. Errc::io.
  Task<Result<std::shared_ptr<Snapshot>>> create(ReplId replid, ReplOffset offset, int64_t size);

 private:
  friend class Snapshot;
  static Task<void> remove(World& world, std::string path);
  World& world_;
  std::string directory_;
  int64_t last_number_ = 0;
  TaskSet removals_;
};

class Snapshot {
 public:
  Snapshot(Spool& spool, std::unique_ptr<File> file, std::string path, ReplId replid, ReplOffset offset, int64_t size);
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;
  ~Snapshot();

  const std::string& path() const { return path_; }
  const ReplId& replid() const { return replid_; }
  /// The dataset contains the stream up to here.
  ReplOffset offset() const { return offset_; }
  /// Bytes in the file.
  int64_t received() const { return received_; }
  /// Bytes there will be; 0 as long as nobody knows.
  int64_t total() const { return total_; }
  bool is_complete() const { return complete_; }
  bool failed() const { return failure_.has_value(); }
  const Error& failure() const { return *failure_; }

  /// By the one who fetches. Errc::io leaves the snapshot failed.
  Task<Result<void>> append(std::string_view bytes);
  /// All is there. Errc::protocol when the bytes cannot be what they should.
  Result<void> complete();
  void fail(Error error);

  /// When it was asked for, on the world's clock: a snapshot-only client wants one not older than its wish.
  int64_t asked_at_us = 0;
  /// How many replicas were given it.
  int64_t served = 0;
  /// More bytes, complete or failed.
  Signal changed;

 private:
  Result<void> check_head();

  Spool& spool_;
  std::unique_ptr<File> file_;
  std::string path_;
  ReplId replid_;
  ReplOffset offset_;
  int64_t received_ = 0;
  int64_t total_;
  bool complete_ = false;
  std::optional<Error> failure_;
  std::string head_;
};

}  // namespace sidestream::replication
