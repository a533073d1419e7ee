// failover.h: FAILOVER: a planned switch of the primary. Clients see a pause; no acknowledged write is lost, none is
// made twice.
//
//   waiting-for-sync     1  new writes are held; those that were sent are answered (reads go on throughout)
//                        2  the primary node is frozen for writes of anybody else: CLIENT PAUSE ... WRITE
//                        3  the target has applied all that the primary has
//   failover-in-progress 4  the primary is demoted: it follows us, and its offset F is final
//                        5  we and the target have every byte up to F
//                        6  the target is promoted at F: one of our nodes or a stock replica by REPLICAOF NO ONE, an
//                           instance by SIDESTREAM TAKEOVER replid F
//                        7  we follow the target, which goes on with our history under a new id; so does everybody
//                           below us, by partial resync, the former primary too
//   no-failover          8  subscribers have moved, held writes go to the new primary
//
// From step 4 to step 6 nobody takes writes: there are never two primaries. The target may be one of our own nodes
// (then we stay a primary), or a replica below us (then we become its replica, and our node ours).
//
// Failure modes. Before step 4 everything is put back: writes are released, and it is tried again as long as TIMEOUT
// and ABORT allow, with a pause in between, so that a target that never gets level costs clients pauses, not errors.
// From step 4 on a target that refuses, or a node that cannot be asked any more, is given up: the former primary
// becomes primary again under a new id. Only when it is unknown whether a replica below us obeyed do we go on asking
// it; until it answers nobody takes writes. The same after our own crash: what was begun stands in `dir`
// (instance_role.cc); if it then refuses, one of our nodes that has everything leads, as soon as one answers. A former
// primary that came back with another history is followed, not promoted: the wipe guard judges what it has.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "common/signal.h"
#include "common/world.h"
#include "config/config.h"
#include "proxy/admin/group.h"
#include "proxy/instance/steering.h"
#include "proxy/replication/node_connection.h"
#include "proxy/replication/relay.h"
#include "proxy/routing/plane.h"

namespace sidestream::instance {

/// A replica below us that was told to take over at the end of a history.
struct Handover {
  Address to;
  bool is_instance = false;
  replication::ReplId replid;
  ReplOffset at;

  /// "HOST PORT instance|server REPLID OFFSET", as kept in the state file.
  std::string text() const;
  static Result<Handover> parse(const std::string& text);
};

class Failover {
 public:
  enum class State { none, waiting_for_sync, in_progress };

  /// Keeps what must survive a crash.
  class Memory {
   public:
    /// We follow `handover.to` as soon as it has taken over; nothing: we are a primary after all. Errc::io.
    virtual Task<Result<void>> remember(std::optional<Handover> handover) = 0;
    /// It is done: we are its replica.
    virtual Task<Result<void>> handed_over(Address to) = 0;

   protected:
    ~Memory() = default;
  };

  /// All outlive it.
  Failover(World& world, const Config& config, replication::Relay& relay, routing::Plane& plane, Steering& steering,
           Memory& memory);
  ~Failover();

  /// An operator gives us a role: what a handover that came to nothing left to do is void.
  void overruled() { forgetting_.cancel_all(); }
  /// FAILOVER; goes on by itself after an ok. Errc::refused with stock's words.
  Result<void> begin(admin::FailoverOrder order);
  bool has_target(const admin::FailoverOrder& order) const { return choose(order).has_value(); }
  /// FAILOVER ABORT; everything is put back when it returns. Errc::refused with stock's words, or because the target
  /// may have taken over already.
  Task<Result<void>> abort();
  /// An earlier run told somebody to take over and did not hear the answer.
  void resume(Handover handover);

  State state() const { return state_; }
  /// Switches completed.
  uint64_t completed() const { return completed_; }
  /// Why the last one was given up; empty: it was not.
  const std::string& trouble() const { return trouble_; }
  /// Notified when a failover ends, either way.
  Signal ended;

 private:
  struct Target {
    Address address;
    Node* node = nullptr;  // one of ours
    bool is_instance = false;
  };
  using Connection = std::unique_ptr<replication::NodeConnection>;
  /// What one attempt holds on to.
  struct Attempt {
    Target target;
    Node* former = nullptr;
    Connection primary;  // to the former
    Connection taker;    // to the target
    bool frozen = false;
    bool forced = false;
    ReplOffset final_offset;
  };

  Task<void> run(admin::FailoverOrder order);
  std::optional<Target> choose(const admin::FailoverOrder& order) const;
  Task<Result<void>> attempt(Target target, bool forced);
  Task<Result<void>> become_level(Attempt& now);
  Task<Result<void>> pass_on(Attempt& now);
  Task<Result<void>> demote(Attempt& now);
  Task<Result<void>> receive_all(Attempt& now);
  Task<Result<void>> promote_node(Attempt& now);
  Task<Result<void>> hand_over(Attempt& now);
  Task<Result<void>> told_to_take_over(Handover handover);
  Task<Result<void>> tell_once(Handover handover);
  Task<Result<void>> tell_stock(replication::NodeConnection& server, const Handover& handover);
  Task<void> finish_handover(Handover handover);
  Task<void> lead_after_all(Handover handover);
  Task<void> forget();
  Task<void> thaw(Attempt& now);
  Task<void> thaw_later(Address node);
  Task<void> undo(Attempt& now);
  Task<Result<bool>> lead_again(Node& former);
  bool holds_ours(std::string_view info) const;
  Task<Result<void>> wait_for_upstream();
  Task<Result<ReplOffset>> offset_of(replication::NodeConnection& server, int64_t patience_ms);
  Task<Result<Connection>> open(Address address);
  void end(std::string trouble);

  World& world_;
  const Config& config_;
  replication::Relay& relay_;
  routing::Plane& plane_;
  Steering& steering_;
  Memory& memory_;
  State state_ = State::none;
  bool aborted_ = false;
  Signal look_;        // ABORT came
  bool told_ = false;  // a replica below us may have taken over
  uint64_t completed_ = 0;
  std::string trouble_;
  TaskSet tasks_;
  TaskSet forgetting_;
};

}  // namespace sidestream::instance
