// plane.h: the client plane: every client, every server connection and the decisions between them, as the instance
// sees it. The instance feeds facts in (who is primary, who may be read, what the stream says) and answers the
// commands that are its own through PlaneHost.
//
// Happy path: adopt() a stream; its session reads, routes and replies until the client goes.
// Failure modes: servers that break cost one reconnect with backoff; reads move, unsent writes wait, sent writes
// are answered with "outcome unknown". No primary: writes are held for hold.timeout, then refused retryably.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/signal.h"
#include "common/task.h"
#include "common/world.h"
#include "config/config.h"
#include "proxy/resp/command_table.h"
#include "proxy/routing/caller.h"
#include "proxy/routing/counters.h"
#include "proxy/routing/facts.h"
#include "proxy/routing/freshness.h"
#include "proxy/routing/passed_client.h"
#include "proxy/routing/slow_log.h"

namespace sidestream::routing {

struct Core;
class Cores;
class FrontDoor;
class KeyWatch;
class Users;

/// What the instance does for the plane.
class PlaneHost {
 public:
  virtual ~PlaneHost() = default;
  /// A command of class local that may take a while (INFO, WAIT, REPLICAOF, CONFIG, COMMAND ...). The client's earlier
  /// replies have all arrived; its further input waits. When it goes, the task is cancelled.
  virtual Task<Answer> answer_local(Caller caller, std::vector<std::string> args) = 0;
  /// The same, asked first: for what is answered from memory (ROLE, REPLCONF ...). nullopt: use answer_local().
  virtual std::optional<std::string> answer_at_once(const Caller& caller, std::span<const std::string_view> args) = 0;
  /// After Answer::becomes_replica: the stream is a replica's from now on. `leftover` was read behind the command
  /// `args`. The session ends after this call; state kept for it (REPLCONF) is found by its id.
  virtual void adopt_replica(std::unique_ptr<ByteStream> stream, uint64_t session_id, std::vector<std::string> args,
                             std::string leftover) = 0;
  /// PING on the node port: health of instance and lead node, "+PONG\r\n" or the error line. Empty: no reply.
  virtual std::string ping_reply() = 0;
  /// What HELLO says there. The service face always says yes, without asking.
  virtual bool role_is_primary(Face face) = 0;
  /// After Plane::pass_clients(): one that goes to the next process.
  virtual void pass_client(std::unique_ptr<MovingStream> /*stream*/, PassedClient /*client*/) {}
  /// The client is gone, or has become a replica and adopt_replica() returned.
  virtual void session_ended(uint64_t session_id) = 0;
  /// The server that writes go to says that it is no primary any more: worth a look.
  virtual void primary_refuses() {}
  /// CLIENT KILL TYPE master or replica: closes such links; how many.
  virtual size_t kill_links(std::string_view /*type*/) { return 0; }
};

class Plane {
 public:
  /// All three outlive the plane. `config` is read live, but see config_changed(). Starts `threads` - 1 loops.
  Plane(World& world, const Config& config, PlaneHost& host);
  ~Plane();
  Plane(const Plane&) = delete;
  Plane& operator=(const Plane&) = delete;

  /// An option has another value: the other loops get a copy.
  void config_changed();
  /// nullopt: unknown; writes are held. Connections to the former primary answer what was sent, then close; clients
  /// that wait on a connection of their own there are told that the outcome is unknown; subscribers are closed.
  void set_primary(std::optional<PrimaryFacts> primary);
  /// It came back without our history: see FreshnessMap::primary_lost().
  void set_primary_lost(bool lost);
  /// That server answers nobody, and another one leads: what was sent there is as good as lost. Clients are told that
  /// the outcome is unknown, now rather than when limits::kRetireMs are over.
  void give_up(Address former);
  /// The complete list; cheap to call often. What is missing from it is dropped.
  void set_targets(std::vector<TargetFacts> targets);
  /// What the lead node knows. Until the first call, commands wait like writes without a primary.
  void set_commands(resp::CommandTable table, std::string server_version, int databases);
  const resp::CommandTable& commands() const;

