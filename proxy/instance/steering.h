// steering.h: who leads. Holds the nodes, makes the plan from what they say, and sees that the relay follows the right
// server, that nodes follow us, and that the client plane knows where to write and read.
//
// Happy path: each change of a node or of the relay leads to one new plan at the end of the turn. A change of role
// (REPLICAOF) is one conversation at a time: hold writes, bring the lead node level, promote it, follow it, release.
// Failure modes: a plan with trouble changes nothing and is reported; a promotion that cannot be finished goes back to
// the former upstream and says why.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/signal.h"
#include "common/world.h"
#include "config/config.h"
#include "proxy/admin/group.h"
#include "proxy/instance/drift_audit.h"
#include "proxy/instance/fencing.h"
#include "proxy/instance/lag_clock.h"
#include "proxy/instance/lost_writes.h"
#include "proxy/instance/node.h"
#include "proxy/instance/peers.h"
#include "proxy/instance/sentinel_watch.h"
#include "proxy/replication/relay.h"
#include "proxy/routing/plane.h"

namespace sidestream::instance {

class Steering final : public Node::Owner, public SentinelWatch::Owner, private Fencing::Owner {
 public:
  /// All outlive it. `run_id`: of this process.
  Steering(World& world, Config& config, replication::Relay& relay, routing::Plane& plane, LostWrites& lost,
           std::string run_id);
  ~Steering();
  void end_conversations();  ///< they use the plane and the relay
  /// `follow`: where our nodes are to connect. `master`: the role at start.
  void start(const Address& follow, std::optional<Address> master);

  // For the process that takes our place.
  /// No plan is made and nobody is commanded; or again.
  void retire(), resume();
  /// Writes go through another process too: replicas are not read, since nobody here knows what is fresh.
  void share_writes(bool shared);

  // membership.cc: the configuration changes at run time.
  /// Whether these could be our nodes from now on. Errc::refused with what to do before.
  Result<void> may_have(const std::vector<NodeConfig>& nodes) const;
  /// config.nodes are.
  void take_nodes();
  /// Another place where our nodes are to connect, or another name for it.
  void lead_nodes_to(const Address& follow);
  /// Our nodes are told the password that they need here.
  void introduce_anew();
  /// Other commands are denied.
  void feed_commands_anew() { table_from_ = nullptr; }

  bool is_primary() const override { return !master_.has_value() && !config_.follows_sentinels(); }
  const std::optional<Address>& master() const { return master_; }
  /// The node that speaks for us: the primary, or the first that follows us well; else the upstream. May be null.
  Node* lead();
  const Node* lead() const { return const_cast<Steering*>(this)->lead(); }
  /// The server that takes writes. May be null.
  Node* writer();
  std::vector<admin::NodeFacts> node_facts() const;
  std::vector<admin::PeerFacts> peer_facts() const { return peers_.facts(relay_.history()); }
  /// The node that this replica is; null if it is none of ours.
  const Node* node_of(const replication::ReplicaStatus& replica) const;
  const std::string& trouble() const { return trouble_; }
  std::vector<std::unique_ptr<Node>>& nodes() { return nodes_; }
  /// Nodes promoted since nobody else led.
  uint64_t elections() const { return elections_; }
  bool changing_role() const { return changing_role_; }
  const SentinelWatch& sentinels() const { return sentinels_; }
  DriftAudit& audit() { return audit_; }
  /// See admin::Group::resync().
  Result<void> resync(const Address& replica);

  /// While it lives, no plan is made: one conversation alone moves the roles.
  class Change {
   public:
    enum class Writer { none, as_is };
    /// What clients write to meanwhile: nobody, or who it is by our knowledge of the moment.
    Change(Steering& steering, Writer writer);
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;
    ~Change();

   private:
    Steering& steering_;
  };
  /// Whether REPLICAOF NO ONE would find a node that can take the writes.
  bool can_be_promoted() const;

  /// See admin::Group::change_role().
  Task<Result<void>> change_role(std::optional<Address> master);
  /// Whether writes are taken, and what other primaries are told.
  Fencing& fencing() { return fencing_; }
  const Fencing& fencing() const { return fencing_; }
  /// The process did nothing for a while.
  void was_stopped() {
    if (!retired_) fencing_.was_stopped();
  }

  /// See admin::Group::request_handover().
  Task<Result<bool>> request_handover();
  /// See admin::Group::take_over().
  Task<Result<void>> take_over(replication::ReplId replid, ReplOffset at);

