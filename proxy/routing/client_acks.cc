// client_acks.cc: writes whose replies wait for replicas (write_acks.h), as their session sees them.
//
// A reply that waits is still owed, so nothing about the order of replies changes. Only success is held back: an error
// is passed on at once, and so is the nil of what did not come to be executed (EXEC, a blocking command).
#include <algorithm>

#include "proxy/routing/client_session.h"
#include "proxy/routing/core.h"

namespace sidestream::routing {
namespace {

bool is_nil(std::string_view frame) { return frame == "*-1\r\n" || frame == "$-1\r\n" || frame == "_\r\n"; }

}  // namespace

void ClientSession::await_acks(uint64_t sequence, uint64_t batch) {
  if (!acks_) acks_ = std::make_unique<AwaitedAcks>();
  const bool may_be_void = blocking_ || (transaction_ && transaction_->ending);
  acks_->sent.push_back({sequence, batch, core_.acks.era(), core_.servers.primary_serial(), may_be_void});
}

bool ClientSession::awaits_acks(uint64_t sequence) const {
  return acks_ && std::any_of(acks_->sent.begin(), acks_->sent.end(),
                              [sequence](const AwaitedWrite& each) { return each.sequence == sequence; });
}

void ClientSession::sent_again(uint64_t sequence, uint64_t batch) {
  if (!acks_) return;
  for (AwaitedWrite& each : acks_->sent) {
    if (each.sequence == sequence)
      each = {sequence, batch, core_.acks.era(), core_.servers.primary_serial(), each.may_be_void};
  }
}

/// The reply came. True: it waits.
bool ClientSession::holds_back(uint64_t sequence, std::string_view frame) {
  std::deque<AwaitedWrite>& sent = acks_->sent;
  const auto found =
      std::find_if(sent.begin(), sent.end(), [&](const auto& each) { return each.sequence == sequence; });
  if (found == sent.end()) return false;
  const AwaitedWrite write = *found;
  sent.erase(found);
  if (frame.empty() || frame[0] == '-' || (write.may_be_void && is_nil(frame))) return false;
  ++acks_->held;
  core_.acks.hold(reply_to(sequence), write, frame);
  return true;
}

void ClientSession::acknowledged(uint64_t sequence, std::string_view frame) {
  --acks_->held;
  deliver(sequence, frame);
}

}  // namespace sidestream::routing
