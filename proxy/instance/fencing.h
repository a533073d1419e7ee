// fencing.h: whether this primary may take writes: what it knows about other primaries, and what it tells them. The
// decision itself is in fence.h.
//
// Happy path: looked at ten times a second; the plane refuses writes while there is a reason. An instance that was
// promoted without its upstream's help tells that one, as soon as it can be reached, that the history went on here.
// Failure modes: an upstream that is no instance does not understand; Sentinel tells it in its own way.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "common/world.h"
#include "config/config.h"
#include "config/sources.h"
#include "proxy/instance/fence.h"
#include "proxy/instance/sentinel_watch.h"
#include "proxy/replication/relay.h"
#include "proxy/routing/plane.h"

namespace sidestream::instance {

class Fencing {
 public:
  class Owner {
   public:
    virtual bool is_primary() const = 0;
    /// Where others see us.
    virtual bool is_our_place(const Address& place) const = 0;
    virtual int follow_port() const = 0;
    virtual bool is_own_node(const replication::ReplicaStatus& replica) const = 0;

   protected:
    ~Owner() = default;
  };

  /// All outlive it. `run_id`: of this process.
  Fencing(World& world, const Config& config, const replication::Relay& relay, routing::Plane& plane,
          SentinelWatch& sentinels, std::string run_id, const Owner& owner);

  /// Why no writes are taken; empty: they are.
  const std::string& reason() const { return reason_; }
  /// Looks again at what is known.
  void update();
  /// A role begins: what was said about the one before is void.
  void restart(bool began_as_primary);
  /// An operator's word: this is the primary.
  void insist();
  /// What we know of other primaries is old: no write before it is known anew.
  void was_stopped();
  /// See admin::Group::succeeded_by().
  Result<void> succeeded_by(const replication::ReplId& replid, const Address& successor);
  /// Tells `former`, until it has heard it, that `history` went on here.
  void tell(Address former, replication::ReplId history);
  /// What the next run has to know, as notes of the state file; and what an earlier one knew.
  Texts notes() const;
  void recall(const Texts& notes);

 private:
  /// What is known about other primaries since we are one.
  struct Role {
    int64_t since_ms = 0;
    bool began_as_primary = false;            // the role at the start of the process
    int64_t unsure_since_ms = 0;              // that start, or the process went on after it was stopped
    int64_t epoch = -1;                       // of Sentinel's configuration by then
    std::string successor;                    // who told us that it is; void when it attaches to us after
    uint64_t last_link = 0;                   // the last of our replicas by then
    std::map<std::string, int64_t> replicas;  // below us; when each was heard last
  };

  FenceFacts facts();
  bool is_us(const SentinelWatch::Named& named) const;
  Task<void> tell_until_heard(Address former, replication::ReplId history);
  Task<Result<void>> tell_once(Address former, replication::ReplId history);

  World& world_;
  const Config& config_;
  const replication::Relay& relay_;
  routing::Plane& plane_;
  SentinelWatch& sentinels_;
  const std::string run_id_;
  const Owner& owner_;
  Role role_;
  std::string reason_;
  TaskSet tasks_;
};

}  // namespace sidestream::instance
