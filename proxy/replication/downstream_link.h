// downstream_link.h: we are the primary, for one replica. Answers its PSYNC or SYNC and feeds it from a cursor.
//
// Happy path: waiting -> online by +CONTINUE; or waiting -> sending a snapshot -> loading -> online with its first ACK.
// Until the answer it is kept alive by a newline a second; never after, since each byte of the stream counts.
// Failure modes: it closes, stalls, stays silent beyond repl-timeout, says something else than REPLCONF, or is so slow
// that the backlog has moved on: this link ends, with one log line; nobody else notices.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/signal.h"
#include "common/world.h"
#include "config/config.h"
#include "proxy/replication/admission.h"
#include "proxy/replication/pace.h"
#include "proxy/replication/progress.h"
#include "proxy/replication/psync.h"
#include "proxy/replication/snapshot.h"
#include "proxy/replication/stream.h"

namespace sidestream::replication {

/// One line of INFO replication, and more.
struct ReplicaStatus {
  uint64_t id = 0;
  std::string host;         ///< announced, or where it connects from
  int port = 0;             ///< announced; 0: none
  std::string state;        ///< wait_bgsave, send_bulk, online
  ReplOffset acked;         ///< applied by the replica, as far as it told
  ReplOffset fsynced;       ///< in its AOF, and synced; 0: it did not say
  int64_t lag_seconds = 0;  ///< since it was heard last; 0 unless online
  int64_t sent = 0;         ///< bytes of the snapshot
  int64_t total = 0;        ///< 0: unknown or none
  bool rdb_only = false;
  bool acks = true;       ///< false: an old SYNC client, which never will
  Progress progress;      ///< of the snapshot, while it is sent
  std::string waits_for;  ///< why it is not served yet; empty: it is, or was
  int failures = 0;       ///< full syncs that failed in a row
  std::string trouble;    ///< why the last of them did
  ReplicaHello hello;
};

class DownstreamLink {
 public:
  enum class State { waiting, sending, loading, online };

  /// The relay. Called from the link's coroutines; must not destroy the link at once.
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual bool upstream_is_connected() const = 0;
    /// A snapshot that this link can be served from now, or nothing: then one is on its way, look again after
    /// `stream.changed`.
    virtual std::shared_ptr<Snapshot> snapshot_for(const DownstreamLink& link) = 0;
    virtual void downstream_moved(const DownstreamLink& link) = 0;
    /// It acknowledged.
    virtual void downstream_acked(const DownstreamLink& link) = 0;
    /// How its PSYNC was answered.
    virtual void downstream_answered(const DownstreamLink& link, bool partial) = 0;
    /// It asked for a history or byte that we do not have.
    virtual void downstream_refused(const DownstreamLink& link) = 0;
    /// It has all there is, for the first time on this link.
    virtual void downstream_caught_up(const DownstreamLink& link) = 0;
    virtual void downstream_ended(const DownstreamLink& link) = 0;
  };

  DownstreamLink(World& world, const Config& config, Stream& stream, Owner& owner, uint64_t id,
                 std::unique_ptr<ByteStream> connection, ReplicaHello hello, SyncRequest request);

  /// `leftover`: what came behind the request.
  void start(std::string leftover);
  /// Before start(): whatever it holds, it gets all data anew, as the upstream has it from now on.
  void renew() { renews_ = true; }
  bool renews() const { return renews_; }
  /// Ends the link; the owner reaps it later. The first reason is logged.
  void close(std::string_view reason) { end(reason, SyncFault::none); }
  /// The same replica is here again, on another connection.
  void replaced() { end("it connected anew", SyncFault::left); }
  /// The history goes on under another id behind `fork`: what this replica is told must end there.
  void history_forked(ReplOffset fork);
  /// Bytes behind `end` were dropped from our history.
  void history_cut(ReplOffset end);
  /// Our history is another one.
  void history_replaced();
  /// On purpose: no more than so many bytes a second from now on; 0: as fast as it goes.
  void throttle(int64_t rate) { throttle_ = rate; }
  /// Once a second: is it still alive?
  void check_time();

