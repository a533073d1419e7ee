// relay.h: one upstream, one history, many replicas. The relay follows a primary by PSYNC and is a primary to whoever
// attaches: it decides who may continue, fetches one snapshot for all who may not, and passes the stream on byte for
// byte.
//
// Happy path: follow(); the upstream's stream fills the backlog; adopt() gives each replica +CONTINUE from the backlog,
// or a snapshot and then the stream behind it. Failure modes: the upstream breaks or refuses: retried with a backoff,
// replicas keep their links; it comes back with another history: replicas are closed and resync; a replica is too slow,
// silent or wrong: that link is closed, with one log line; no snapshot can be had: those who wait are kept waiting and
// it is tried again.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/signal.h"
#include "common/world.h"
#include "config/config.h"
#include "proxy/replication/admission.h"
#include "proxy/replication/downstream_link.h"
#include "proxy/replication/history.h"
#include "proxy/replication/node_connection.h"
#include "proxy/replication/psync.h"
#include "proxy/replication/relay_status.h"
#include "proxy/replication/snapshot_source.h"
#include "proxy/replication/spool.h"
#include "proxy/replication/stream.h"
#include "proxy/replication/upstream_link.h"
#include "proxy/replication/wipe_guard.h"

namespace sidestream::replication {

/// Implemented by the instance. Called in the middle of the relay's work: look, remember, do not call back.
class RelayObserver {
 public:
  virtual ~RelayObserver() = default;
  /// Each whole command of the stream, before any replica sees its bytes. `end` is the offset of its last byte.
  /// `truncated`: arguments are cut or missing because the command is large.
  virtual void stream_command(std::span<const std::string_view> args, bool truncated, ReplOffset end) = 0;
  /// Behind the commands of one read, still before any replica sees their bytes; `end` is that of the last whole one.
  virtual void stream_read(ReplOffset /*end*/) {}
  /// State of the upstream link, ids, or the offset other than by the stream (new history, truncation).
  virtual void upstream_changed() = 0;
  /// The history goes on elsewhere behind `fork`; `bytes` of ours are all that we can show of `size` that are lost.
  virtual void history_lost(const ReplId&, ReplOffset /*fork*/, int64_t /*size*/, std::string_view /*bytes*/) {}
  /// A replica attached, went online, acknowledged or left.
  virtual void replica_changed(uint64_t link_id) = 0;
};

class Relay : private UpstreamLink::Owner,
              private DownstreamLink::Owner,
              private Stream::Listener,
              private SnapshotTaker {
 public:
  /// All references outlive the relay. `config` is read when needed: changes of repl-timeout, masterauth and so on work
  /// at once.
  Relay(World& world, const Config& config, RelayObserver& observer, std::string run_id);
  ~Relay() override;

  /// Creates the directories; goes on with the history that an earlier run left on disk, if there is one. Before the
  /// first follow(). Errc::io.
  Task<Result<void>> start();

  /// (Re)targets. The current link is dropped, the history is kept and asked for at the new upstream.
  void follow(Address upstream, Credentials credentials);
  /// What the upstream is told from the next connection on.
  void set_credentials(Credentials credentials);
  /// Drops the upstream link; history, backlog and replicas stay.
  void unfollow();
  /// The same, and until the next follow() whoever comes with another history gets ours.
  void serve_alone();
  /// Drops the upstream connection; it is made again at once (CLIENT KILL TYPE master). False: there was none.
  bool disconnect_upstream();
  /// Lets go of all replicas and of `dir`, for another process that goes on with them; the stream is still followed, in
  /// memory, so that resume() has missed nothing.
  Task<void> retire();
  void resume();
  /// Replicas that can give a snapshot; the least busy one is asked first, the upstream is always the last resort.
  void set_snapshot_sources(std::vector<Address> sources);
  /// What every connection of ours that asks for a stream says about us. Empty `ip`: the other side sees where we come
  /// from.
  void set_announce(int listening_port, std::string ip);
  /// After a change of repl-backlog-size.
  void resize_backlog();

  /// Takes over a connection that sent PSYNC or SYNC. Always answers; `leftover` was read behind the request.
  void adopt(std::unique_ptr<ByteStream> stream, ReplicaHello hello, SyncRequest request, std::string leftover);
  /// Closes all replica links (CLIENT KILL TYPE replica). They come back by partial resync. Returns how many.
  size_t kick_replicas(std::string_view reason);
  bool kick_replica(uint64_t link_id, std::string_view reason);
  /// That replica gets all data anew, from the upstream itself: its link is closed, and when it comes back it may not
  /// continue. Errc::refused.
  Result<void> resync(uint64_t link_id);
  /// What these servers hold is not to be passed on to anybody: no snapshot is taken from them, and none is kept.
  void distrust(std::vector<Address> servers);
  /// On purpose, from now on and on later links.
  void set_throttles(Throttles throttles);
  const Throttles& throttles() const { return throttles_; }

  /// Drops the upstream link and what was received beyond the last whole command or transaction: what a node that
  /// applied everything has. Before that node is promoted. Replicas that got more are closed.
  void truncate_to_safe_boundary();

  /// False until the first upstream gave us one; then all below is valid.
  bool has_history() const { return stream_.in_sync(); }
  const History& history() const { return stream_.history(); }
  /// The observer is told of commands behind this offset; what came before was taken over as bytes.
  ReplOffset commands_known_from() const { return stream_.in_sync_from(); }
  /// Last byte received.
  ReplOffset offset() const { return stream_.offset(); }
  /// End of the last whole command outside a transaction: master_repl_offset of INFO and what we acknowledge. (A stock
  /// replica prints the same; an instance that follows us counts on it.)
  ReplOffset safe_boundary() const { return stream_.safe_boundary(); }
  /// What replicas are served from, to the last byte.
  BacklogRange backlog_range() const { return stream_.held(); }
  /// What INFO prints: up to safe_boundary(), so that it fits master_repl_offset.
  BacklogRange info_backlog_range() const;
  /// Some of the bytes from `from` on, which are held or were; there is at least one. An Error: they are lost.
  Task<Result<std::string>> read_held(int64_t from);
  size_t backlog_memory_bytes() const { return stream_.backlog().memory_bytes(); }
  int64_t backlog_disk_bytes() const { return stream_.disk().bytes(); }
  SegmentLog::Packing backlog_packing() const { return stream_.disk().packing(); }
  int64_t backlog_disk_lag() const { return stream_.disk().lag(); }
  /// Why the history does not get to disk; empty: it does, or shall not.
  const std::string& backlog_disk_trouble() const { return stream_.disk().trouble(); }
  /// The snapshots themselves.
  const Spool& spool() const { return spool_; }
  SnapshotStatus snapshot() const;
  /// Full syncs that failed, by reason.
  const std::array<int64_t, kSyncFaults>& sync_failures() const { return admission_.counts(); }
  /// Replicas that are being sent a snapshot, and those that wait for their turn.
  int64_t transfers() const;
  int64_t queued() const { return admission_.waiting(); }
  UpstreamStatus upstream() const;
  std::vector<ReplicaStatus> replicas() const;
  /// Replicas that take part in the stream and were heard within `max_lag_s`, wherever they are in it.
  int64_t good_replicas(int64_t max_lag_s) const;
  const RelayCounters& counters() const { return counters_; }
  WipeGuard& guard() { return guard_; }
  const WipeGuard& guard() const { return guard_; }

  /// Notified with every call of the observer but stream_command.
  Signal changed;

 private:
  // UpstreamLink::Owner
  void upstream_moved() override;
  Task<void> read_loss(ReplOffset at) override;
  void history_continues(const ReplId& replid, ReplOffset at) override;
  Result<void> upstream_offers(const Dataset& offered, bool related) override;
  void history_begins(History history, ReplOffset offset, ReplOffset in_sync_from, bool full_resync) override;
  void snapshot_received(std::shared_ptr<Snapshot> snapshot) override;
  ReplOffset acknowledgeable() const override;
  void stream_broken() override;
  // DownstreamLink::Owner
  bool upstream_is_connected() const override;
  std::shared_ptr<Snapshot> snapshot_for(const DownstreamLink& link) override;
  void downstream_moved(const DownstreamLink& link) override;
  void downstream_acked(const DownstreamLink& link) override;
  void downstream_answered(const DownstreamLink& link, bool partial) override;
  void downstream_refused(const DownstreamLink& link) override;
  void downstream_caught_up(const DownstreamLink& link) override;
  void downstream_ended(const DownstreamLink& link) override;
  // Stream::Listener
  void stream_command(const StreamScanner::Command& command) override;
  void stream_read(ReplOffset end) override { observer_.stream_read(end); }
  void stream_getack(ReplOffset offset) override;
  int64_t stream_wanted() const override;
  // SnapshotTaker
  Result<void> snapshot_offered(const ReplId& replid, ReplOffset offset) override;
  void snapshot_arriving(std::shared_ptr<Snapshot> snapshot) override;

  void count_replicas(), cut_to_safe_boundary(), tell_loss(ReplOffset fork);
  std::shared_ptr<Snapshot> usable_snapshot(const DownstreamLink& link) const;
  bool is_usable(const Snapshot& snapshot, const DownstreamLink& link) const, snapshot_is_wanted() const;
  bool wants_upstream_snapshot() const, is_distrusted(std::string_view source) const;
  Task<void> check_snapshot(std::shared_ptr<Snapshot> snapshot);
  int newest_format(const DownstreamLink& link);
  Task<void> look_at_replica(uint64_t link_id, Address address);
  void sync_failed(const DownstreamLink& link, SyncFault fault, std::string words);
  std::string waits_for(const DownstreamLink& link) const;
  void report_arrivals() const;
  Task<void> tell_when_it_is_known(std::shared_ptr<Snapshot> snapshot);
  void call_off_fetch();
  Task<void> fetch_snapshots(), tick();
  Task<Result<void>> fetch_from_any();
  Task<bool> fetch_from(Address source, Credentials credentials, std::string& reasons);
  Task<ReplOffset> offset_for_backups();
  std::vector<Address> replica_sources() const;
  void reap();
  void release_if_alone();

  struct Reaper : ReadyNode {
    explicit Reaper(Relay& owner)
        : ReadyNode([](ReadyNode& node) { static_cast<Reaper&>(node).relay.reap(); }), relay(owner) {}
    Relay& relay;
  };

  World& world_;
  const Config& config_;
  RelayObserver& observer_;
  const std::string run_id_;
  Announcement announcement_;
  Throttles throttles_;
  RelayCounters counters_;
  Spool spool_;
  Stream stream_;
  std::string loss_read_;               // from disk, by read_loss()
  std::shared_ptr<Snapshot> arriving_;  // complete ones are in the spool
  bool checking_ = false;
  WipeGuard guard_;
  std::vector<Address> snapshot_sources_;
  std::vector<Address> distrusted_;
  std::set<std::string> renewed_;  // replicas that may not continue, until they have all data anew
  bool fetching_ = false;
  std::string fetch_error_;       // logged last
  ReplOffset wanted_offset_{-1};  // a snapshot from before it is not taken
  std::map<uint64_t, std::unique_ptr<DownstreamLink>> links_;
  uint64_t last_link_id_ = 0;
  Admission admission_;
  std::map<uint64_t, int> newest_formats_;  // of RDB, that a replica can load, by link
  std::unique_ptr<UpstreamLink> upstream_;
  bool alone_ = false;
  bool retired_ = false;
  ReplOffset replicas_have_;  // upstream-ack's quorum of them, never less
  Reaper reaper_;
  int64_t alone_since_us_ = -1;  // no replica is attached; -1: one is
  TaskSet tell_;
  TaskSet fetch_;
  TaskSet tasks_;
};

}  // namespace sidestream::replication
