// relay_front.h: a relay with a listener in front of it and an eye on it: the smallest thing that nodes can follow.
//
// Happy path: boot() listens and follows; a connection says PING, AUTH, REPLCONF, INFO until it asks for the stream,
// then the relay adopts it. Meanwhile the observer compares every command that the relay sees with the chronicle, and
// notes what the relay held when it answered somebody with a snapshot. Failure modes: what a checker finds is
// world.fail().
#pragma once

#include <map>
#include <memory>
#include <string>

#include "proxy/replication/relay.h"
#include "tests/support/chronicle.h"
#include "tests/support/fake_node.h"
#include "tests/support/sim_world.h"

namespace sidestream::sim {

class RelayFront final : private replication::RelayObserver {
 public:
  RelayFront(SimWorld& world, Chronicle& chronicle, Config config, std::string host);
  ~RelayFront() override;

  void boot(const Address& upstream);
  /// kill -9; boot() starts anew, with what is on the disk.
  void crash();
  bool running() const { return relay_ != nullptr; }
  void follow(Address upstream);
  replication::Relay& relay() { return *relay_; }
  Config& config() { return config_; }
  Address address() const { return Address{host_, kPort, {}}; }
  /// Whether it is at the node's offset of the node's history.
  bool caught_up_with(const FakeNode& primary) const;
  std::string describe() const;

  /// A node was answered with a full resync: was that necessary?
  void judge(const SyncEvent& event);
  /// Bounds and places that must hold at any time.
  void inspect();

 private:
  static constexpr int kPort = 7000;
  struct Held {  // at the moment of an answer
    replication::History history;
    replication::BacklogRange range;
  };

  void stream_command(std::span<const std::string_view> args, bool truncated, ReplOffset end) override;
  void upstream_changed() override;
  void replica_changed(uint64_t link_id) override;

  Task<void> serve();
  Task<void> greet(std::unique_ptr<ByteStream> stream);
  std::string answer(std::span<const std::string_view> args, replication::ReplicaHello& hello, bool& trusted) const;
  std::string info() const;

  SimWorld& world_;
  Chronicle& chronicle_;
  Config config_;
  const std::string host_;
  World seams_;
  std::map<std::string, Held> snapshot_answers_;  // by "ip:port" of the replica
  std::string commands_of_;                       // the history whose commands are being seen
  ReplOffset commands_end_;
  int64_t largest_;  // backlog that was ever configured
  Address upstream_;
  bool prepared_ = false;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<replication::Relay> relay_;
  TaskSet tasks_;
};

}  // namespace sidestream::sim
