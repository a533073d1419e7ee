// target.h: one server that commands go to, the primary or a replica: what is known about it and its connections.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>

#include "proxy/routing/facts.h"
#include "proxy/routing/guest.h"
#include "proxy/routing/router.h"
#include "proxy/routing/server_pool.h"

namespace sidestream::routing {

class Target {
 public:
  /// `number` (1 to 127, 0 for the primary) stands for this server in SCAN cursors.
  Target(World& world, FreshnessMap& freshness, ReplySink& sink, PoolOwner& owner, TargetFacts facts, bool is_primary,
         int number);

  /// News from the instance. Same address and credentials.
  void update(TargetFacts facts);
  bool same_server(const TargetFacts& facts) const;
  /// What was known about its offset is void.
  void forget_offset();
  /// So is whether its link is up, until the next news.
  void new_history();
  /// Every limits::kTickMs.
  void tick();

  ServerPool& pool() { return pool_; }
  const ServerPool& pool() const { return pool_; }
  /// Those of a guest, or ours.
  ServerPool& pool(const std::shared_ptr<const Guest>& guest) { return guest == nullptr ? pool_ : guest_pool(guest); }
  /// False: the connection is none of this server.
  bool give_back(ServerConnection& connection);
  // As those of ServerPool, for all pools.
  void retire();
  void drop_all();
  bool empty() const;
  bool quiet() const;
  const TargetFacts& facts() const { return facts_; }
  int number() const { return number_; }
  const std::string& name() const { return name_; }

  TargetView view;  // for the router
  uint64_t reads = 0, writes = 0;
  bool owes_flush = false;  // a SCRIPT FLUSH did not reach it
  bool asked_acks = false;  // how far it is, and has not answered yet

 private:
  struct GuestPool {
    std::weak_ptr<const Guest> guest;
    std::unique_ptr<ServerPool> pool;
  };

  ServerPool& guest_pool(const std::shared_ptr<const Guest>& guest);
  void part_from_guests();
  std::optional<ReplOffset> check_role(std::string_view frame);
  void refresh_view();

  World& world_;
  FreshnessMap& freshness_;
  ReplySink& sink_;
  PoolOwner& owner_;
  TargetFacts facts_;
  bool is_primary_;
  int number_;
  std::string name_;
  // As ROLE prints it; of a replica of which nobody knows what it calls us, learnt while its link was known to be up.
  std::string expected_upstream_;
  ServerPool pool_;
  std::unordered_map<uint64_t, GuestPool> guest_pools_;  // by Guest::id
};

}  // namespace sidestream::routing
