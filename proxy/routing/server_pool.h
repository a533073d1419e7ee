// server_pool.h: the connections to one server: shared ones, one for each protocol and database, and private ones that
// a client borrows for as long as it needs the server's attention alone.
//
// Happy path: shared() and borrow() give a connection that is ready at once, because it was opened ahead of need; at
// least one private spare per protocol in use is kept. Failure modes: not ready yet or full: nullptr, and
// PoolOwner::servers_changed() when it is worth another try; a server that refuses is asked again with backoff.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proxy/routing/server_connection.h"

namespace sidestream::routing {

class PoolOwner {
 public:
  /// Somebody who found no connection may find one now.
  virtual void servers_changed() = 0;
  /// A private connection broke under its borrower, after everything it owed was given back.
  virtual void borrowed_lost(const ServerConnection& connection, const ReplyTo& borrower) = 0;

 protected:
  ~PoolOwner() = default;
};

class ServerPool final : public ConnectionOwner {
 public:
  using RoleCheck = std::function<std::optional<ReplOffset>(std::string_view frame)>;
  /// `plan`: protocol, database and privacy are filled in per connection.
  ServerPool(World& world, FreshnessMap& freshness, ReplySink& sink, PoolOwner& owner, ConnectionPlan plan,
             RoleCheck role_check);
  ~ServerPool();

  /// The shared connection, opened by the first call for it; nullptr: not now.
  ServerConnection* shared(int protocol, int db);
  /// A private one with the database selected, alive a moment ago; nullptr: not now.
  ServerConnection* borrow(int protocol, int db, const ReplyTo& borrower);
  /// For others to borrow. It may still owe a ROLE.
  void give_back(ServerConnection& connection);
  /// Keeps a shared connection (and for the primary a private spare) of this protocol open from now on.
  void warm(int protocol);

  /// No new requests; connections go down when they have answered. drop_all(): now.
  void retire();
  void drop_all();
  bool empty() const { return connections_.empty(); }
  /// The last attempt to connect did not fail.
  bool reachable() const { return last_error_.empty(); }
  const std::string& last_error() const { return last_error_; }
  size_t size() const { return connections_.size(); }
  size_t idle() const { return idle_.size(); }
  const Latency& took() const { return latency_; }
  /// Shared connections owe nothing.
  bool quiet() const;
  /// Every limits::kTickMs: reconnects, replaces spares, drops what hangs.
  void tick();

 private:
  void connection_ready(ServerConnection& connection) override;
  void connection_down(ServerConnection& connection, const Error& error) override;
  void connection_relieved() override { owner_.servers_changed(); }
  void connection_occupied(ServerConnection& connection) override;
  void connection_demoted(ServerConnection& connection) override;
  Latency& latency() override { return latency_; }
  std::optional<ReplOffset> role_offset(std::string_view frame) override { return role_check_(frame); }

  ServerConnection* find_shared(int protocol, int db) const;
  bool may_open() const;
  void open(int protocol, int db, bool is_private);
  void lost(const std::string& why, bool refused);
  void ensure_spare(int protocol);
  void reap();

  struct ReapNode : ReadyNode {
    explicit ReapNode(ServerPool& p)
        : ReadyNode([](ReadyNode& node) { static_cast<ReapNode&>(node).pool.reap(); }), pool(p) {}
    ServerPool& pool;
  };

  World& world_;
  FreshnessMap& freshness_;
  ReplySink& sink_;
  PoolOwner& owner_;
  ConnectionPlan plan_;
  RoleCheck role_check_;
  Latency latency_;
  bool retiring_ = false;
  bool warm_[2] = {false, false};                               // protocol 2, 3
  std::vector<std::unique_ptr<ServerConnection>> connections_;  // all of them
  std::vector<ServerConnection*> shared_;                       // opening or ready
  std::vector<ServerConnection*> idle_;                         // private, ready, nobody's
  size_t opening_private_ = 0;
  std::string last_error_;
  int64_t backoff_ms_ = 0, next_attempt_ms_ = 0;
  ReapNode reap_node_;
};

}  // namespace sidestream::routing
