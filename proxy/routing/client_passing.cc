// client_passing.cc: a client that goes to the process that takes our place (Core::pass_clients()), and how it arrives
// there.
//
// It goes between two requests, when nothing is owed to it. One that is in the middle of something - a transaction, a
// subscription, a blocking command, a value that is passed on in pieces - stays until that is over.
#include <utility>

#include "proxy/routing/client_session.h"
#include "proxy/routing/core.h"
#include "proxy/routing/limits.h"

namespace sidestream::routing {
namespace {

constexpr size_t kPassedBytesMax = kParcelBytesMax / 2;
constexpr uint64_t kForgottenBatch = UINT64_MAX;  // it wrote, and where is to be asked

}  // namespace

/// Before the next request: whether it has to wait until what is under way has been answered.
bool ClientSession::must_wait() {
  const bool full =
      replies_.owed() >= limits::kRepliesPendingMax || replies_.owed_bytes() >= limits::kRepliesPendingBytes;
  if (core_.clients_leave && may_leave()) {
    if (replies_.owed() == 0) {
      begin_to_leave();
    } else {
      pause(Pause::drained);
    }
    return true;
  }
  if (!awaits_moved_ && !full) return false;  // it stays, and goes on
  pause(Pause::drained);
  return true;
}

bool ClientSession::may_leave() const {
  const bool free = pause_ == Pause::none || pause_ == Pause::drained || pause_ == Pause::server;
  const bool bound = lease_ != nullptr || has_feed() || subscribed() || redirected_to_ || login_.guest || tracks() ||
                     in_transaction() || (transaction_ && (transaction_->watching || transaction_->ending)) ||
                     script_ || (large_ && large_->passing) || (large_replies_ && !large_replies_->from.empty()) ||
                     output_watched_;
  const bool ends = closing_ || handing_over_ || input_ended_;
  return free && !bound && !ends && input_.size() + stream_->unsent() <= kPassedBytesMax && can_be_passed(*stream_);
}

void ClientSession::leave_if_idle() {
  if (may_leave() && replies_.owed() == 0) begin_to_leave();
}

void ClientSession::begin_to_leave() {
  handing_over_ = true;
  end_hold();
  tasks_.add(leave());
}

/// In a turn of its own, when the reader has let go of the stream.
Task<void> ClientSession::leave() {
  co_await core_.world.clock.sleep(0);
  flush();
  reader_.cancel_all();
  PassedClient client;
  client.id = id_;
  client.face = face_;
  client.reserved = reserved_;
  client.user = login_.user->name();
  client.authenticated = login_.authenticated;
  client.protocol = protocol_;
  client.db = db_;
  client.name = name_;
  client.library_name = library_name_;
  client.library_version = library_version_;
  client.policy = policy_;
  client.read_after = read_after_.value;
  client.has_written = last_batch_ != 0;
  client.no_evict = no_evict_;
  client.reply_mode = static_cast<int>(reply_mode_);
  client.age_ms = core_.world.clock.now_ms() - created_ms_;
  client.input = input_.view();
  core_.host.pass_client(core_.world.network.release(std::move(stream_)), std::move(client));
  core_.remove(*this);
}

void ClientSession::restore(PassedClient client) {
  auto user = core_.users->find(client.user);
  if (user == nullptr) return finish();  // the new configuration does not know him
  become(std::move(user), client.authenticated);
  protocol_ = client.protocol;
  db_ = client.db;
  name_ = std::move(client.name);
  library_name_ = std::move(client.library_name);
  library_version_ = std::move(client.library_version);
  policy_ = client.policy;
  read_after_ = ReplOffset{client.read_after};
  last_batch_ = client.has_written ? kForgottenBatch : 0;
  no_evict_ = client.no_evict;
  reply_mode_ = static_cast<ReplyMode>(client.reply_mode);
  created_ms_ -= client.age_ms;
  std::string_view rest = client.input;
  while (!rest.empty()) {
    const std::span<char> room = input_.room();
    const size_t n = std::min(room.size(), rest.size());
    rest.copy(room.data(), n);
    input_.filled(n);
    rest.remove_prefix(n);
  }
  if (!input_.empty()) ReadyQueue::current().post(process_node_);
}

}  // namespace sidestream::routing
