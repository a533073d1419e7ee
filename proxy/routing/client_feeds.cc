// client_feeds.cc: Pub/Sub and MONITOR: a private connection whose frames are the client's own.
//
// One command has many confirmations, so requests behind it wait until all have come; the names in them tell when the
// last subscription is gone and the connection can be given back. The channel on which Sentinels meet is served here
// for those who subscribe to nothing else, since it must work while every node is down.
//
// When the primary is left in a planned switch, the same is subscribed to at the next one before any held write, so no
// message is missed. When its connection breaks, messages may be: the client is closed, and knows.
#include <utility>

#include "common/text.h"
#include "proxy/resp/writer.h"
#include "proxy/routing/client_session.h"
#include "proxy/routing/core.h"

namespace sidestream::routing {
namespace {

struct Confirmation {
  std::string_view kind;                    // subscribe, punsubscribe, ...
  std::optional<std::string_view> channel;  // none: null
};

std::optional<std::string_view> take_bulk(std::string_view& bytes) {
  const size_t end = bytes.find("\r\n");
  if (end == std::string_view::npos || bytes[0] != '$') {
    bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + 2);
    return std::nullopt;
  }
  const auto length = parse_int(bytes.substr(1, end - 1));
  bytes.remove_prefix(end + 2);
  if (!length || *length < 0 || bytes.size() < static_cast<size_t>(*length) + 2) return std::nullopt;
  const std::string_view text = bytes.substr(0, static_cast<size_t>(*length));
  bytes.remove_prefix(text.size() + 2);
  return text;
}

std::optional<Confirmation> parse_confirmation(std::string_view frame) {
  const size_t end = frame.find("\r\n");
  if (end == std::string_view::npos || (frame[0] != '*' && frame[0] != '>')) return std::nullopt;
  frame.remove_prefix(end + 2);
  const auto kind = take_bulk(frame);
  if (!kind || !kind->ends_with("subscribe")) return std::nullopt;
  return Confirmation{*kind, take_bulk(frame)};
}

void append_three(std::string& out, int protocol, std::string_view kind) {
  out += protocol == 3 ? ">3\r\n" : "*3\r\n";
  resp::append_bulk(out, kind);
}

}  // namespace

ClientSession::Taken ClientSession::subscribe(const Entry& entry) {
  const Args channels = Args(request_.args).subspan(1);
  if (!subscriptions_) subscriptions_ = std::make_unique<Subscriptions>();
  if (move_.feed) return hold(false);
  if (feed_ == nullptr && subscribe_locally(entry.name, channels)) return Taken::yes;
  if (replies_.owed() > 0) return pause(Pause::drained);  // confirmations keep their place among replies
  if (feed_ == nullptr && !open_feed()) return hold(false);
  const NameSet& kept = subscriptions_->of(entry.name);
  confirmations_due_ = !channels.empty() ? channels.size() : std::max<size_t>(1, kept.size());
  pause_ = Pause::feed;
  feed_->send_feed(wire_request());
  return Taken::yes;
}

bool ClientSession::open_feed() {
  Target* primary = core_.servers.primary();
  feed_ = primary != nullptr ? borrow_from(*primary) : nullptr;
  if (feed_ == nullptr) return false;
  feed_->start_feed();
  if (!subscriptions_) return true;  // it is for invalidations alone
  const auto again = [this](std::string_view command, const NameSet& names) {
    if (names.empty()) return;
    std::vector<std::string_view> words(1, command);
    words.insert(words.end(), names.begin(), names.end());
    std::string request;
    resp::append_command(request, words);
    feed_->send_feed(request);
  };
  again("SUBSCRIBE", subscriptions_->channels);
  again("PSUBSCRIBE", subscriptions_->patterns);
  again("SSUBSCRIBE", subscriptions_->shards);
  confirmations_dropped_ = subscriptions_->count();
  return true;
}

void ClientSession::leave_feed(const ServerConnection& which) {
  const bool is_feed = &which == feed_;
  (is_feed ? feed_ : monitor_) = nullptr;
  const bool planned = core_.writes_held && which.closed_by_us();
  if (!planned || pause_ == Pause::feed || (is_feed && redirected_to_)) return kill();
  (is_feed ? move_.feed : move_.monitor) = true;
  confirmations_dropped_ = 0;
  move_.until_ms = core_.world.clock.now_ms() + core_.config.hold.timeout_ms;
  core_.wait_for_servers(reply_to(0));
}

void ClientSession::move_feeds() {
  if (move_.feed && open_feed()) move_.feed = false;
  if (move_.monitor && open_monitor()) {
    move_.monitor = false;
    move_.monitor_confirmed = false;
  }
  if (!move_.feed && !move_.monitor) return;
  if (core_.world.clock.now_ms() >= move_.until_ms) return kill();
  core_.wait_for_servers(reply_to(0));
}

