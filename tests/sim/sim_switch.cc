// sim_switch.cc: three instances in a chain, each with nodes of its own, while the role of the primary moves: FAILOVER
// to a node, to an instance below, given up and aborted; Sentinel's SLAVEOF NO ONE, which asks for a takeover first;
// nodes promoted by hand (adoption) and by the instance itself (failover: auto); moves between upstreams. Everything
// may die, be cut off or lose its disk in the middle of it. Fencing is on.
//
// Happy path: writers at all instances lose nothing that was acknowledged as long as every switch was planned, nobody
// writes twice, no two primaries take writes beside each other beyond the time that fencing needs, and in the end all
// agree. Failure modes: see two_primaries(), audit() and the checkers of chronicle and fake_node.
#include <algorithm>
#include <memory>
#include <tuple>

#include "common/text.h"
#include "tests/sim/instance_host.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sim_operator.h"
#include "tests/sim/sim_writer.h"

namespace sidestream::sim {
namespace {

constexpr size_t kInstances = 3;
constexpr int kNodes[kInstances] = {2, 2, 1};
constexpr int64_t kFenceAfterMs = 1500;
constexpr int64_t kOrderMs = 20'000;  // SLAVEOF NO ONE asks the upstream for as long as that
// A replica's last word may be a second old when it is cut off; then the instance looks ten times a second.
constexpr int64_t kFenceGraceMs = kFenceAfterMs + 1500;

class Chain {
 public:
  explicit Chain(SimWorld& outside) : world_(outside), fair_(world_.dice().chance(250)) {
    if (!fair_) world_.weather() = Weather::roll(world_.dice());
    for (size_t i = 0; i < kInstances; ++i) add_instance(i);
    nodes_[0]->run({"SET", "first", "of all"});
    for (auto& instance : instances_) {
      instance->boot();
      world_.run_for(world_.dice().between(0, 1000));
    }
    for (int id = 0; id < 4; ++id) {
      const InstanceHost& instance = *instances_[world_.dice().below(kInstances)];
      writers_.push_back(std::make_unique<SimWriter>(world_, id, instance.address()));
      tasks_.add(writers_.back()->run());
    }
  }

  void live() {
    const int64_t troubles = world_.dice().between(2, 25);
    for (int64_t i = 0; i < troubles && !world_.failed(); ++i) {
      world_.run_for(world_.dice().chance(300) ? world_.dice().between(0, 30) : world_.dice().between(0, 2500));
      if (fair_ || world_.dice().chance(450))
        change_roles();
      else
        trouble();
    }
  }