  // For who holds a Change.
  /// The node that we follow as the primary; null on a replica.
  Node* primary_node() { return !master_ && primary_ ? nodes_[*primary_].get() : nullptr; }
  /// `node`, one of ours, is the primary from now on. `by_order`: whatever it holds; else what is not our history is
  /// held by the wipe guard.
  void lead_by(Node& node, bool by_order = false);
  /// Who is below us: replicas that are none of our nodes.
  std::vector<Address> below_us() const;
  /// They follow our upstream instead; for when we go.
  Task<void> pass_on(std::vector<Address> replicas);
  /// We are a replica of `master` from now on.
  void follow_elsewhere(const Address& master) { become_replica(master, true); }
  /// The new writer is followed and known to take writes. Errc::timed_out.
  Task<Result<void>> wait_for_takeover(Node& node);
  /// min-replicas-to-write: whether there are enough, told to the plane.
  void count_good_replicas();
  /// Tells the plane what is known now.
  void feed_plane();
  /// See admin::Group::revive().
  Task<Result<std::string>> revive();
  /// How old a replica's data is that acknowledged `offset`.
  int64_t lag_ms(ReplOffset offset) const { return lag_clock_.lag_ms(offset, world_.clock.now_ms()); }
  /// At every node, now rather than in a second.
  void look_at_all();
  /// Something about the relay changed: look again at the end of this turn.
  void relay_changed() { ReadyQueue::current().post_turn_end(replan_); }

 private:
  struct Replan : ReadyNode {
    explicit Replan(Steering& owner) : ReadyNode(&Replan::run), steering(owner) {}
    static void run(ReadyNode& node) { static_cast<Replan&>(node).steering.replan(); }
    Steering& steering;
  };

  void node_changed() override { ReadyQueue::current().post_turn_end(replan_); }
  void sentinels_changed() override { ReadyQueue::current().post_turn_end(replan_); }
  void follow_named();
  int follow_port() const override;
  bool is_our_place(const Address& place) const override;
  bool is_own_node(const replication::ReplicaStatus& replica) const override { return node_of(replica) != nullptr; }
  bool follow_by_tls() const override { return follow_tls_; }

  Task<void> tick();
  void replan(), follow_primary(size_t index, bool by_order), feed_guard(), feed_audit();
  Node *witness(), *best_to_lead();
  bool has_our_history(const Node& node) const;
  bool holds_data_apart(const Node& node) const;
  void feed_commands();
  std::optional<routing::PrimaryFacts> primary_facts();
  std::vector<routing::TargetFacts> target_facts() const;
  std::vector<Address> snapshot_sources() const;
  std::vector<AuditPlace> audited_nodes() const;
  const replication::ReplicaStatus* link_of(const Node& node,
                                            const std::vector<replication::ReplicaStatus>& links) const;
  replication::Credentials credentials() const { return {config_.masteruser, config_.masterauth}; }

  // revival.cc
  Result<Node*> most_advanced();
  Task<Result<std::string>> let_lead(Node& node), give_back(Node& server);
  Task<Result<void>> fill(Node& server);
  Task<Result<bool>> handed_over(replication::NodeConnection& upstream);

  // succession.cc
  void succeed(const Plan& plan);
  Node *heir() const, *astray() const;
  Task<void> bring_back(Node& node), run_election(Node& node), run_adoption(Node& node);
  Task<Result<std::string>> read_tail(Node& node);
  Task<void> look_back(std::shared_ptr<LostWrites::Loss> loss);
  Task<Result<void>> elect(Node& node), adopt(Node& node);
  Task<Result<void>> replace(Node& former, replication::NodeConnection& server, Node& node, bool frozen);

  // role_change.cc
  void become_replica(const Address& master, bool by_order);
  void leave_upstream(), give_up_if_silent(const Node& former);
  Task<Result<void>> promote(int64_t answers_ms), bring_level(Node& node);
  Task<bool> hear_out(Address former, int64_t patience_ms);
  /// The lead node, once it is known to follow us. Errc::refused.
  Task<void> demoted(Node& former);
  Task<Result<Node*>> node_to_promote();

  World& world_;
  Config& config_;
  replication::Relay& relay_;
  routing::Plane& plane_;
  LostWrites& lost_;
  int port_ = 0;
  bool follow_tls_ = false;
  int64_t started_ms_ = 0;

  std::optional<Address> master_;
  std::vector<std::unique_ptr<Node>> left_;  // former upstreams, until nobody waits for them
  std::unique_ptr<Node> upstream_;           // watched while we are a replica
  std::vector<std::unique_ptr<Node>> nodes_;
  std::optional<size_t> primary_;  // among nodes_, while we front the primary
  std::string trouble_;
  bool ordered_by_sentinel_ = false;  // the promotion that comes
  SentinelWatch sentinels_;
  Fencing fencing_;
  Peers peers_;
  DriftAudit audit_;
  std::optional<Address> followed_;  // whom the Sentinels named when we last did as they said
  bool changing_role_ = false;
  bool writer_withheld_ = false;  // from the plane
  bool retired_ = false;
  bool writes_shared_ = false;
  const Node* table_from_ = nullptr;  // whose COMMAND table the plane has
  uint64_t table_serial_ = 0;
  LagClock lag_clock_;
  std::optional<size_t> promotable_;  // by the plan, since
  int64_t promotable_since_ms_ = 0;
  uint64_t elections_ = 0;
  std::optional<replication::ReplId> refused_promotion_;  // the id that the node took then
  Replan replan_;
  TaskSet tasks_;
  TaskSet succession_;
  TaskSet recovery_;
};

}  // namespace sidestream::instance
