// core.h: what all sessions of one loop share, in one place; Plane is its face towards the instance.
//
// Failure modes: requests that servers gave back (see ReplySink) are asked at the primary as soon as it answers, for at
// most hold.timeout; then their clients get a retryable error.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "proxy/routing/acl_log.h"
#include "proxy/routing/commons.h"
#include "proxy/routing/core_ring.h"
#include "proxy/routing/guest.h"
#include "proxy/routing/large_keys.h"
#include "proxy/routing/limits.h"
#include "proxy/routing/plane.h"
#include "proxy/routing/servers.h"
#include "proxy/routing/session_table.h"
#include "proxy/routing/slow_log.h"
#include "proxy/routing/users.h"
#include "proxy/routing/write_acks.h"

namespace sidestream::routing {

/// What Sentinels say to each other about us: a channel of our own, which works while every node is down.
inline constexpr std::string_view kHelloChannel = "__sentinel__:hello";

struct Core final : ReplySink, PoolOwner {
  /// All outlive the core. `index`: 0 for the core on the loop of the instance.
  Core(World& world, const Config& config, PlaneHost& host, Commons& commons, CoreRing& ring, size_t index);
  ~Core();

  // Sessions use these directly.
  World& world;
  const Config& config;
  PlaneHost& host;
  Commons& commons;
  const size_t index;
  FreshnessMap freshness;
  LargeKeys large_keys;
  Counters counters;
  Timings times;
  SlowLog slow_log;
  std::shared_ptr<const resp::CommandTable> commands = std::make_shared<resp::CommandTable>();  // never null
  std::shared_ptr<const Users> users;  // never null; of these commands
  AclLog acl_log;
  Guests guests;
  std::string server_version = "7.0.15";
  int databases = 16;
  resp::Request request;         // being run
  std::vector<uint64_t> hashes;  // of its keys
  std::string encoded;           // it, if it came inline
  std::atomic<size_t>& held_bytes;
  int64_t recent_ms = world.clock.now_ms();  // as of the last tick: enough to tell who is idle
  bool writes_held = false;                  // a planned switch
  std::string fence_reason;                  // why no write may be taken; empty: it may
  bool short_of_replicas = false;            // fewer good ones than min-replicas-to-write
  bool refuses_writes = false;               // one of the two
  uint64_t accepted = 0, rejected = 0;
  uint64_t denied = 0, over_address = 0;  // among the rejected: protected mode, clients-per-address
  uint64_t delayed = 0;                   // times that a client was left unread for commands-per-address
  uint64_t query_buffer_disconnections = 0, output_buffer_disconnections = 0, slow_readers = 0;
  uint64_t failed_logins = 0, refused_by_rules = 0;
  std::vector<ReplyTo> hello_subscribers;
  size_t replies_pending_max = limits::kRepliesPendingMax;
  bool clients_leave = false;  // to the process that takes our place

  /// A client that the plane has let in. `reserved`: see ClientSession.
  void adopt(std::unique_ptr<ByteStream> stream, Face face, bool reserved, uint64_t id, AddressBook::Guest guest);
  void set_users(std::shared_ptr<const Users> now);
  /// One that another process had.
  void adopt(std::unique_ptr<MovingStream> stream, PassedClient client);
  /// Clients go to the next process, each as soon as it can; to be called again until all are gone.
  void pass_clients();
  void keep_clients();
  /// Another history has begun.
  void hear_of_history(uint64_t epoch);
  void set_targets(std::vector<TargetFacts> targets);
  /// `visit` has seen every core when this returns.
  Task<void> everywhere(Visit visit);
  void visit_done(uint64_t visit_id);
  CoreReport report() const;
  /// The session is woken when servers change.
  void wait_for_servers(const ReplyTo& session) { waiting_.push_back(session); }
  /// CLIENT PAUSE. `all`: reads too.
  void pause_clients(int64_t until_ms, bool all);
  bool paused(bool writes) const;
  void remove(ClientSession& session);
  void count(Reason reason) { ++counters.by_reason[static_cast<size_t>(reason)]; }
  /// A request was answered after it had waited here for a server.
  void waited(const ClientSession& session, std::string_view command, int64_t us);
  void close_idle();
  /// Ends all clients, after what they are owed.
  void close_all(std::optional<Face> face);
  /// Nothing that was sent waits for an answer of the primary, but commands that block.
  bool quiet() const;
  /// A subscriber or monitor looks for its place at the next primary.
  bool feeds_move() const;
  void hold_writes(bool hold), refuse_writes(const std::string& reason), lack_replicas(bool lacking);
  Task<Result<ReplOffset>> fence();
  /// The replies of the primary and of every replica that can be asked now (an instance asks its own).
  Task<std::vector<std::string>> ask_servers(std::string request);

