// client_session.h: one client: its connection state, its requests in, its replies out.
//
// Happy path: the reader coroutine fills the input and calls process(), plain code that runs each request: answers it,
// or puts it on a server connection and a slot into the reply queue. Replies arrive through deliver(); the turn's end
// sends all of them in one write.
// A request that must wait pauses the session and stays in the input; what it waited for wakes it and it is run again
// from the start. So nothing half-done survives a wait, and the request of a client that has gone is never sent.
// Failure modes: bad input gets stock's error and a close; a client that goes takes everything with it: what it was
// owed is dropped when it arrives, its private connection is closed.
// client_session.cc reads, pauses and chooses; the commands stand in the other client_*.cc, by concern.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/signal.h"
#include "proxy/resp/command_table.h"
#include "proxy/resp/request.h"
#include "proxy/routing/address_book.h"
#include "proxy/routing/caller.h"
#include "proxy/routing/client_parts.h"
#include "proxy/routing/input_buffer.h"
#include "proxy/routing/passed_client.h"
#include "proxy/routing/read_need.h"
#include "proxy/routing/reply_queue.h"
#include "proxy/routing/server_connection.h"

namespace sidestream::routing {

struct Core;
class Target;

class ClientSession {
 public:
  /// `place`: where the table keeps it. `reserved`: over maxclients; only for what Sentinel and replicas need.
  ClientSession(Core& core, std::unique_ptr<ByteStream> stream, Face face, uint64_t id, uint32_t place, bool reserved,
                AddressBook::Guest guest);
  ~ClientSession();
  ClientSession(const ClientSession&) = delete;
  ClientSession& operator=(const ClientSession&) = delete;
  void start() { reader_.add(read_requests()); }

  uint64_t id() const { return id_; }
  Face face() const { return face_; }
  const std::string& peer() const { return stream_ ? stream_->peer() : kHandedOver; }
  const std::string& local() const { return stream_ ? stream_->local() : kHandedOver; }
  uint32_t place() const { return place_; }
  bool blocked() const { return pause_ == Pause::reply && blocking_; }
  /// Waits for the answer of a private connection to something that does not block.
  bool writes_alone() const { return lease_ != nullptr && !blocking_ && replies_.owed() > (acks_ ? acks_->held : 0); }
  /// Not yet back at its channels, or at MONITOR.
  bool feed_moves() const { return move_.feed || move_.monitor || confirmations_dropped_ > 0; }
  void leave_if_idle(), restore(PassedClient client);  ///< to the next process, and there before start()
  bool idle() const, concerned_by_role() const;  ///< Sentinel's word that the role changes is meant for this client
  bool held() const { return pause_ == Pause::server; }
  bool subscribed() const { return subscriptions_ && subscriptions_->count() > 0; }
  int64_t server_client_id() const { return lease_ != nullptr ? lease_->client_id() : 0; }
  void deliver(uint64_t sequence, std::string_view frame, std::string_view head = {});
  /// A request of it waits for a primary outside of its input: what comes behind waits until all is answered.
  void await_moved() { awaits_moved_ = true; }
  bool awaits_moved() const { return awaits_moved_; }
  /// Another server will answer: a cursor in the reply is the primary's. True: a script, which is run again here.
  bool moved_to_primary(uint64_t sequence) { return replies_.unmark_cursor(sequence), script_ != nullptr; }
  void feed(const ServerConnection& from, std::string_view frame);
  void request_flows() { resumed_.notify_all(); }
  Turn begin_large_reply(uint64_t sequence, ServerConnection& from), pass_large_reply(std::string_view bytes);
  void end_large_reply(uint64_t sequence, ServerConnection& from, std::string_view bytes);
  void large_reply_lost(ServerConnection& from, bool begun), leave_large_replies();
  /// Its write is in another batch now. / The reply that WriteAcks held.
  void sent_again(uint64_t sequence, uint64_t batch), acknowledged(uint64_t sequence, std::string_view frame);
  /// The private connection broke; what it owed was answered already.
  void lease_lost(const ServerConnection* which);
  /// What a paused request waited for may have come.
  void wake();
  /// Closed when it has got what it is owed, or at once. Nothing more is run.
  void finish(), kill();
  /// A kill, shrinking, the idle timeout. Every second.
  void tick(int64_t now_ms), users_changed();
  const Login& login() const { return login_; }
  /// A message on the channel of Sentinels.
  void hear_hello(std::string_view payload);
  /// Its line of CLIENT LIST, without line end.
  std::string describe(int64_t now_ms) const;

 private:
  static inline const std::string kHandedOver = "?";  // a replica by now
  using Args = std::span<const std::string_view>;
  using Entry = resp::CommandEntry;

