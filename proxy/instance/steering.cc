// steering.cc: the plan and what follows from it. Changes of role are in role_change.cc.
#include "proxy/instance/steering.h"

#include <algorithm>

#include "common/log.h"
#include "common/text.h"

namespace sidestream::instance {
namespace {

constexpr int64_t kFirstAnswersMs = 3000;  // after that a silent node is down, not slow
constexpr int64_t kAliveMs = 3000;         // heard within: may take writes

bool is_loopback(const std::string& host) { return host.starts_with("127.") || host == "::1" || host == "localhost"; }

}  // namespace

Steering::Steering(World& world, Config& config, replication::Relay& relay, routing::Plane& plane, LostWrites& lost,
                   std::string run_id)
    : world_(world),
      config_(config),
      relay_(relay),
      plane_(plane),
      lost_(lost),
      sentinels_(world, config, *this),
      fencing_(world, config, relay, plane, sentinels_, std::move(run_id), *this),
      peers_(world, config, *this),
      audit_(world, config, relay, plane, [this] { relay_changed(); }),
      replan_(*this) {}

Steering::~Steering() = default;

void Steering::end_conversations() {
  for (TaskSet* tasks : {&tasks_, &succession_, &recovery_}) tasks->cancel_all();
}

int Steering::follow_port() const {
  return config_.announce_port != 0 ? static_cast<int>(config_.announce_port) : port_;
}

bool Steering::is_our_place(const Address& place) const {
  if (place.port != follow_port()) return false;
  if (!config_.announce_ip.empty()) return place.host == config_.announce_ip;
  const auto seen_as = [&](const auto& node) { return node->our_host() == place.host; };
  return sentinels_.our_host() == place.host || std::any_of(nodes_.begin(), nodes_.end(), seen_as);
}

void Steering::start(const Address& follow, std::optional<Address> master) {
  started_ms_ = world_.clock.now_ms();
  lead_nodes_to(follow);
  for (const NodeConfig& identity : config_.nodes) {
    nodes_.push_back(std::make_unique<Node>(world_, config_, identity, false, *this));
  }
  feed_guard();
  fencing_.restart(true);
  if (master) become_replica(*master, false);
  for (auto& node : nodes_) node->start();
  sentinels_.start();
  tasks_.add(tick());
}

Steering::Change::Change(Steering& steering, Writer writer) : steering_(steering) {
  steering_.changing_role_ = true;
  steering_.writer_withheld_ = writer == Writer::none;
}

Steering::Change::~Change() {
  steering_.changing_role_ = steering_.writer_withheld_ = false;
  steering_.relay_changed();
}

Task<void> Steering::tick() {
  for (;;) {
    lag_clock_.record(relay_.offset(), world_.clock.now_ms());
    relay_changed();  // silence changes things too
    std::erase_if(left_, [](const auto& node) { return !node->is_waited_for(); });
    co_await world_.clock.sleep(LagClock::kSampleEveryMs);
  }
}

/// As stock, a primary alone counts: on a replica the upstream decides.
void Steering::count_good_replicas() {
  const bool counts = is_primary() && config_.min_replicas_to_write > 0 && config_.min_replicas_max_lag > 0;
  plane_.lack_replicas(counts && relay_.good_replicas(config_.min_replicas_max_lag) < config_.min_replicas_to_write);
}

/// The plane keeps the primary that it knows.
void Steering::retire() {
  audit_.stop();
  plane_.set_targets({});
  retired_ = writes_shared_ = true;
}

void Steering::resume() {
  retired_ = writes_shared_ = false;
  if (relay_.upstream().address.empty() && master_) {
    relay_.follow(*master_, credentials());
  } else if (relay_.upstream().address.empty() && primary_) {
    relay_.follow(nodes_[*primary_]->identity().address, credentials());
  }
  relay_changed();
}

void Steering::share_writes(bool shared) {
  writes_shared_ = shared;
  if (started_ms_ != 0) relay_changed();
}

void Steering::replan() {
  if (retired_) return;
  fencing_.update();
  count_good_replicas();
  if (changing_role_) {
    feed_plane();
    return;
  }
  feed_guard();
  Situation situation;
  situation.held = relay_.guard().quarantine().has_value();
  situation.follows_upstream = master_.has_value();
  situation.heard_long_enough = world_.clock.now_ms() - started_ms_ > kFirstAnswersMs;
  situation.has_history = relay_.has_history();
  situation.history = relay_.history();
  situation.primary = primary_;
  situation.offset = relay_.safe_boundary();
  for (const auto& node : nodes_) {
    situation.nodes.push_back(node->view());
    if (refused_promotion_ == node->view().replid) situation.nodes.back().restarted = true;  // as if by itself
  }
  Plan plan = make_plan(situation);
  if (config_.follows_sentinels()) {
    follow_named();
    plan.trouble = sentinels_.trouble();
  }
  if (plan.trouble != trouble_) {
    trouble_ = plan.trouble;
    if (trouble_.empty())
      log_notice("instance", "all nodes are in their places");
    else
      log_warning("instance", "{}", trouble_);
  }
  if (!master_ && plan.primary != primary_ && plan.primary) follow_primary(*plan.primary, false);
  for (size_t i = 0; i < nodes_.size(); ++i) nodes_[i]->set_duty(plan.duties[i]);
  feed_plane();
  succeed(plan);
}

/// Who can say how much our history holds: the server that writes it as long as we follow that one, else a node that
/// has as much of it as any.
Node* Steering::witness() {
  if (!relay_.has_history()) return nullptr;
  const auto is_of_ours = [&](const NodeView& view) {
    return view.reachable && !view.loading && view.replid == relay_.history().replid;
  };
  Node* source = writer();
  if (source != nullptr && is_of_ours(source->view()) && relay_.upstream().state == "connected") return source;
  Node* best = nullptr;
  for (const auto& node : nodes_) {
    if (!node->view().follows_us || !is_of_ours(node->view())) continue;
    if (best == nullptr || node->view().offset > best->view().offset) best = node.get();
  }
  return best;
}

/// What the wipe guard has to know: how much there is to lose, from those who hold it.
void Steering::feed_guard() {
  replication::WipeGuard& guard = relay_.guard();
  Node* source = writer();
  if (Node* knows = witness()) {
    guard.count(knows->view().keys, knows->view().offset);
    if (knows == source) source->set_trusted();
  }
  // A link that broke is the first sign that another process may come up there: not in a second, now. One that does not
  // answer is tried again at its own pace: asked from here it would be asked after each refusal, without a pause.
  const int64_t lost_at_us = relay_.upstream().lost_at_us;
  const bool asked_since = source == nullptr || source->looked_us() > lost_at_us;
  if (lost_at_us != 0 && !asked_since && source->view().reachable) source->look_again();
  std::string unheard;
  int64_t keys = 0;
  const bool waits = world_.clock.now_ms() - started_ms_ <= kFirstAnswersMs;
  for (const auto& node : nodes_) {
    if (!node->view().heard && waits) unheard += (unheard.empty() ? "" : ", ") + node->name();
    if (node->view().follows_us && !node->view().consented) keys = std::max(keys, node->view().keys);
  }
  guard.wait_for_nodes(std::move(unheard));
  guard.wait_for_word(fencing_.reason());
  guard.nodes_hold(relay_.has_history() ? 0 : keys);
}

/// Once for each change of what they say: a Sentinel that commands us itself may be ahead of the others.
void Steering::follow_named() {
  const auto& named = sentinels_.named();
  if (named && followed_ != named->primary) {
    followed_ = named->primary;
    if (master_ != followed_) become_replica(*followed_, false);
  }
  if (upstream_ != nullptr) peers_.update(upstream_->last_info());
}

void Steering::follow_primary(size_t index, bool by_order) {
  relay_.guard().follows(nodes_[index]->identity().address, by_order);
  primary_ = index;
  log_notice("instance", "the primary is {}", nodes_[index]->name());
  relay_.follow(nodes_[index]->identity().address, credentials());
}

void Steering::lead_by(Node& node, bool by_order) {
  const auto index = std::find_if(nodes_.begin(), nodes_.end(), [&](const auto& one) { return one.get() == &node; });
  CHECK(index != nodes_.end());
  if (primary_ && nodes_[*primary_].get() != &node) give_up_if_silent(*nodes_[*primary_]);
  follow_primary(static_cast<size_t>(index - nodes_.begin()), by_order);
}

void Steering::look_at_all() {
  for (const auto& node : nodes_) node->look_again();
  if (upstream_ != nullptr) upstream_->look_again();
}

Node* Steering::lead() {
  if (!master_) return primary_ ? nodes_[*primary_].get() : nullptr;
  for (const auto& node : nodes_) {
    if (node->heard_within(kAliveMs) && node->view().follows_us) return node.get();
  }
  if (!nodes_.empty()) return nodes_.front().get();
  return upstream_.get();
}

bool Steering::can_be_promoted() const {
  const Node* node = lead();
  return node != nullptr && node != upstream_.get() && node->heard_within(kAliveMs) && node->linked_within(kAliveMs);
}

Node* Steering::writer() {
  if (!master_) return primary_ ? nodes_[*primary_].get() : nullptr;
  return upstream_.get();
}

void Steering::feed_plane() {
  feed_audit();
  plane_.set_primary(writer_withheld_ ? std::nullopt : primary_facts());
  plane_.set_primary_lost(relay_.guard().quarantine().has_value());
  plane_.set_targets(writes_shared_ ? std::vector<routing::TargetFacts>() : target_facts());
  relay_.set_snapshot_sources(snapshot_sources());
  feed_commands();
}

std::optional<routing::PrimaryFacts> Steering::primary_facts() {
  const Node* node = writer();
  if (node == nullptr || !node->heard_within(kAliveMs) || !node->view().reachable) return std::nullopt;
  if (!node->is_instance() && !node->view().is_master) return std::nullopt;
  if (!has_our_history(*node)) return std::nullopt;
  if (config_.follows_sentinels() && !followed_) return std::nullopt;  // what an earlier run knew may be history
  return routing::PrimaryFacts{node->identity().address, config_.masteruser, config_.masterauth, node->is_instance()};
}

/// Another process, with another past or none, may have come up at the primary's address: what it took from clients
/// before the relay has found out would be lost, or cost us ours.
bool Steering::has_our_history(const Node& node) const {
  const replication::WipeGuard& guard = relay_.guard();
  if (guard.quarantine()) return false;
  if (!relay_.has_history()) return config_.wipe_guard == "pass" || !guard.at_stake();
  const replication::ReplId& ours = relay_.history().replid;
  if (node.is_instance() || node.view().replid == ours || node.view().replid2 == ours) return true;
  return relay_.upstream().state == "connected" && !node.view().restarted;
}

/// A replica of ours with the most of a history that nobody carries on now: as good a source of old data as any.
bool Steering::holds_data_apart(const Node& node) const {
  if (relay_.has_history() || !relay_.guard().quarantine()) return false;
  const auto is_whole = [](const NodeView& view) {
    return view.reachable && view.follows_us && !view.loading && !view.empty;
  };
  return is_whole(node.view()) && std::none_of(nodes_.begin(), nodes_.end(), [&](const auto& other) {
           return is_whole(other->view()) && other->view().offset > node.view().offset;
         });
}

const Node* Steering::node_of(const replication::ReplicaStatus& replica) const {
  const std::string address = Address{replica.host, replica.port, ""}.text();
  const auto found = std::find_if(nodes_.begin(), nodes_.end(), [&](const auto& node) {
    return node->reached_at() == address || node->name() == address;
  });
  return found == nodes_.end() ? nullptr : found->get();
}

const replication::ReplicaStatus* Steering::link_of(const Node& node,
                                                    const std::vector<replication::ReplicaStatus>& links) const {
  const auto found = std::find_if(links.begin(), links.end(), [&](const auto& link) { return node_of(link) == &node; });
  return found == links.end() ? nullptr : &*found;
}

std::vector<routing::TargetFacts> Steering::target_facts() const {
  const auto links = relay_.replicas();
  std::vector<routing::TargetFacts> targets;
  for (const auto& node : nodes_) {
    if (!master_ && primary_ && nodes_[*primary_] == node) continue;
    routing::TargetFacts target;
    target.address = node->identity().address;
    target.weight = static_cast<int>(node->identity().weight);
    target.zone = node->identity().zone;
    target.local = is_loopback(target.address.host);
    target.user = config_.masteruser;
    target.password = config_.masterauth;
    target.upstream = node->follow_address();
    if (const auto* link = link_of(*node, links)) {
      target.online = link->state == "online" && !node->view().loading && !audit_.differs(node->name());
      target.acked = link->acked;
      target.lag_ms = lag_ms(link->acked);
    }
    if (holds_data_apart(*node)) {
      target.online = target.apart = true;
      target.acked = node->view().offset;
    }
    targets.push_back(std::move(target));
  }
  for (const auto& link : links) {
    if (link.port == 0 || link.rdb_only || node_of(link) != nullptr) continue;
    routing::TargetFacts target;
    target.address = Address{link.host, link.port, ""};
    target.local = is_loopback(link.host);
    target.online = link.state == "online";
    target.is_instance = link.hello.instance;
    target.acked = link.acked;
    target.lag_ms = lag_ms(link.acked);
    target.user = config_.masteruser;
    target.password = config_.masterauth;
    targets.push_back(std::move(target));
  }
  for (auto& target : peers_.targets(relay_.history())) {
    target.local = is_loopback(target.address.host);
    target.lag_ms = lag_ms(target.acked);
    targets.push_back(std::move(target));
  }
  return targets;
}

std::vector<Address> Steering::snapshot_sources() const {
  const auto links = relay_.replicas();
  std::vector<Address> sources;
  for (const auto& node : nodes_) {
    const auto* link = link_of(*node, links);
    const bool sound = link != nullptr && link->state == "online" && !audit_.differs(node->name());
    if (sound) sources.push_back(node->identity().address);
  }
  return sources;
}

void Steering::feed_commands() {
  const Node* from = lead();
  if (from == nullptr || from->table_serial() == 0) from = writer();
  if (from == nullptr || from->table_serial() == 0) return;
  if (from == table_from_ && from->table_serial() == table_serial_) return;
  table_from_ = from;
  table_serial_ = from->table_serial();
  plane_.set_commands(resp::CommandTable::from_command_reply(from->command_reply()), from->version(),
                      from->databases());
}

std::vector<admin::NodeFacts> Steering::node_facts() const {
  const auto links = relay_.replicas();
  std::vector<admin::NodeFacts> facts;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = *nodes_[i];
    const auto* link = link_of(node, links);
    admin::NodeFacts one;
    one.address = node.name();
    one.is_primary = !master_ && primary_ == i;
    one.trouble = node.trouble();
    one.offset = one.is_primary ? relay_.offset() : link != nullptr ? link->acked : node.view().offset;
    one.lag_bytes = one.is_primary ? 0 : std::max<int64_t>(0, relay_.offset() - one.offset);
    one.lag_ms = link != nullptr ? lag_ms(link->acked) : 0;
    if (!node.view().reachable)
      one.state = "down";
    else if (node.view().loading)
      one.state = "loading";
    else if (one.is_primary)
      one.state = relay_.guard().quarantine() ? "held" : "online";
    else if (node.duty() == Duty::foreign)
      one.state = "foreign";
    else if (link == nullptr)
      one.state = "waiting";
    else if (link->state != "online")
      one.state = "syncing";
    else
      one.state = audit_.differs(node.name()) ? "differs" : "online";
    one.audit = audit_.facts(node.name());
    if (one.state == "differs")
      one.trouble = "its data is not the primary's; not read until SIDESTREAM RESYNC " + one.address;
    if (one.state == "foreign" && one.trouble.empty()) one.trouble = "holds data of another history; left alone";
    facts.push_back(std::move(one));
  }
  const auto add_counts = [&](const routing::TargetCounts& counts) {
    for (auto& one : facts) {
      if (one.address != counts.address.text()) continue;
      one.reads += counts.reads;
      one.writes += counts.writes;
      one.connections += counts.connections;
      one.idle_connections += counts.idle;
      one.took += counts.took;
    }
  };
  for (const auto& counts : plane_.target_counts()) add_counts(counts);
  if (const auto counts = plane_.primary_counts()) add_counts(*counts);
  return facts;
}

}  // namespace sidestream::instance
