// client_tracking.cc: CLIENT TRACKING and what belongs to it.
//
// A server invalidates what was read through one of its connections, so a client that tracks has a private connection
// to the primary for all it does until it turns tracking off; writes of everybody pass the primary, which tells.
// REDIRECT names another client by the number that we gave it: its messages come by a connection of its own at the same
// server, whose number there is put in place of ours. Failure modes: when one of these connections breaks its client is
// closed, since invalidations may have been missed.
#include <memory>
#include <utility>

#include "common/text.h"
#include "proxy/resp/writer.h"
#include "proxy/routing/client_session.h"
#include "proxy/routing/core.h"

namespace sidestream::routing {

ClientSession::Taken ClientSession::tracking(const Entry& entry) {
  const Args args = request_.args;
  const bool on = entry.name == "client|tracking" && iequals(args[2], "on");
  if (entry.name == "client|getredir" && lease_use_ != LeaseUse::pinned) {
    std::string frame;
    resp::append_integer(frame, tracks() ? static_cast<int64_t>(tracking_->redirect) : -1);
    return answer(frame);
  }
  if (replies_.owed() > 0) return pause(Pause::drained);
  if (!tracking_) tracking_ = std::make_unique<Tracking>();
  Tracking& now = *tracking_;
  now.step = on ? Tracking::Step::on : entry.name == "client|tracking" ? Tracking::Step::off : Tracking::Step::other;
  if (!on) return private_command(entry, false);
  core_.encoded.assign(wire_request());
  if (auto taken = name_redirect(core_.encoded)) return *taken;
  if (lease_ == nullptr && !borrow_lease(LeaseUse::one_command)) return hold(false);
  pause_ = Pause::reply;
  lease_->send_private(core_.encoded, reply_to(expect(Lane::primary, {})), nullptr);
  return Taken::yes;
}

/// Puts the server's number for the client that is redirected to into `request`; Taken: not now, or refused.
std::optional<ClientSession::Taken> ClientSession::name_redirect(std::string& request) {
  const Args args = request_.args;
  size_t at = 3;
  while (at + 1 < args.size() && !iequals(args[at], "redirect")) at += iequals(args[at], "prefix") ? 2 : 1;
  const auto id = at + 1 < args.size() ? parse_int(args[at + 1]) : std::nullopt;
  if (!id) {  // none, or one that the server refuses in its own words
    tracking_->asked_redirect = 0;
    return std::nullopt;
  }
  const auto found = std::exchange(tracking_->found, std::nullopt);
  tracking_->asked_redirect = static_cast<uint64_t>(*id);
  if (!found) {
    pause_ = Pause::step;
    tasks_.add(find_redirect(tracking_->asked_redirect));
    return Taken::not_yet;
  }
  if (*found < 0) return answer_error("ERR The client ID you want redirect to does not exist");
  if (*found == 0) return hold(false);
  tracking_->server_id = *found;
  const std::string server_id = std::to_string(*found);
  std::vector<std::string_view> words(args.begin(), args.end());
  words[at + 1] = server_id;
  request.clear();
  resp::append_command(request, words);
  return std::nullopt;
}

/// It may be a client of another loop. The request is run again then.
Task<void> ClientSession::find_redirect(uint64_t id) {
  auto found = std::make_shared<int64_t>(-1);
  Visit visit = [id, found](Core& core) {
    ClientSession* target = core.sessions.find(id);
    if (target != nullptr) *found = target->receives_invalidations() ? target->feed_->client_id() : 0;
  };
  co_await core_.everywhere(std::move(visit));
  tracking_->found = *found;
  resume();
}

/// Others redirect to it: it has a connection for that, and keeps it until it ends.
bool ClientSession::receives_invalidations() {
  if (feed_ == nullptr && !open_feed()) return false;
  redirected_to_ = true;
  return true;
}

/// The reply to one of these commands, with our numbers in it.
std::string ClientSession::tracking_reply(std::string_view frame) {
  std::string mapped(frame);
  const std::string theirs = "redirect\r\n:" + std::to_string(tracking_->server_id) + "\r\n";
  const size_t at = tracking_->redirect != 0 ? mapped.find(theirs) : std::string::npos;
  if (at == std::string::npos) return mapped;
  return mapped.replace(at, theirs.size(), "redirect\r\n:" + std::to_string(tracking_->redirect) + "\r\n");
}

void ClientSession::finish_tracking(std::string_view frame) {
  const Tracking::Step step = std::exchange(tracking_->step, Tracking::Step::none);
  const bool ok = frame.starts_with("+OK");
  if (ok && step == Tracking::Step::on) {
    tracking_->on = true;
    tracking_->redirect = tracking_->asked_redirect;
    if (lease_ != nullptr && lease_use_ != LeaseUse::pinned) lease_use_ = LeaseUse::tracking;
  } else if (ok && step == Tracking::Step::off) {
    *tracking_ = {};
    if (lease_use_ != LeaseUse::tracking) return;
    const bool watching = transaction_ && transaction_->watching;
    lease_use_ = watching ? LeaseUse::transaction : LeaseUse::one_command;  // given back as soon as may be
  }
}

}  // namespace sidestream::routing