  /// Whether the request is dealt with, or stays in the input because the session was paused.
  enum class Taken : uint8_t { yes, not_yet };

  // client_session.cc
  Task<void> read_requests(), wait_for_output(), keep_pace(), go_on_after(int64_t delay_ms), leave();
  Taken run(), dispatch(const Entry& entry, resp::CommandClass cls);
  std::optional<Taken> refuse_early(const Entry* entry);
  bool allowed_to_reserved(const Entry& entry) const, lacks_replicas(const Entry& entry) const,
      is_ours(const Entry& entry) const, may_not_write(const Entry& entry);
  Taken unknown_command(const Entry* container), held_too_long(), refuse_write(), pause(Pause reason), hold(bool write);
  void end_hold(), resume(), on_end_of_input(), close_if_done(), process(), protocol_error(), sent_too_much();
  Taken answer(std::string_view frame) { return reply(frame), Taken::yes; }
  Taken answer_error(std::string_view text), refuse_queued(std::string_view text);
  void flush(), reply(std::string_view frame);
  ReplyTo reply_to(uint64_t sequence) const { return {place_, id_, sequence}; }

  // client_faults.cc, client_passing.cc, client_acks.cc, client_large.cc
  std::optional<Taken> special(const Entry& entry), inject(const Entry& entry);
  bool may_leave() const, must_wait();
  void begin_to_leave();
  void await_acks(uint64_t sequence, uint64_t batch);
  bool awaits_acks(uint64_t sequence) const, holds_back(uint64_t sequence, std::string_view frame);
  bool recognize_large(), pass_on(), too_far_ahead() const;
  void begin_passing(), end_passing(resp::RequestTail::State state), continue_large_replies();
  void send_private(FreshnessMap::Batch noted);
  Taken read_alone(Target& target, Lane lane, const KeyFacts& keys, std::optional<ReplOffset> need);

  // client_routes.cc
  KeyFacts keys_of(const Entry& entry, bool about_node);
  Taken read(const Entry& entry, bool about_node);
  Taken read_at(Target& target, ServerConnection& connection, const KeyFacts& keys, std::optional<ReplOffset> need,
                std::string_view request, uint8_t cursor_number);
  Taken read_at_primary(const KeyFacts& keys, Reason reason);
  Taken write(const Entry& entry), scan(const Entry& entry), pin(const Entry& entry), local(const Entry& entry);
  Taken private_command(const Entry& entry, bool blocking), blocking_command(const Entry& entry),
      forward_on_lease(const Entry& entry);
  Caller caller() const;
  Task<void> run_local(std::vector<std::string> args), hand_over(std::vector<std::string> args);
  void finish_step(std::string_view frame), finish_private_reply(std::string_view frame),
      finish_tracking(std::string_view frame);
  bool overtakes(Lane lane, const ServerConnection& next), borrow_lease(LeaseUse use);
  ServerConnection* borrow_from(Target& target);
  void return_lease(bool reusable), note_keys(FreshnessMap::Batch& batch, const Entry& entry);
  uint64_t expect(Lane lane, const KeyFacts& keys, uint8_t cursor_number = 0);

  // client_scripts.cc
  Taken script(const Entry& entry), run_script(const Entry& entry), script_everywhere(const Entry& entry);
  Taken read_script_at_primary(const ScriptCall& call), kill_scripts();
  bool read_script(const ScriptCall& call), refused_for_want_of_replicas(const Entry&, const ScriptCall& call) const;
  std::string_view restrained_reply(std::string_view frame), script_reply(std::string_view frame),
      reading_form(const Entry& reader), wire_request();
  void learn_script(const Entry& entry), tell_scripts(const Entry& entry), finish_script();
  Task<void> kill_scripts_at_servers(std::string request);

  // client_transactions.cc
  Taken transaction(const Entry& entry), watch(const Entry& entry), unwatch(const Entry& entry), exec(), discard();
  Taken queue(const Entry* entry), queue_at_server(const Entry* entry), queue_here();
  std::optional<Taken> reach_server();
  bool completes_exec(std::string_view frame);
  Task<void> exec_own(std::vector<Transaction::Own> own),
      exec_both(std::string theirs, std::vector<Transaction::Own> own);
  Task<std::vector<std::string>> answer_own(const std::vector<Transaction::Own>& own);
  void transaction_failed(), end_transaction();
  bool in_transaction() const { return transaction_ && transaction_->open; }

  // client_tracking.cc
  Taken tracking(const Entry& entry);
  std::optional<Taken> name_redirect(std::string& request);
  Task<void> find_redirect(uint64_t id);
  std::string tracking_reply(std::string_view frame);
  bool receives_invalidations();
  bool tracks() const { return tracking_ && tracking_->on; }

