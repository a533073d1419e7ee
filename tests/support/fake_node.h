// fake_node.h: a small but honest Redis 7.0 in memory: single-threaded, in order, with stock's replication on both
// sides.
//
// Happy path: start() listens; clients and replicas connect; REPLICAOF makes it a replica. As a primary it writes each
// byte of its stream into the chronicle, as a replica it compares what it receives and what it holds with it.
// Failure modes: what a stock server would do (-READONLY, -LOADING, -NOMASTERLINK, resync, timeouts); what a stock
// server would suffer from silently (bytes behind the EOF mark, an odd PSYNC reply, unknown commands in the stream) is
// a failure of the simulation. crash() is kill -9.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/resp/request.h"
#include "tests/support/chronicle.h"
#include "tests/support/fake_data.h"
#include "tests/support/sim_world.h"

namespace sidestream::sim {

struct FakeNodeOptions {
  std::string host;
  int port = 6379;
  std::string password;        ///< requirepass, and masterauth
  bool diskless_sync = true;   ///< as a primary: $EOF payload, else $len
  bool diskless_load = false;  ///< as a replica: parse while reading, what was read beyond the payload is lost
  size_t backlog_bytes = 1 << 20;
  int64_t backlog_ttl_ms = 3'600'000;
  int64_t ping_period_ms = 10'000;
  int64_t repl_timeout_ms = 60'000;
  int64_t service_max_us = 0;     ///< a batch of requests waits up to that long
  int64_t apply_max_ms = 0;       ///< a batch of the primary's stream waits up to that long
  int64_t snapshot_max_ms = 200;  ///< gathering, forking, and reaping each take up to that long
  int64_t load_max_ms = 100;
  size_t output_limit = 256 << 20;  ///< of a replica that does not read
};

struct FakeNodeCounters {
  int64_t full_served = 0;  ///< as a primary: INFO's sync_full, sync_partial_ok, sync_partial_err
  int64_t partial_served = 0;
  int64_t partial_refused = 0;
  int64_t full_taken = 0, partial_taken = 0;  ///< as a replica
  int64_t most_keys = 0;                      ///< ever held since its start
  int64_t writes_refused = 0;                 ///< -READONLY
  int64_t reads = 0;                          ///< of clients
  int64_t writes = 0;
};

/// What a replica asked its primary and was told.
struct SyncEvent {
  const std::string& who;
  const Address& primary;
  std::string asked_id;  ///< "?" without a history
  int64_t asked_byte;
  std::string reply;  ///< the line
};

class FakeNode {
 public:
  FakeNode(SimWorld& world, Chronicle& chronicle, FakeNodeOptions options);
  ~FakeNode();

  /// Listens. With an RDB: what the server had on disk (7.0: a primary goes on under a new id, a replica as it was).
  void start(std::string_view rdb = {}, const Address& primary = {});
  /// kill -9. Never from inside one of its own coroutines.
  void crash();
  bool running() const { return listener_ != nullptr; }
  std::string save() const;  // the RDB
  /// SIGSTOP and SIGCONT: connections stay, nothing is executed.
  void freeze(bool frozen);

  /// Runs one command as a client on the console; its reply.
  std::string run(const Words& args, int db = 0);
  /// Not while loading: stock refuses too.
  void replicaof(const Address& primary);
  void promote();
  /// CLIENT PAUSE ... WRITE is in force: what clients write waits.
  bool paused() const { return world_.clock().now_ms() < paused_until_ms_; }
  /// Closes the links of all replicas.
  void kick_replicas();

  bool is_replica() const { return !primary_.empty(); }
  bool link_up() const { return link_ == Link::connected; }
  bool loading() const { return loading_; }
  bool online(const std::string& replica_ip, int port) const;
  const std::string& replid() const { return replid_; }
  const std::string& replid2() const { return replid2_; }
  int64_t offset() const { return offset_; }
  const FakeData& data() const { return data_; }
  const FakeNodeCounters& counters() const { return counters_; }
  const std::string& name() const { return name_; }
  Address address() const { return Address{options_.host, options_.port, {}}; }
  FakeNodeOptions& options() { return options_; }

  /// Told about each reply to a PSYNC of ours.
  std::function<void(const SyncEvent&)> on_sync;

 private:
  enum class Link { none, connect, connecting, handshake, sync, connected };
  enum class Stage { client, waiting, sending, online };  // of a session that became a replica of ours
  struct Session {
    int64_t id = 0;
    std::unique_ptr<ByteStream> stream;
    std::string out;
    int db = 0;
    int protocol = 2;
    bool authenticated = false;
    bool quit = false;
    bool doomed = false;  // closed at the end of the turn
    std::string name;
    bool multi = false;
    bool multi_failed = false;
    std::vector<Words> queued;
    std::map<std::pair<int, std::string>, uint64_t> watched;
    int64_t written = 0;  // offset behind the last command, for WAIT
    std::optional<int64_t> wait_until_us;
    int64_t wait_count = 0;
    Stage stage = Stage::client;
    int listening_port = 0;
    std::string ip;
    bool eof = false, psync2 = false, rdb_only = false, filtered = false;
    bool stream_on_ack = false;
    std::string pending;  // stream behind the snapshot
    int64_t ack = 0;
    int64_t ack_ms = 0;
    TaskSet sender;
  };
  struct Seat {
    std::unique_ptr<Session> session;
    TaskSet task;  // destroyed first: it refers to the session
  };
  struct Effect {
    int db;
    Words args;
  };
  enum class Batch { more, blocked, paused, end };
  using Answer = void (FakeNode::*)(Session&, const Words&);
  struct Downlink;  // of one attempt to follow, lives in follow_once()

