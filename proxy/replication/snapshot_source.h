// snapshot_source.h: a fresh snapshot over a side connection, without joining the stream.
//
// Happy path: `rdb-only 1` and PSYNC ? -1 (6.2 and later); the server answers +FULLRESYNC, the payload, and closes.
// Older servers know no rdb-only: we take the payload and leave. Failure modes: the source has another history than the
// taker wants (refused by the taker), is not connected itself, breaks, or our disk is full; each is an Error, and the
// snapshot, if it was handed out already, is failed.
#pragma once

#include "proxy/replication/handshake.h"

namespace sidestream::replication {

/// Who wants the snapshot.
class SnapshotTaker {
 public:
  virtual ~SnapshotTaker() = default;
  /// The source offers this point. An Error refuses it.
  virtual Result<void> snapshot_offered(const ReplId& replid, ReplOffset offset) = 0;
  /// The first bytes are on their way: it can be served from now on.
  virtual void snapshot_arriving(std::shared_ptr<Snapshot> snapshot) = 0;
};

/// Returns when the snapshot is complete. `timeout_ms` bounds each silence. References outlive the task.
Task<Result<void>> fetch_snapshot(World& world, Spool& spool, SnapshotTaker& taker, Address source,
                                  Credentials credentials, Announcement announcement, int64_t timeout_ms);

}  // namespace sidestream::replication
