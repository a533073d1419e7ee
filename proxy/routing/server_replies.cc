// server_replies.cc: replies of a server connection that are too large to be gathered. See server_connection.h.
//
// Happy path: a reply larger than ReplySink::stream_above() is passed on as it arrives; the entry it answers stays in
// front until its end. While the client takes no more, or it is not the client's turn yet, the connection is not read.
// Nobody waits behind it for long: on a shared connection it is taken out of sharing at once, and the reads that are
// queued behind it are given back to be asked elsewhere (their late replies are dropped), except those of clients that
// have writes on this connection too, which would get out of order. Those and the writes wait until the reply is
// through, or until its client has read nothing for so long that it is closed, and the rest is thrown away at the
// speed of the server.
//
// Why waiting for a turn cannot end in a circle: reply L waits at the head of connection C for an earlier reply E of
// the same client, owed by another connection. If E stands behind the large reply of another client there, it is a
// read whose client has no write on that connection (all writes of a client in flight are on one connection, and a
// client whose writes are on C has none elsewhere), so it was given back and is on its way on a connection without a
// large reply. Either it is answered, or a large reply turns up there as well, and it moves on.
#include <unordered_set>
#include <utility>

#include "proxy/routing/server_connection.h"

namespace sidestream::routing {

/// What is there of the reply in front. True: look at the bytes behind it; false: there are none, or they must wait.
Result<bool> ServerConnection::on_large(bool complete) {
  if (large_ == Large::none || large_ == Large::waiting) {
    if (large_ == Large::none && std::max(scanner_.understood(), input_.size()) <= sink_.stream_above()) return false;
    large_ = begin_large();
    moved_ms_ = world_.clock.now_ms();
    stopped_ = large_ == Large::waiting;
    if (stopped_ || large_ == Large::none || state_ != State::ready) return false;
  }
  ++frames_;
  const size_t size = std::min(scanner_.understood(), input_.size());
  const std::string_view bytes = input_.view().substr(0, size);
  if (complete) {
    end_large(bytes);
    input_.consume(size);
    scanner_.reset();
    if (unfinished_ && entries_count_ == 0) return Error{Errc::closed, "it answered before the request was complete"};
    return true;
  }
  const Turn turn = large_ == Large::passing && size > 0 ? sink_.pass_large(front().to, bytes) : Turn::now;
  if (turn == Turn::never) large_ = Large::dropping;
  stopped_ = turn == Turn::later && large_ == Large::passing;  // the client may have gone in the middle of it
  if (!stopped_) moved_ms_ = world_.clock.now_ms();
  scanner_.forget(size);
  input_.consume(size);
  return false;
}

/// none: it has to be gathered (a push, a message of a feed).
ServerConnection::Large ServerConnection::begin_large() {
  if (entries_count_ == 0 || input_.view()[0] == '>') return Large::none;
  Entry& first = front();
  if (first.kind == Kind::role) return Large::none;
  if (first.kind == Kind::silent) return Large::dropping;
  const std::string_view request = std::string_view(requests_).substr(answered_, first.request_bytes);
  if (first.kind == Kind::read && first.need.value >= 0 && proven_ < first.need) {
    first.kind = Kind::silent;
    sink_.move({first.to, request, plan_.protocol, plan_.db, false, plan_.is_private});
    return Large::dropping;
  }
  const Turn turn = sink_.begin_large(first.to, *this);
  if (turn == Turn::whole) return Large::none;
  if (turn == Turn::never) return Large::dropping;
  if (!plan_.is_private && !std::exchange(occupied_, true)) {
    if (first.kind != Kind::write) sink_.learn_large(request);
    occupy();
  }
  return turn == Turn::now ? Large::passing : Large::waiting;
}

void ServerConnection::end_large(std::string_view bytes) {
  const Entry answered = pop();
  answered_ += answered.request_bytes;
  const Large was = std::exchange(large_, Large::none);
  if (was == Large::passing) sink_.end_large(answered.to, *this, bytes);
  drop_answered_requests();
}

void ServerConnection::occupy() {
  owner_.connection_occupied(*this);
  give_back_reads_behind();
}

void ServerConnection::give_back_reads_behind() {
  std::unordered_set<uint64_t> writers;
  for (size_t i = 0; i < entries_count_; ++i) {
    if (entry(i).kind == Kind::write) writers.insert(entry(i).to.session_id);
  }
  size_t at = answered_ + front().request_bytes;
  for (size_t i = 1; i < entries_count_; ++i) {
    Entry& behind = entry(i);
    const std::string_view request = std::string_view(requests_).substr(at, behind.request_bytes);
    at += behind.request_bytes;
    const bool is_read = behind.kind == Kind::read || behind.kind == Kind::again;
    if (!is_read || writers.contains(behind.to.session_id)) continue;
    behind.kind = Kind::silent;
    sink_.move({std::exchange(behind.to, {}), request, plan_.protocol, plan_.db, false, false});
  }
}

void ServerConnection::read_on() {
  if (!std::exchange(stopped_, false)) return;
  goes_on_.notify_all();
}

void ServerConnection::reader_gone() {
  if (large_ == Large::waiting || large_ == Large::passing) large_ = Large::dropping;
  read_on();
}

void ServerConnection::check_reader(int64_t now_ms, int64_t limit_ms) {
  if (!stopped_ || !occupied_ || now_ms - moved_ms_ <= limit_ms) return;
  bool others = false;
  for (size_t i = 1; i < entries_count_; ++i) {
    const uint64_t who = entry(i).to.session_id;
    others |= who != 0 && who != front().to.session_id;
  }
  if (others) sink_.slow_reader(front().to);
}

void ServerConnection::share(int db) {
  plan_.is_private = false;
  select(db);
}

}  // namespace sidestream::routing
