// instance.cc: see instance.h.
#include "proxy/instance/instance.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/log.h"
#include "common/secrets.h"
#include "common/text.h"
#include "config/introductions.h"
#include "config/options.h"
#include "config/users.h"
#include "proxy/admin/routes.h"
#include "proxy/resp/writer.h"

namespace sidestream::instance {
namespace {

constexpr int64_t kQuestionTimeoutMs = 2000;
constexpr int64_t kInfoPatienceMs = 100;  // contract: a node that is slower is answered for from memory
constexpr int64_t kPingGraceMs = 3000;    // a node silent for longer makes our PING fail, so that Sentinel notices
constexpr int64_t kGoneGraceMs = 500;     // one that is gone does so at once: Sentinel has a grace of its own
constexpr std::string_view kMustNotServe =
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
constexpr int64_t kDrainStepMs = 10;
constexpr int64_t kLastRepliesMs = 1000;
constexpr int64_t kKeepDatasetMs = 500;

int64_t count_online(const std::vector<admin::NodeFacts>& nodes) {
  return std::count_if(nodes.begin(), nodes.end(), [](const auto& node) { return node.state == "online"; });
}

/// PING where no node answers. Sentinel takes it for a dead server; a stock replica goes on after an error with these
/// first words, and gets the history that we still have.
std::string nobody_answers(std::string_view text) {
  return resp::error("ERR operation not permitted: " + std::string(text));
}

}  // namespace

Instance::Instance(World& world, Config config, Texts state, Legacy legacy)
    : world_(world),
      config_(std::move(config)),
      state_(std::move(state)),
      run_id_(legacy.run_id.empty() ? world.random.hex40() : std::move(legacy.run_id)),
      started_ms_(world.clock.now_ms()),
      lost_(world_, config_, [this]() -> const resp::CommandTable& { return plane_->commands(); }) {
  reload_facts_.good_wall_ms = world.clock.wall_ms();
  name_follow_user();
  replication::RelayObserver& observer = *this;
  routing::PlaneHost& host = *this;
  relay_ = std::make_unique<replication::Relay>(world_, config_, observer, run_id_);
  plane_ = std::make_unique<routing::Plane>(world_, config_, host);
  steering_ = std::make_unique<Steering>(world_, config_, *relay_, *plane_, lost_, run_id_);
  Failover::Memory& memory = *this;
  failover_ = std::make_unique<Failover>(world_, config_, *relay_, *plane_, *steering_, memory);
  commands_ = std::make_unique<admin::LocalCommands>(group());
  plane_->begin_ids_behind(legacy.last_client);
  for (const auto& [name, text] : legacy.options) changed_options_.insert(name);
}

Instance::~Instance() {
  accepting_.cancel_all();
  http_.reset();
  tasks_.cancel_all();
  plane_->close_all();
  // Sessions wait for answers of the nodes: they go before what they speak to.
  failover_.reset();
  steering_->audit().stop();
  steering_->end_conversations();
  plane_.reset();
  steering_.reset();
  relay_.reset();
}

Result<void> Instance::bind() {
  set_front_door();
  for (const Address& address : config_.listen) {
    auto bound = listen_on(address, routing::Face::node);
    RETURN_IF_ERROR(bound);
  }
  if (!config_.service_listen.empty()) {
    auto bound = listen_on(config_.service_listen, routing::Face::service);
    RETURN_IF_ERROR(bound);
  }
  if (!config_.read_listen.empty()) {
    auto bound = listen_on(config_.read_listen, routing::Face::read_only);
    RETURN_IF_ERROR(bound);
  }
  if (config_.admin.empty()) return {};
  Address admin = config_.admin;
  if (admin.transport == Transport::unsaid) admin.transport = Transport::plain;  // probes and scrapers speak HTTP
  auto listener = world_.network.listen(admin);
  RETURN_IF_ERROR(listener);
  http_ = std::make_unique<admin::HttpServer>(
      world_, [this](admin::HttpRequest request) { return admin::route(group(), std::move(request)); },
      std::move(listener).value());
  return {};
}

void Instance::answer_admin() {
  if (http_) http_->resume();
}

Task<Result<void>> Instance::start() {
  auto taken = co_await take_directory();
  CO_RETURN_IF_ERROR(taken);
  auto relay = co_await relay_->start();
  CO_RETURN_IF_ERROR(relay);
  co_await recall_dataset();
  co_await recall_drift();
  std::optional<Address> master;
  if (!config_.replicaof.empty()) master = config_.replicaof;
  steering_->start(follow_address(), master);
  steering_->fencing().recall(state_);
  if (const auto begun = state_.find(kHandoverKey); begun != state_.end()) {
    auto handover = Handover::parse(begun->second);
    CO_RETURN_IF_ERROR(handover);
    failover_->resume(std::move(handover).value());
  }
  tasks_.add(keep_trend());
  tasks_.add(keep_fence());
  for (size_t i = 0; i < listeners_.size(); ++i) accepting_.add(accept_loop(*listeners_[i], faces_[i]));
  co_return Result<void>();
}

Task<void> Instance::recall_dataset() {
  auto kept = co_await read_dataset(world_, config_.dir);
  if (kept) {
    kept_ = *kept;
    relay_->guard().restore(kept_.ours, kept_.held, kept_.rejected);
  }
  tasks_.add(keep_dataset());
}

/// So that the wipe guard of the next run knows what there is to lose.
Task<void> Instance::keep_dataset() {
  for (bool told = false;;) {
    co_await world_.clock.sleep(kKeepDatasetMs);
    const replication::WipeGuard& guard = relay_->guard();
    const KeptDataset now{guard.ours(), guard.suspects(), guard.rejected()};
    if (retired_) continue;
    if (now.ours.replid.empty() || !is_news(kept_, now)) continue;
    auto written = co_await write_dataset(world_, config_.dir, now);
    if (written.ok()) {
      kept_ = now;
    } else if (!told) {
      log_warning("instance", "how much is held here is not kept for a restart: {}", written.error().detail);
    }
    told = !written.ok();
  }
}

/// Two instances in one directory would take each other's files for leftovers.
Task<Result<void>> Instance::take_directory() {
  if (directory_lock_ != nullptr) co_return Result<void>();  // start() is tried again
  auto made = co_await world_.files.make_directory(config_.dir);
  CO_RETURN_IF_ERROR(made);
  auto lock = world_.files.lock(config_.dir + "/lock");
  if (!lock.ok() && lock.error().code == Errc::refused) {
    co_return Error{Errc::refused, "dir " + config_.dir + " is used by another instance (" + lock.error().detail +
                                       "); give each instance a dir of its own"};
  }
  CO_RETURN_IF_ERROR(lock);
  directory_lock_ = std::move(lock).value();
  co_return Result<void>();
}

Result<void> Instance::listen_on(Address address, routing::Face face) {
  address.introduced = true;
  if (!address.path.empty()) address.file_mode = static_cast<unsigned>(config_.unix_socket_perm);
  auto listener = world_.network.listen(address);
  RETURN_IF_ERROR(listener);
  listeners_.push_back(std::move(listener).value());
  log_notice("instance", "listening on {}", listeners_.back()->address().url());
  faces_.push_back(face);  // nobody is let in before start() knows which role we have
  return {};
}

/// For connections that come from now on.
void Instance::set_front_door() {
  if (world_.introductions != nullptr) set_introductions(config_, *world_.introductions);
  if (world_.tls != nullptr) world_.tls->handshake_ms = config_.limits.handshake_timeout_ms;
}

/// What nodes are told to follow: an address that speaks to them as we do, if there is one.
const Address& Instance::follow_address() const {
  const bool tls = config_.tls.nodes;
  const Address* best = &listeners_.front()->address();
  for (size_t i = 0; i < listeners_.size(); ++i) {
    const Address& address = listeners_[i]->address();
    if (faces_[i] != routing::Face::node || !address.path.empty()) continue;
    if ((address.transport == Transport::tls) == tls) return address;
    if (!best->path.empty()) best = &address;
  }
  return *best;
}

Task<void> Instance::accept_loop(Listener& listener, routing::Face face) {
  for (;;) {
    auto stream = co_await listener.accept();
    if (stream.ok()) {
      plane_->adopt(std::move(stream).value(), face);
    } else {
      log_warning("instance", "{}", stream.error().detail);
      co_await world_.clock.sleep(100);
    }
  }
}

// ---- what the relay tells ----

void Instance::stream_command(std::span<const std::string_view> args, bool truncated, ReplOffset end) {
  ++stream_facts_.commands;
  plane_->stream_command(args, truncated, end);
  lost_.passes(args, truncated, end);
}

void Instance::stream_read(ReplOffset end) {
  if (stream_end_.value >= 0 && end > stream_end_) stream_facts_.bytes += static_cast<uint64_t>(end - stream_end_);
  stream_end_ = end;
  plane_->relayed(end);
}

void Instance::upstream_changed() {
  lost_.history_ends(relay_->offset());
  // At once, not when the relay is in sync: nobody tells us that, and marks set until then must stay.
  const replication::ReplId& replid = relay_->history().replid;
  if (!replid.empty() && !(replid == history_seen_)) {
    const bool continued = !history_seen_.empty() && relay_->history().replid2 == history_seen_;
    history_seen_ = replid;
    if (!continued) plane_->new_history(relay_->commands_known_from());
    if (!continued) lost_.new_history();
    if (continued) plane_->history_forked(ReplOffset{relay_->history().second_offset - 1});
  }
  steering_->relay_changed();
}

void Instance::history_lost(const replication::ReplId& replid, ReplOffset fork, int64_t size, std::string_view bytes) {
  lost_.add(replid, fork, bytes);
  lost_.add_unseen(size - std::ssize(bytes));
}

void Instance::replica_changed(uint64_t) { steering_->relay_changed(); }

// ---- what the client plane asks ----

Task<routing::Answer> Instance::answer_local(routing::Caller caller, std::vector<std::string> args) {
  if (iequals(args[0], "psync") || iequals(args[0], "sync")) {
    routing::Answer answer;
    answer.becomes_replica = true;
    co_return answer;
  }
  co_return co_await commands_->answer(std::move(caller), std::move(args));
}

std::optional<std::string> Instance::answer_at_once(const routing::Caller& caller,
                                                    std::span<const std::string_view> args) {
  if (iequals(args[0], "replconf")) return replconf(caller.id, args);
  const bool psync = iequals(args[0], "psync");
  if (psync || iequals(args[0], "sync")) {
    const auto hello = hellos_.find(caller.id);
    if (hello != hellos_.end() && hello->second.rdb_filter && !hello->second.eof) {
      return resp::error("ERR Filtered replica requires EOF capability");
    }
    if (psync && !parse_int(args[2])) return resp::error("ERR value is not an integer or out of range");
  }
  return commands_->at_once(caller, args);
}

std::string Instance::replconf(uint64_t session_id, std::span<const std::string_view> args) {
  if (replication::replconf_is_silent(args)) return "";
  auto applied = replication::apply_replconf(args, hellos_[session_id]);
  if (!applied.ok()) return resp::error(applied.error().detail);
  return "+OK\r\n";
}

void Instance::adopt_replica(std::unique_ptr<ByteStream> stream, uint64_t session_id, std::vector<std::string> args,
                             std::string leftover) {
  replication::SyncRequest request;
  request.psync = iequals(args[0], "psync");
  if (request.psync) {
    request.replid = args[1];
    request.next_byte = parse_int(args[2]).value_or(-1);
    request.failover = args.size() > 3 && iequals(args[3], "failover");
  }
  relay_->adopt(std::move(stream), hellos_[session_id], std::move(request), std::move(leftover));
}

void Instance::session_ended(uint64_t session_id) { hellos_.erase(session_id); }

std::string Instance::ping_reply() {
  const Node* lead = steering_->lead();
  if (lead == nullptr || lead->ping_reply().empty()) {
    if (steering_->nodes().empty()) return "+PONG\r\n";
    if (world_.clock.now_ms() - started_ms_ < kPingGraceMs) return "+PONG\r\n";
    return nobody_answers("no node behind this instance answers" + (trouble().empty() ? "" : ": " + trouble()));
  }
  if (lead->heard_within(lead->is_gone() ? kGoneGraceMs : kPingGraceMs)) {
    const bool cut_off = !steering_->is_primary() && relay_->upstream().state != "connected";
    return cut_off && !config_.replica_serve_stale_data ? resp::error(kMustNotServe) : lead->ping_reply();
  }
  return nobody_answers("the node " + lead->name() + " behind this instance does not answer: " + lead->trouble());
}

bool Instance::role_is_primary(routing::Face face) { return face == routing::Face::service || steering_->is_primary(); }

// ---- what commands and HTTP ask ----

std::string Instance::trouble() const {
  if (!steering_->fencing().reason().empty()) return "no writes are taken: " + steering_->fencing().reason();
  if (!steering_->trouble().empty()) return steering_->trouble();
  const auto upstream = relay_->upstream();
  if (upstream.state != "connected" && !upstream.last_error.empty()) {
    return "upstream " + upstream.address.text() + ": " + upstream.last_error;
  }
  return "";
}

admin::Readiness Instance::readiness() const {
  admin::Readiness readiness;
  const auto add = [&](const char* name, bool holds, std::string reason) {
    readiness.checks.push_back({name, holds, std::move(reason)});
  };
  add("not-draining", !draining_, "the instance is being drained");
  add("not-fenced", steering_->fencing().reason().empty(), steering_->fencing().reason());
  const Node* lead = steering_->lead();
  const bool answers = lead != nullptr && lead->heard_within(kPingGraceMs) && lead->ping_reply().starts_with("+");
  add("node", answers || config_.nodes.empty(),
      lead == nullptr ? trouble() : lead->name() + " does not answer PING well");
  if (retired_) {  // the next process is not there yet, and clients are served as before
    readiness.ready = answers;
    return readiness;
  }
  const auto upstream = relay_->upstream();
  add("upstream", upstream.state == "connected",
      upstream.state + (upstream.last_error.empty() ? "" : ": " + upstream.last_error));
  if (!steering_->is_primary() && !config_.nodes.empty()) {
    add("synced", lead != nullptr && lead->view().follows_us && lead->link_up(),
        "the lead node has not finished its sync");
  }
  if (config_.ready.max_lag_ms > 0) {
    add("lag", !too_far_behind_,
        fmt::format("more than {} ms behind (ready.max-lag), or not yet within half of it", config_.ready.max_lag_ms));
  }
  if (config_.ready.min_nodes > 0) {
    const int64_t online = count_online(steering_->node_facts());
    add("nodes", online >= config_.ready.min_nodes,
        fmt::format("{} nodes are online, ready.min-nodes is {}", online, config_.ready.min_nodes));
  }
  readiness.ready =
      std::all_of(readiness.checks.begin(), readiness.checks.end(), [](const auto& c) { return c.holds; });
  return readiness;
}

admin::SwitchFacts Instance::switch_facts() const {
  admin::SwitchFacts facts;
  if (failover_->state() == Failover::State::waiting_for_sync) facts.state = "waiting-for-sync";
  if (failover_->state() == Failover::State::in_progress) facts.state = "failover-in-progress";
  facts.failovers = failover_->completed() + steering_->elections();
  facts.lost_writes = lost_.count();
  facts.lost_bytes_unseen = lost_.unseen_bytes();
  const LostKeys::Counts keys = lost_.key_counts();
  facts.lost_keys_untouched = keys.untouched;
  facts.lost_keys_overwritten = keys.overwritten;
  facts.lost_keys_unknown = keys.unknown;
  return facts;
}

Task<Result<std::vector<std::string>>> Instance::export_untouched() { co_return co_await lost_.export_untouched(); }

Task<std::string> Instance::lead_info(bool everything) {
  Node* lead = steering_->lead();
  if (lead == nullptr) co_return std::string();
  co_return co_await lead->info(everything, kInfoPatienceMs);
}

Task<Result<resp::Value>> Instance::ask_lead(std::vector<std::string> args) {
  Node* lead = steering_->lead();
  if (lead == nullptr) co_return Error{Errc::refused, "no node is known yet that could answer; " + trouble()};
  co_return co_await lead->ask(std::move(args));
}

Task<Result<resp::Value>> Instance::ask_all(std::vector<std::string> args) {
  Result<resp::Value> first = Error{Errc::refused, "this instance has no nodes"};
  bool have = false;
  for (size_t i = 0; i < steering_->nodes().size(); ++i) {  // they may come and go meanwhile
    auto reply = co_await steering_->nodes()[i]->ask(args);
    const bool bad = !reply.ok() || reply.value().is_error();
    if (bad) co_return std::move(reply);
    if (!have) first = std::move(reply);
    have = true;
  }
  co_return std::move(first);
}

Task<Result<std::unique_ptr<replication::NodeConnection>>> Instance::open_to_primary() {
  const Node* writer = steering_->writer();
  if (writer == nullptr) co_return Error{Errc::refused, "no primary is known; " + trouble()};
  Address address = writer->identity().address;
  replication::Credentials credentials{config_.masteruser, config_.masterauth};
  auto opened = co_await replication::NodeConnection::open(world_, std::move(address), std::move(credentials),
                                                           kQuestionTimeoutMs);
  co_return std::move(opened);
}

void Instance::request_acks() { tasks_.add(ask_for_acks()); }

Task<void> Instance::ask_for_acks() {
  // WAIT for more replicas than there can be makes the primary put one GETACK into its stream; the answers come to us.
  Node* writer = steering_->writer();
  if (writer == nullptr) co_return;
  auto reply = co_await writer->ask(split("WAIT 1000000 1", ' '));
  if (!reply.ok()) log_verbose("instance", "no acknowledgements could be asked for: {}", reply.error().detail);
}

void Instance::option_changed(std::string_view name) {
  changed_options_.emplace(name);
  apply_option(name);
}

Task<Result<void>> Instance::save_state() {
  auto ours = in_charge();
  CO_RETURN_IF_ERROR(ours);
  for (const std::string& name : changed_options_) state_[name] = sidestream::get(config_, name);
  state_["replicaof"] = sidestream::get(config_, "replicaof");
  co_return co_await write_state(world_, config_.dir, state_);
}

// ---- the end ----

Task<void> Instance::keep_trend() {
  for (;;) {
    co_await plane_->look_around();
    trend_.sample(group());
    watch_lag();
    co_await world_.clock.sleep(admin::Trend::kEveryMs);
  }
}

/// With a margin, so that readiness does not flap at the limit.
void Instance::watch_lag() {
  const int64_t limit_ms = config_.ready.max_lag_ms;
  int64_t best_ms = steering_->is_primary() || config_.nodes.empty() ? 0 : INT64_MAX;
  for (const admin::NodeFacts& node : steering_->node_facts()) {
    if (node.state == "online") best_ms = std::min(best_ms, node.lag_ms);
  }
  too_far_behind_ = limit_ms > 0 && best_ms > (too_far_behind_ ? limit_ms / 2 : limit_ms);
}

void Instance::drain() {
  if (draining_ || retired_) return;
  draining_ = true;
  log_notice("instance", "draining: not ready any more");
  tasks_.add(leave());
}

Task<void> Instance::leave() {
  co_await world_.clock.sleep(config_.drain.grace_ms);
  co_await leave_the_lead();
  log_notice("instance", "draining: no new clients");
  accepting_.cancel_all();
  listeners_.clear();
  co_await see_clients_off();
  log_notice("instance", "drained");
  if (drained_) drained_();
}

/// If somebody below us can be the primary in our place.
Task<void> Instance::leave_the_lead() {
  while (failover_->state() != Failover::State::none) co_await failover_->ended.wait();
  if (!steering_->is_primary() || config_.drain.hand_over == "no") co_return;
  admin::FailoverOrder order;
  order.below_us_only = true;
  order.instances_only = config_.drain.hand_over == "instance";
  order.timeout_ms = std::max<int64_t>(config_.drain.timeout_ms, 1);
  if (!failover_->has_target(order)) co_return;
  std::vector<Address> below = steering_->below_us();  // they are on their way to the new id when it is done
  auto begun = failover_->begin(std::move(order));
  if (!begun.ok()) co_return;
  while (failover_->state() != Failover::State::none) co_await failover_->ended.wait();
  if (!steering_->is_primary()) co_await steering_->pass_on(std::move(below));
}

/// Who waits for nothing goes at once, the others when they have their answer.
Task<void> Instance::see_clients_off() {
  const int64_t deadline_ms = world_.clock.now_ms() + config_.drain.timeout_ms;
  while (plane_->clients().connected > 0 && world_.clock.now_ms() < deadline_ms) {
    plane_->close_idle();
    co_await world_.clock.sleep(kDrainStepMs);
    co_await plane_->look_around();
  }
  plane_->close_all();
  const int64_t last_ms = world_.clock.now_ms() + kLastRepliesMs;
  while (plane_->clients().connected > 0 && world_.clock.now_ms() < last_ms) {
    co_await world_.clock.sleep(kDrainStepMs);
  }
}

}  // namespace sidestream::instance
