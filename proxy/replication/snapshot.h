// snapshot.h: one RDB in a spool file, written once and read by many, also while it is still arriving.
//
// Happy path: Spool::create() (spool.h), append() for each chunk, complete(); readers open the file at path() and wait
// for `changed` when they are faster than the writer. A complete one may stay beyond its users, also over a restart:
// that is the spool's business. Failure modes: a full disk or a source that breaks: failed(), with the reason; it
// concerns only those who use this snapshot. A source whose RDB names another history than it promised: Errc::protocol.
//
// What a snapshot that stays says about itself, in a file beside it:
//   label = a sealed line (sealed_line.h), "sidestream-snapshot 1 replid= offset= rdb= bytes= checksum= taken_ms="
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

class Spool;

struct SnapshotLabel {
  ReplId replid;
  ReplOffset offset;      ///< the dataset contains the stream up to here
  int rdb_version = 0;    ///< of the format; 0: not known
  int64_t bytes = 0;      ///< of the file
  uint32_t checksum = 0;  ///< of all of it
  int64_t taken_ms = 0;   ///< when it was asked for, milliseconds since 1970
  friend bool operator==(const SnapshotLabel&, const SnapshotLabel&) = default;
};
std::string encode_label(const SnapshotLabel& label);
/// Errc::protocol: it is damaged.
Result<SnapshotLabel> decode_label(std::string_view bytes);

class Snapshot {
 public:
  /// By the spool: a new, empty one; `size` in bytes, 0: not known before the end.
  Snapshot(Spool& spool, std::string path, ReplId replid, ReplOffset offset, int64_t size);
  /// By the spool: one that an earlier run left, of which only the label was looked at.
  Snapshot(Spool& spool, std::string path, SnapshotLabel label);
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;
  ~Snapshot();

  const std::string& path() const { return path_; }
  const ReplId& replid() const { return label_.replid; }
  /// The dataset contains the stream up to here.
  ReplOffset offset() const { return label_.offset; }
  /// Of the format, as soon as the first bytes are there; 0: not known.
  int rdb_version() const { return label_.rdb_version; }
  /// When it was asked for, milliseconds since 1970.
  int64_t taken_ms() const { return label_.taken_ms; }
  /// Bytes in the file.
  int64_t received() const { return label_.bytes; }
  /// Bytes there will be; 0 as long as nobody knows.
  int64_t total() const { return total_; }
  bool is_complete() const { return complete_; }
  /// False for one of an earlier run until the spool has read it: nobody may be served from it.
  bool is_checked() const { return checked_; }
  /// Its header says that there is no data in it.
  bool is_empty() const;
  bool failed() const { return failure_.has_value(); }
  const Error& failure() const { return *failure_; }

  /// By the one who fetches. Errc::io or over_limit leaves the snapshot failed.
  Task<Result<void>> append(std::string_view bytes);
  /// All is there. Errc::protocol when the bytes cannot be what they should.
  Result<void> complete();
  void fail(Error error);

  /// When it was asked for, on the world's clock: a snapshot-only client wants one not older than its wish. -1: in an
  /// earlier run.
  int64_t asked_at_us = 0;
  /// Who gave it; for people.
  std::string source;
  /// How many replicas were given it.
  int64_t served = 0;
  /// More bytes, complete or failed.
  Signal changed;

 private:
  friend class Spool;
  Result<void> check_head();

  Spool& spool_;
  std::unique_ptr<File> file_;  // while it is written
  const std::string path_;
  SnapshotLabel label_;
  int64_t total_;
  bool complete_ = false;
  bool checked_ = true;
  bool stays_ = false;  // its label is written: the files outlive the object
  std::optional<Error> failure_;
  std::string head_;
};

}  // namespace sidestream::replication
