// sim_relay.cc: the real relay between fake nodes: a primary, its standby, and replicas behind the relay, one of them
// with a replica of its own; sometimes a second relay behind the first.
//
// Happy path: whatever the weather, the operator and the disks do, nodes apply what the primary wrote, byte for byte,
// and meet when it is over. Failure modes: see the checkers in chronicle, fake_node and relay_front.
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>

#include "tests/sim/relay_front.h"
#include "tests/sim/scenario.h"

namespace sidestream::sim {
namespace {

Config roll_config(SimRandom& dice) {
  Config config;
  config.dir = "/spool";
  config.repl_backlog_size = int64_t{1} << dice.between(10, 18);
  if (dice.chance(600)) config.repl_backlog_disk_size = int64_t{1} << dice.between(14, 20);
  if (dice.chance(500)) config.repl_backlog_compress = "zstd";
  config.repl_timeout = dice.chance(700) ? 60 : dice.between(6, 20);
  config.full_sync_max_concurrent = dice.between(1, 4);
  if (dice.chance(300)) config.wipe_guard = "pass";
  if (dice.chance(200)) config.masterauth = config.requirepass = "secret";
  return config;
}

/// p is the primary, s its standby; the relay follows the primary; a, b and c follow the relay, d follows a.
class Group {
 public:
  explicit Group(SimWorld& outside) : world_(outside), config_(roll_config(world_.dice())) {
    for (int i = 0; i < 6; ++i) add_node("10.0.0." + std::to_string(i + 1));
    primary_ = nodes_[0].get();
    nodes_[1]->replicaof(primary_->address());
    relays_.push_back(std::make_unique<RelayFront>(world_, chronicle_, config_, "10.0.0.11"));
    relays_[0]->boot(primary_->address());
    if (world_.dice().chance(300)) {
      relays_.push_back(std::make_unique<RelayFront>(world_, chronicle_, config_, "10.0.0.12"));
      relays_[1]->boot(relays_[0]->address());
    }
    if (world_.dice().chance(300)) primary_->run({"SET", "before", "anybody"});
    for (size_t i = 2; i < nodes_.size(); ++i) {
      world_.run_for(world_.dice().between(0, 300));
      nodes_[i]->replicaof(home(i));
    }
    load_.add(keep_writing(world_, primary_, world_.dice().between(20, 400)));
  }

  void live() {
    const int64_t troubles = world_.dice().between(0, 30);
    for (int64_t i = 0; i < troubles && !world_.failed(); ++i) {
      world_.run_for(world_.dice().between(0, 2000));
      trouble();
      for (auto& relay : relays_) relay->inspect();
      count_keys();
    }
  }

