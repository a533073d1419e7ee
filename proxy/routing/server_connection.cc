// server_connection.cc: set-up as a conversation, requests and replies as plain functions. See the header.
#include "proxy/routing/server_connection.h"

#include <utility>

#include "common/log.h"
#include "proxy/resp/writer.h"
#include "proxy/routing/limits.h"

namespace sidestream::routing {
namespace {

constexpr std::string_view kRole = "*1\r\n$4\r\nROLE\r\n";
constexpr size_t kInputFirstBytes = 16 * 1024;
constexpr size_t kInputKeptBytes = 256 * 1024;
constexpr size_t kRequestsKeptBytes = 256 * 1024;
constexpr size_t kEntriesFirst = 16;

constexpr std::string_view kReadOnlyReplica = "-READONLY You can't write against a read only replica.";

/// What a replica says when it cannot serve reads just now; the primary can.
bool cannot_serve(std::string_view frame) {
  for (const std::string_view error : {"-LOADING", "-MASTERDOWN", "-BUSY ", "-NOAUTH"}) {
    if (frame.starts_with(error)) return true;
  }
  return false;
}

Error refused(std::string_view command, std::string_view reply) {
  return Error{Errc::refused, std::string(command) + ": " + std::string(reply.substr(1, reply.find('\r') - 1))};
}

}  // namespace

ServerConnection::ServerConnection(World& world, FreshnessMap& freshness, ConnectionOwner& owner, ReplySink& sink,
                                   ConnectionPlan plan)
    : world_(world),
      freshness_(freshness),
      owner_(owner),
      sink_(sink),
      timings_(sink.timings()),
      latency_(owner.latency()),
      plan_(std::move(plan)),
      input_(kInputFirstBytes, kInputKeptBytes),
      flush_node_(*this) {}

ServerConnection::~ServerConnection() { CHECK(state_ == State::down || entries_count_ == 0); }

void ServerConnection::open() { tasks_.add(run()); }

Task<void> ServerConnection::run() {
  auto end = co_await serve();
  fail(std::move(end).error());
}

Task<Result<void>> ServerConnection::serve() {
  auto step = set_up();
  auto up = co_await with_timeout(world_.clock, limits::kConnectTimeoutMs, "connecting", std::move(step));
  CO_RETURN_IF_ERROR(up);
  state_ = State::ready;
  opened_ = true;
  owner_.connection_ready(*this);
  while (state_ == State::ready) {
    if (stopped_) {
      co_await goes_on_.wait();
      auto passed = on_bytes();
      CO_RETURN_IF_ERROR(passed);
      continue;
    }
    const std::span<char> room = input_.room();
    auto n = co_await stream_->read(room);
    CO_RETURN_IF_ERROR(n);
    if (n.value() == 0) co_return Error{Errc::closed, "the server closed the connection"};
    input_.filled(n.value());
    auto understood = on_bytes();
    CO_RETURN_IF_ERROR(understood);
  }
  co_return Error{Errc::closed, "no longer needed"};
}

Task<Result<void>> ServerConnection::set_up() {
  auto stream = co_await world_.network.connect(plan_.address);
  CO_RETURN_IF_ERROR(stream);
  stream_ = std::move(stream).value();
  std::vector<std::string> requests;
  if (!plan_.password.empty()) {
    requests.push_back(plan_.user.empty() ? resp::command({"AUTH", plan_.password})
                                          : resp::command({"AUTH", plan_.user, plan_.password}));
  }
  if (plan_.protocol == 3) requests.push_back(resp::command({"HELLO", "3"}));
  if (plan_.db != 0) requests.push_back(resp::command({"SELECT", std::to_string(plan_.db)}));
  for (std::string& request : requests) {
    const std::string name = request.substr(request.find("\r\n", 4) + 2, 6);
    auto reply = co_await ask(std::move(request));
    CO_RETURN_IF_ERROR(reply);
    if (reply.value().starts_with('-')) co_return refused(name.substr(0, name.find('\r')), reply.value());
  }
  if (plan_.is_instance) {
    std::string request = resp::command({"SIDESTREAM", "READS", plan_.is_primary ? "primary" : "fresh"});
    auto ignored = co_await ask(std::move(request));
    CO_RETURN_IF_ERROR(ignored);
  }
  if (plan_.is_private) {
    std::string request = resp::command({"CLIENT", "ID"});
    auto id = co_await ask(std::move(request));
    CO_RETURN_IF_ERROR(id);
    client_id_ = id.value().starts_with(':') ? std::strtoll(id.value().c_str() + 1, nullptr, 10) : 0;
  }
  const uint64_t ticket = plan_.is_primary ? freshness_.role_sent() : 0;
  std::string role{kRole};
  auto reply = co_await ask(std::move(role));
  CO_RETURN_IF_ERROR(reply);
  const auto offset = owner_.role_offset(reply.value());
  if (!plan_.is_primary && plan_.is_guest && !offset) co_return refused("ROLE", reply.value());  // it proves nothing
  if (!plan_.is_primary) co_return Result<void>();
  if (plan_.is_guest && reply.value().starts_with("-NOPERM")) co_return Result<void>();  // our own connections ask
  if (reply.value().starts_with("-BUSY")) co_return Result<void>();  // SCRIPT KILL has to get through
  if (!offset && reply.value().starts_with('-')) co_return refused("ROLE", reply.value());
  if (!offset) co_return Error{Errc::refused, "it is not a primary"};
  freshness_.role_answered(ticket, *offset);
  co_return Result<void>();
}

Task<Result<std::string>> ServerConnection::ask(std::string request) {
  stream_->write(request);
  co_return co_await read_reply();
}

Task<Result<std::string>> ServerConnection::read_reply() {
  for (;;) {
    const auto found = input_.empty() ? resp::ReplyScanner::State::incomplete : scanner_.scan(input_.view());
    if (found == resp::ReplyScanner::State::bad) co_return Error{Errc::protocol, "not a Redis server"};
    if (found == resp::ReplyScanner::State::complete) {
      std::string reply(input_.view().substr(0, scanner_.size()));
      input_.consume(scanner_.size());
      scanner_.reset();
      co_return reply;
    }
    const std::span<char> room = input_.room();
    auto n = co_await stream_->read(room);
    CO_RETURN_IF_ERROR(n);
    if (n.value() == 0) co_return Error{Errc::closed, "the server closed the connection"};
    input_.filled(n.value());
  }
}

// --- requests ------------------------------------------------------------------------------------------------------

bool ServerConnection::full() const { return requests_.size() - answered_ >= limits::kInFlightBytesMax; }

void ServerConnection::push(Entry entry, std::string_view request) {
  DCHECK(ready());
  if (batch_us_ == 0) batch_us_ = world_.clock.now_us();
  entry.sent_us = batch_us_;
  if (entries_count_ == entries_.size()) grow();
  if (entry.kind == Kind::write) ++writes_owed_;
  this->entry(entries_count_++) = entry;
  requests_.append(request);
  was_full_ |= full();
  ReadyQueue::current().post_gathered(flush_node_);
}

void ServerConnection::grow() {
  std::vector<Entry> larger(entries_.empty() ? kEntriesFirst : entries_.size() * 2);
  for (size_t i = 0; i < entries_count_; ++i) larger[i] = entry(i);
  entries_ = std::move(larger);
  entries_first_ = 0;
}

void ServerConnection::push_role(RoleUse use) {
  if (plan_.is_primary) use.ticket = freshness_.role_sent();
  roles_.push_back(std::move(use));
  push({Kind::role, kRole.size(), {}}, kRole);
}

WriteBatch& ServerConnection::marks() {
  if (!turn_marks_) turn_marks_ = freshness_.open();
  return *turn_marks_;
}

void ServerConnection::send_read(std::string_view request, const ReplyTo& to, std::optional<ReplOffset> need) {
  if (need && !reads_proven_this_turn_) {
    reads_proven_this_turn_ = true;
    push_role({.first_of_reads = true});
  }
  push({Kind::read, request.size(), to, need.value_or(ReplOffset{-1})}, request);
}

void ServerConnection::send_private(std::string_view request, const ReplyTo& to, FreshnessMap::Batch noted,
                                    bool timed) {
  push({Kind::write, request.size(), to}, request);
  if (!timed) entry(entries_count_ - 1).sent_us = 0;
  if (!noted || noted->empty()) return;
  freshness_.apply(*noted);
  push_role({.batch = std::move(noted)});
}

void ServerConnection::begin_request(std::string_view bytes, const ReplyTo& to, FreshnessMap::Batch noted) {
  DCHECK(plan_.is_private && !unfinished_);
  push({Kind::write, 0, to}, {});
  flush();  // what goes before it
  flush_node_.unlink();
  unfinished_ = true;
  if (noted && !noted->empty()) {
    freshness_.apply(*noted);
    marked_ = std::move(noted);
  }
  pass_request(bytes);
}

void ServerConnection::pass_request(std::string_view bytes) {
  stream_->write(bytes);
  if (congested() && !awaits_flow_) tasks_.add(report_flow());
}

bool ServerConnection::congested() const { return stream_->unsent() > limits::kLargeWindowBytes; }

Task<void> ServerConnection::report_flow() {
  awaits_flow_ = true;
  auto drained = co_await stream_->drained(limits::kLargeWindowBytes / 2);
  awaits_flow_ = false;
  if (drained.ok()) sink_.request_flows(borrower);  // else the reader tells
}

void ServerConnection::end_request() {
  unfinished_ = false;
  if (marked_) push_role({.batch = std::move(marked_)});
}

void ServerConnection::select(int db) {
  if (plan_.db == db) return;
  plan_.db = db;
  send_silent(resp::command({"SELECT", std::to_string(db)}));
}

void ServerConnection::ask_role(uint64_t fence_id) { push_role({.fence_id = fence_id}); }

void ServerConnection::send_feed(std::string_view request) {
  requests_.append(request);
  ReadyQueue::current().post_gathered(flush_node_);
}

void ServerConnection::flush() {
  reads_proven_this_turn_ = false;
  batch_us_ = 0;
  if (state_ != State::ready) return;
  if (turn_marks_) {
    push_role({.batch = std::move(turn_marks_)});
    flush_node_.unlink();
  }
  stream_->write(std::string_view(requests_).substr(flushed_));
  flushed_ = requests_.size();
  drop_answered_requests();
}

void ServerConnection::drop_answered_requests() {
  const bool none_owed = entries_count_ == 0 && flushed_ == requests_.size();
  if (none_owed) answered_ = requests_.size();
  if (answered_ == requests_.size()) {
    if (requests_.capacity() > kRequestsKeptBytes) requests_ = std::string();  // `= {}` would keep the room
    requests_.clear();
    answered_ = flushed_ = 0;
  } else if (answered_ > kRequestsKeptBytes && answered_ > requests_.size() / 2) {
    requests_.erase(0, answered_);
    flushed_ -= answered_;
    answered_ = 0;
  }
}

// --- replies -------------------------------------------------------------------------------------------------------

ServerConnection::Entry ServerConnection::pop() {
  const Entry entry = front();
  ++entries_first_;
  --entries_count_;
  if (entry.kind == Kind::write) --writes_owed_;
  return entry;
}

ServerConnection::RoleUse ServerConnection::pop_role() {
  RoleUse use = std::move(roles_.front());
  roles_.pop_front();
  return use;
}

Result<void> ServerConnection::on_bytes() {
  answered_us_ = world_.clock.now_us();
  auto taken = take_frames();
  count_alike();
  drop_answered_requests();
  return taken;
}

Result<void> ServerConnection::take_frames() {
  while (!input_.empty() && state_ == State::ready) {
    const auto found = scanner_.scan(input_.view());
    if (found == resp::ReplyScanner::State::bad) return Error{Errc::protocol, "a reply that is not RESP"};
    if (found == resp::ReplyScanner::State::incomplete || large_ != Large::none) {
      auto passed = on_large(found == resp::ReplyScanner::State::complete);
      RETURN_IF_ERROR(passed);
      if (!passed.value()) return {};
      continue;
    }
    const size_t size = scanner_.size();
    auto done = on_frame(input_.view().substr(0, size));
    RETURN_IF_ERROR(done);
    input_.consume(size);
    scanner_.reset();
  }
  if (was_full_ && requests_.size() - answered_ < limits::kInFlightBytesMax / 2) {
    was_full_ = false;
    owner_.connection_relieved();
  }
  if (retiring_ && entries_count_ == 0) return Error{Errc::closed, "no longer needed"};
  return {};
}

Result<void> ServerConnection::on_frame(std::string_view frame) {
  ++frames_;
  if (frame[0] == '>' || (feed_ && entries_count_ == 0)) {
    sink_.frame(*this, frame);
    return {};
  }
  if (entries_count_ == 0) return Error{Errc::protocol, "a reply that nobody asked for"};
  const Entry entry = pop();
  const std::string_view request = std::string_view(requests_).substr(answered_, entry.request_bytes);
  answered_ += entry.request_bytes;
  switch (entry.kind) {
    case Kind::silent:
      break;
    case Kind::role:
      on_role(pop_role(), frame);
      break;
    case Kind::read:
      took(entry, request, frame);
      on_read(entry, request, frame);
      break;
    case Kind::again:
      took(entry, request, frame);
      if (!demoted_) {
        sink_.reply(entry.to, frame);
      } else {
        move(entry, request, false);
      }
      break;
    case Kind::write:
      took(entry, request, frame);
      on_write(entry, request, frame);
      break;
  }
  if (unfinished_ && entries_count_ == 0) return Error{Errc::closed, "it answered before the request was complete"};
  return {};
}

void ServerConnection::took(const Entry& entry, std::string_view request, std::string_view frame) {
  if (entry.sent_us == 0) return;
  const bool writes = entry.kind == Kind::write;
  if (entry.sent_us != alike_.sent_us || writes != alike_.writes) {
    count_alike();
    alike_ = {entry.sent_us, answered_us_ - entry.sent_us, writes, 0};
  }
  ++alike_.count;
  if (frame[0] == '-') ++timings_.routes[plan_.is_primary ? 0 : 1].errors;
  if (alike_.us >= timings_.slow_above_us) sink_.slow(*this, entry.to, request, alike_.us);
}

void ServerConnection::count_alike() {
  const Alike alike = std::exchange(alike_, {});
  if (alike.count == 0) return;
  const Work work = plan_.is_private ? Work::alone : alike.writes ? Work::write : Work::read;
  timings_.routes[plan_.is_primary ? 0 : 1].took[static_cast<size_t>(work)].record(alike.us, alike.count);
  latency_.record(alike.us, alike.count);
}

void ServerConnection::on_read(const Entry& entry, std::string_view request, std::string_view frame) {
  const bool fresh = !demoted_ && (entry.need.value < 0 || proven_ >= entry.need);
  if (fresh && (plan_.is_primary || !cannot_serve(frame))) return sink_.reply(entry.to, frame);
  move(entry, request, false);
}

void ServerConnection::on_write(const Entry& entry, std::string_view request, std::string_view frame) {
  // Another instance passes writes on; if it refuses one, that is its answer.
  // On a private connection a script may have said so, and what went before it may matter.
  const bool refused =
      plan_.is_primary && !plan_.is_instance && !plan_.is_private && frame.starts_with(kReadOnlyReplica);
  if (!refused) return sink_.reply(entry.to, frame);
  step_down();
  move(entry, request, true);
}

/// The server became a replica. What was sent is still answered: the writes among it with a refusal.
void ServerConnection::step_down() {
  if (std::exchange(demoted_, true)) return;
  sink_.primary_refuses();
  owner_.connection_demoted(*this);
}

void ServerConnection::move(const Entry& entry, std::string_view request, bool write) {
  sink_.move({entry.to, request, plan_.protocol, plan_.db, write, plan_.is_private});
}

void ServerConnection::on_role(RoleUse use, std::string_view frame) {
  const auto offset = owner_.role_offset(frame);
  if (use.first_of_reads) proven_ = offset.value_or(ReplOffset{-1});
  if (use.fence_id != 0) sink_.fence(use.fence_id, offset.value_or(ReplOffset{-1}));
  if (use.batch) {
    offset ? freshness_.settle(std::move(use.batch), *offset) : freshness_.orphan(std::move(use.batch));
  }
  if (use.ticket != 0 && offset) freshness_.role_answered(use.ticket, *offset);
  if (plan_.is_primary && !offset && !frame.starts_with('-')) step_down();
}

// --- the end -------------------------------------------------------------------------------------------------------

void ServerConnection::retire() {
  retiring_ = true;
  if (state_ == State::opening || entries_count_ == 0) close();
}

void ServerConnection::close() {
  retiring_ = true;
  fail(Error{Errc::closed, "no longer needed"});
}

void ServerConnection::fail(Error error) {
  if (state_ == State::down) return;
  state_ = State::down;
  flush_node_.unlink();
  give_back_everything();
  owner_.connection_down(*this, error);
}

void ServerConnection::give_back_everything() {
  size_t at = answered_;
  if (large_ == Large::waiting || large_ == Large::passing) {
    sink_.large_lost(front().to, *this, large_ == Large::passing);
    if (large_ == Large::passing) at += pop().request_bytes;
  }
  while (entries_count_ > 0) {
    const Entry entry = pop();
    const std::string_view request = std::string_view(requests_).substr(at, entry.request_bytes);
    at += entry.request_bytes;
    if (unfinished_ && entries_count_ == 0) {
      sink_.cut_short(entry.to);
      break;
    }
    give_back(entry, request, at <= flushed_);
  }
  if (turn_marks_) freshness_.forget(std::move(turn_marks_));
  if (marked_) freshness_.forget(std::move(marked_));  // a server does nothing before it has all of a request
}

void ServerConnection::give_back_role(RoleUse use, bool sent) {
  if (use.batch) sent ? freshness_.orphan(std::move(use.batch)) : freshness_.forget(std::move(use.batch));
  if (use.fence_id != 0) sink_.fence(use.fence_id, ReplOffset{-1});
}

void ServerConnection::give_back(const Entry& entry, std::string_view request, bool sent) {
  switch (entry.kind) {
    case Kind::silent:
      break;
    case Kind::role:
      give_back_role(pop_role(), sent);
      break;
    case Kind::read:
      move(entry, request, false);
      break;
    case Kind::again:
      sink_.lost(entry.to, true);
      break;
    case Kind::write:
      // What only a private connection may carry (it may block, or depends on what went before) is not moved.
      if (sent || plan_.is_private) {
        sink_.lost(entry.to, false);
      } else {
        move(entry, request, true);
      }
      break;
  }
}

bool ServerConnection::alive() { return ready() && !retiring_ && stream_ && !stream_->broken(); }

bool ServerConnection::stalled(int64_t now_ms, int64_t limit_ms) {
  if (entries_count_ == 0 || frames_ != frames_seen_ || stopped_ || state_ != State::ready) {
    frames_seen_ = frames_;
    progress_ms_ = now_ms;
  }
  return now_ms - progress_ms_ > limit_ms;
}

}  // namespace sidestream::routing
