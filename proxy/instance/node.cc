// node.cc: see node.h.
#include "proxy/instance/node.h"

#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/text.h"
#include "proxy/replication/attach_plan.h"
#include "proxy/resp/writer.h"

namespace sidestream::instance {
namespace {

constexpr int64_t kStepTimeoutMs = 1000;
constexpr int64_t kLookEveryMs = 1000;
constexpr int64_t kReconnectMs = 20;  // the first pause; each further one is twice as long, up to kLookEveryMs
constexpr int64_t kSettlingLookEveryMs = 100;
constexpr int64_t kPlanMs = 1;  // until a plan is made from what was seen

std::string as_reply(const resp::Value& value) {
  std::string out;
  if (value.is_error()) {
    resp::append_error(out, value.text);
  } else {
    resp::append_simple(out, value.text);
  }
  return out;
}

int64_t number(std::string_view text, int64_t otherwise) { return parse_int(text).value_or(otherwise); }

/// The desk is one conversation: the next question waits until this one is answered.
class DeskTurn {
 public:
  DeskTurn(bool& busy, Signal& freed) : busy_(busy), freed_(freed) { busy_ = true; }
  DeskTurn(const DeskTurn&) = delete;
  DeskTurn& operator=(const DeskTurn&) = delete;
  ~DeskTurn() {
    busy_ = false;
    freed_.notify_all();
  }

 private:
  bool& busy_;
  Signal& freed_;
};

/// Counts those who wait, on every way out.
class Waiting {
 public:
  explicit Waiting(int& count) : count_(count) { ++count_; }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  ~Waiting() { --count_; }