  uint64_t id() const { return id_; }
  State state() const { return state_; }
  bool ended() const { return ended_; }
  const ReplicaHello& hello() const { return hello_; }
  const std::string& host() const { return host_; }
  /// "host:port" as announced; empty for one that cannot be told from others, or takes only a snapshot.
  std::string replica_name() const;
  /// Once it has ended: what went wrong with its full sync, and in words.
  SyncFault fault() const { return fault_; }
  const std::string& reason() const { return reason_; }
  int64_t asked_at_us() const { return asked_at_us_; }
  /// The next byte of the stream that it is to be sent; INT64_MAX: none is promised yet.
  int64_t wanted() const { return ended_ || cursor_ == 0 || hello_.rdb_only ? INT64_MAX : cursor_; }
  /// Only a snapshot helps it, and it has none yet.
  bool waits_for_snapshot() const { return wants_snapshot_ && !answered_ && !ended_; }
  bool was_sent_snapshot() const { return sent_ > 0; }
  /// The snapshot it is being sent.
  Snapshot* snapshot() const { return ended_ ? nullptr : snapshot_.get(); }
  /// Takes part in the stream under this announced address.
  bool is_same_replica(const DownstreamLink& other) const;
  ReplicaStatus status() const;

 private:
  enum class Answer { partial, snapshot, empty };
  using OpenFile = std::unique_ptr<File>;
  void enter(State next);
  Task<void> serve();
  Task<Result<void>> converse();
  Result<void> gatekeep();
  Task<Result<Answer>> decide();
  std::optional<Answer> try_decide();
  bool should_hold() const;
  void end(std::string_view reason, SyncFault fault);
  int64_t rate() const;
  Task<void> keep_rate(size_t bytes, int64_t rate);
  void report_progress();
  void answer_partial();
  void send_empty();
  Task<Result<OpenFile>> open_snapshot();
  Task<Result<void>> send_snapshot(OpenFile file);
  Task<Result<void>> send_file(std::shared_ptr<Snapshot> snapshot, OpenFile file);
  void write_sync_header(ReplOffset offset, const ReplId& replid, int64_t size);
  void end_payload();
  Task<void> first_ack();
  Task<Result<void>> feed();
  Task<Result<void>> feed_old(int64_t end);
  Task<Result<void>> drain(size_t below);
  Task<void> listen(std::string leftover);
  Result<void> take_command(std::span<const std::string_view> args);
  void heard();

  World& world_;
  const Config& config_;
  Stream& stream_;
  Owner& owner_;
  const uint64_t id_;
  std::unique_ptr<ByteStream> connection_;
  const ReplicaHello hello_;
  const SyncRequest request_;
  const std::string host_;
  const std::string tag_;
  const int64_t asked_at_us_;

  State state_ = State::waiting;
  bool ended_ = false;
  bool answered_ = false;  // something but newlines was said
  bool refusal_counted_ = false;
  bool wants_snapshot_ = false;
  bool renews_ = false;
  std::shared_ptr<Snapshot> snapshot_;  // chosen, while it is sent
  std::string mark_;                    // of a marked payload
  bool caught_up_ = false;
  bool full_sync_ = false;   // under way: answered with a snapshot, and not caught up yet
  int64_t began_us_ = 0;     // sending it
  int64_t reported_us_ = 0;  // its progress, in the log
  Pace pace_;
  int64_t throttle_ = 0;
  SyncFault fault_ = SyncFault::none;
  std::string reason_;
  int64_t sent_ = 0;
  int64_t total_ = 0;
  int64_t cursor_ = 0;                 // next byte of the stream to send; 0: none promised yet
  std::optional<ReplOffset> stop_at_;  // last byte it may get
  bool payload_sent_ = false;
  bool first_ack_ = false;
  ReplOffset acked_, fsynced_;
  int64_t heard_at_us_ = 0;
  Signal acknowledged_;
  TaskSet tasks_;
};

}  // namespace sidestream::replication