  /// One command of the relayed stream; `truncated`: args are not complete (a huge command), its keys are unknown.
  void stream_command(std::span<const std::string_view> args, bool truncated, ReplOffset end);
  /// The stream is about to be passed on up to here: behind the commands of one read.
  void relayed(ReplOffset offset);
  /// It is told of the stream's writes from now on, until unwatch().
  void watch(KeyWatch& keys) { watches_.push_back(&keys); }
  void unwatch(KeyWatch& keys) { std::erase(watches_, &keys); }
  /// Offsets start anew (another history, or ours was cut back): what was known about servers and keys is void.
  void new_history(ReplOffset offset);

  /// A new client; one that is not let in is told why and closed.
  void adopt(std::unique_ptr<ByteStream> stream, Face face);
  /// One that another process had. Its id must not be given out again: see begin_ids_behind().
  void adopt_passed(PassedStream stream, PassedClient client);
  uint64_t last_client_id() const;
  void begin_ids_behind(uint64_t id);
  /// Clients go to the host (pass_client) as soon as they are in the middle of nothing; to be called again until all
  /// are gone. Or they stay after all.
  void pass_clients(), keep_clients();
  /// Others wrote, through another process; up to here.
  void others_wrote(ReplOffset offset);
  /// An offset at or past everything this client has written so far; 0 if it wrote nothing. Asks the primary if that
  /// is not known any more.
  Task<Result<ReplOffset>> fence(Caller caller);
  /// An offset at or past everything anybody wrote through us so far. Asks the primary.
  Task<Result<ReplOffset>> fence_all();
  /// Where `args` would go now and why, in words; changes nothing.
  std::string explain(std::span<const std::string_view> args, const Caller& caller) const;

  /// For a planned switch. New writes are held, on every loop; true when those that were sent on shared connections are
  /// answered, false when `patience_ms` are over. Held writes wait for hold.timeout at most; reads go on.
  Task<bool> hold_writes(int64_t patience_ms);
  void release_writes();
  /// New writes get this reason in a retryable error, on every loop; empty: they are taken again.
  void refuse_writes(std::string reason);
  /// The history goes on under another id, without what was behind `fork`.
  void history_forked(ReplOffset fork);
  /// Fewer good replicas than min-replicas-to-write: writes get stock's error, on every loop.
  void lack_replicas(bool lacking);
  /// Subscribers and monitors of a primary that was left have found their place at the next, or `patience_ms` are over.
  Task<void> subscribers_moved(int64_t patience_ms);

  /// Closes those that wait for nothing and are in the middle of nothing; subscribers too.
  void close_idle();
  /// Closes all clients after their pending replies; with `face`, only those.
  void close_all(std::optional<Face> face = std::nullopt);
  /// Asks the other loops for their counts: what is below tells theirs as they were then.
  Task<void> look_around();
  Counters counters() const;
  Timings times() const;
  /// How late each loop has been, the first one first.
  std::vector<Latency> loop_lags() const;
  /// The oldest sign of life of any loop, as a time of the clock in milliseconds.
  int64_t oldest_heartbeat_ms() const;
  /// What took long lately, the latest first; with `forget` they are dropped.
  Task<std::vector<SlowRequest>> slow_requests(bool forget);
  ClientCounts clients() const;
  std::vector<TargetCounts> target_counts() const;
  std::optional<TargetCounts> primary_counts() const;

 private:
  /// A write in the stream, on its way to the freshness map: what is known about its key is fetched meanwhile.
  struct Heard {
    uint64_t hash;
    ReplOffset end;
  };
  void heard_anything(ReplOffset end);
  void apply_heard();
  std::shared_ptr<const Users> users_for(const resp::CommandTable& commands);

  std::unique_ptr<Cores> cores_;
  Core& core_;  // the first: that of this loop
  std::unique_ptr<FrontDoor> door_;
  std::vector<Heard> heard_;
  std::vector<KeyWatch*> watches_;
  std::optional<PrimaryFacts> primary_;
  bool primary_lost_ = false;
  bool lacks_replicas_ = false;
  std::vector<std::string> unknown_rules_;  // that were complained about
};

/// Held writes go on when it ends, whichever way.
class HeldWrites {
 public:
  explicit HeldWrites(Plane& plane) : plane_(plane) {}
  HeldWrites(const HeldWrites&) = delete;
  HeldWrites& operator=(const HeldWrites&) = delete;
  ~HeldWrites() { plane_.release_writes(); }

 private:
  Plane& plane_;
};

}  // namespace sidestream::routing