/// What needs no server: the Sentinels' channel alone, and leaving while nothing else is subscribed to.
bool ClientSession::subscribe_locally(std::string_view name, Args channels) {
  NameSet& mine = subscriptions_->channels;
  std::string out;
  if (name == "subscribe") {
    if (face_ != Face::node || channels.size() != 1 || channels[0] != kHelloChannel) return false;
    if (mine.emplace(kHelloChannel).second) core_.hello_subscribers.push_back(reply_to(0));
    append_three(out, protocol_, name);
    resp::append_bulk(out, kHelloChannel);
    resp::append_integer(out, 1);
  } else if (name.find("unsubscribe") != std::string_view::npos) {
    const std::vector<std::string> all(mine.begin(), mine.end());
    std::vector<std::optional<std::string_view>> leaving(channels.begin(), channels.end());
    if (channels.empty() && name == "unsubscribe") leaving.assign(all.begin(), all.end());
    if (leaving.empty()) leaving.emplace_back();
    for (const auto& channel : leaving) {
      const bool left = channel && name == "unsubscribe" && mine.erase(std::string(*channel)) > 0;
      if (left) std::erase_if(core_.hello_subscribers, [&](const ReplyTo& each) { return each.session_id == id_; });
      append_three(out, protocol_, name);
      channel ? resp::append_bulk(out, *channel) : resp::append_null(out, protocol_);
      resp::append_integer(out, static_cast<int64_t>(name == "sunsubscribe" ? 0 : mine.size()));
    }
  } else {
    return false;
  }
  reply(out);
  return true;
}

void ClientSession::feed(const ServerConnection& from, std::string_view frame) {
  const auto confirmation = &from == feed_ ? parse_confirmation(frame) : std::nullopt;
  if (confirmation && confirmations_dropped_ > 0) {
    --confirmations_dropped_;
    return;
  }
  if (&from == monitor_ && !std::exchange(move_.monitor_confirmed, true)) return;
  if (confirmation) confirm(confirmation->kind, confirmation->channel);
  replies_.push(frame);
  ReadyQueue::current().post_turn_end(flush_node_);
  if (&from == monitor_ && pause_ == Pause::feed && confirmations_due_ == 0) return resume();  // its +OK
  const bool due = &from == feed_ && confirmations_due_ > 0 && (confirmation || frame[0] == '-');
  if (!due) return;
  confirmations_due_ = frame[0] == '-' ? 0 : confirmations_due_ - 1;
  if (confirmations_due_ > 0) return;
  if (!subscribed() && !redirected_to_) end_feed(true);
  if (pause_ == Pause::feed) resume();
}

void ClientSession::confirm(std::string_view kind, std::optional<std::string_view> channel) {
  if (!channel) return;
  NameSet& names = subscriptions_->of(kind);
  if (kind.find("unsubscribe") == std::string_view::npos) {
    names.emplace(*channel);
  } else if (const auto found = names.find(*channel); found != names.end()) {
    names.erase(found);
    if (*channel == kHelloChannel) {
      std::erase_if(core_.hello_subscribers, [&](const ReplyTo& each) { return each.session_id == id_; });
    }
  }
}

void ClientSession::end_feed(bool reusable) {
  ServerConnection* feed = std::exchange(feed_, nullptr);
  redirected_to_ = false;
  if (feed == nullptr) return;
  reusable ? core_.servers.give_back(*feed) : Servers::drop(*feed);
}

ClientSession::Taken ClientSession::monitor() {
  if (monitor_ != nullptr) return Taken::yes;  // stock answers nothing to a second one
  if (face_ == Face::read_only) return answer_error("ERR MONITOR is not available on this port");
  if (replies_.owed() > 0) return pause(Pause::drained);
  if (!open_monitor()) return hold(false);
  pause_ = Pause::feed;
  return Taken::yes;
}

bool ClientSession::open_monitor() {
  Target* primary = core_.servers.primary();
  monitor_ = primary != nullptr ? borrow_from(*primary) : nullptr;
  if (monitor_ == nullptr) return false;
  monitor_->start_feed();
  monitor_->send_feed(resp::command({"MONITOR"}));
  return true;
}

/// Stays here: Sentinels watch the instances, not the nodes behind them.
ClientSession::Taken ClientSession::publish_hello() {
  pause_ = Pause::step;
  tasks_.add(tell_hello(std::string(request_.args[2])));
  return Taken::yes;
}

Task<void> ClientSession::tell_hello(std::string payload) {
  auto heard = std::make_shared<int64_t>(0);
  Visit visit = [heard, payload = std::move(payload)](Core& core) {
    for (const ReplyTo& each : core.hello_subscribers) {
      ClientSession* session = core.sessions.find(each.place, each.session_id);
      if (session == nullptr) continue;
      session->hear_hello(payload);
      ++*heard;
    }
  };
  co_await core_.everywhere(std::move(visit));
  std::string frame;
  resp::append_integer(frame, *heard);
  finish_step(frame);
}

void ClientSession::hear_hello(std::string_view payload) {
  std::string message;
  append_three(message, protocol_, "message");
  resp::append_bulk(message, kHelloChannel);
  resp::append_bulk(message, payload);
  replies_.push(message);
  ReadyQueue::current().post_turn_end(flush_node_);
}

}  // namespace sidestream::routing
