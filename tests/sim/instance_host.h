// instance_host.h: a whole instance as a process on a simulated machine: it boots from its configuration and what it
// kept on its disk, and can be killed.
#pragma once

#include <memory>
#include <string>

#include "proxy/instance/instance.h"
#include "tests/support/fake_node.h"
#include "tests/support/sim_world.h"

namespace sidestream::sim {

class InstanceHost {
 public:
  static constexpr int kNodePort = 7000;
  static constexpr int kServicePort = 7001;

  InstanceHost(SimWorld& world, Config config, std::string host);
  ~InstanceHost();

  void boot();
  /// kill -9.
  void crash();
  bool running() const { return instance_ != nullptr; }
  replication::Relay& relay() { return instance_->group().relay(); }
  admin::Group& group() { return instance_->group(); }
  Config& config() { return config_; }
  Address address(int port = kNodePort) const { return Address{host_, port, {}}; }
  const std::string& host() const { return host_; }
  bool caught_up_with(const FakeNode& primary);
  std::string describe();

 private:
  Task<void> start();
  Texts kept() const;

  SimWorld& world_;
  Config config_;
  const std::string host_;
  World seams_;
  std::unique_ptr<instance::Instance> instance_;
  TaskSet starting_;
};

}  // namespace sidestream::sim
