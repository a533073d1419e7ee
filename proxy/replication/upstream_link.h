// upstream_link.h: we are the replica. Follows one server for as long as the link lives: connect, handshake, PSYNC, the
// payload if there is one, then the stream; and again after every loss.
//
// Happy path: connect -> connecting -> handshake -> connected, from a backlog; -> sync in between for a full resync.
// Failure modes: unreachable, refused (LOADING, NOMASTERLINK, wrong password...), a loop, silence beyond repl-timeout,
// a broken stream, a lost connection: each ends the attempt in run(), with a log line (repeats now and then), a backoff
// of at most a second, and the history kept. Only a full resync that is complete replaces the history.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "common/signal.h"
#include "common/world.h"
#include "config/config.h"
#include "proxy/replication/attach_plan.h"
#include "proxy/replication/handshake.h"
#include "proxy/replication/pace.h"
#include "proxy/replication/stream.h"
#include "proxy/replication/wipe_guard.h"

namespace sidestream::replication {

class UpstreamLink {
 public:
  enum class State { connect, connecting, handshake, sync, connected };

  /// The relay. Called from the link's coroutine; must not destroy the link.
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void upstream_moved() = 0;
    /// What is behind `at` is about to be cut off: the time to read what only the disk has of it.
    virtual Task<void> read_loss(ReplOffset at) = 0;
    /// The upstream goes on behind `at` (at or before our offset) under `replid`.
    virtual void history_continues(const ReplId& replid, ReplOffset at) = 0;
    /// What the upstream holds: asked before its history goes on or takes the place of ours, and again when a full
    /// resync tells more. `related`: it knows our history as its former one. An Error keeps ours, ends the attempt.
    virtual Result<void> upstream_offers(const Dataset& offered, bool related) = 0;
    /// `full_resync`: we paid for it with a snapshot; otherwise the upstream's backlog gave it.
    virtual void history_begins(History history, ReplOffset offset, ReplOffset in_sync_from, bool full_resync) = 0;
    /// Servers before 7.0 send their whole dataset; it is of use for our replicas. After history_begins().
    virtual void snapshot_received(std::shared_ptr<Snapshot> snapshot) = 0;
    /// What may be acknowledged now; at most the last whole command.
    virtual ReplOffset acknowledgeable() const = 0;
    /// The stream turned out broken behind its last whole command: what is beyond is to be dropped.
    virtual void stream_broken() = 0;
  };

  /// References outlive the link. `run_id`: ours, to notice when we are pointed at ourselves.
  UpstreamLink(World& world, const Config& config, const Announcement& announcement, std::string run_id, Spool& spool,
               Stream& stream, Owner& owner, Address address, Credentials credentials);

  /// Starts following; destroying the link stops it.
  void start();
  /// Ends an established stream; run() makes it anew. False if there is none.
  bool disconnect(std::string reason);
  /// On purpose: no more than so many bytes of the stream a second from now on; 0: as fast as it goes.
  void throttle(int64_t rate) { throttle_ = rate; }
  /// Answers a GETACK of the stream.
  void acknowledge_at(ReplOffset offset);

  const Address& address() const { return address_; }
  const Credentials& credentials() const { return credentials_; }
  /// From the next connection on.
  void set_credentials(Credentials credentials) { credentials_ = std::move(credentials); }
  State state() const { return state_; }
  /// As in ROLE.
  static const char* name(State state);
  /// As server_version(); empty before the first INFO.
  const std::string& server_version() const { return server_version_; }
  const std::string& last_error() const { return last_error_; }
  const TransferProgress& progress() const { return progress_; }
  /// Clock times in microseconds; 0: never.
  int64_t last_io_us() const { return last_io_us_; }
  int64_t lost_at_us() const { return lost_at_us_; }
  bool was_connected() const { return was_connected_; }

 private:
  void enter(State next);
  Task<void> run();
  Task<Result<void>> attempt();
  Task<Result<void>> attach(NodeConnection& server);
  Task<Result<std::optional<UpstreamFacts>>> look(NodeConnection& server);
  Result<void> refuse_loop(const NodeConnection& server, const UpstreamFacts& facts) const;
  Task<Result<void>> refuse_long_loop(UpstreamFacts facts) const;
  Result<void> go_on(const AttachPlan& plan, const PsyncReply& reply, const std::optional<UpstreamFacts>& facts);
  Task<Result<void>> full_resync(NodeConnection& server, const PsyncReply& reply, bool filtered,
                                 std::optional<int64_t> keys);
  Task<Result<void>> stream_on(NodeConnection& server);
  Task<void> pump(NodeConnection& server);
  Task<Result<void>> read_stream(NodeConnection& server);
  Task<void> acknowledge();
  Result<void> take(size_t n);
  std::optional<Holdings> holdings() const;
  Result<void> offer(const std::optional<UpstreamFacts>& facts);
  void end(Error error);
  void report(const Error& error);
  int64_t backoff_ms(bool was_up);
  int64_t timeout_ms() const { return config_.repl_timeout * 1000; }

  World& world_;
  const Config& config_;
  const Announcement& announcement_;
  const std::string run_id_;
  Spool& spool_;
  Stream& stream_;
  Owner& owner_;
  const Address address_;
  Credentials credentials_;
  const std::string tag_;

  State state_ = State::connect;
  int64_t entered_at_us_ = 0;
  TransferProgress progress_;
  std::string server_version_;
  std::string last_error_;
  std::string logged_error_;
  int64_t logged_at_us_ = 0;
  int failures_ = 0;
  int64_t last_io_us_ = 0;
  int64_t lost_at_us_ = 0;
  bool was_connected_ = false;
  std::optional<ReplOffset> broken_at_;  // where the stream broke last time
  bool unusable_ = false;                // twice at the same place: only a new history helps
  bool after_payload_ = false;
  Pace pace_;
  int64_t throttle_ = 0;

  NodeConnection* connected_ = nullptr;  // while streaming
  std::optional<Error> end_;
  Signal ended_;
  TaskSet task_;
};

}  // namespace sidestream::replication
