// sim_instance.cc: whole instances between fake nodes and scripted applications: one instance in front of a primary and
// two replicas, sometimes a second one that follows it with two nodes of its own.
//
// Happy path: applications at both instances read what they were promised and no write is lost or made twice, while
// nodes and instances restart, links break and the role moves. Failure modes: see the checkers in sim_client, chronicle
// and fake_node, and audit() below.
#include <algorithm>
#include <array>
#include <memory>
#include <numeric>
#include <set>

#include "common/text.h"
#include "tests/sim/instance_host.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sim_client.h"
#include "tests/sim/sim_operator.h"

namespace sidestream::sim {
namespace {

constexpr int kFirstNodes = 3;  // of the first instance; the others belong to the second

Weather roll_weather(SimRandom& dice, bool fair) {
  Weather weather = Weather::roll(dice);
  if (!fair) return weather;
  weather.cut = weather.refuse = weather.stall = weather.disk_error = 0;
  weather.connect_max_ms = 0;
  weather.latency_max_us = weather.latency_min_us + 500;  // hold.timeout is for a connection or two
  return weather;
}

class Group {
 public:
  explicit Group(SimWorld& outside)
      : world_(outside), fair_(world_.dice().chance(250)), chain_(world_.dice().chance(500)) {
    world_.weather() = roll_weather(world_.dice(), fair_);
    if (world_.dice().chance(200)) password_ = "secret";
    for (int i = 0; i < (chain_ ? 5 : kFirstNodes); ++i) add_node("10.0.0." + std::to_string(i + 1));
    primary_ = nodes_[0].get();
    if (!fair_ || world_.dice().chance(500)) primary_->run({"SET", "outside", "outside:0"});
    add_instance("10.0.0.11", 0, kFirstNodes, {});
    if (chain_) add_instance("10.0.0.12", kFirstNodes, 2, instances_[0]->address());
    ledger_.fresh = reads_ == ReadPolicy::fresh || reads_ == ReadPolicy::primary;
    for (auto& instance : instances_) {
      instance->boot();
      world_.run_for(world_.dice().between(0, 1000));
    }
    if (fair_) world_.run_until([&] { return all_equal(); }, 60'000);
    ledger_.strict = fair_;
    add_clients();
    outside_.add(write_outside());
  }

  void live() {
    if (fair_) {
      // What nobody may notice: it is strict.
      for (int64_t switches = world_.dice().between(0, 3); switches > 0 && !world_.failed(); --switches) {
        world_.run_for(world_.dice().between(1000, 5000));
        fail_over();
      }
      return world_.run_for(world_.dice().between(5000, 10'000));
    }
    const int64_t troubles = world_.dice().between(0, 25);
    for (int64_t i = 0; i < troubles && !world_.failed(); ++i) {
      world_.run_for(world_.dice().between(0, 2000));
      trouble();
    }
  }

  void recover() {
    world_.calm();
    for (auto& node : nodes_) heal(*node);
    bring_home();
    ledger_.quiet = true;
    const auto equal = [&] { return all_equal() && all_resting(); };
    if (!world_.run_until(equal, 100'000)) promote_by_hand();
    if (!world_.run_until(equal, 100'000) && !world_.failed()) fail("not converged");
    ledger_.quiet = false;
    std::vector<int64_t> before;
    for (auto& client : clients_) before.push_back(client->clean_bursts());
    const auto served = [&] {
      for (size_t i = 0; i < clients_.size(); ++i) {
        if (clients_[i]->clean_bursts() < before[i] + 2) return false;
      }
      return true;
    };
    if (!world_.run_until(served, 60'000) && !world_.failed()) fail("clients are not served");
    ledger_.stop = true;
    if (!world_.run_until([&] { return tasks_.empty(); }, 30'000) && !world_.failed()) fail("clients hang");
    if (!world_.run_until([&] { return all_equal(); }, 30'000) && !world_.failed()) fail("not converged at the end");
    if (!world_.failed()) audit();
  }

 private:
  void add_node(const std::string& host) {
    auto options = roll_node(world_.dice(), host);
    options.password = password_;
    if (fair_) {  // all the steps of a switch have to fit into hold.timeout
      options.repl_timeout_ms = 60'000;
      options.service_max_us = std::min<int64_t>(options.service_max_us, 2000);
      options.apply_max_ms = std::min<int64_t>(options.apply_max_ms, 100);
    }
    nodes_.push_back(std::make_unique<FakeNode>(world_, chronicle_, std::move(options)));
    nodes_.back()->start();
  }

  void add_instance(const std::string& host, size_t first, size_t count, const Address& upstream) {
    Config config;
    for (size_t i = first; i < first + count; ++i) {
      NodeConfig node;
      node.address = nodes_[i]->address();
      config.nodes.push_back(node);
    }
    config.replicaof = upstream;
    config.masterauth = config.requirepass = password_;
    config.repl_backlog_size = int64_t{1} << world_.dice().between(12, 20);
    if (world_.dice().chance(400)) config.repl_backlog_disk_size = int64_t{1} << world_.dice().between(14, 20);
    if (instances_.empty() && world_.dice().chance(300)) {
      reads_ = std::array{ReadPolicy::bounded, ReadPolicy::eventual, ReadPolicy::primary}[world_.dice().below(3)];
    }
    config.routing.reads = reads_;
    config.threads = world_.dice().chance(400) ? 1 : world_.dice().between(2, 4);
    instances_.push_back(std::make_unique<InstanceHost>(world_, std::move(config), host));
  }

  void add_clients() {
    const int count = static_cast<int>(world_.dice().between(2, 5));
    for (int id = 0; id < count; ++id) {
      InstanceHost& instance = *instances_[world_.dice().below(instances_.size())];
      SimClientOptions options;
      options.id = id;
      options.clients = count;
      options.host = "10.0.0." + std::to_string(21 + id);
      options.server =
          instance.address(world_.dice().chance(500) ? InstanceHost::kNodePort : InstanceHost::kServicePort);
      options.instance = instance.host();
      options.password = password_;
      options.pause_max_ms = world_.dice().between(1, 200);
      options.holders = [this, &instance](int key, int64_t value) { return holders(instance, key, value); };
      options.outside = [this, &instance] { return passed_through(instance); };
      clients_.push_back(std::make_unique<SimClient>(world_, ledger_, std::move(options)));
      tasks_.add(clients_.back()->run());
    }
  }

  /// Somebody writes to the primary without asking any instance.
  Task<void> write_outside() {
    const int64_t pause_max_ms = world_.dice().between(5, 1000);
    for (int64_t n = 1; !ledger_.stop;) {
      const int64_t pause_ms = world_.dice().between(0, pause_max_ms);
      co_await world_.clock().sleep(pause_ms);
      if (ledger_.quiet) continue;
      find_primary();
      if (primary_ == nullptr || !primary_->running() || primary_->is_replica() || primary_->loading()) continue;
      if (primary_->paused()) continue;
      primary_->run({"SET", "outside", "outside:" + std::to_string(n)});
      outside_writes_.emplace_back(primary_->offset(), n++);
    }
  }

  int64_t passed_through(InstanceHost& instance) {
    if (!instance.running() || !instance.relay().has_history()) return 0;
    const int64_t offset = instance.relay().safe_boundary().value;
    const auto behind = std::partition_point(outside_writes_.begin(), outside_writes_.end(),
                                             [&](const auto& write) { return write.first <= offset; });
    return behind == outside_writes_.begin() ? 0 : std::prev(behind)->second;
  }

  int64_t held(const FakeNode& node, int key) const {
    const FakeValue* value = node.data().find(Ledger::db_of(key), Ledger::name_of(key));
    if (value == nullptr) return 0;
    return parse_int(std::string_view(value->text).substr(value->text.find(':') + 1)).value_or(-1);
  }

  /// An instance that follows another is one replica, and may say that it has what its nodes have not applied yet. A
  /// node that lost its memory a moment ago may have had it.
  int64_t holders(InstanceHost& instance, int key, int64_t value) const {
    const bool is_followed = chain_ && instance.running() && instance.group().is_primary();
    return (is_followed ? 1 : 0) + std::count_if(nodes_.begin(), nodes_.end(), [&](const auto& node) {
             const auto died = died_ms_.find(node.get());
             if (died != died_ms_.end() && world_.clock().now_ms() - died->second < 20'000) return true;
             return node.get() != primary_ && held(*node, key) >= value;
           });
  }

  /// After a FAILOVER somebody else may write. In the middle of one nobody does.
  void find_primary() {
    if (!failed_over_) return;
    FakeNode* found = nullptr;
    for (auto& node : nodes_) {
      const bool is_blank = node->offset() == 0 && node->data().empty();
      if (!node->running() || node->is_replica() || is_blank) continue;
      if (found != nullptr) return;
      found = node.get();
    }
    primary_ = found;
  }

  bool all_resting() const {
    return std::all_of(clients_.begin(), clients_.end(), [](const auto& client) { return client->resting(); });
  }

  bool all_equal() {
    find_primary();
    if (primary_ == nullptr) return false;
    std::vector<FakeNode*> replicas;
    for (auto& node : nodes_) {
      if (node.get() != primary_) replicas.push_back(node.get());
    }
    const auto& p = *primary_;
    return p.running() && converged(p, replicas) &&
           std::all_of(instances_.begin(), instances_.end(), [&](const auto& one) { return one->caught_up_with(p); });
  }

  void fail(const std::string& what) {
    std::string states;
    for (auto& instance : instances_) states += "\n  " + instance->describe();
    for (auto& node : nodes_) states += "\n  " + describe(*node);
    for (auto& client : clients_)
      states += fmt::format("\n  client: {} clean bursts of {}", client->clean_bursts(), client->bursts());
    world_.fail(what + ":" + states);
  }

  /// What was acknowledged is there, nothing was done twice, nobody but the primary was written to.
  void audit() {
    for (int key = 0; key < Ledger::kKeys; ++key) {
      const int64_t value = held(*primary_, key);
      const Ledger::Key& known = ledger_.keys[key];
      if ((value >= known.acked && value <= known.issued) || known.unknown.count(value) > 0) continue;
      world_.fail(fmt::format("key {} is {}, acknowledged {}, issued {}", key, value, known.acked, known.issued));
    }
    for (const auto& [id, log] : ledger_.logs) audit_log(id, log);
    for (auto& node : nodes_) {
      const auto& counters = node->counters();
      if (switched_ || node.get() == primary_ || counters.writes + counters.writes_refused == 0) continue;
      world_.fail(fmt::format("{}: {} writes reached a replica, {} were refused", node->name(),
                              counters.writes + counters.writes_refused, counters.writes_refused));
    }
    const int64_t by_replicas = std::accumulate(nodes_.begin(), nodes_.end(), int64_t{0}, [&](int64_t sum, auto& node) {
      return sum + (node.get() == primary_ ? 0 : node->counters().reads);
    });
    if (fair_ && reads_ != ReadPolicy::primary && ledger_.reads > 300 && by_replicas == 0) {
      world_.fail(fmt::format("none of {} reads was served by a replica", ledger_.reads));
    }
  }

  void audit_log(int id, const Ledger::Log& log) {
    std::vector<int64_t> found;
    for (int db = 0; db < 2; ++db) {
      const FakeValue* value = primary_->data().find(db, Ledger::log_of(id));
      if (value == nullptr) continue;
      for (const std::string& element : value->list) found.push_back(parse_int(element).value_or(-1));
    }
    std::sort(found.begin(), found.end());
    const auto twice = std::adjacent_find(found.begin(), found.end());
    if (twice != found.end()) world_.fail(fmt::format("client {}: write {} was made twice", id, *twice));
    for (const int64_t written : log.acked) {
      if (std::binary_search(found.begin(), found.end(), written)) continue;
      return world_.fail(fmt::format("client {}: acknowledged write {} is lost", id, written));
    }
  }

  void restart(size_t i) {
    FakeNode& node = *nodes_[i];
    find_primary();
    const bool is_primary = &node == primary_;
    if (failing_over() && !node.is_replica()) return;  // it would come back under an id that nobody can place
    const bool keeps = is_primary || failed_over_ || world_.dice().chance(600);
    const std::string rdb = keeps ? node.save() : std::string();
    node.crash();
    astray_.erase(i);
    died_ms_[&node] = world_.clock().now_ms();
    world_.run_for(world_.dice().between(0, 4000));
    // A replica without data may come up as an empty primary, as one without a configuration does.
    node.start(rdb, is_primary || (!keeps && world_.dice().chance(500)) ? Address() : home(i));
  }

  void restart_instance() {
    InstanceHost& instance = *instances_[world_.dice().below(instances_.size())];
    instance.crash();
    world_.run_for(world_.dice().between(0, 3000));
    instance.boot();
  }

  bool obeyed(InstanceHost& instance, const Words& words) {
    return SimOperator(world_, "10.0.0.31", password_).obeyed(instance.address(), words);
  }

  bool failing_over() {
    return failed_over_ && std::any_of(instances_.begin(), instances_.end(), [](const auto& one) {
             return !one->running() || one->group().switch_facts().state != "no-failover";
           });
  }

  /// FAILOVER in any weather. What happens next happens in the middle of it.
  void fail_over() {
    if (fair_ && !all_equal()) return;
    const auto front = std::find_if(instances_.begin(), instances_.end(),
                                    [](auto& one) { return one->running() && one->group().is_primary(); });
    if (front == instances_.end()) return;
    admin::FailoverOrder order;
    order.timeout_ms = world_.dice().between(100, 5000);
    auto begun = (*front)->group().begin_failover(order);
    if (begun.ok()) switched_ = failed_over_ = true;
    world_.trace("FAILOVER at {}: {}", (*front)->host(), begun.ok() ? "begun" : begun.error().detail);
    world_.run_for(world_.dice().chance(500) ? world_.dice().between(0, 20) : world_.dice().between(0, 1000));
  }

  /// A planned switch between two instances, as an operator does it: nobody writes, everybody is level, two commands.
  void switch_role() {
    if (!chain_) return;
    find_primary();
    world_.calm();
    for (auto& node : nodes_) heal(*node);
    bring_home();
    ledger_.quiet = true;
    if (world_.run_until([&] { return all_equal() && all_resting(); }, 60'000)) {
      InstanceHost& old = *instances_[instances_[0]->group().is_primary() ? 0 : 1];
      InstanceHost& next = *instances_[&old == instances_[0].get() ? 1 : 0];
      switched_ = true;
      primary_ = nullptr;
      if (!obeyed(next, {"REPLICAOF", "NO", "ONE"})) return fail("REPLICAOF NO ONE is not obeyed");
      if (!obeyed(old, {"REPLICAOF", next.address().host, std::to_string(next.address().port)})) {
        return fail("REPLICAOF is not obeyed");
      }
      const size_t first = &next == instances_[0].get() ? 0 : kFirstNodes;
      const size_t behind = first == 0 ? kFirstNodes : nodes_.size();
      for (size_t i = first; i < behind; ++i) {
        if (!nodes_[i]->is_replica()) primary_ = nodes_[i].get();
      }
      if (primary_ == nullptr) fail("nobody is primary");
    }
    ledger_.quiet = false;
    if (world_.dice().chance(500)) world_.weather() = roll_weather(world_.dice(), false);
  }

  /// The primary dies when all are level, and comes up without its data, perhaps while its instance is down. Nobody
  /// else loses a key, and by order what is left leads.
  void lose_the_data() {
    world_.calm();
    for (auto& node : nodes_) heal(*node);
    bring_home();
    ledger_.quiet = true;
    const auto at_rest = [&] { return all_equal() && all_resting() && !failing_over(); };  // a switch would help it out
    const bool level = world_.run_until(at_rest, 60'000);
    if (level && !primary_->data().empty()) {
      InstanceHost& owner = *instances_[instances_[0]->group().is_primary() ? 0 : 1];
      FakeNode& lost = *std::exchange(primary_, nullptr);
      const uint64_t digest = lost.data().digest();
      const bool restarts = world_.dice().chance(400);
      if (restarts && world_.dice().chance(500)) owner.crash();
      lost.crash();
      world_.run_for(world_.dice().between(20, 2000));  // a process takes its time
      lost.start();
      world_.run_for(world_.dice().between(0, 2000));
      if (restarts) owner.crash();
      if (restarts) owner.boot();
      ledger_.quiet = false;
      const auto is_held = [&] { return owner.relay().guard().quarantine().has_value(); };
      if (!world_.run_until(is_held, 30'000)) return fail("a primary without data is not held");
      world_.run_for(world_.dice().between(0, 5000));
      for (auto& node : nodes_) {
        if (node.get() != &lost && node->data().digest() != digest) fail(node->name() + " lost its data");
      }
      if (!lost.data().empty()) fail("a write went to the primary that had lost its data");
      if (world_.failed() || !obeyed(owner, {"SIDESTREAM", "REVIVE"})) return fail("REVIVE is not obeyed");
      switched_ = true;
      for (auto& node : nodes_) {
        if (node.get() != &lost && !node->is_replica()) primary_ = node.get();
      }
      if (primary_ == nullptr) return fail("nobody is primary after REVIVE");
    }
    ledger_.quiet = false;
    if (world_.dice().chance(500)) world_.weather() = roll_weather(world_.dice(), false);
  }

  /// In the first seconds, and in the middle of a switch, a node may be the only one that has the data.
  bool is_held_elsewhere(const FakeNode& node) const {
    return std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& other) {
      return other.get() != &node && other->running() && !other->loading() && other->replid() == node.replid() &&
             other->offset() >= node.offset();
    });
  }

  /// An operator takes a replica for another one and points it at a server of other data, whose offsets are far ahead.
  /// Never the only one with the data: nobody could bring that back. And not while a batch of reads has arrived in
  /// part: ROLE was answered before, the reads behind it would be answered from the other data (proxy/README.md).
  void lead_astray(size_t i) {
    FakeNode& node = *nodes_[i];
    if (&node == primary_ || !node.running() || node.loading() || !node.is_replica()) return;
    if (!is_held_elsewhere(node) || world_.reads_in_part(node.options().host)) return;
    if (stray_ == nullptr) {
      FakeNodeOptions options;
      options.host = "10.0.0.41";
      options.password = password_;
      stray_ = std::make_unique<FakeNode>(world_, chronicle_, std::move(options));
      stray_->start();
    }
    for (auto& one : instances_) world_.stall(node.options().host, one->host(), world_.dice().between(0, 3000));
    died_ms_[&node] = world_.clock().now_ms();
    node.replicaof(stray_->address());
    astray_.insert(i);
    world_.run_for(world_.dice().between(0, 1000));
    for (int n = 0; n < 20; ++n) stray_->run({"SET", "stray", std::string(20'000, 's')});
    world_.run_for(world_.dice().between(0, 1000));
  }

  void bring_home() {
    for (const size_t i : std::exchange(astray_, {})) {
      if (!nodes_[i]->running()) continue;
      const bool loaded = world_.run_until([&] { return !nodes_[i]->loading(); }, 30'000);
      if (loaded && nodes_[i]->is_replica()) nodes_[i]->replicaof(home(i));  // else it leads by now
    }
  }

  /// A switch broke off with everybody a replica, and who was demoted has been restarted since: then its id says
  /// nothing of where it comes from, and an instance does not guess. It asks for an operator, who knows better.
  void promote_by_hand() {
    if (!failed_over_ || world_.failed()) return;
    const auto is_primary = [](const auto& node) { return node->running() && !node->is_replica(); };
    if (std::any_of(nodes_.begin(), nodes_.end(), is_primary)) return;
    FakeNode& best =
        **std::max_element(nodes_.begin(), nodes_.end(), [](auto& a, auto& b) { return a->offset() < b->offset(); });
    world_.trace("nobody leads: {} is promoted by hand", best.name());
    best.promote();
  }

  Address home(size_t i) const { return (i < kFirstNodes ? instances_[0] : instances_[1])->address(); }

  std::string any_host() {
    const uint64_t n = world_.dice().below(nodes_.size() + instances_.size());
    return n < nodes_.size() ? nodes_[n]->options().host : instances_[n - nodes_.size()]->host();
  }

  void trouble() {
    SimRandom& dice = world_.dice();
    FakeNode& node = *nodes_[dice.below(nodes_.size())];
    SimFiles& disk = world_.host(instances_[dice.below(instances_.size())]->host()).files();
    switch (dice.below(19)) {
      case 0:
      case 1:
        return world_.cut_any();
      case 11:
      case 12:
        return world_.stall_any(dice.between(10, 3000));
      case 13:
        return lead_astray(dice.below(nodes_.size()));
      case 15:
        return bring_home();
      case 2:
        return world_.part(any_host(), any_host());
      case 3:
        return world_.rejoin(any_host(), any_host());
      case 4:
        return node.freeze(true);
      case 5:
        return node.freeze(false);
      case 6:
        return restart(dice.below(nodes_.size()));
      case 7:
        return restart_instance();
      case 8:
        return node.kick_replicas();
      case 9:
        disk.capacity = dice.chance(500) ? UINT64_MAX : dice.below(3000);
        return;
      case 10:
        return switch_role();
      case 14:
      case 16:
        return fail_over();
      case 17:
        return lose_the_data();
      default:
        node.options().apply_max_ms = dice.chance(500) ? 0 : dice.between(1, 500);
        return;
    }
  }

  SimWorld& world_;
  const bool fair_;
  const bool chain_;
  ReadPolicy reads_ = ReadPolicy::fresh;
  std::string password_;
  Chronicle chronicle_{world_};
  Ledger ledger_;
  std::vector<std::pair<int64_t, int64_t>> outside_writes_;  // offset, number
  std::map<const FakeNode*, int64_t> died_ms_;
  std::unique_ptr<FakeNode> stray_;
  std::set<size_t> astray_;
  bool switched_ = false;
  bool failed_over_ = false;
  std::vector<std::unique_ptr<FakeNode>> nodes_;
  std::vector<std::unique_ptr<InstanceHost>> instances_;
  FakeNode* primary_ = nullptr;
  std::vector<std::unique_ptr<SimClient>> clients_;
  TaskSet tasks_;
  TaskSet outside_;
};

}  // namespace

void run_instance(SimWorld& world) {
  Group group(world);
  group.live();
  group.recover();
}

}  // namespace sidestream::sim