  void recover() {
    load_.cancel_all();
    world_.calm();
    for (auto& node : nodes_) heal(*node);
    if (!loaded()) return;
    relays_[0]->follow(primary_->address());
    for (size_t i = 1; i < nodes_.size(); ++i) {
      if (nodes_[i].get() != primary_) send_home(i);
    }
    const auto settled = [&] {
      accept_what_is_held();
      return all_equal();
    };
    if (world_.run_until(settled, 300'000) || world_.failed()) return rest();
    std::string states;
    for (auto& relay : relays_) states += "\n  " + relay->describe();
    for (auto& node : nodes_) states += "\n  " + describe(*node);
    world_.fail("not converged:" + states);
  }

 private:
  void add_node(const std::string& host) {
    auto options = roll_node(world_.dice(), host);
    options.password = config_.masterauth;
    nodes_.push_back(std::make_unique<FakeNode>(world_, chronicle_, std::move(options)));
    nodes_.back()->on_sync = [this](const SyncEvent& event) {
      for (auto& relay : relays_) relay->judge(event);
      judge_wipe(event);
    };
    nodes_.back()->start();
  }

  /// Where a node belongs: p and s with the primary, a, b, c with a relay, d with a.
  Address home(size_t i) const {
    if (i < 2) return primary_->address();
    if (i == 5) return nodes_[2]->address();
    return (i == 4 ? relays_.back() : relays_.front())->address();
  }
  void send_home(size_t i) {
    if (nodes_[i]->running()) nodes_[i]->replicaof(home(i));
  }

  /// Nobody can be told anything while it loads.
  bool loaded() {
    return world_.run_until(
        [&] { return std::none_of(nodes_.begin(), nodes_.end(), [](const auto& node) { return node->loading(); }); },
        30'000);
  }

  bool all_equal() {
    std::vector<FakeNode*> replicas;
    for (auto& node : nodes_) {
      if (node.get() != primary_) replicas.push_back(node.get());
    }
    const auto& p = *primary_;
    return converged(p, replicas) &&
           std::all_of(relays_.begin(), relays_.end(), [&](const auto& relay) { return relay->caught_up_with(p); });
  }

  /// What an instance asks the primary once a second.
  void count_keys() {
    for (auto& relay : relays_) {
      if (!relay->running() || !relay->relay().has_history() || primary_ == nullptr || primary_->loading()) continue;
      const bool same = relay->relay().history().replid.text() == primary_->replid();
      if (!same || relay->relay().upstream().state != "connected") continue;
      relay->relay().guard().count(primary_->data().keys(), relay->relay().offset());
      if (relay == relays_[0]) lost_keys_ = 0;  // it was let in some time ago
    }
  }

  /// The operator gives up what was there.
  void accept_what_is_held() {
    for (auto& relay : relays_) {
      if (relay->running() && relay->relay().guard().accept()) lost_keys_ = 0;
    }
  }

  /// Nobody behind the relay that knew them loses nearly all keys without the operator's word; or because the primary
  /// held nearly as many again (and dropped them since).
  void judge_wipe(const SyncEvent& event) {
    if (primary_ == nullptr || lost_keys_ < 10 || event.primary != relays_[0]->address() ||
        !event.reply.starts_with("+FULLRESYNC"))
      return;
    const int64_t held = primary_->counters().most_keys;
    if (event.reply.find(primary_->replid()) == std::string::npos || held * 3 > lost_keys_) return;
    world_.fail(fmt::format("{}: is given {} keys where {} were lost", event.who, held, lost_keys_));
  }

  /// Nothing happens any more: what is on the disks now stays there, the latest snapshot with its label, and what could
  /// not be removed.
  void rest() {
    world_.run_for(5000);
    for (const auto& host : {"10.0.0.11", "10.0.0.12"}) {
      const SimFiles& disk = world_.host(host).files();
      auto files = disk.paths();
      std::erase_if(files, [](const std::string& path) { return path.find("/backlog/") != std::string::npos; });
      if (std::ssize(files) <= 2 + disk.removals_failed) continue;
      world_.fail(fmt::format("{}: {} files are left: {}", host, files.size(), fmt::join(files, " ")));
    }
  }

  void switch_primary() {
    FakeNode& standby = primary_ == nodes_[0].get() ? *nodes_[1] : *nodes_[0];
    if (!loaded() || !standby.running() || !standby.is_replica()) return;
    if (standby.data().empty() && !primary_->data().empty()) return;  // never got anything: nobody would choose it
    FakeNode& old = *primary_;
    const bool planned = world_.dice().chance(500);
    if (planned) primary_ = nullptr;  // writes are held
    if (planned) world_.run_until([&] { return standby.offset() == old.offset(); }, 3000);
    if (!loaded()) return;
    primary_ = &standby;
    standby.promote();
    if (old.running()) old.replicaof(standby.address());
    world_.run_for(world_.dice().chance(500) ? 0 : world_.dice().between(0, 3000));
    if (world_.dice().chance(200)) relays_[0]->relay().truncate_to_safe_boundary();
    relays_[0]->follow(standby.address());
  }

  void restart(size_t i) {
    FakeNode& node = *nodes_[i];
    const std::string rdb = world_.dice().chance(600) ? node.save() : std::string();
    if (world_.dice().chance(300)) world_.run_for(world_.dice().between(0, 500));
    const bool is_primary = &node == primary_;
    count_keys();
    const auto knows_all = [&](RelayFront& relay) {
      return relay.running() && relay.relay().has_history() && relay.config().wipe_guard == "hold" &&
             relay.caught_up_with(node) && relay.relay().upstream().state == "connected";
    };
    if (is_primary && rdb.empty() && knows_all(*relays_[0])) lost_keys_ = node.data().keys();
    node.crash();
    world_.run_for(world_.dice().between(0, 3000));
    node.start(rdb, is_primary ? Address() : home(i));
  }

  void restart_relay(RelayFront& relay) {
    lost_keys_ = 0;  // what outlives the process is the instance's
    relay.crash();
    if (world_.dice().chance(400)) world_.host(relay.address().host).files().lose_power();
    world_.run_for(world_.dice().between(0, 5000));
    relay.boot(&relay == relays_[0].get() ? primary_->address() : relays_[0]->address());
  }

  void move_replica() {
    const size_t i = 2 + world_.dice().below(nodes_.size() - 2);
    if (!loaded()) return;
    nodes_[i]->replicaof(primary_->address());
    world_.run_for(world_.dice().between(0, 4000));
    if (loaded()) send_home(i);
  }

  std::string any_host() {
    const uint64_t n = world_.dice().below(nodes_.size() + relays_.size());
    if (n < nodes_.size()) return nodes_[n]->options().host;
    return relays_[n - nodes_.size()]->address().host;
  }

  void trouble_relay(RelayFront& relay) {
    SimFiles& disk = world_.host(relay.address().host).files();
    switch (world_.dice().below(8)) {
      case 0:
        return restart_relay(relay);
      case 1:
        return static_cast<void>(relay.relay().kick_replicas("on request"));
      case 2:
        return static_cast<void>(relay.relay().disconnect_upstream());
      case 3:
        disk.capacity = world_.dice().below(3000);
        return;
      case 4:
        disk.capacity = UINT64_MAX;
        return;
      case 5:
        disk.fail_next = static_cast<int>(world_.dice().below(4));
        return;
      case 6:
        relay.config().repl_backlog_size = int64_t{1} << world_.dice().between(10, 18);
        return relay.relay().resize_backlog();
      default: {
        const Address upstream = relay.relay().upstream().address;
        relay.relay().truncate_to_safe_boundary();
        return relay.follow(upstream);
      }
    }
  }

  void trouble() {
    SimRandom& dice = world_.dice();
    FakeNode& node = *nodes_[dice.below(nodes_.size())];
    switch (dice.below(13)) {
      case 0:
        return world_.cut_any();
      case 12:
        return world_.stall_any(dice.between(10, 3000));
      case 1:
        return world_.part(any_host(), any_host());
      case 2:
        return world_.rejoin(any_host(), any_host());
      case 3:
        return node.freeze(true);
      case 4:
        return node.freeze(false);
      case 5:
        return restart(dice.below(nodes_.size()));
      case 6:
        return switch_primary();
      case 7:
        return node.kick_replicas();
      case 8:
        return move_replica();
      default:
        return trouble_relay(*relays_[dice.below(relays_.size())]);
    }
  }

  SimWorld& world_;
  Chronicle chronicle_{world_};
  Config config_;
  std::vector<std::unique_ptr<FakeNode>> nodes_;
  std::vector<std::unique_ptr<RelayFront>> relays_;
  FakeNode* primary_ = nullptr;
  int64_t lost_keys_ = 0;  // of a primary that came back empty, as long as nobody has accepted that
  TaskSet load_;
};

}  // namespace

void run_relay(SimWorld& world) {
  world.weather() = Weather::roll(world.dice());
  Group group(world);
  group.live();
  group.recover();
}

}  // namespace sidestream::sim