  void recover() {
    world_.calm();
    for (auto& node : nodes_) heal(*node);
    if (!world_.run_until([&] { return settled(); }, 120'000) && !world_.failed()) return fail("a switch has no end");
    const auto one_leads = [&] {
      return std::any_of(instances_.begin(), instances_.end(), [&](auto& one) { return leads(*one); });
    };
    world_.run_until(one_leads, 60'000);  // none does where its replicas were led in a circle: it is fenced
    for (auto& writer : writers_) writer->rest(true);
    world_.run_for(kOrderMs);  // what was ordered last comes to its end, whether or not somebody waits for it
    if (!world_.failed()) point_at_one();
    if (!world_.run_until([&] { return all_equal(); }, 200'000) && !world_.failed()) return fail("not converged");
    for (auto& writer : writers_) writer->rest(false);
    std::vector<int64_t> before;
    for (auto& writer : writers_) before.push_back(writer->acked());
    const auto served = [&] {
      for (size_t i = 0; i < writers_.size(); ++i) {
        if (writers_[i]->acked() < before[i] + 2) return false;
      }
      return true;
    };
    if (!world_.run_until(served, 60'000) && !world_.failed()) fail("writers are not served");
    for (auto& writer : writers_) writer->stop();
    if (!world_.run_until([&] { return tasks_.empty() && all_equal(); }, 60'000) && !world_.failed()) {
      fail("not converged at the end");
    }
    if (!world_.failed()) audit();
  }

 private:
  void add_instance(size_t number) {
    Config config;
    for (int i = 0; i < kNodes[number]; ++i) {
      auto options = roll_node(world_.dice(), "10.0.0." + std::to_string(nodes_.size() + 1));
      options.repl_timeout_ms = 60'000;
      nodes_.push_back(std::make_unique<FakeNode>(world_, chronicle_, std::move(options)));
      nodes_.back()->start();
      NodeConfig node;
      node.address = nodes_.back()->address();
      config.nodes.push_back(node);
      owner_.push_back(number);
    }
    if (number > 0) config.replicaof = instances_[number - 1]->address();
    config.repl_backlog_size = int64_t{1} << world_.dice().between(12, 20);
    if (world_.dice().chance(500)) config.repl_backlog_disk_size = int64_t{1} << world_.dice().between(14, 20);
    if (world_.dice().chance(500)) config.repl_backlog_compress = "zstd";
    config.threads = world_.dice().chance(500) ? 1 : world_.dice().between(2, 3);
    config.fence_after_ms = kFenceAfterMs;
    config.hold.timeout_ms = 1000;
    if (world_.dice().chance(300)) {
      config.failover = "auto";
      config.down_after_ms = 1000;
      is_planned_ = is_planned_ && fair_;  // a silent primary is replaced, with what only it knew
    }
    instances_.push_back(
        std::make_unique<InstanceHost>(world_, std::move(config), "10.0.0." + std::to_string(11 + number)));
  }

  // --- roles ---

  InstanceHost* leader() {
    const auto leads = [](const auto& one) { return one->running() && one->group().is_primary(); };
    const auto open = std::find_if(instances_.begin(), instances_.end(),
                                   [&](const auto& one) { return leads(one) && one->group().fenced().empty(); });
    if (open != instances_.end()) return open->get();
    const auto any = std::find_if(instances_.begin(), instances_.end(), leads);
    return any == instances_.end() ? nullptr : any->get();
  }

  int64_t primaries() const {
    return std::count_if(instances_.begin(), instances_.end(), [](auto& one) { return one->group().is_primary(); });
  }

  InstanceHost& any_instance() { return *instances_[world_.dice().below(kInstances)]; }

  void change_roles() {
    SimRandom& dice = world_.dice();
    switch (dice.below(8)) {
      case 0:
        return take_over();
      case 1:
        return move();
      case 2:
        return promote_by_hand();
      case 3:
        return abort();
      default:
        return fail_over();
    }
  }

  /// And then something happens in the middle of it, more often than not.
  void fail_over() {
    InstanceHost* front = leader();
    if (front == nullptr) return;
    admin::FailoverOrder order;
    order.timeout_ms = world_.dice().between(100, 5000);
    order.below_us_only = world_.dice().chance(400);
    auto begun = front->group().begin_failover(order);
    world_.trace("FAILOVER at {}: {}", front->host(), begun.ok() ? "begun" : begun.error().detail);
    if (fair_ || !begun.ok() || world_.dice().chance(400)) return;
    world_.run_for(world_.dice().chance(600) ? world_.dice().between(0, 60) : world_.dice().between(0, 1500));
    trouble();
  }

  void abort() {
    InstanceHost* front = leader();
    if (front == nullptr) return;
    SimOperator(world_, "10.0.0.31", "").obeyed(front->address(), {"FAILOVER", "ABORT"}, 200);
  }

  /// Without Sentinels a replica that still follows is the word of the others: nothing fences its primary then.
  bool has_others_below(InstanceHost& front, const InstanceHost& next) const {
    const auto links = front.relay().replicas();
    return std::any_of(links.begin(), links.end(), [&](const auto& link) {
      return link.port == InstanceHost::kNodePort && link.host != next.host();
    });
  }

  /// What Sentinel says to a replica of the primary (others it does not know). One whose upstream cannot be asked goes
  /// on alone: then that is not planned.
  void take_over() {
    InstanceHost& next = any_instance();
    InstanceHost* front = leader();
    if (front == nullptr || next.group().is_primary() || primaries() != 1) return;
    if (!(next.relay().upstream().address == front->address())) return;
    if (!fair_ && has_others_below(*front, next)) return;
    is_planned_ = is_planned_ && fair_;
    world_.trace("SLAVEOF NO ONE at {}", next.host());
    SimOperator(world_, "10.0.0.31", "")
        .obeyed(next.address(), {"SLAVEOF", "NO", "ONE"}, world_.dice().between(50, 4000));
  }

  /// A replica goes to another place in the tree.
  void move() {
    InstanceHost &who = any_instance(), &to = any_instance();
    if (!who.running() || who.group().is_primary() || &who == &to || !to.running()) return;
    world_.trace("REPLICAOF {} at {}", to.host(), who.host());
    SimOperator(world_, "10.0.0.31", "")
        .obeyed(who.address(), {"REPLICAOF", to.host(), std::to_string(InstanceHost::kNodePort)},
                world_.dice().between(50, 2000));
  }

  /// Without asking the instance, which follows where that costs no write; but that is not asked of it while it cannot
  /// reach the former primary.
  void promote_by_hand() {
    const size_t i = world_.dice().below(nodes_.size());
    FakeNode& node = *nodes_[i];
    if (!node.running() || node.loading() || !node.is_replica() || !node.link_up()) return;
    if (instances_[owner_[i]]->group().is_primary()) is_planned_ = is_planned_ && fair_;
    node.promote();
  }

  // --- troubles ---

  void restart(size_t i) {
    FakeNode& node = *nodes_[i];
    const bool was_replica = node.is_replica();
    const std::string rdb = node.save();
    node.crash();
    world_.run_for(world_.dice().between(0, 4000));
    node.start(rdb, was_replica ? instances_[owner_[i]]->address() : Address());
  }

  void restart(InstanceHost& instance) {
    instance.crash();
    if (world_.dice().chance(300)) world_.host(instance.host()).files().lose_power();
    world_.run_for(world_.dice().between(0, 3000));
    instance.boot();
  }

  std::string any_host() {
    const uint64_t n = world_.dice().below(nodes_.size() + kInstances);
    return n < nodes_.size() ? nodes_[n]->options().host : instances_[n - nodes_.size()]->host();
  }

  void trouble() {
    SimRandom& dice = world_.dice();
    FakeNode& node = *nodes_[dice.below(nodes_.size())];
    SimFiles& disk = world_.host(any_instance().host()).files();
    switch (dice.below(14)) {
      case 0:
      case 1:
        return world_.cut_any();
      case 2:
        return world_.stall_any(dice.between(10, 3000));
      case 3:
        return world_.part(any_host(), any_host());
      case 4:
        return world_.part(any_instance().host(), any_instance().host());
      case 5:
        return world_.rejoin(any_host(), any_host());
      case 6:
        return node.freeze(true);
      case 7:
        return node.freeze(false);
      case 8:
        return restart(dice.below(nodes_.size()));
      case 9:
      case 10:
        return restart(any_instance());
      case 11:
        disk.capacity = dice.chance(500) ? UINT64_MAX : dice.below(3000);
        return;
      case 12:
        disk.fail_next = static_cast<int>(dice.below(4));
        return;
      default:
        node.options().apply_max_ms = dice.chance(500) ? 0 : dice.between(1, 300);
        return;
    }
  }

  // --- the end ---

  bool settled() {
    return std::all_of(instances_.begin(), instances_.end(), [](const auto& one) {
      return one->running() && one->group().switch_facts().state == "no-failover";
    });
  }

  /// It leads, and takes writes.
  bool leads(InstanceHost& one) const {
    return one.running() && one.group().is_primary() && one.group().fenced().empty() &&
           one.relay().upstream().state == "connected";
  }

  /// An operator says who leads from now on: who does; else who has the primary's role; else whose nodes have most.
  InstanceHost& choose() {
    InstanceHost* fenced = nullptr;
    for (auto& one : instances_) {
      if (leads(*one)) return *one;
      if (one->group().is_primary()) fenced = one.get();
    }
    if (fenced != nullptr) return *fenced;
    size_t most = 0;
    const auto worth = [](const FakeNode& node) { return node.data().empty() ? -1 : node.offset(); };
    for (size_t i = 1; i < nodes_.size(); ++i) {
      if (worth(*nodes_[i]) > worth(*nodes_[most])) most = i;
    }
    return *instances_[owner_[most]];
  }

  /// And everybody follows, those too who went another way and whose data nobody may replace without a word.
  void point_at_one() {
    InstanceHost* chosen = &choose();
    SimOperator person(world_, "10.0.0.31", "");
    if (!person.obeyed(chosen->address(), {"REPLICAOF", "NO", "ONE"})) return fail("REPLICAOF NO ONE is not obeyed");
    for (auto& one : instances_) {
      if (one.get() == chosen) continue;
      const Words follow = {"REPLICAOF", chosen->host(), std::to_string(InstanceHost::kNodePort)};
      if (!person.obeyed(one->address(), follow)) return fail("REPLICAOF is not obeyed");
    }
    world_.run_for(5000);
    leave_one_primary(*chosen);
    settle_what_is_held(*chosen);
    for (size_t i = 0; i < nodes_.size(); ++i) {
      InstanceHost& instance = *instances_[owner_[i]];
      for (const auto& facts : instance.group().nodes()) {
        if (facts.address == nodes_[i]->name() && facts.state == "foreign") nodes_[i]->replicaof(instance.address());
      }
    }
  }

  /// What leads from now on gets back what is held, where there is something; the others take what it has.
  void settle_what_is_held(InstanceHost& chosen) {
    SimOperator person(world_, "10.0.0.31", "");
    for (auto& one : instances_) {
      if (!one->relay().guard().quarantine()) continue;
      is_planned_ = false;
      if (one.get() == &chosen && person.obeyed(one->address(), {"SIDESTREAM", "REVIVE"}, 40'000)) continue;
      person.obeyed(one->address(), {"SIDESTREAM", "ACCEPT"}, 10'000);
    }
  }

  /// After a restart without a history, or with one that its disk did not keep up with, an instance does not choose
  /// between nodes that are primaries with data, nor between replicas: it asks a person to.
  void leave_one_primary(InstanceHost& chosen) {
    if (chosen.relay().upstream().state == "connected") return;
    std::vector<FakeNode*> its;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (instances_[owner_[i]].get() == &chosen) its.push_back(nodes_[i].get());
    }
    const auto worth = [](const FakeNode* node) {
      return std::tuple(!node->loading(), !node->data().empty(), !node->is_replica(), node->offset());
    };
    FakeNode& best = **std::max_element(its.begin(), its.end(), [&](auto* a, auto* b) { return worth(a) < worth(b); });
    if (!best.loading()) best.promote();
    for (FakeNode* node : its) {
      if (node != &best && !node->is_replica() && !node->loading()) node->replicaof(chosen.address());
    }
  }

  FakeNode* primary() {
    FakeNode* found = nullptr;
    for (auto& node : nodes_) {
      if (!node->running() || node->is_replica()) continue;
      if (found != nullptr) return nullptr;
      found = node.get();
    }
    return found;
  }

  bool all_equal() {
    FakeNode* leads = primary();
    if (leads == nullptr) return false;
    std::vector<FakeNode*> replicas;
    for (auto& node : nodes_) {
      if (node.get() != leads) replicas.push_back(node.get());
    }
    return converged(*leads, replicas) &&
           std::all_of(instances_.begin(), instances_.end(), [&](auto& one) { return one->caught_up_with(*leads); });
  }

  void fail(const std::string& what) {
    std::string states;
    for (auto& instance : instances_) states += "\n  " + instance->describe();
    for (auto& node : nodes_) states += "\n  " + describe(*node);
    world_.fail(what + ":" + states);
  }

  void audit() {
    std::deque<SimWrite> all;
    for (auto& writer : writers_) {
      all.insert(all.end(), writer->writes().begin(), writer->writes().end());
      const FakeValue* value = primary()->data().find(0, writer->log());
      std::vector<std::string> found;
      if (value != nullptr) found.assign(value->list.begin(), value->list.end());
      std::sort(found.begin(), found.end());
      const auto twice = std::adjacent_find(found.begin(), found.end());
      if (twice != found.end()) world_.fail("made twice: " + *twice);
      for (const SimWrite& write : writer->writes()) {
        if (!is_planned_ || write.acked_us < 0 || std::binary_search(found.begin(), found.end(), write.text)) continue;
        return world_.fail(fmt::format("acknowledged write {} through {} is lost", write.text, write.through));
      }
    }
    const std::string beside = two_primaries(chronicle_, all, kFenceGraceMs);
    if (!beside.empty()) world_.fail(beside);
  }

  SimWorld& world_;
  const bool fair_;  // nothing but orders
  Chronicle chronicle_{world_};
  std::vector<std::unique_ptr<FakeNode>> nodes_;
  std::vector<size_t> owner_;  // of each node: the number of its instance
  std::vector<std::unique_ptr<InstanceHost>> instances_;
  std::vector<std::unique_ptr<SimWriter>> writers_;
  bool is_planned_ = true;  // so far: no switch that may lose what was acknowledged
  TaskSet tasks_;
};

}  // namespace

void run_switch(SimWorld& world) {
  Chain chain(world);
  chain.live();
  chain.recover();
}

}  // namespace sidestream::sim
