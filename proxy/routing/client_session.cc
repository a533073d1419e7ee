// client_session.cc: reading, pausing, choosing what a request is. See the header.
#include "proxy/routing/client_session.h"

#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/text.h"
#include "proxy/resp/writer.h"
#include "proxy/routing/core.h"
#include "proxy/routing/limits.h"

namespace sidestream::routing {
namespace {

using resp::CommandClass;

using limits::kInputKeptBytes;
constexpr size_t kInputFirstBytes = 64;  // most clients are idle
constexpr size_t kErrorArgsBytes = 128;
constexpr std::string_view kHeldTooLong =
    "MASTERDOWN Link with MASTER is down and writes could not be held any longer; try again.";

}  // namespace

ClientSession::ClientSession(Core& core, std::unique_ptr<ByteStream> stream, Face face, uint64_t id, uint32_t place,
                             bool reserved, AddressBook::Guest guest)
    : core_(core),
      stream_(std::move(stream)),
      id_(id),
      place_(place),
      face_(face),
      reserved_(reserved),
      guest_(std::move(guest)),
      input_(kInputFirstBytes, kInputKeptBytes),
      request_(core.request),
      created_ms_(core.world.clock.now_ms()),
      active_ms_(created_ms_),
      process_node_(*this),
      flush_node_(*this),
      hold_node_(*this),
      hold_timer_(core.world.clock, hold_node_) {
  become(core.users->anybody(), core.users->open());
}

ClientSession::~ClientSession() {
  end_hold();
  leave_large_replies();
  if (lease_ != nullptr) core_.servers.drop(*lease_);
  if (feed_ != nullptr) core_.servers.drop(*feed_);
  if (monitor_ != nullptr) core_.servers.drop(*monitor_);
}

// --- reading -------------------------------------------------------------------------------------------------------

Task<void> ClientSession::read_requests() {
  bool broken = false;
  while (!closing_ && !handing_over_) {
    if (too_far_ahead()) {
      co_await resumed_.wait();
      continue;
    }
    const std::span<char> room = input_.room();
    auto n = co_await stream_->read(room);
    broken = !n.ok();
    if (broken || n.value() == 0) break;
    input_.filled(n.value());
    active_ms_ = core_.recent_ms;
    process();
    if (core_.config.limits.commands_per_address > 0) co_await keep_pace();
  }
  if (broken) {
    core_.remove(*this);
  } else if (!closing_ && !handing_over_) {
    on_end_of_input();
  }
}

/// A client whose address is ahead of its rate is not read until it is not: it is slowed down, not refused.
Task<void> ClientSession::keep_pace() {
  const int64_t rate = core_.config.limits.commands_per_address;
  int64_t wait_ms = guest_.spend(std::exchange(unpaid_, 0U), rate, core_.world.clock.now_us()) / 1000;
  if (wait_ms > 0) ++core_.delayed;
  while (wait_ms > 0 && !closing_ && core_.config.limits.commands_per_address > 0) {
    const int64_t step_ms = std::min(wait_ms, limits::kPaceStepMs);
    co_await core_.world.clock.sleep(step_ms);
    wait_ms -= step_ms;
    active_ms_ = core_.recent_ms;  // it is not idle
  }
}

/// What was sent is still answered (`printf ... | nc`), what waits is dropped.
void ClientSession::on_end_of_input() {
  input_ended_ = true;
  const bool waits =
      pause_ == Pause::server || pause_ == Pause::clients || blocked() || has_feed() || (large_ && large_->passing);
  if (waits) return core_.remove(*this);
  close_if_done();
}

void ClientSession::process() {
  if (large_ && large_->passing && !pass_on()) return;
  if (pause_ == Pause::server && hold_until_us_ != 0 && core_.world.clock.now_us() >= hold_until_us_) {
    pause_ = Pause::none;  // the hold timer
    resumed_.notify_all();
  }
  while (pause_ == Pause::none && !closing_ && !handing_over_ && !input_.empty()) {
    awaits_moved_ = awaits_moved_ && replies_.owed() > 0;
    const bool full = replies_.owed() >= core_.replies_pending_max;
    if ((awaits_moved_ || full || replies_.owed_bytes() >= limits::kRepliesPendingBytes) && must_wait()) break;
    if (replies_.out().size() + stream_->unsent() > limits::kOutputPauseBytes) {
      pause(Pause::output);
      tasks_.add(wait_for_output());
      break;
    }
    const auto state = parser_.next(input_.view(), request_);
    partial_ = state == resp::RequestParser::State::incomplete;
    if (partial_ && !recognize_large()) break;
    if (state == resp::RequestParser::State::bad) {
      protocol_error();
      break;
    }
    if (!partial_) prefetch_next(core_.freshness, input_.view().substr(parser_.consumed()));
    if (!request_.args.empty() && run() == Taken::not_yet) break;
    ++unpaid_;
    partial_ ? begin_passing() : input_.consume(parser_.consumed());
    // What else came with a request that was held too long is not held anew.
    if (hold_until_us_ != 0 && (input_.empty() || core_.world.clock.now_us() < hold_until_us_)) end_hold();
  }
  if (input_.size() > static_cast<size_t>(core_.config.limits.query_buffer_bytes)) return sent_too_much();
  close_if_done();
}

void ClientSession::sent_too_much() {
  log_warning(peer(), "closed: more than limits.query-buffer");
  ++core_.query_buffer_disconnections;
  core_.remove(*this);
}

void ClientSession::protocol_error() {
  answer_error("ERR " + parser_.error());
  closing_ = true;
}

void ClientSession::close_if_done() {
  const bool running = pause_ != Pause::none || process_node_.queued();
  if (!(closing_ || (input_ended_ && !running)) || replies_.owed() > 0 || handing_over_) return;
  flush();
  core_.remove(*this);
}

bool ClientSession::idle() const {
  const bool in_the_middle = lease_ != nullptr || in_transaction();
  return pause_ == Pause::none && replies_.owed() == 0 && input_.empty() && !in_the_middle;
}

void ClientSession::finish() {
  closing_ = true;
  if (blocked() || pause_ == Pause::server || has_feed() || (large_ && large_->passing)) return kill();
  close_if_done();
}

void ClientSession::kill() {
  closing_ = true;
  flush();
  core_.remove(*this);
}

// --- pausing -------------------------------------------------------------------------------------------------------

ClientSession::Taken ClientSession::pause(Pause reason) {
  pause_ = reason;
  return Taken::not_yet;
}

void ClientSession::resume() {
  pause_ = Pause::none;
  resumed_.notify_all();
  ReadyQueue::current().post(process_node_);
}

void ClientSession::wake() {
  if (move_.feed || move_.monitor) move_feeds();
  if (closing_) return;
  if (pause_ == Pause::server || pause_ == Pause::clients) resume();
}

/// No server can take the request now. It stays in the input, so that nothing of a client that leaves is ever sent.
ClientSession::Taken ClientSession::hold(bool write) {
  const int64_t now_us = core_.world.clock.now_us();
  if (hold_until_us_ == 0) {
    const size_t bytes = input_.size();
    if (core_.held_bytes + bytes > static_cast<size_t>(core_.config.hold.max_bytes)) return held_too_long();
    held_bytes_ = bytes;
    core_.held_bytes += bytes;
    hold_until_us_ = now_us + core_.config.hold.timeout_ms * 1000;
    hold_timer_.start_at(hold_until_us_);
    if (write) ++core_.counters.held_writes;
    core_.count(Reason::no_server);
  } else if (now_us >= hold_until_us_) {
    return held_too_long();
  }
  core_.wait_for_servers(reply_to(0));
  return pause(Pause::server);
}

ClientSession::Taken ClientSession::held_too_long() {
  if (in_transaction()) transaction_failed();
  return answer_error(kHeldTooLong);
}

/// There may be another primary: what we took now could be lost.
ClientSession::Taken ClientSession::refuse_write() {
  if (in_transaction()) transaction_failed();
  return answer_error("MASTERDOWN writes are not taken here: " + core_.fence_reason + "; try again.");
}

void ClientSession::end_hold() {
  core_.held_bytes -= std::exchange(held_bytes_, 0);
  if (hold_until_us_ != 0) {
    core_.waited(*this, last_command_,
                 core_.world.clock.now_us() - hold_until_us_ + core_.config.hold.timeout_ms * 1000);
  }
  hold_until_us_ = 0;
  hold_timer_.cancel();
}

// --- replies -------------------------------------------------------------------------------------------------------

void ClientSession::reply(std::string_view frame) {
  if (muted_ || frame.empty()) return;
  replies_.add(frame);
  ReadyQueue::current().post_turn_end(flush_node_);
}

ClientSession::Taken ClientSession::answer_error(std::string_view text) {
  std::string frame;
  resp::append_error(frame, text);
  return answer(frame);
}

void ClientSession::deliver(uint64_t sequence, std::string_view frame, std::string_view head) {
  if (acks_ && holds_back(sequence, frame)) return;
  if (script_ && script_->sequence == sequence) {
    const std::string_view answer = script_reply(head.empty() ? frame : head);
    if (head.empty()) frame = answer;
  }
  const bool ends = transaction_ && transaction_->ending && transaction_->sequence == sequence;
  if (ends && completes_exec(head.empty() ? frame : head)) return;
  const bool mapped = tracking_ && tracking_->redirect != 0 && tracking_->step != Tracking::Step::none;
  const Lane lane = replies_.deliver(sequence, mapped ? std::string_view(tracking_reply(frame)) : frame);
  LaneState& state = lanes_[static_cast<size_t>(lane)];
  if (lane != Lane::none && --state.owed == 0) state.bits = 0;
  ReadyQueue::current().post_turn_end(flush_node_);
  if (large_replies_) continue_large_replies();
  if (replies_.owed() > 0) return;
  if (pause_ == Pause::reply) {
    finish_private_reply(head.empty() ? frame : head);
  } else if (pause_ == Pause::drained) {
    resume();
  } else if (closing_ || input_ended_) {
    ReadyQueue::current().post(process_node_);
  }
}

void ClientSession::flush() {
  if (!stream_) return;
  std::string& out = replies_.out();
  if (!out.empty()) stream_->write(out);
  out.clear();
  const auto limit = static_cast<size_t>(core_.config.limits.output_buffer_bytes);
  const size_t unsent = stream_->unsent() + replies_.waiting_pushes();
  if ((limit > 0 && unsent > limit) || (has_feed() && unsent > limits::kFeedOutputMax)) {
    log_notice(peer(), "closed: it does not read its replies");
    ++core_.output_buffer_disconnections;
    core_.remove(*this);
  }
}

Task<void> ClientSession::wait_for_output() {
  if (std::exchange(output_watched_, true)) co_return;
  flush();
  auto drained = co_await stream_->drained(limits::kOutputPauseBytes / 2);
  output_watched_ = false;
  if (!drained.ok()) {
    core_.remove(*this);
    co_return;
  }
  if (pause_ == Pause::output) resume();
  if (large_replies_) continue_large_replies();
}

// --- choosing ------------------------------------------------------------------------------------------------------

ClientSession::Taken ClientSession::run() {
  muted_ = reply_mode_ != ReplyMode::on;
  const Args args = request_.args;
  const Entry* entry = core_.commands->find(args);
  if (auto refused = refuse_early(entry)) {
    if (reply_mode_ == ReplyMode::skip_next && *refused == Taken::yes) reply_mode_ = ReplyMode::on;
    return *refused;
  }
  last_command_ = entry->kept_name;
  const ReplyMode mode_before = reply_mode_;
  const CommandClass cls = resp::effective_class(*entry, args);
  Taken taken;
  if (in_transaction() && cls != CommandClass::transaction && entry->name != "quit" && entry->name != "reset") {
    taken = queue(entry);
  } else {
    taken = dispatch(*entry, cls);
  }
  if (taken == Taken::yes && mode_before == ReplyMode::skip_next && reply_mode_ == ReplyMode::skip_next) {
    reply_mode_ = ReplyMode::on;
  }
  return taken;
}

ClientSession::Taken ClientSession::dispatch(const Entry& entry, CommandClass cls) {
  ++core_.counters.by_class[static_cast<size_t>(cls)];
  const bool ours = cls == CommandClass::session || cls == CommandClass::local || cls == CommandClass::subscribe;
  if (!ours && core_.paused(entry.may_write)) {
    core_.wait_for_servers(reply_to(0));
    return pause(Pause::clients);
  }
  const bool writes = entry.may_write && cls != CommandClass::transaction && !entry.publishes;
  if (!ours && writes && core_.refuses_writes) {
    if (!core_.fence_reason.empty()) return refuse_write();
    if (lacks_replicas(entry)) return answer_error(kNoReplicas);
  }
  switch (cls) {
    case CommandClass::read:
      return read(entry, false);
    case CommandClass::read_primary:
      return read(entry, true);
    case CommandClass::write:
      return write(entry);
    case CommandClass::script:
      return script(entry);
    case CommandClass::scripts:
      return script_everywhere(entry);
    case CommandClass::private_primary:
      return private_command(entry, false);
    case CommandClass::blocking:
      return blocking_command(entry);
    case CommandClass::transaction:
      return transaction(entry);
    case CommandClass::subscribe:
      return subscribe(entry);
    case CommandClass::monitor:
      return monitor();
    case CommandClass::tracking:
      return tracking(entry);
    case CommandClass::session:
      return session_command(entry);
    case CommandClass::local:
      return local(entry);
    case CommandClass::scan:
      return scan(entry);
    case CommandClass::pin:
      return pin(entry);
  }
  return pin(entry);
}

/// Stock refuses these for want of replicas before it looks at them. In a script it refuses the first write: see there.
bool ClientSession::lacks_replicas(const Entry& entry) const {
  return core_.short_of_replicas && entry.writes && entry.cls != CommandClass::script && face_ != Face::read_only;
}

/// What stock refuses before it looks at the command itself, in stock's order.
std::optional<ClientSession::Taken> ClientSession::refuse_early(const Entry* entry) {
  const Args args = request_.args;
  if (entry == nullptr) {
    if (iequals(args[0], "post") || iequals(args[0], "host:")) {  // a browser was tricked into talking to us
      log_warning(peer(), "closed: it speaks HTTP");
      kill();
      return Taken::yes;
    }
    if (args[0] == "PROXY") {
      log_warning(peer(), "closed: it sends a PROXY header, and proxy-protocol and proxy-protocol-from do not let it");
      kill();
      return Taken::yes;
    }
    if (core_.commands->empty()) return hold(false);  // no node has told us what it knows
    if (in_transaction()) return queue(nullptr);
    return unknown_command(nullptr);
  }
  // A node before 7.0 does not tell its subcommands; from 7.0 on each container has HELP.
  if (entry->is_container && args.size() > 1) {
    return in_transaction() ? queue(nullptr) : unknown_command(entry);
  }
  if (!partial_ && !core_.commands->arity_fits(*entry, args.size())) {
    if (in_transaction() && !core_.commands->empty()) return queue(nullptr);
    return answer_error("ERR wrong number of arguments for '" + entry->name + "' command");
  }
  if (login_.rules != nullptr && !entry->without_login) {
    if (auto refused = refuse_by_rules(*entry)) return refused;
  }
  if (entry->denied) {
    if (auto taken = special(*entry)) return taken;
  }
  if (reserved_ && !allowed_to_reserved(*entry)) {
    answer_error("ERR max number of clients reached");
    closing_ = true;
    ++core_.rejected;
    return Taken::yes;
  }
  if (protocol_ == 2 && subscribed() && !entry->while_subscribed) {
    return answer_error("ERR Can't execute '" + entry->name +
                        "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context");
  }
  return std::nullopt;
}

/// Over maxclients there is room for Sentinel, replicas and instances, not for applications.
bool ClientSession::allowed_to_reserved(const Entry& entry) const {
  return entry.cls == CommandClass::session || entry.cls == CommandClass::local ||
         entry.cls == CommandClass::subscribe || entry.cls == CommandClass::transaction || entry.publishes;
}

ClientSession::Taken ClientSession::unknown_command(const Entry* container) {
  const Args args = request_.args;
  if (container != nullptr) {
    return answer_error("ERR unknown subcommand '" + std::string(args[1].substr(0, kErrorArgsBytes)) + "'. Try " +
                        to_upper(container->name) + " HELP.");
  }
  std::string shown;
  for (size_t i = 1; i < args.size() && shown.size() < kErrorArgsBytes; ++i) {
    shown += "'" + std::string(args[i].substr(0, kErrorArgsBytes - shown.size())) + "' ";
  }
  const std::string_view name = args[0].substr(0, args[0].find('\0'));  // stock shows it as a C string
  return answer_error("ERR unknown command '" + std::string(name.substr(0, kErrorArgsBytes)) +
                      "', with args beginning with: " + shown);
}

void ClientSession::tick(int64_t now_ms) {
  const int64_t idle_limit_ms = core_.config.limits.idle_timeout_s * 1000;
  const bool exempt = blocked() || has_feed() || subscribed();
  const bool gone = input_ended_ && pause_ == Pause::step && now_ms - active_ms_ > limits::kLastAnswerMs;
  if (gone) return kill();  // WAIT without a timeout: nobody listens any more
  if (idle_limit_ms > 0 && !exempt && now_ms - active_ms_ > idle_limit_ms) return kill();
  if (replies_.owed() == 0 && replies_.out().empty()) replies_.shrink();
}

}  // namespace sidestream::routing