  // fake_node.cc: sessions and commands
  Task<void> accept_all();
  Task<void> serve(Session& session);
  Task<void> breathe(int64_t max_us);
  Batch execute_batch(Session& session, resp::RequestParser& parser, std::string& input);
  void execute(Session& session, const Words& args);
  bool has_to_wait(const Session& session, const Words& args) const;
  bool refuse(Session& session, const FakeCommand* command, const Words& args);
  void call(Session& session, const FakeCommand& command, const Words& args);
  void doom(Session& session);
  void reap();
  static Answer answer_of(const std::string& name);
  void on_auth(Session& session, const Words& args), on_client(Session& session, const Words& args);
  void on_command(Session& session, const Words& args);
  void on_config(Session& session, const Words& args);
  void on_debug(Session& session, const Words& args);
  void on_hello(Session& session, const Words& args);
  void on_info(Session& session, const Words& args);
  void on_ping(Session& session, const Words& args);
  void on_quit(Session& session, const Words& args);
  void on_replicaof(Session& session, const Words& args);
  void on_reset(Session& session, const Words& args);
  void on_role(Session& session, const Words& args);
  void on_select(Session& session, const Words& args);
  void on_wait(Session& session, const Words& args);
  void on_multi(Session& session, const Words& args), on_exec(Session& session, const Words& args);
  void on_watch(Session& session, const Words& args), on_unwatch(Session& session, const Words& args);
  void on_discard(Session& session, const Words& args);
  std::string info_replication() const;

  // fake_primary.cc: we are the primary (of a stream of our own, or in the middle of a chain)
  void on_replconf(Session& session, const Words& args);
  void on_psync(Session& session, const Words& args);
  bool continue_replica(Session& session, const std::string& id, int64_t next_byte);
  Task<void> send_snapshot(Session& session, bool psync);
  Task<void> keep_alive_for(Session& session, int64_t ms, bool newlines);
  void go_online(Session& session);
  void propagate(std::vector<Effect> effects, uint64_t digest_before);
  void produce(std::string_view bytes, uint64_t digest);
  void feed(std::string_view bytes);
  void change_replid();
  int64_t acknowledged_by(int64_t offset) const;
  size_t replicas() const;
  Task<void> cron();

  // fake_replica.cc: we are the replica
  Task<void> follow();
  Task<bool> follow_once();
  Task<Result<void>> handshake(Downlink& link);
  Task<Result<void>> ask(Downlink& link, std::string command);
  Task<Result<std::string>> psync(Downlink& link);
  bool adopt_continue(const std::string& line);
  Task<Result<void>> take_snapshot(Downlink& link, std::string replid, int64_t offset);
  Task<Result<std::string>> read_payload(Downlink& link, std::string mark, size_t size);
  Task<Result<void>> load(Downlink& link, std::string payload, std::string replid, int64_t offset, bool marked);
  Task<Result<void>> take_stream(Downlink& link);
  Task<void> acknowledge(Downlink& link);
  bool apply(Downlink& link);
  void apply_frame(Downlink& link, const Words& args, std::string_view raw);
  void apply_command(Downlink& link, const Words& args);

  int64_t now_ms() { return world_.clock().now_ms(); }

  SimWorld& world_;
  Chronicle& chronicle_;
  FakeNodeOptions options_;
  World seams_;
  std::string name_;
  std::string run_id_;
  FakeData data_;
  bool loading_ = false, frozen_ = false;
  int64_t paused_until_ms_ = 0;
  std::map<std::string, std::string> config_;
  FakeNodeCounters counters_;
  Session console_;
  std::vector<Effect> effects_;
  int64_t last_session_ = 0;

  std::string replid_;
  std::string replid2_;
  int64_t second_offset_ = -1;
  int64_t offset_ = 0;
  std::optional<std::string> backlog_;  // the last bytes of the stream
  int stream_db_ = -1;                  // of the last SELECT in the stream; -1: say it before the next command
  int64_t last_ping_ms_ = 0;
  int64_t lonely_since_ms_ = 0;

  Address primary_;
  Link link_ = Link::none;
  bool remembers_ = false;  // stock's cached master: replid and offset may be asked for
  int64_t primary_io_ms_ = 0;

  Signal changed_;  // acks and thaw
  std::map<int64_t, Seat> seats_;
  struct Reaper : ReadyNode {
    explicit Reaper(FakeNode& owner)
        : ReadyNode([](ReadyNode& node) { static_cast<Reaper&>(node).node.reap(); }), node(owner) {}
    FakeNode& node;
  };
  std::vector<int64_t> doomed_;
  Reaper reaper_{*this};
  std::unique_ptr<Listener> listener_;
  TaskSet following_;
  TaskSet tasks_;
};

}  // namespace sidestream::sim
