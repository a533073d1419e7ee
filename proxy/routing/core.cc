// core.cc: between sessions and servers. See the header.
#include "proxy/routing/core.h"

#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/text.h"
#include "proxy/routing/limits.h"

namespace sidestream::routing {
namespace {

constexpr int64_t kSessionTickMs = 1000;
constexpr int64_t kFenceRetryMs = 20;
constexpr uint64_t kAskedByUs = UINT64_MAX;  // in place of a session's id
constexpr std::string_view kUnknownOutcome =
    "-ERR the connection to the primary broke before the reply: the outcome of this write is unknown\r\n";
constexpr std::string_view kNobodyAnswered =
    "-MASTERDOWN Link with MASTER is down and nobody else could answer; try again.\r\n";
constexpr std::string_view kCutShort =
    "-MASTERDOWN Link with MASTER broke before all of this request was sent: it was not executed; try again.\r\n";

TargetCounts counts_of(const Target& target) {
  return {target.facts().address,     target.reads,         target.writes,
          target.view.known,          target.pool().size(), target.pool().idle(),
          target.pool().last_error(), target.pool().took()};
}

}  // namespace

Core::Core(World& world_in, const Config& config_in, PlaneHost& host_in, Commons& commons_in, CoreRing& ring,
           size_t index_in)
    : world(world_in),
      config(config_in),
      host(host_in),
      commons(commons_in),
      index(index_in),
      freshness(commons.freshness),
      held_bytes(commons.held_bytes),
      ring_(ring),
      wake_node_(*this),
      pause_timer_(world.clock, wake_node_),
      servers(world, config, freshness, *this, *this),
      acks(*this) {
  resp::CommandTable own;
  own.deny(config.deny_commands);
  commands = std::make_shared<const resp::CommandTable>(std::move(own));
  users = std::make_shared<const Users>(config, *commands);
  tasks_.add(tick_forever());
}

Core::~Core() {
  tasks_.cancel_all();
  sessions.clear();
  servers.drop_all();
}

// --- time ----------------------------------------------------------------------------------------------------------

Task<void> Core::tick_forever() {
  for (;;) {
    const int64_t due_us = world.clock.now_us() + limits::kTickMs * 1000;
    co_await world.clock.sleep(limits::kTickMs);
    times.loop_lag.record(world.clock.now_us() - due_us);
    tick();
  }
}

void Core::tick() {
  servers.tick();
  if (freshness.has_orphans()) {
    if (ServerConnection* primary = servers.primary_shared(2, 0)) primary->ask_role(0);
  }
  const int64_t now_ms = recent_ms = world.clock.now_ms();
  times.slow_above_us = config.slow_log_above_ms * 1000;
  slow_this_tick_ = 0;
  if (now_ms >= paused_until_ms_) paused_until_ms_ = 0;
  commons.heartbeats[index].store(now_ms, std::memory_order_relaxed);
  if (now_ms - session_tick_ms_ >= kSessionTickMs) {
    session_tick_ms_ = now_ms;
    for (ClientSession* session : sessions.all()) session->tick(now_ms);
  }
  wake();
}

void Core::wake() {
  ask_held();
  const std::vector<ReplyTo> woken = std::exchange(waiting_, {});
  for (const ReplyTo& each : woken) {
    if (ClientSession* session = sessions.find(each.place, each.session_id)) session->wake();
  }
}

void Core::pause_clients(int64_t until_ms, bool all) {
  paused_until_ms_ = until_ms;
  paused_all_ = all;
  pause_timer_.start_at(until_ms * 1000);
}

bool Core::paused(bool writes) const {
  return paused_until_ms_ != 0 && (writes || paused_all_) && world.clock.now_ms() < paused_until_ms_;
}

// --- clients -------------------------------------------------------------------------------------------------------

void Core::adopt(std::unique_ptr<ByteStream> stream, Face face, bool reserved, uint64_t id, AddressBook::Guest guest) {
  ++accepted;
  sessions.add(*this, std::move(stream), face, reserved, id, std::move(guest)).start();
}

void Core::set_users(std::shared_ptr<const Users> now) {
  users = std::move(now);
  for (ClientSession* session : sessions.all()) session->users_changed();
}

void Core::adopt(std::unique_ptr<MovingStream> stream, PassedClient client) {
  auto adopted = world.network.adopt(std::move(stream));
  auto guest = commons.addresses.enter(adopted->peer(), world.clock.now_us());
  ClientSession& session =
      sessions.add(*this, std::move(adopted), client.face, client.reserved, client.id, std::move(guest));
  session.restore(std::move(client));
  session.start();
}

void Core::pass_clients() {
  clients_leave = true;
  replies_pending_max = 0;  // who goes on sending stops before the next request
  for (ClientSession* session : sessions.all()) session->leave_if_idle();
}

void Core::keep_clients() {
  clients_leave = false;
  replies_pending_max = limits::kRepliesPendingMax;
}

void Core::remove(ClientSession& session) {
  if (sessions.find(session.place(), session.id()) == nullptr) return;
  std::erase_if(hello_subscribers, [&](const ReplyTo& each) { return each.session_id == session.id(); });
  host.session_ended(session.id());
  session.leave_large_replies();
  sessions.remove(session);
  commons.clients.fetch_sub(1, std::memory_order_relaxed);
}

void Core::close_idle() {
  for (ClientSession* session : sessions.all()) {
    if (session->idle() || session->subscribed()) session->finish();
  }
}

void Core::close_all(std::optional<Face> face) {
  for (ClientSession* session : sessions.all()) {
    if (!face || session->face() == *face) session->finish();
  }
}

bool Core::quiet() const {
  const auto all = sessions.all();
  return servers.quiet() && std::none_of(all.begin(), all.end(), [](const auto* each) { return each->writes_alone(); });
}

bool Core::feeds_move() const {
  const auto all = sessions.all();
  return std::any_of(all.begin(), all.end(), [](const auto* each) { return each->feed_moves(); });
}

void Core::hold_writes(bool hold) {
  writes_held = hold;
  if (!hold) servers_changed();
}

void Core::refuse_writes(const std::string& reason) {
  fence_reason = reason;
  refuses_writes = short_of_replicas || !fence_reason.empty();
}

void Core::lack_replicas(bool lacking) {
  short_of_replicas = lacking;
  refuses_writes = short_of_replicas || !fence_reason.empty();
}

CoreReport Core::report() const {
  CoreReport report;
  report.counters = counters;
  report.times = times;
  report.clients.connected = sessions.size();
  report.clients.accepted = accepted;
  report.clients.rejected = rejected;
  report.clients.denied = denied;
  report.clients.over_address = over_address;
  report.clients.delayed = delayed;
  report.clients.over_query_buffer = query_buffer_disconnections;
  report.clients.over_output_buffer = output_buffer_disconnections;
  report.clients.slow_readers = slow_readers;
  report.clients.failed_logins = failed_logins;
  report.clients.refused_by_rules = refused_by_rules;
  for (const ClientSession* session : sessions.all()) {
    report.clients.held += session->held() ? 1 : 0;
    report.clients.blocked += session->blocked() ? 1 : 0;
    report.clients.pubsub += session->subscribed() ? 1 : 0;
  }
  for (size_t i = 0; i < servers.size(); ++i) report.targets.push_back(counts_of(servers.target(static_cast<int>(i))));
  if (const Target* primary = servers.primary()) report.primary = counts_of(*primary);
  return report;
}

// --- the other cores -----------------------------------------------------------------------------------------------

void Core::hear_of_history(uint64_t epoch) {
  servers.new_history();
  freshness.heard_of(epoch);
  acks.history_forked(ReplOffset{-1});
}

void Core::set_targets(std::vector<TargetFacts> targets) {
  servers.set_targets(std::move(targets));
  acks.look();
}

Task<void> Core::everywhere(Visit visit) {
  Round round(*this);
  ring_.begin_visit(index, round.id, std::move(visit));
  while (!round.is_done) co_await round.done.wait();
}

void Core::visit_done(uint64_t visit_id) {
  const auto found = rounds_.find(visit_id);
  if (found == rounds_.end()) return;
  found->second->is_done = true;
  found->second->done.notify_all();
}

// --- what took long ------------------------------------------------------------------------------------------------

void Core::slow(const ServerConnection& server, const ReplyTo& to, std::string_view request, int64_t us) {
  if (++slow_this_tick_ >= limits::kSlowRequestsPerTick) times.slow_above_us = INT64_MAX;  // until the next tick
  const ClientSession* session = sessions.find(to.place, to.session_id);
  slow_log.add({world.clock.wall_ms(), command_name(request), server.plan().address.text(),
                session != nullptr ? session->peer() : "", us, 0});
}

void Core::waited(const ClientSession& session, std::string_view command, int64_t us) {
  times.held.record(us);
  if (us >= times.slow_above_us) slow_log.add({world.clock.wall_ms(), to_upper(command), "", session.peer(), 0, us});
}

// --- replies -------------------------------------------------------------------------------------------------------

void Core::reply(const ReplyTo& to, std::string_view frame) {
  if (ClientSession* session = sessions.find(to.place, to.session_id)) return session->deliver(to.sequence, frame);
  const auto question = to.session_id == kAskedByUs ? questions_.find(to.sequence) : questions_.end();
  if (question == questions_.end()) return;
  question->second->frames.emplace_back(frame);
  question->second->answered.notify_all();
}

void Core::frame(const ServerConnection& connection, std::string_view frame) {
  const ReplyTo& to = connection.borrower;
  if (ClientSession* session = sessions.find(to.place, to.session_id)) session->feed(connection, frame);
}

void Core::lost(const ReplyTo& to, bool again) {
  if (!again) ++counters.unknown_outcomes;
  reply(to, again ? kNobodyAnswered : kUnknownOutcome);
}

void Core::cut_short(const ReplyTo& to) { reply(to, kCutShort); }

void Core::request_flows(const ReplyTo& borrower) {
  if (ClientSession* session = sessions.find(borrower.place, borrower.session_id)) session->request_flows();
}

void Core::borrowed_lost(const ServerConnection& connection, const ReplyTo& borrower) {
  if (ClientSession* session = sessions.find(borrower.place, borrower.session_id)) session->lease_lost(&connection);
}

void Core::move(const Moved& moved) {
  ClientSession* session = sessions.find(moved.to.place, moved.to.session_id);
  if (session == nullptr) return;
  const bool is_script = session->moved_to_primary(moved.to.sequence);
  if (moved.is_private && is_script) return reply(moved.to, {});
  if (!moved.write) ++counters.retried_reads;
  if (!session->awaits_moved() && ask_again(moved, moved.request)) return;
  if (held_bytes + moved.request.size() > static_cast<size_t>(config.hold.max_bytes)) {
    return reply(moved.to, kNobodyAnswered);
  }
  held_bytes += moved.request.size();
  held_.push_back({moved, std::string(moved.request), world.clock.now_ms() + config.hold.timeout_ms});
  session->await_moved();
}

bool Core::ask_again(const Moved& moved, std::string_view request) {
  ClientSession* session = sessions.find(moved.to.place, moved.to.session_id);
  if (session == nullptr) return false;
  ServerConnection* primary = servers.primary_shared(moved.protocol, moved.db, session->login().guest);
  if (primary == nullptr || (moved.write && (writes_held || !fence_reason.empty()))) return false;
  if (moved.write) {
    freshness.mark_floor(primary->marks());  // its keys are no longer at hand
    primary->send_write(request, moved.to);
    if (acks.quorum() > 0) session->sent_again(moved.to.sequence, primary->marks().serial());
  } else {
    ++servers.primary()->reads;
    primary->send_again(request, moved.to);
  }
  return true;
}

void Core::ask_held() {
  const int64_t now_ms = world.clock.now_ms();
  std::vector<uint64_t> waiting;  // what a client sent behind a request that waits on waits too
  for (size_t left = held_.size(); left > 0; --left) {
    Held held = std::move(held_.front());
    held_.pop_front();
    held_bytes -= held.request.size();
    const uint64_t id = held.moved.to.session_id;
    if (sessions.find(held.moved.to.place, id) == nullptr) continue;
    const bool behind = std::find(waiting.begin(), waiting.end(), id) != waiting.end();
    if (!behind && ask_again(held.moved, held.request)) continue;
    if (now_ms >= held.until_ms) {
      reply(held.moved.to, kNobodyAnswered);
      continue;
    }
    held_bytes += held.request.size();
    waiting.push_back(id);
    held_.push_back(std::move(held));
  }
}

// --- large replies -------------------------------------------------------------------------------------------------

Turn Core::begin_large(const ReplyTo& to, ServerConnection& from) {
  ClientSession* session = sessions.find(to.place, to.session_id);
  return session != nullptr ? session->begin_large_reply(to.sequence, from) : Turn::never;
}

Turn Core::pass_large(const ReplyTo& to, std::string_view bytes) {
  ClientSession* session = sessions.find(to.place, to.session_id);
  return session != nullptr ? session->pass_large_reply(bytes) : Turn::never;
}

void Core::end_large(const ReplyTo& to, ServerConnection& from, std::string_view bytes) {
  if (ClientSession* session = sessions.find(to.place, to.session_id))
    session->end_large_reply(to.sequence, from, bytes);
}

void Core::large_lost(const ReplyTo& to, ServerConnection& from, bool begun) {
  if (ClientSession* session = sessions.find(to.place, to.session_id)) session->large_reply_lost(from, begun);
}

void Core::slow_reader(const ReplyTo& to) {
  ClientSession* session = sessions.find(to.place, to.session_id);
  if (session == nullptr) return;
  log_warning(session->peer(), "closed: it does not read a large reply, and others wait behind it");
  ++slow_readers;
  session->kill();
}

void Core::learn_large(std::string_view request_bytes) {
  resp::RequestParser parser;
  resp::Request request;
  if (parser.next(request_bytes, request) != resp::RequestParser::State::ok) return;
  const resp::CommandEntry* entry = commands->find(request.args);
  if (entry == nullptr || entry->cls != resp::CommandClass::read) return;
  const auto visit = [this](std::string_view key) { large_keys.add(hash_key(key)); };
  resp::CommandTable::for_each_key(*entry, request.args, visit);
}

// --- fences --------------------------------------------------------------------------------------------------------

/// A question may be asked twice: when its connection breaks, as in a switch, the next primary answers it.
Task<Result<ReplOffset>> Core::fence() {
  const int64_t deadline_ms = world.clock.now_ms() + config.hold.timeout_ms;
  for (;;) {
    if (ServerConnection* primary = servers.primary_shared(2, 0)) {
      Fence fence(*this);
      primary->ask_role(fence.id);
      if (!fence.offset) co_await fence.answered.wait();
      if (fence.offset->value >= 0) co_return *fence.offset;
    }
    if (world.clock.now_ms() >= deadline_ms) {
      co_return Error{Errc::timed_out, "MASTERDOWN Link with MASTER is down; try again."};
    }
    co_await world.clock.sleep(kFenceRetryMs);
  }
}

void Core::fence(uint64_t fence_id, ReplOffset offset) {
  if (fence_id >= WriteAcks::kFirstFence) {
    servers.acks_answered(fence_id - WriteAcks::kFirstFence);
    return acks.look();
  }
  const auto found = fences_.find(fence_id);
  if (found == fences_.end()) return;
  found->second->offset = offset;
  found->second->answered.notify_all();
}

// --- questions to servers ------------------------------------------------------------------------------------------

Task<std::vector<std::string>> Core::ask_servers(std::string request) {
  Question question(*this);
  const ReplyTo to{UINT32_MAX, kAskedByUs, question.id};
  const auto ask = [&](Target& target) {
    ServerConnection* connection = target.pool().shared(2, 0);
    if (connection == nullptr) return;
    connection->send_again(request, to);
    ++question.asked;
  };
  if (servers.primary() != nullptr) ask(*servers.primary());
  for (size_t i = 0; i < servers.size(); ++i) {
    Target& target = servers.target(static_cast<int>(i));
    if (!target.facts().is_instance) ask(target);
  }
  while (question.frames.size() < question.asked) co_await question.answered.wait();
  co_return std::move(question.frames);
}

}  // namespace sidestream::routing