  // client_feeds.cc
  Taken subscribe(const Entry& entry), monitor(), publish_hello();
  bool subscribe_locally(std::string_view name, Args channels), open_feed(), open_monitor();
  void confirm(std::string_view kind, std::optional<std::string_view> channel);
  bool has_feed() const { return feed_ != nullptr || monitor_ != nullptr || move_.feed || move_.monitor; }
  void leave_feed(const ServerConnection& which), move_feeds(), end_feed(bool reusable);
  Task<void> tell_hello(std::string payload);

  // client_state.cc, client_command.cc
  Taken session_command(const Entry& entry), client_unblock();
  std::string answer_session(Args args), auth(Args args), hello(Args args), select(Args args), ping(Args args), reset();
  std::string client(Args args), client_setinfo(Args args), client_reply(Args args), take_effect(Answer answer);
  Task<void> run_client_everywhere(Words args);
  Task<std::string> client_everywhere(Words args, bool reconfigures);
  Task<void> unblock(uint64_t id, std::string reason);

  // client_acl.cc
  void become(std::shared_ptr<const User> user, bool authenticated), note_failed_login(std::string_view name),
      log_refusal(std::string_view reason, std::string_view object, std::string_view user);
  std::optional<Taken> refuse_by_rules(const Entry& entry);
  std::string log_in(std::string_view name, std::string_view password);
  Taken log_in_or_out(const Entry& entry), answer_login(std::string frame);
  Task<void> log_in_at_node(Words args, std::string name, std::string password), run_acl_log(Words args),
      answer_later(std::string frame, int64_t delay_ms);
  Task<std::string> ask_node_for(std::shared_ptr<const Guest> guest), acl_log(Words args);
  std::optional<std::string> acl(Args args) const;

  Core& core_;
  std::unique_ptr<ByteStream> stream_;
  const uint64_t id_;
  const uint32_t place_;
  const Face face_;
  const bool reserved_;
  AddressBook::Guest guest_;  // at its address
  uint32_t unpaid_ = 0;       // commands, for limits.commands-per-address
  Login login_;
  int protocol_ = 2, db_ = 0;
  std::string name_, library_name_, library_version_;
  std::optional<ReadPolicy> policy_;
  ReplOffset read_after_;
  uint64_t last_batch_ = 0;  // of its last write; 0: it wrote nothing
  ReplyMode reply_mode_ = ReplyMode::on;
  bool no_evict_ = false, muted_ = false, delayed_ = false;  // the request being run: no reply; delayed by a fault

  Pause pause_ = Pause::none;
  bool blocking_ = false;                             // Pause::reply: for a command that may wait for ever
  bool input_ended_ = false, closing_ = false;        // no more requests; closed when nothing is owed
  bool handing_over_ = false, awaits_moved_ = false;  // becomes a replica, or goes to another process
  int64_t hold_until_us_ = 0;                         // 0: no request is held
  size_t held_bytes_ = 0;

  InputBuffer input_;
  resp::RequestParser parser_;
  resp::Request& request_;  // the one being run; the core's, since only one is at a time
  ReplyQueue replies_;
  LaneState lanes_[3];  // by Lane

  ServerConnection* lease_ = nullptr;  // private, for commands
  LeaseUse lease_use_ = LeaseUse::none;
  ServerConnection* feed_ = nullptr;     // private, for messages
  ServerConnection* monitor_ = nullptr;  // private, for MONITOR
  bool redirected_to_ = false;           // others' invalidations come by the feed
  FeedMove move_;
  size_t confirmations_due_ = 0, confirmations_dropped_ = 0;
  bool partial_ = false, output_watched_ = false;  // request_ is the beginning of a large request
  std::unique_ptr<LargeRequest> large_;
  std::unique_ptr<ScriptRun> script_;
  std::unique_ptr<Tracking> tracking_;
  std::unique_ptr<LargeReplies> large_replies_;
  std::unique_ptr<Transaction> transaction_;
  std::unique_ptr<AwaitedAcks> acks_;
  std::unique_ptr<Subscriptions> subscriptions_;
  int64_t created_ms_, active_ms_;
  std::string_view last_command_ = "NULL";  // outlives the command table

  MemberNode<ClientSession, &ClientSession::process> process_node_;
  MemberNode<ClientSession, &ClientSession::flush> flush_node_;
  MemberNode<ClientSession, &ClientSession::process> hold_node_;
  Timer hold_timer_;
  Signal resumed_;
  TaskSet tasks_, reader_;  // these last: cancelled before what they use goes
};

}  // namespace sidestream::routing