  // ReplySink
  void reply(const ReplyTo& to, std::string_view frame) override;
  void move(const Moved& moved) override;
  void lost(const ReplyTo& to, bool again) override;
  void cut_short(const ReplyTo& to) override;
  void request_flows(const ReplyTo& borrower) override;
  Turn begin_large(const ReplyTo& to, ServerConnection& from) override;
  Turn pass_large(const ReplyTo& to, std::string_view bytes) override;
  void end_large(const ReplyTo& to, ServerConnection& from, std::string_view bytes) override;
  void large_lost(const ReplyTo& to, ServerConnection& from, bool begun) override;
  void slow_reader(const ReplyTo& to) override;
  void learn_large(std::string_view request) override;
  size_t stream_above() const override { return static_cast<size_t>(config.limits.stream_above_bytes); }
  void frame(const ServerConnection& connection, std::string_view frame) override;
  void primary_refuses() override { host.primary_refuses(); }
  void fence(uint64_t fence_id, ReplOffset offset) override;
  Timings& timings() override { return times; }
  void slow(const ServerConnection& server, const ReplyTo& to, std::string_view request, int64_t us) override;
  // PoolOwner
  void servers_changed() override { ReadyQueue::current().post(wake_node_); }
  void borrowed_lost(const ServerConnection& connection, const ReplyTo& borrower) override;

 private:
  /// One caller of fence(); found by id, since it may be cancelled before the answer.
  struct Fence {
    explicit Fence(Core& c) : core(c), id(++c.last_fence_) { core.fences_[id] = this; }
    ~Fence() { core.fences_.erase(id); }
    Core& core;
    uint64_t id;
    Signal answered;
    std::optional<ReplOffset> offset;
  };
  /// One caller of everywhere(), likewise.
  struct Round {
    explicit Round(Core& c) : core(c), id(++c.last_round_) { core.rounds_[id] = this; }
    ~Round() { core.rounds_.erase(id); }
    Core& core;
    uint64_t id;
    Signal done;
    bool is_done = false;
  };
  /// One caller of ask_servers(), likewise.
  struct Question {
    explicit Question(Core& c) : core(c), id(++c.last_question_) { core.questions_[id] = this; }
    ~Question() { core.questions_.erase(id); }
    Core& core;
    uint64_t id;
    size_t asked = 0;
    std::vector<std::string> frames;
    Signal answered;
  };
  struct Held {
    Moved moved;  // its request view is unused
    std::string request;
    int64_t until_ms;
  };
  template <void (Core::*action)()>
  struct Node : ReadyNode {
    explicit Node(Core& c) : ReadyNode([](ReadyNode& node) { (static_cast<Node&>(node).core.*action)(); }), core(c) {}
    Core& core;
  };

  Task<void> tick_forever();
  void tick();
  void wake();
  bool ask_again(const Moved& moved, std::string_view request);
  void ask_held();

  std::vector<ReplyTo> waiting_;
  std::deque<Held> held_;
  std::map<uint64_t, Fence*> fences_;
  uint64_t last_fence_ = 0;
  CoreRing& ring_;
  std::map<uint64_t, Round*> rounds_;
  uint64_t last_round_ = 0;
  std::map<uint64_t, Question*> questions_;
  uint64_t last_question_ = 0;
  int64_t paused_until_ms_ = 0;
  bool paused_all_ = false;
  size_t slow_this_tick_ = 0;
  int64_t session_tick_ms_ = 0;
  Node<&Core::wake> wake_node_;
  Timer pause_timer_;

 public:
  SessionTable sessions;
  Servers servers;
  WriteAcks acks;

 private:
  TaskSet tasks_;
};

}  // namespace sidestream::routing
