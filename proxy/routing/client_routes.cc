// client_routes.cc: reads, writes, scans, and commands that need a connection of their own or an answer of the host.
//
// Order of execution, as one client sees it: commands on one connection keep their order. Commands of one client in
// flight on *different* connections may overtake each other, so a command waits for those in flight elsewhere when they
// may touch the same keys (a small Bloom filter per lane, cleared when nothing is in flight).
#include <algorithm>
#include <utility>

#include "common/text.h"
#include "proxy/resp/writer.h"
#include "proxy/routing/client_session.h"
#include "proxy/routing/core.h"
#include "proxy/routing/limits.h"

namespace sidestream::routing {
namespace {

using resp::CommandClass;
using resp::Keys;

constexpr std::string_view kReadOnly = "READONLY You can't write against a read only replica.";
}  // namespace

// --- keys ----------------------------------------------------------------------------------------------------------

KeyFacts ClientSession::keys_of(const Entry& entry, bool about_node) {
  const KeyFacts facts = look_at_keys(entry, request_.args, about_node, core_.hashes);
  for (const uint64_t hash : core_.hashes) core_.freshness.prefetch(hash);
  return facts;
}

uint64_t ClientSession::expect(Lane lane, const KeyFacts& keys, uint8_t cursor_number) {
  LaneState& state = lanes_[static_cast<size_t>(lane)];
  ++state.owed;
  state.bits |= keys.bits;
  return replies_.expect(lane, muted_, cursor_number);
}

/// Whether a command sent there could be executed before one that is in flight on this lane: the shared connection has
/// changed meanwhile. Else it is where the lane goes on.
bool ClientSession::overtakes(Lane lane, const ServerConnection& next) {
  LaneState& state = lanes_[static_cast<size_t>(lane)];
  if (state.owed > 0 && state.on != &next) return true;
  state.on = &next;
  return false;
}

/// The request as servers get it: inline requests in proper form.
std::string_view ClientSession::wire_request() {
  if (!request_.is_inline) return request_.raw;
  core_.encoded.clear();
  resp::append_command(core_.encoded, request_.args);
  return core_.encoded;
}

// --- reads and writes on shared connections ------------------------------------------------------------------------

ClientSession::Taken ClientSession::read(const Entry& entry, bool about_node) {
  if (partial_) return private_command(entry, false);
  if (lease_ != nullptr) return forward_on_lease(entry);
  const KeyFacts keys = keys_of(entry, about_node);
  const LaneState& at_primary = lanes_[static_cast<size_t>(Lane::primary)];
  const LaneState& at_replica = lanes_[static_cast<size_t>(Lane::replica)];
  const bool alone = core_.large_keys.any() && core_.large_keys.find(core_.hashes) != 0;
  if (alone && replies_.owed() > 0) return pause(Pause::drained);
  if ((at_primary.bits & keys.bits) != 0) return read_at_primary(keys, Reason::same_connection);
  ReadNeed need = need_of(core_.config, core_.freshness, {policy_, read_after_}, entry, request_.args, about_node, keys,
                          core_.hashes);
  if (at_replica.owed > 0) need.sticky = core_.servers.index_of(at_replica.number);
  const Decision decision = core_.servers.route(need);
  if (decision.target < 0 && alone && core_.servers.primary() != nullptr) {
    core_.count(decision.reason);
    return read_alone(*core_.servers.primary(), Lane::primary, keys, std::nullopt);
  }
  if (decision.target < 0) return read_at_primary(keys, about_node ? Reason::needs_primary : decision.reason);
  if (at_replica.owed > 0 && decision.target != need.sticky) return pause(Pause::drained);
  Target& target = core_.servers.target(decision.target);
  if (alone) return read_alone(target, Lane::replica, keys, need.proof());
  ServerConnection* connection = target.pool(login_.guest).shared(protocol_, db_);
  if (connection == nullptr) return read_at_primary(keys, Reason::no_replica);  // it is being opened
  if (overtakes(Lane::replica, *connection)) return pause(Pause::drained);
  core_.count(decision.reason);
  return read_at(target, *connection, keys, need.proof(), wire_request(), 0);
}

ClientSession::Taken ClientSession::read_at(Target& target, ServerConnection& connection, const KeyFacts& keys,
                                            std::optional<ReplOffset> need, std::string_view request,
                                            uint8_t cursor_number) {
  ++target.reads;
  ++core_.counters.reads_replica;
  lanes_[static_cast<size_t>(Lane::replica)].number = target.number();
  connection.send_read(request, reply_to(expect(Lane::replica, keys, cursor_number)), need);
  return Taken::yes;
}

ClientSession::Taken ClientSession::read_at_primary(const KeyFacts& keys, Reason reason) {
  if ((lanes_[static_cast<size_t>(Lane::replica)].bits & keys.bits) != 0) return pause(Pause::drained);
  ServerConnection* primary = core_.servers.primary_shared(protocol_, db_, login_.guest);
  if (primary == nullptr) return hold(false);
  if (overtakes(Lane::primary, *primary)) return pause(Pause::drained);
  ++core_.servers.primary()->reads;
  ++core_.counters.reads_primary;
  core_.count(reason);
  primary->send_read(wire_request(), reply_to(expect(Lane::primary, keys)), std::nullopt);
  return Taken::yes;
}

bool ClientSession::may_not_write(const Entry& entry) {
  return face_ == Face::read_only && (entry.writes || entry.cls == CommandClass::write);
}

ClientSession::Taken ClientSession::write(const Entry& entry) {
  if (may_not_write(entry)) return answer_error(kReadOnly);
  if (partial_) return private_command(entry, false);
  if (entry.publishes && request_.args[1] == kHelloChannel && face_ == Face::node) return publish_hello();
  if (lease_ != nullptr) return forward_on_lease(entry);
  const KeyFacts keys = keys_of(entry, false);
  if ((lanes_[static_cast<size_t>(Lane::replica)].bits & keys.bits) != 0) return pause(Pause::drained);
  ServerConnection* primary = core_.writes_held ? nullptr : core_.servers.primary_shared(protocol_, db_, login_.guest);
  if (primary == nullptr) return hold(true);
  if (overtakes(Lane::primary, *primary)) return pause(Pause::drained);
  if (entry.writes) {
    for (const uint64_t hash : core_.hashes) core_.freshness.mark(primary->marks(), hash);
    if (keys.keys == Keys::unknown) core_.freshness.mark_floor(primary->marks());
    last_batch_ = primary->marks().serial();
  }
  ++core_.servers.primary()->writes;
  ++core_.counters.writes;
  core_.count(Reason::write);
  primary->send_write(wire_request(), reply_to(expect(Lane::primary, keys)));
  if (core_.acks.quorum() > 0 && entry.writes) await_acks(replies_.last(), last_batch_);
  return Taken::yes;
}

/// A cursor means something only to the server that gave it out, so it carries that server's number. Cursors of the
/// primary are as they are.
ClientSession::Taken ClientSession::scan(const Entry& entry) {
  if (lease_ != nullptr) return forward_on_lease(entry);
  const KeyFacts keys = keys_of(entry, false);
  const size_t at = entry.name == "scan" ? 1 : 2;
  Cursor cursor;
  if (!parse_cursor(request_.args[at], cursor)) return read_at_primary(keys, Reason::needs_primary);
  if (replies_.owed() > 0) return pause(Pause::drained);
  ReadNeed need =
      need_of(core_.config, core_.freshness, {policy_, read_after_}, entry, request_.args, false, keys, core_.hashes);
  int index = core_.servers.index_of(cursor.number);
  Reason reason = Reason::cursor;
  if (cursor.own == 0 && (need.policy == ReadPolicy::bounded || need.policy == ReadPolicy::eventual)) {
    const Decision decision = core_.servers.route(need);
    index = decision.target;
    reason = decision.reason;
  }
  if (index < 0 && cursor.number == 0) return read_at_primary(keys, cursor.own == 0 ? Reason::needs_primary : reason);
  std::vector<std::string_view> args(request_.args.begin(), request_.args.end());
  const std::string own = std::to_string(cursor.own);
  args[at] = own;
  std::string request;
  resp::append_command(request, args);
  ServerConnection* connection =
      index >= 0 ? core_.servers.target(index).pool(login_.guest).shared(protocol_, db_) : nullptr;
  if (connection == nullptr) {  // gone: the primary's view is as good a place to go on as any
    ServerConnection* primary = core_.servers.primary_shared(protocol_, db_, login_.guest);
    if (primary == nullptr) return hold(false);
    ++core_.counters.reads_primary;
    primary->send_read(request, reply_to(expect(Lane::primary, keys)), std::nullopt);
    return Taken::yes;
  }
  core_.count(reason);
  Target& target = core_.servers.target(index);
  need.policy = ReadPolicy::eventual;  // a cursor goes on where it began
  return read_at(target, *connection, keys, need.proof(), request, static_cast<uint8_t>(target.number()));
}

// --- private connections -------------------------------------------------------------------------------------------

/// The server's CLIENT LIST may show for whom a connection works.
ServerConnection* ClientSession::borrow_from(Target& target) {
  ServerConnection* connection = target.pool(login_.guest).borrow(protocol_, db_, reply_to(0));
  if (connection != nullptr && core_.config.node_client_name == "address") {
    connection->send_silent(resp::command({"CLIENT", "SETNAME", peer()}));
  }
  return connection;
}

bool ClientSession::borrow_lease(LeaseUse use) {
  Target* primary = core_.servers.primary();
  if (primary == nullptr || core_.writes_held) return false;
  lease_ = borrow_from(*primary);
  if (lease_ == nullptr) return false;
  lease_use_ = use;
  return true;
}

void ClientSession::return_lease(bool reusable) {
  ServerConnection* lease = std::exchange(lease_, nullptr);
  if (large_) large_->to = nullptr;
  lease_use_ = LeaseUse::none;
  blocking_ = false;
  if (lease == nullptr) return;
  reusable ? core_.servers.give_back(*lease) : Servers::drop(*lease);
}

void ClientSession::note_keys(FreshnessMap::Batch& batch, const Entry& entry) {
  const CommandClass cls = entry.cls;
  if (!entry.writes && cls != CommandClass::pin) return;
  const KeyFacts keys = keys_of(entry, false);
  if (!batch) batch = core_.freshness.open();
  for (const uint64_t hash : core_.hashes) core_.freshness.note(*batch, hash);
  const bool more = partial_ && !keys_are_known_from(entry, request_.args.size());
  if (keys.keys == Keys::unknown || cls == CommandClass::pin || more) core_.freshness.note_floor(*batch);
  last_batch_ = batch->serial();
}

ClientSession::Taken ClientSession::forward_on_lease(const Entry& entry) {
  FreshnessMap::Batch noted;
  note_keys(noted, entry);
  if (Target* primary = core_.servers.primary()) ++primary->writes;
  send_private(std::move(noted));
  return Taken::yes;
}

/// May be slow or wait: never on a shared connection. Commands behind it wait, as they would at the server.
ClientSession::Taken ClientSession::private_command(const Entry& entry, bool blocking) {
  if (may_not_write(entry)) return answer_error(kReadOnly);
  if (lease_ == nullptr) {
    if (replies_.owed() > 0) return pause(Pause::drained);
    if (!borrow_lease(LeaseUse::one_command)) return hold(entry.writes);
  }
  ++core_.counters.writes;
  core_.count(Reason::needs_primary);
  blocking_ = blocking;
  pause_ = Pause::reply;
  return forward_on_lease(entry);
}

/// Its request stays in the input: when its server is demoted it is told so, unexecuted, and waits on at the next
/// primary. (Not on a connection that has a state, and not of another instance, which knows better where the primary
/// is.)
ClientSession::Taken ClientSession::blocking_command(const Entry& entry) {
  const bool stays = !partial_ && (script_ || lease_ == nullptr) && policy_ != ReadPolicy::primary;
  if (!stays) return private_command(entry, true);
  const Taken taken = private_command(entry, true);
  if (taken == Taken::not_yet) return taken;
  if (pause_ != Pause::reply) return script_.reset(), taken;  // refused
  if (!script_) script_ = std::make_unique<ScriptRun>();
  script_->blocks = true;
  script_->again = false;
  script_->sequence = replies_.last();
  return Taken::not_yet;
}

/// The private connection owes nothing more, and the request behind may run.
void ClientSession::finish_private_reply(std::string_view frame) {
  if (tracking_ && tracking_->step != Tracking::Step::none) finish_tracking(frame);
  if (large_replies_) core_.large_keys.forget(std::exchange(large_replies_->key, 0));  // it was not large this time
  if (transaction_ && transaction_->ending) {
    const bool executed = frame.starts_with('*') && !frame.starts_with("*-1");
    if (executed && transaction_->db >= 0) {
      db_ = transaction_->db;
      if (lease_ != nullptr) lease_->assume_db(db_);
    }
    if (executed && transaction_->pins && lease_ != nullptr) lease_use_ = LeaseUse::pinned;
    end_transaction();
  } else if (lease_use_ == LeaseUse::one_command && !(script_ && script_->again && script_->loaded)) {
    return_lease(true);
  }
  if (script_) finish_script();
  blocking_ = false;
  resume();
}

ClientSession::Taken ClientSession::pin(const Entry& entry) {
  if (face_ == Face::read_only) return answer_error(kReadOnly);
  if (lease_ == nullptr) {
    if (replies_.owed() > 0) return pause(Pause::drained);
    if (!borrow_lease(LeaseUse::pinned)) return hold(true);
  }
  lease_use_ = LeaseUse::pinned;
  return forward_on_lease(entry);
}

void ClientSession::lease_lost(const ServerConnection* which) {
  if (which == feed_ || which == monitor_) return leave_feed(*which);
  if (which != lease_) return;
  lease_ = nullptr;
  if (large_) large_->to = nullptr;
  resumed_.notify_all();
  const LeaseUse use = std::exchange(lease_use_, LeaseUse::none);
  if (use == LeaseUse::pinned || use == LeaseUse::tracking) return kill();
  if (use != LeaseUse::transaction || !transaction_) return;
  if (transaction_->watching) transaction_->watch_lost = true;
  if (transaction_->at_server) transaction_->refused = true;
  transaction_->at_server = false;
}

// --- the host's commands -------------------------------------------------------------------------------------------

Caller ClientSession::caller() const {
  const bool has_written = last_batch_ != 0;
  const auto written = has_written ? core_.freshness.settled_at(last_batch_) : std::nullopt;
  return {id_, face_, protocol_, db_, peer(), local(), has_written, written, policy_, read_after_};
}

ClientSession::Taken ClientSession::local(const Entry& entry) {
  if (!is_ours(entry)) return private_command(entry, false);
  const Args args = request_.args;
  const bool is_acl = entry.name.starts_with("acl");
  if (auto frame = is_acl ? acl(args) : core_.host.answer_at_once(caller(), args)) return answer(*frame);
  if (replies_.owed() > 0) return pause(Pause::drained);
  pause_ = Pause::step;
  if (is_acl && iequals(args[1], "log")) return tasks_.add(run_acl_log({args.begin(), args.end()})), Taken::yes;
  tasks_.add(run_local({args.begin(), args.end()}));
  return Taken::yes;
}

Task<void> ClientSession::run_local(std::vector<std::string> args) {
  std::vector<std::string> asked = args;
  Caller asking = caller();
  auto answer = co_await core_.host.answer_local(std::move(asking), std::move(asked));
  if (answer.becomes_replica) {
    handing_over_ = true;
    tasks_.add(hand_over(std::move(args)));
    co_return;
  }
  const std::string frame = take_effect(std::move(answer));
  finish_step(frame);
}

std::string ClientSession::take_effect(Answer answer) {
  if (answer.read_policy) policy_ = answer.read_policy;
  read_after_ = std::max(read_after_, answer.read_floor);
  return std::move(answer.frame);
}

void ClientSession::finish_step(std::string_view frame) {
  reply(frame);
  resume();
}

/// The stream changes hands in a turn of its own, when the reader has let go of it.
Task<void> ClientSession::hand_over(std::vector<std::string> args) {
  co_await core_.world.clock.sleep(0);
  while (output_watched_) co_await core_.world.clock.sleep(limits::kTickMs);
  flush();
  reader_.cancel_all();  // it waits for bytes that are not ours any more
  std::string leftover(input_.view());
  core_.host.adopt_replica(std::move(stream_), id_, std::move(args), std::move(leftover));
  core_.remove(*this);
}

}  // namespace sidestream::routing
