// server_connection.h: one pipelined connection to a server.
//
// Happy path: open() connects, authenticates (AUTH alone and waited for: servers 7.2 to 8.x lose its error behind other
// commands), sets protocol and database, asks ROLE; then requests are gathered, go out in one write at the turn's end,
// and replies are handed to the sink in the order of the requests.
//   - A batch of fresh reads begins with ROLE: its offset is a lower bound for the reads behind it.
//   - A batch of marked writes ends with ROLE: its offset is at or past all of them.
// Failure modes: any error ends the connection, once. What it still owed goes back to the sink: reads and unsent writes
// to be asked elsewhere, sent writes as lost. The request bytes are kept until then. The owner destroys it later. A
// primary that became a replica refuses writes, so they were not executed: they go back as if they had not been sent,
// and so do the reads behind them, which may ask for what they wrote.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/signal.h"
#include "common/task.h"
#include "common/world.h"
#include "proxy/resp/reply.h"
#include "proxy/routing/freshness.h"
#include "proxy/routing/input_buffer.h"
#include "proxy/routing/reply_sink.h"
#include "proxy/routing/role_reply.h"

namespace sidestream::routing {

struct ConnectionPlan {
  Address address;
  std::string user, password;
  int protocol = 2;
  int db = 0;
  bool is_primary = false;   // must say `master` (an instance may say what it is)
  bool is_instance = false;  // is told our read policy, since it would choose itself
  bool is_private = false;   // one client at a time
  bool is_guest = false;     // with a client's credentials: it may not be allowed to ask ROLE
};

class ServerConnection {
 public:
  ServerConnection(World& world, FreshnessMap& freshness, ConnectionOwner& owner, ReplySink& sink, ConnectionPlan plan);
  ~ServerConnection();
  ServerConnection(const ServerConnection&) = delete;
  ServerConnection& operator=(const ServerConnection&) = delete;

  void open();
  bool ready() const { return state_ == State::ready; }
  bool down() const { return state_ == State::down; }
  bool full() const;
  const ConnectionPlan& plan() const { return plan_; }
  bool belongs_to(const ConnectionOwner& owner) const { return &owner_ == &owner; }
  int db() const { return plan_.db; }

  // All need ready(). They gather; the turn's end sends.
  /// A write of a shared connection. Mark its keys in marks() first.
  void send_write(std::string_view request, const ReplyTo& to) { push({Kind::write, request.size(), to}, request); }
  WriteBatch& marks();
  /// A read whose answer needs `need` (proven by a ROLE); pass nullopt where no proof is wanted.
  void send_read(std::string_view request, const ReplyTo& to, std::optional<ReplOffset> need);
  /// A read that was moved here: not moved again.
  void send_again(std::string_view request, const ReplyTo& to) { push({Kind::again, request.size(), to}, request); }
  /// A command on a private connection. `noted` keys are marked now, and settled by a ROLE behind it.
  /// `timed`: false for what may wait for ever.
  void send_private(std::string_view request, const ReplyTo& to, FreshnessMap::Batch noted, bool timed = true);
  /// The same for a request that is still arriving: its beginning; nothing else is sent until its end.
  void begin_request(std::string_view bytes, const ReplyTo& to, FreshnessMap::Batch noted);
  void pass_request(std::string_view bytes);
  void end_request();
  /// Wait for ReplySink::request_flows() before passing on more.
  bool congested() const;
  /// Half a request was sent: of no use to anybody else.
  bool unfinished() const { return unfinished_; }
  /// Its reply is dropped.
  void send_silent(std::string_view request) { push({Kind::silent, request.size(), {}}, request); }
  void select(int db);
  /// The database was changed by something sent otherwise (SELECT inside a transaction).
  void assume_db(int db) { plan_.db = db; }
  /// ROLE for its own sake; the answer goes to sink.fence(), and settles orphans.
  void ask_role(uint64_t fence_id);
  /// From now on all frames are the client's own (Pub/Sub, MONITOR); requests written have no reply of their own.
  void start_feed() { feed_ = true; }
  void stop_feed() { feed_ = false; }
  void send_feed(std::string_view request);

  /// Answers what was sent, then goes down.
  void retire();
  /// Goes down now, since we want it so; since it broke.
  void close();
  void fail(Error error);
  bool closed_by_us() const { return retiring_; }
  /// It was ready once.
  bool opened() const { return opened_; }
  /// Looks at the socket.
  bool alive();

  // Large replies.
  /// The client takes more.
  void read_on();
  /// The client is gone.
  void reader_gone();
  /// Tells the sink when others have waited behind a large reply for `limit_ms` and nothing moved. Call it regularly.
  void check_reader(int64_t now_ms, int64_t limit_ms);
  /// A private one that nobody has, to be shared from now on.
  void share(int db);

  size_t owed() const { return entries_count_; }
  bool owes_writes() const { return writes_owed_ > 0; }
  /// Owes something and has answered nothing for `limit_ms`. Call it regularly.
  bool stalled(int64_t now_ms, int64_t limit_ms);
  /// CLIENT ID of this connection at the server; 0 if unknown.
  int64_t client_id() const { return client_id_; }

