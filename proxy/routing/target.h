// target.h: one server that commands go to, the primary or a replica: what is known about it and its connections.
#pragma once

#include <optional>
#include <string>

#include "proxy/routing/facts.h"
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
  const TargetFacts& facts() const { return facts_; }
  int number() const { return number_; }
  const std::string& name() const { return name_; }

  TargetView view;  // for the router
  uint64_t reads = 0, writes = 0;
  bool owes_flush = false;  // a SCRIPT FLUSH did not reach it

 private:
  std::optional<ReplOffset> check_role(std::string_view frame);
  void refresh_view();

  const FreshnessMap& freshness_;
  TargetFacts facts_;
  bool is_primary_;
  int number_;
  std::string name_;
  std::string expected_upstream_;  // as ROLE prints it, learnt while its link was known to be up
  ServerPool pool_;
};

}  // namespace sidestream::routing