 private:
  int& count_;
};

}  // namespace

Node::Node(World& world, const Config& config, NodeConfig identity, bool is_upstream, Owner& owner)
    : world_(world), config_(config), identity_(std::move(identity)), is_upstream_(is_upstream), owner_(owner) {
  view_.name = identity_.address.text();
}

void Node::start() { tasks_.add(watch()); }

bool Node::heard_within(int64_t ms) const { return heard_ms_ >= 0 && world_.clock.now_ms() - heard_ms_ <= ms; }

bool Node::linked_within(int64_t ms) const { return linked_ms_ >= 0 && world_.clock.now_ms() - linked_ms_ <= ms; }

replication::Credentials Node::credentials() const { return {config_.masteruser, config_.masterauth}; }

void Node::set_duty(Duty duty) {
  if (duty == duty_) return;
  duty_ = duty;
  look_.notify_all();
}

Task<void> Node::watch() {
  // Somebody may have closed one connection and nothing else: writes should not wait a second for that.
  int64_t pause_ms = kReconnectMs;
  for (;;) {
    auto connection =
        co_await replication::NodeConnection::open(world_, identity_.address, credentials(), kStepTimeoutMs);
    if (connection.ok()) {
      auto ended = co_await watch_connection(*connection.value());
      if (view_.reachable) pause_ms = kReconnectMs;
      lost(ended.error());
    } else {
      lost(connection.error());
      co_await world_.clock.sleep(kReconnectMs);  // however often somebody asks to look again
    }
    co_await look_.wait_for(world_.clock, std::exchange(pause_ms, std::min(2 * pause_ms, kLookEveryMs)));
  }
}

void Node::lost(const Error& error) {
  if (view_.reachable || trouble_ != error.detail) log_warning("node " + view_.name, "down: {}", error.detail);
  view_.reachable = false;
  gone_ = error.code != Errc::timed_out;
  link_up_ = false;
  trouble_ = error.detail;
  owner_.node_changed();
}

Task<Result<void>> Node::watch_connection(replication::NodeConnection& connection) {
  reached_at_ = connection.stream().peer();
  our_host_ = replication::host_of(connection.stream().local());
  auto learnt = co_await learn(connection);
  CO_RETURN_IF_ERROR(learnt);
  for (;;) {
    auto looked = co_await look(connection);
    CO_RETURN_IF_ERROR(looked);
    // The duty is of a plan that does not know yet what was just seen: somebody may have promoted this node.
    if (duty_ == Duty::follow && !view_.follows_us) co_await look_.wait_for(world_.clock, kPlanMs);
    if (duty_ == Duty::follow && !view_.follows_us && !is_upstream_) {
      auto told = co_await make_it_follow(connection);
      CO_RETURN_IF_ERROR(told);
    }
    if (duty_ == Duty::follow && !introduced_) {
      introduced_ = true;
      auto known = co_await let_it_in(connection);
      CO_RETURN_IF_ERROR(known);
    }
    const bool settled = duty_ == Duty::primary || is_upstream_ || (view_.follows_us && link_up_);
    co_await look_.wait_for(world_.clock, settled ? kLookEveryMs : kSettlingLookEveryMs);
  }
}

Task<Result<void>> Node::learn(replication::NodeConnection& connection) {
  auto ours = co_await connection.ask(split("INFO sidestream", ' '));
  CO_RETURN_IF_ERROR(ours);
  is_instance_ = ours.value().text.starts_with("# Sidestream");
  if (is_instance_) {
    auto introduced = co_await connection.introduce();
    CO_RETURN_IF_ERROR(introduced);
  }
  auto table = co_await connection.ask(split("COMMAND", ' '));
  CO_RETURN_IF_ERROR(table);
  if (!table.value().is_error()) {
    command_reply_ = std::move(table).value();
    ++table_serial_;
  }
  auto databases = co_await connection.ask(split("CONFIG GET databases", ' '));
  CO_RETURN_IF_ERROR(databases);
  const auto& pair = databases.value().elements;
  if (pair.size() == 2) databases_ = static_cast<int>(number(pair[1].text, 16));
  co_return Result<void>();
}

Task<Result<void>> Node::look(replication::NodeConnection& connection) {
  const int64_t began_us = world_.clock.now_us();
  auto pong = co_await connection.ask(split("PING", ' '));
  CO_RETURN_IF_ERROR(pong);
  ping_reply_ = as_reply(pong.value());
  auto info = co_await connection.ask(split("INFO", ' '));
  CO_RETURN_IF_ERROR(info);
  if (view_.reachable && info.value().text.starts_with("BUSY")) {
    heard_ms_ = world_.clock.now_ms();  // a script runs on and on: alive, and SCRIPT KILL has to get through
    looked_us_ = began_us;
    co_return Result<void>();
  }
  if (info.value().is_error()) co_return Error{Errc::refused, info.value().text};
  if (!view_.reachable) log_notice("node " + view_.name, "up: {}", resp::info_field(info.value().text, "role"));
  take_info(info.value().text);
  looked_us_ = began_us;
  infos_[0].text = std::move(info.value().text);
  owner_.node_changed();
  co_return Result<void>();
}

void Node::take_info(const std::string& info) {
  const auto field = [&](std::string_view name) { return resp::info_field(info, name); };
  heard_ms_ = world_.clock.now_ms();
  const std::string_view run_id = field("run_id");
  view_.restarted = view_.restarted || (view_.heard && run_id != run_id_);
  run_id_ = run_id;
  view_.heard = view_.reachable = true;
  gone_ = false;
  view_.loading = field("loading") == "1";
  view_.is_master = field("role") == "master";
  view_.upstream = Address{std::string(field("master_host")), static_cast<int>(number(field("master_port"), 0)), ""};
  view_.follows_us = !view_.is_master && view_.upstream == follow_address();
  link_up_ = field("master_link_status") == "up";
  if (view_.follows_us && link_up_) {
    view_.restarted = false;
    linked_ms_ = heard_ms_;
  }
  view_.keys = replication::count_keys(info).value_or(view_.keys);
  view_.empty = !view_.loading && view_.keys == 0;
  view_.replid = replication::ReplId::parse(field("master_replid")).value_or(replication::ReplId());
  view_.replid2 = replication::ReplId::parse(field("master_replid2")).value_or(replication::ReplId());
  view_.second_offset = number(field("second_repl_offset"), -1);
  view_.priority = number(field("slave_priority"), 100);
  view_.offset = ReplOffset{number(field("master_repl_offset"), 0)};
  version_ = field("redis_version");
  if (duty_ != Duty::follow || view_.follows_us) trouble_.clear();
}

Address Node::follow_address() const {
  return Address{config_.announce_ip.empty() ? our_host_ : config_.announce_ip, owner_.follow_port(), ""};
}

std::vector<std::string> Node::follow_words() const {
  const Address us = follow_address();
  return {"REPLICAOF", us.host, std::to_string(us.port)};
}

std::string Node::follow_password() const {
  return config_.follow_user.empty() ? config_.requirepass : config_.follow_password;
}

/// It has to connect here as everybody else does: with our password, or without one where we want none (a stock server
/// that sends one then gives up), and in the transport of that address.
Task<Result<void>> Node::let_it_in(replication::NodeConnection& connection) {
  auto user = co_await set_if_other(connection, "masteruser", config_.follow_user);
  CO_RETURN_IF_ERROR(user);
  auto login = co_await set_if_other(connection, "masterauth", follow_password());
  CO_RETURN_IF_ERROR(login);
  auto transport = co_await set_if_other(connection, "tls-replication", owner_.follow_by_tls() ? "yes" : "no");
  CO_RETURN_IF_ERROR(transport);
  const Transport said = identity_.address.transport;
  const bool reached_by_tls = said == Transport::tls || (said == Transport::unsaid && config_.tls.nodes);
  if (reached_by_tls == owner_.follow_by_tls()) co_return Result<void>();
  // It would announce the port of the other transport, which may be none: we know where it can be reached.
  co_return co_await set_if_other(connection, "replica-announce-port", std::to_string(identity_.address.port));
}

/// A server that does not know the parameter is left as it is.
Task<Result<void>> Node::set_if_other(replication::NodeConnection& connection, std::string name, std::string value) {
  std::vector<std::string> question = {"CONFIG", "GET", name};
  auto now = co_await connection.ask(std::move(question));
  CO_RETURN_IF_ERROR(now);
  const auto& pair = now.value().elements;
  if (pair.size() != 2 || pair[1].text == value) co_return Result<void>();
  std::vector<std::string> change = {"CONFIG", "SET", name, value};
  auto reply = co_await connection.ask(std::move(change));
  CO_RETURN_IF_ERROR(reply);
  log_notice("node " + view_.name, "{} is set to what we want of replicas", name);
  co_return Result<void>();
}

Task<Result<void>> Node::make_it_follow(replication::NodeConnection& connection) {
  auto known = co_await let_it_in(connection);
  CO_RETURN_IF_ERROR(known);
  std::vector<std::string> follow = follow_words();
  const std::string words = follow[0] + " " + follow[1] + " " + follow[2];
  auto reply = co_await connection.ask(std::move(follow));
  CO_RETURN_IF_ERROR(reply);
  if (reply.value().is_error()) {
    trouble_ = words + " was refused: " + reply.value().text;
    log_warning("node " + view_.name, "{}", trouble_);
  } else {
    log_notice("node " + view_.name, "told: {}", words);
  }
  co_return Result<void>();
}

Task<Result<void>> Node::demote(replication::NodeConnection& connection, bool frozen) {
  std::vector<std::vector<std::string>> words(1, follow_words());
  if (frozen) words.push_back(split("CLIENT UNPAUSE", ' '));
  auto told = co_await connection.transact(std::move(words));
  if (!told.ok()) co_return Error{told.error().code, view_.name + ": " + told.error().detail};
  look_again();
  co_return Result<void>();
}

Task<Result<void>> Node::command_to_follow() {
  const std::string password = follow_password();
  for (const auto& [name, value] : {std::pair{"masteruser", &config_.follow_user}, {"masterauth", &password}}) {
    if (value->empty()) continue;
    std::vector<std::string> login = {"CONFIG", "SET", name, *value};
    auto known = co_await ask(std::move(login));
    CO_RETURN_IF_ERROR(known);
  }
  std::vector<std::string> follow = follow_words();
  auto reply = co_await ask(std::move(follow));
  CO_RETURN_IF_ERROR(reply);
  if (reply.value().is_error()) co_return Error{Errc::refused, reply.value().text};
  look_again();
  co_return Result<void>();
}

Task<Result<void>> Node::command_to_lead() {
  auto reply = co_await ask(split("REPLICAOF NO ONE", ' '));
  CO_RETURN_IF_ERROR(reply);
  if (reply.value().is_error()) co_return Error{Errc::refused, reply.value().text};
  look_again();
  co_return Result<void>();
}

Task<Result<void>> Node::open_desk() {
  if (desk_ && !desk_->stream().broken()) co_return Result<void>();
  desk_.reset();
  auto opened = co_await replication::NodeConnection::open(world_, identity_.address, credentials(), kStepTimeoutMs);
  CO_RETURN_IF_ERROR(opened);
  if (is_instance_) {
    auto introduced = co_await opened.value()->introduce();
    CO_RETURN_IF_ERROR(introduced);
  }
  desk_ = std::move(opened).value();
  co_return Result<void>();
}

Task<Result<resp::Value>> Node::ask(std::vector<std::string> args) {
  const Waiting waiting(waiting_);
  while (desk_busy_) co_await desk_free_.wait();
  const DeskTurn turn(desk_busy_, desk_free_);
  auto opened = co_await open_desk();
  CO_RETURN_IF_ERROR(opened);
  // A wait that is cancelled must not leave its reply to the next question: the connection is out of its place
  // meanwhile.
  auto connection = std::move(desk_);
  auto reply = co_await connection->ask(std::move(args));
  if (reply.ok()) desk_ = std::move(connection);
  co_return std::move(reply);
}

Task<void> Node::fetch_info(bool everything) {
  CachedInfo& cache = infos_[everything ? 1 : 0];
  cache.running = true;
  do {
    cache.again = false;
    const uint64_t number_of_this = ++cache.asked;
    std::vector<std::string> args(1, "INFO");
    if (everything) args.emplace_back("everything");
    auto reply = co_await ask(std::move(args));
    if (!reply.ok() || reply.value().is_error()) break;
    cache.text = std::move(reply.value().text);
    cache.answered = number_of_this;
    info_came_.notify_all();
  } while (cache.again);
  cache.running = false;
  info_came_.notify_all();
}

Task<std::string> Node::info(bool everything, int64_t patience_ms) {
  const Waiting waiting(waiting_);
  CachedInfo& cache = infos_[everything ? 1 : 0];
  const uint64_t wanted = cache.asked + 1;  // one that begins after this call
  cache.again = true;
  if (!cache.running) tasks_.add(fetch_info(everything));
  const int64_t deadline_us = world_.clock.now_us() + patience_ms * 1000;
  while (cache.answered < wanted && cache.running) {
    const bool came = co_await info_came_.wait_until(world_.clock, deadline_us);
    if (!came) break;
  }
  if (cache.text.empty()) co_return infos_[0].text;
  co_return cache.text;
}

}  // namespace sidestream::instance
