// server_pool.cc: lending, replacing and burying connections. See the header.
#include "proxy/routing/server_pool.h"

#include <algorithm>
#include <utility>

#include "common/log.h"
#include "proxy/routing/limits.h"

namespace sidestream::routing {
namespace {
constexpr size_t kOpeningPrivateMax = 8;
}

ServerPool::ServerPool(World& world, FreshnessMap& freshness, ReplySink& sink, PoolOwner& owner, ConnectionPlan plan,
                       RoleCheck role_check)
    : world_(world),
      freshness_(freshness),
      sink_(sink),
      owner_(owner),
      plan_(std::move(plan)),
      role_check_(std::move(role_check)),
      reap_node_(*this) {}

ServerPool::~ServerPool() {
  retiring_ = true;
  drop_all();
}

ServerConnection* ServerPool::find_shared(int protocol, int db) const {
  for (ServerConnection* connection : shared_) {
    if (connection->plan().protocol == protocol && connection->db() == db) return connection;
  }
  return nullptr;
}

ServerConnection* ServerPool::shared(int protocol, int db) {
  ServerConnection* connection = find_shared(protocol, db);
  if (connection == nullptr) {
    open(protocol, db, false);
    return nullptr;
  }
  return connection->ready() && !retiring_ && !connection->full() ? connection : nullptr;
}

ServerConnection* ServerPool::borrow(int protocol, int db, const ReplyTo& borrower) {
  for (size_t i = idle_.size(); i-- > 0;) {
    ServerConnection* connection = idle_[i];
    if (connection->plan().protocol != protocol) continue;
    if (!connection->alive()) {
      connection->fail(Error{Errc::closed, "closed while idle"});  // takes it out of idle_
      continue;
    }
    idle_.erase(idle_.begin() + static_cast<ptrdiff_t>(i));
    connection->borrower = borrower;
    connection->select(db);
    ensure_spare(protocol);
    return connection;
  }
  ensure_spare(protocol);
  return nullptr;
}

void ServerPool::give_back(ServerConnection& connection) {
  connection.borrower = {};
  if (connection.down()) return;
  if (connection.unfinished()) return connection.close();
  connection.stop_feed();
  if (retiring_ || idle_.size() >= limits::kPrivateIdleMax) return connection.retire();
  idle_.push_back(&connection);
  owner_.servers_changed();
}

void ServerPool::warm(int protocol) {
  bool& warm = warm_[protocol == 3 ? 1 : 0];
  if (warm) return;
  warm = true;
  if (find_shared(protocol, 0) == nullptr) open(protocol, 0, false);
  if (plan_.is_primary) ensure_spare(protocol);
}

bool ServerPool::may_open() const { return !retiring_ && world_.clock.now_ms() >= next_attempt_ms_; }

void ServerPool::open(int protocol, int db, bool is_private) {
  if (!may_open()) return;
  ConnectionPlan plan = plan_;
  plan.protocol = protocol;
  plan.db = db;
  plan.is_private = is_private;
  auto connection = std::make_unique<ServerConnection>(world_, freshness_, *this, sink_, std::move(plan));
  ServerConnection& opened = *connection;
  connections_.push_back(std::move(connection));
  is_private ? void(++opening_private_) : shared_.push_back(&opened);
  opened.open();
}

void ServerPool::ensure_spare(int protocol) {
  for (const ServerConnection* connection : idle_) {
    if (connection->plan().protocol == protocol) return;
  }
  const bool room = connections_.size() < limits::kPrivateConnectionsMax && opening_private_ < kOpeningPrivateMax;
  if (room) open(protocol, 0, true);
}

void ServerPool::connection_ready(ServerConnection& connection) {
  if (!last_error_.empty()) log_verbose(plan_.address.text(), "answers again");
  last_error_.clear();
  backoff_ms_ = next_attempt_ms_ = 0;
  if (connection.plan().is_private) {
    --opening_private_;
    idle_.push_back(&connection);
  }
  owner_.servers_changed();
}

void ServerPool::connection_down(ServerConnection& connection, const Error& error) {
  if (connection.plan().is_private && !connection.opened()) --opening_private_;
  std::erase(idle_, &connection);
  std::erase(shared_, &connection);
  ReadyQueue::current().post(reap_node_);
  const ReplyTo borrower = std::exchange(connection.borrower, {});
  if (borrower.session_id != 0) owner_.borrowed_lost(connection, borrower);
  if (!connection.closed_by_us()) lost(error.detail, !connection.opened());
}

/// The server cannot be used just now.
void ServerPool::lost(const std::string& why, bool refused) {
  if (last_error_ != why) log_verbose(plan_.address.text(), "connection lost: {}", why);
  last_error_ = why;
  const int64_t now_ms = world_.clock.now_ms();
  if (now_ms >= next_attempt_ms_) {  // many connections break together: that is one failure
    backoff_ms_ =
        refused ? std::clamp(backoff_ms_ * 2, limits::kBackoffMinMs, limits::kBackoffMaxMs) : limits::kBackoffMinMs;
    next_attempt_ms_ = now_ms + backoff_ms_;
  }
  owner_.servers_changed();
}

/// Who finds out by a refused write knows before the nodes are asked again. Others who borrowed one find out
/// themselves.
void ServerPool::connection_demoted(ServerConnection& connection) {
  connection.retire();
  lost("it is no longer a primary", true);
  for (const auto& list : {std::exchange(shared_, {}), std::exchange(idle_, {})}) {
    for (ServerConnection* other : list) other->retire();
  }
}

void ServerPool::reap() {
  std::erase_if(connections_, [](const auto& connection) { return connection->down(); });
  if (retiring_) owner_.servers_changed();
}

void ServerPool::retire() {
  retiring_ = true;
  for (size_t i = 0; i < connections_.size(); ++i) connections_[i]->retire();
}

void ServerPool::drop_all() {
  for (size_t i = 0; i < connections_.size(); ++i) connections_[i]->close();
}

bool ServerPool::quiet() const {
  return std::all_of(connections_.begin(), connections_.end(),
                     [](const auto& c) { return c->plan().is_private || !c->owes_writes(); });
}

void ServerPool::connection_occupied(ServerConnection& connection) {
  std::erase(shared_, &connection);
  connection.retire();
  if (retiring_) return;
  const int protocol = connection.plan().protocol;
  for (ServerConnection* spare : idle_) {
    if (spare->plan().protocol != protocol || !spare->alive()) continue;
    std::erase(idle_, spare);
    spare->share(connection.db());
    shared_.push_back(spare);
    return ensure_spare(protocol);
  }
  open(protocol, connection.db(), false);
}

void ServerPool::tick() {
  const int64_t now_ms = world_.clock.now_ms();
  for (size_t i = 0; i < connections_.size(); ++i) connections_[i]->check_reader(now_ms, limits::kSlowReaderMs);
  if (!plan_.is_primary) {
    for (size_t i = 0; i < connections_.size(); ++i) {
      const bool is_private = connections_[i]->plan().is_private;  // it may run a script
      const int64_t limit_ms = is_private ? limits::kScriptStallMs : limits::kReadStallMs;
      if (!connections_[i]->stalled(now_ms, limit_ms)) continue;
      connections_[i]->fail(Error{Errc::timed_out, "it answers nothing"});
    }
  }
  for (const int protocol : {2, 3}) {
    if (!warm_[protocol - 2] || !may_open()) continue;
    if (find_shared(protocol, 0) == nullptr) open(protocol, 0, false);
    if (plan_.is_primary) ensure_spare(protocol);
  }
}

}  // namespace sidestream::routing
