// client_large.cc: requests and replies larger than limits.stream-above, passed on while they arrive.
//
// Requests. Happy path: such a request is run as soon as its command and first arguments are there, on a private
// connection of the primary (or the one the client has already); run() sends what has come, and what comes after it is
// sent on in chunks. The client is read only while the server takes what was read. Its keys are marked like those of
// all private writes, all keys if some may still be on their way. Failure modes: a request that is refused at once is
// read to its end and thrown away; a server connection that breaks gets the rest thrown away too, and the client is
// told that nothing was executed; a client that goes half-way takes the server connection with it, and the server
// forgets what it had. While no server can take it (held, waiting for earlier replies) the rest stays in the socket.
//
// Replies. Happy path: a large reply that is the client's next one goes out as it comes in (server_connection.h); the
// server is read while the client's unsent output is small. One whose turn has not come waits at its server.
// Failure modes: a server that breaks in the middle of a reply breaks the client too, since half a reply cannot be
// taken back; a client that goes, or does not read while others wait, has the rest thrown away.
#include <algorithm>
#include <utility>

#include "proxy/resp/writer.h"
#include "proxy/routing/client_session.h"
#include "proxy/routing/core.h"
#include "proxy/routing/limits.h"

namespace sidestream::routing {
namespace {

using resp::CommandClass;
using resp::RequestTail;

constexpr size_t kHeadBytes = 8;

/// Commands that may be run when only their beginning is known: those that the server does for us.
bool streams(const resp::CommandEntry& entry, std::span<const std::string_view> args) {
  switch (entry.cls) {
    case CommandClass::read:
    case CommandClass::read_primary:
    case CommandClass::write:
    case CommandClass::private_primary:
    case CommandClass::pin:
      return args.size() > 1;
    case CommandClass::script:
      return args.size() > 2;  // what it is called, and how many keys it names
    default:
      return false;
  }
}

}  // namespace

/// Whether to read: what is not passed on piles up here.
bool ClientSession::too_far_ahead() const {
  if (large_ && large_->passing) return large_->to != nullptr && large_->to->congested();
  return pause_ != Pause::none && input_.size() >= limits::kPausedInputMax;
}

/// An incomplete request: whether it is run now. Then request_ holds its beginning.
bool ClientSession::recognize_large() {
  const auto threshold = static_cast<size_t>(core_.config.limits.stream_above_bytes);
  if (std::max(parser_.expected(), input_.size()) <= threshold) return false;
  const int64_t count = parser_.peek(input_.view(), request_, limits::kLargeArgumentsSeen);
  const Entry* entry = count > 0 ? core_.commands->find(request_.args) : nullptr;
  return entry != nullptr && login_.authenticated && !reserved_ && !subscribed() &&
         core_.commands->arity_fits(*entry, static_cast<size_t>(count)) && streams(*entry, request_.args) &&
         (login_.rules == nullptr || login_.rules->can_judge_from(*entry, request_.args.size()));
}

/// The request that is run goes to the private connection, whole or as far as it has come.
void ClientSession::send_private(FreshnessMap::Batch noted) {
  KeyFacts any;
  any.bits = kAnyKey;
  const uint64_t sequence = expect(Lane::primary, any);
  if (core_.acks.quorum() > 0 && noted && !noted->empty()) await_acks(sequence, noted->serial());
  if (!partial_) return lease_->send_private(wire_request(), reply_to(sequence), std::move(noted), !blocking_);
  if (!large_) large_ = std::make_unique<LargeRequest>();
  large_->to = lease_;
  large_->sequence = sequence;
  lease_->begin_request(request_.raw, reply_to(sequence), std::move(noted));
}

/// The beginning was dealt with; everything in the input belongs to it.
void ClientSession::begin_passing() {
  if (!large_) large_ = std::make_unique<LargeRequest>();  // refused
  large_->tail = parser_.leave(input_.view());
  large_->passing = true;
  input_.consume(input_.size());
  input_.keep(limits::kLargeChunkBytes);
  partial_ = false;
}

/// Whether the request is complete.
bool ClientSession::pass_on() {
  size_t taken = 0;
  const auto state = large_->tail.pass(input_.view(), taken);
  if (large_->to != nullptr && state != RequestTail::State::bad) {
    large_->to->pass_request(input_.view().substr(0, taken));
  }
  input_.consume(taken);
  if (large_->tail.argument_bytes() > static_cast<size_t>(core_.config.limits.query_buffer_bytes)) {
    sent_too_much();
    return false;
  }
  if (state == RequestTail::State::more) return false;
  end_passing(state);
  return true;
}

void ClientSession::end_passing(RequestTail::State state) {
  ServerConnection* to = std::exchange(large_->to, nullptr);
  large_->passing = false;
  input_.keep(limits::kInputKeptBytes);
  if (state == RequestTail::State::done) {
    if (to != nullptr) to->end_request();
    return;
  }
  std::string frame;
  resp::append_error(frame, "ERR " + large_->tail.error());
  to != nullptr ? deliver(large_->sequence, frame) : reply(frame);
  closing_ = true;
}

// --- replies -------------------------------------------------------------------------------------------------------

Turn ClientSession::begin_large_reply(uint64_t sequence, ServerConnection& from) {
  if (in_transaction() && !transaction_->own.empty()) return Turn::whole;  // replies of ours go into it
  if (awaits_acks(sequence)) return Turn::whole;                           // the ROLE that it waits for is behind it
  if (!large_replies_) large_replies_ = std::make_unique<LargeReplies>();
  std::vector<ServerConnection*>& all = large_replies_->from;
  if (std::find(all.begin(), all.end(), &from) == all.end()) all.push_back(&from);
  if (!replies_.is_next(sequence)) return Turn::later;
  large_replies_->head.clear();
  return Turn::now;
}

Turn ClientSession::pass_large_reply(std::string_view bytes) {
  std::string& head = large_replies_->head;
  if (head.empty()) head = bytes.substr(0, kHeadBytes);
  replies_.pass(bytes);
  active_ms_ = core_.world.clock.now_ms();  // it reads: not idle
  flush();
  if (stream_->unsent() <= limits::kOutputPauseBytes) return Turn::now;
  tasks_.add(wait_for_output());
  return Turn::later;
}

void ClientSession::end_large_reply(uint64_t sequence, ServerConnection& from, std::string_view bytes) {
  std::erase(large_replies_->from, &from);
  large_replies_->key = 0;
  const std::string head = std::exchange(large_replies_->head, {});
  deliver(sequence, bytes, head);
}

/// Half a reply cannot be taken back.
void ClientSession::large_reply_lost(ServerConnection& from, bool begun) {
  std::erase(large_replies_->from, &from);
  if (begun) kill();
}

void ClientSession::leave_large_replies() {
  if (!large_replies_) return;
  for (ServerConnection* each : std::exchange(large_replies_->from, {})) each->reader_gone();
}

/// A reply came to its end, or the client has read more.
void ClientSession::continue_large_replies() {
  if (large_replies_->from.empty() || stream_->unsent() > limits::kOutputPauseBytes) return;
  for (ServerConnection* each : large_replies_->from) each->read_on();
}

/// A read whose reply was large before, on a connection where nobody waits behind it.
ClientSession::Taken ClientSession::read_alone(Target& target, Lane lane, const KeyFacts& keys,
                                               std::optional<ReplOffset> need) {
  lease_ = borrow_from(target);
  if (lease_ == nullptr) {
    Target* primary = core_.servers.primary();
    const bool other = lane == Lane::replica && primary != nullptr;  // it may have one ready
    return other ? read_alone(*primary, Lane::primary, keys, std::nullopt) : hold(false);
  }
  lease_use_ = LeaseUse::one_command;
  pause_ = Pause::reply;
  ++target.reads;
  ++(lane == Lane::replica ? core_.counters.reads_replica : core_.counters.reads_primary);
  if (lane == Lane::replica) lanes_[static_cast<size_t>(lane)].number = target.number();
  if (!large_replies_) large_replies_ = std::make_unique<LargeReplies>();
  large_replies_->key = core_.large_keys.find(core_.hashes);
  lease_->send_read(wire_request(), reply_to(expect(lane, keys)), need);
  return Taken::yes;
}

}  // namespace sidestream::routing
