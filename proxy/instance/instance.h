// instance.h: the whole thing. Builds relay, client plane, nodes, commands and HTTP in the order of their dependencies,
// lets them meet (relay and plane know nothing of each other), and tears them down in reverse.
//
// Happy path: bind(), start(), then clients and replicas are served until drain() has let them go.
// Failure modes: an address that cannot be bound, a directory that cannot be used; nothing after that ends the process.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "common/world.h"
#include "config/config.h"
#include "config/options.h"
#include "proxy/admin/group.h"
#include "proxy/admin/http.h"
#include "proxy/admin/local_commands.h"
#include "proxy/admin/trend.h"
#include "proxy/instance/dataset_file.h"
#include "proxy/instance/failover.h"
#include "proxy/instance/lost_writes.h"
#include "proxy/instance/state_file.h"
#include "proxy/instance/steering.h"
#include "proxy/replication/relay.h"
#include "proxy/routing/plane.h"

namespace sidestream::instance {

/// What the next process of this instance has to know besides what is in its configuration and `dir`.
struct Legacy {
  std::string run_id;        // empty: there is no former process
  uint64_t last_client = 0;  // ids behind it were not given out
  Texts options;             // changed by CONFIG SET
};

class Instance final : private replication::RelayObserver,
                       private routing::PlaneHost,
                       private admin::Group,
                       private Failover::Memory {
 public:
  /// `state` is what earlier runs kept; load() has applied it to `config` already. `legacy`: what the process had whose
  /// place we take; its options are in `config`.
  Instance(World& world, Config config, Texts state, Legacy legacy = {});
  ~Instance() override;

  /// Opens every address. Errc::io with the one that could not be bound.
  Result<void> bind();
  /// Answers at the admin address.
  void answer_admin();
  /// Begins, after bind(). Errc::io when `dir` cannot be used.
  Task<Result<void>> start();
  /// What to do when a drain, whoever asked for it, is over.
  void when_drained(std::function<void()> done) { drained_ = std::move(done); }
  /// Who reads the configuration again when an operator wants it.
  void when_reload_wanted(std::function<Result<admin::Reloaded>()> reload) { reload_ = std::move(reload); }
  /// Whether it could, at this moment. Errc::refused.
  Result<void> may_take(const Option& option, const Config& fresh) override;
  /// These live options, and the users, are as `fresh` has them from now on.
  void take(std::span<const Option* const> changed, const Config& fresh);
  /// For seconds nothing was done here: others may have acted.
  void was_stopped() { steering_->was_stopped(); }
  /// Not ready from now on; the role of the primary is handed over, clients finish, then when_drained().
  void drain() override;

  // handing_on.cc: another process takes our place, or we take one's.
  void when_upgrade_wanted(std::function<Result<void>()> upgrade) { upgrade_ = std::move(upgrade); }
  admin::UpgradeFacts& upgrade_state() { return upgrade_facts_; }
  Legacy legacy() const;
  /// No new clients and replicas; replication, nodes and `dir` are let go. Clients are served as before, by the primary
  /// alone. Errc::refused: not now.
  Task<Result<void>> retire();
  /// Takes all that back.
  Task<Result<void>> resume();
  /// Nobody is let in any more, at the admin address either; clients go to `take` as soon as they are in the middle of
  /// nothing. Returns when all are gone or drain.timeout is over.
  using TakeClient = std::function<void(PassedStream, routing::PassedClient)>;
  Task<void> pass_clients(TakeClient take);
  void keep_clients();
  /// In the process that takes over: another one has clients that write, until elder_gone().
  void share_writes() { steering_->share_writes(true); }
  /// It can do what the former one could: there is somebody to write to and to read from.
  Task<Result<void>> ready_to_serve(bool former_was_ready);
  void adopt_client(PassedStream stream, routing::PassedClient client);
  Task<void> elder_gone();

  /// Where clients connect, as bound (port 0 was replaced).
  const Address& node_address() const { return listeners_.front()->address(); }
  admin::Group& group() { return *this; }

 private:
  // RelayObserver
  void stream_command(std::span<const std::string_view> args, bool truncated, ReplOffset end) override;
  void stream_read(ReplOffset end) override;
  void upstream_changed() override;
  void replica_changed(uint64_t link_id) override;
  void history_lost(const replication::ReplId& replid, ReplOffset fork, int64_t size, std::string_view bytes) override;

  // PlaneHost
  Task<routing::Answer> answer_local(routing::Caller caller, std::vector<std::string> args) override;
  std::optional<std::string> answer_at_once(const routing::Caller& caller,
                                            std::span<const std::string_view> args) override;
  void adopt_replica(std::unique_ptr<ByteStream> stream, uint64_t session_id, std::vector<std::string> args,
                     std::string leftover) override;
  void pass_client(std::unique_ptr<MovingStream> stream, routing::PassedClient client) override;
  std::string ping_reply() override;
  bool role_is_primary(routing::Face face) override;
  void session_ended(uint64_t session_id) override;
  void primary_refuses() override { steering_->look_at_all(); }

  // admin::Group
  World& world() override { return world_; }
  Config& config() override { return config_; }
  replication::Relay& relay() override { return *relay_; }
  routing::Plane& plane() override { return *plane_; }
  const std::string& run_id() const override { return run_id_; }
  int64_t started_at_ms() const override { return started_ms_; }
  int node_port() const override { return listeners_.empty() ? 0 : listeners_.front()->address().port; }
  bool is_primary() const override { return steering_->is_primary(); }
  std::optional<Address> master() const override { return steering_->master(); }
  bool is_changing_role() const override { return steering_->changing_role(); }
  std::vector<admin::NodeFacts> nodes() const override { return steering_->node_facts(); }
  std::vector<admin::SentinelFacts> sentinels() const override { return steering_->sentinels().facts(); }
  std::vector<admin::PeerFacts> peers() const override { return steering_->peer_facts(); }
  const admin::Trend& trend() const override { return trend_; }
  const admin::StreamFacts& stream_facts() const override { return stream_facts_; }
  bool is_draining() const override { return draining_; }
  bool can_be_promoted() const override { return steering_->can_be_promoted(); }
  bool is_own_node(const replication::ReplicaStatus& replica) const override {
    return steering_->node_of(replica) != nullptr;
  }
  bool is_lead(const replication::ReplicaStatus& replica) const override {
    const Node* node = steering_->node_of(replica);
    return node != nullptr && node == steering_->lead();
  }
  int64_t lag_ms(ReplOffset offset) const override { return steering_->lag_ms(offset); }
  std::string trouble() const override;
  admin::Readiness readiness() const override;
  Task<Result<void>> change_role(std::optional<Address> master) override;
  const std::string& fenced() const override { return steering_->fencing().reason(); }
  Result<void> succeeded_by(const replication::ReplId& replid, Address successor) override {
    return steering_->fencing().succeeded_by(replid, successor);
  }
  Task<Result<bool>> request_handover() override { return steering_->request_handover(); }
  Result<void> begin_failover(admin::FailoverOrder order) override;
  Task<Result<void>> abort_failover() override;
  admin::SwitchFacts switch_facts() const override;
  std::vector<admin::LostWrite> lost_writes() const override { return {lost_.writes().begin(), lost_.writes().end()}; }
  std::vector<admin::LostKey> lost_keys() const override { return lost_.keys(); }
  Task<Result<std::vector<std::string>>> export_untouched() override;
  Task<Result<void>> take_over(replication::ReplId replid, ReplOffset at) override;
  Task<Result<std::string>> revive() override { return steering_->revive(); }
  Result<void> resync(const Address& replica) override { return steering_->resync(replica); }
  Task<std::string> lead_info(bool everything) override;
  Task<Result<resp::Value>> ask_lead(std::vector<std::string> args) override;
  Task<Result<resp::Value>> ask_all(std::vector<std::string> args) override;
  Task<Result<std::unique_ptr<replication::NodeConnection>>> open_to_primary() override;
  void request_acks() override;
  void option_changed(std::string_view name) override;
  Result<admin::Reloaded> reload() override;
  const admin::ReloadFacts& reload_facts() const override { return reload_facts_; }
  Result<void> upgrade() override;
  const admin::UpgradeFacts& upgrade_facts() const override { return upgrade_facts_; }
  Task<Result<void>> save_state() override;

  // Failover::Memory
  Task<Result<void>> remember(std::optional<Handover> handover) override;
  Task<Result<void>> handed_over(Address to) override;

  struct Outcome;
  Result<void> in_charge() const;
  Task<Result<void>> order_role(std::optional<Address> master);
  Task<Result<void>> to_its_end(Task<Result<void>> change);
  Task<void> run_change(Task<Result<void>> change, std::shared_ptr<Outcome> outcome);
  Task<void> run_abort(std::shared_ptr<Outcome> outcome);
  Task<Result<void>> obey_takeover(replication::ReplId replid, ReplOffset at);
  Task<Result<void>> keep_role();
  Task<void> keep_fence();
  Task<void> keep_role_later();
  Task<Result<void>> take_directory();
  void apply_option(std::string_view name);
  void name_follow_user();
  const Address& follow_address() const;
  Result<void> listen_on(Address address, routing::Face face);
  void set_front_door();
  Task<void> accept_loop(Listener& listener, routing::Face face);
  Task<void> ask_for_acks();
  Task<void> recall_dataset();
  Task<void> keep_dataset();
  Task<void> recall_drift(), keep_drift(std::string kept);
  Task<void> leave();
  Task<void> leave_the_lead();
  Task<void> see_clients_off();
  Task<void> keep_trend();
  void watch_lag();
  std::string replconf(uint64_t session_id, std::span<const std::string_view> args);

  World& world_;
  Config config_;
  Texts state_;
  std::set<std::string, std::less<>> changed_options_;  // by CONFIG SET, for CONFIG REWRITE
  std::string run_id_;
  int64_t started_ms_;
  std::unique_ptr<FileLock> directory_lock_;
  std::map<uint64_t, replication::ReplicaHello> hellos_;  // sessions that sent REPLCONF and may become replicas
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::vector<routing::Face> faces_;  // of the listeners, in the same order
  std::unique_ptr<replication::Relay> relay_;
  std::unique_ptr<routing::Plane> plane_;
  std::unique_ptr<Steering> steering_;
  std::unique_ptr<Failover> failover_;
  std::unique_ptr<admin::LocalCommands> commands_;
  std::unique_ptr<admin::HttpServer> http_;
  replication::ReplId history_seen_;
  KeptDataset kept_;  // as it is on the disk
  LostWrites lost_;
  admin::Trend trend_;
  admin::StreamFacts stream_facts_;
  ReplOffset stream_end_{-1};    // of the last command
  bool too_far_behind_ = false;  // for ready.max-lag
  bool draining_ = false;
  bool retired_ = false;  // another process is about to go on with it all
  std::function<Result<void>()> upgrade_;
  admin::UpgradeFacts upgrade_facts_;
  TakeClient take_client_;
  std::function<void()> drained_;
  std::function<Result<admin::Reloaded>()> reload_;
  admin::ReloadFacts reload_facts_;
  TaskSet accepting_;
  TaskSet tasks_;
};

}  // namespace sidestream::instance