  ReplyTo borrower;  // private connections: the session that has it, for frame()

 private:
  enum class State : uint8_t { opening, ready, down };
  enum class Large : uint8_t { none, waiting, passing, dropping };
  enum class Kind : uint8_t { silent, write, read, again, role };
  struct Entry {
    Kind kind = Kind::silent;
    size_t request_bytes = 0;
    ReplyTo to;
    ReplOffset need{};    // read: -1 without proof
    int64_t sent_us = 0;  // when its batch began; 0: nobody asks how long it takes
  };
  /// What a ROLE was sent for.
  struct RoleUse {
    bool first_of_reads = false;  // proves the reads behind it
    FreshnessMap::Batch batch{};  // to be settled
    uint64_t ticket = 0;
    uint64_t fence_id = 0;
  };
  /// Replies that took the same time: most of those that are read at once.
  struct Alike {
    int64_t sent_us = 0;
    int64_t us = 0;
    bool writes = false;
    uint64_t count = 0;
  };

  Task<void> run();
  Task<Result<void>> serve();
  Task<Result<void>> set_up();
  Task<Result<std::string>> ask(std::string request);
  Task<Result<std::string>> read_reply();
  Task<void> report_flow();

  Result<bool> on_large(bool complete);
  Large begin_large();
  void end_large(std::string_view bytes);
  void occupy();
  void give_back_reads_behind();

  void push(Entry entry, std::string_view request);
  void push_role(RoleUse use);
  RoleUse pop_role();
  void grow();
  Entry& entry(size_t index) { return entries_[(entries_first_ + index) & (entries_.size() - 1)]; }
  Entry& front() { return entries_[entries_first_ & (entries_.size() - 1)]; }
  Entry pop();
  Result<void> on_bytes();
  Result<void> take_frames();
  Result<void> on_frame(std::string_view frame);
  void on_role(RoleUse use, std::string_view frame);
  void on_read(const Entry& entry, std::string_view request, std::string_view frame);
  void on_write(const Entry& entry, std::string_view request, std::string_view frame);
  void step_down();
  void move(const Entry& entry, std::string_view request, bool write);
  void give_back_everything();
  void give_back(const Entry& entry, std::string_view request, bool sent);
  void give_back_role(RoleUse use, bool sent);
  void took(const Entry& entry, std::string_view request, std::string_view frame);
  void count_alike();
  void drop_answered_requests();
  void flush();

  struct FlushNode : ReadyNode {
    explicit FlushNode(ServerConnection& c)
        : ReadyNode([](ReadyNode& node) { static_cast<FlushNode&>(node).connection.flush(); }), connection(c) {}
    ServerConnection& connection;
  };

  World& world_;
  FreshnessMap& freshness_;
  ConnectionOwner& owner_;
  ReplySink& sink_;
  Timings& timings_;  // of the core
  Latency& latency_;  // of this server
  ConnectionPlan plan_;
  State state_ = State::opening;
  bool opened_ = false;
  bool retiring_ = false;
  bool demoted_ = false;  // the server has refused a write: it is a replica now
  bool feed_ = false;
  bool was_full_ = false;
  bool reads_proven_this_turn_ = false;  // a ROLE stands in front of this turn's reads

  std::vector<Entry> entries_;  // a ring; its size is a power of two
  size_t entries_first_ = 0, entries_count_ = 0;
  std::deque<RoleUse> roles_;  // of the entries that are one, in their order
  size_t writes_owed_ = 0;
  bool unfinished_ = false;  // the last entry's request is still arriving
  bool awaits_flow_ = false;
  FreshnessMap::Batch marked_;         // by the unfinished request
  FreshnessMap::Batch turn_marks_;     // of the writes gathered this turn
  std::string requests_;               // not answered yet, the tail not sent yet
  size_t answered_ = 0, flushed_ = 0;  // positions in requests_
  int64_t batch_us_ = 0;               // when the first of the gathered requests came; 0: none
  int64_t answered_us_ = 0;            // when the bytes arrived that are being looked at
  Alike alike_;                        // of these, not counted yet
  ReplOffset proven_{-1};              // by the ROLE in front of the reads now being answered

  std::unique_ptr<ByteStream> stream_;
  InputBuffer input_;
  resp::ReplyScanner scanner_;
  Large large_ = Large::none;  // the reply in front
  bool stopped_ = false;       // not read until read_on()
  bool occupied_ = false;
  int64_t moved_ms_ = 0;  // when the large reply last moved
  Signal goes_on_;
  uint64_t frames_ = 0, frames_seen_ = 0;  // for stalled()
  int64_t progress_ms_ = 0;
  int64_t client_id_ = 0;
  FlushNode flush_node_;
  TaskSet tasks_;  // last: cancelled before what they use goes
};

}  // namespace sidestream::routing
