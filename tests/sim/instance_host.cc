// instance_host.cc: see instance_host.h.
#include "tests/sim/instance_host.h"

#include <nlohmann/json.hpp>

namespace sidestream::sim {

InstanceHost::InstanceHost(SimWorld& world, Config config, std::string host)
    : world_(world), config_(std::move(config)), host_(std::move(host)), seams_(world.at(host_)) {
  config_.listen = {address(kNodePort)};
  config_.service_listen = address(kServicePort);
  config_.admin = Address();
  config_.dir = "/data";
  config_.protected_mode = false;  // nobody here is on the same machine
}

InstanceHost::~InstanceHost() { starting_.cancel_all(); }

/// The state file, read as the process does before it has a loop.
Texts InstanceHost::kept() const {
  Texts options;
  for (const std::string& path : world_.host(host_).files().paths()) {
    if (!path.ends_with(".json")) continue;
    const auto json = nlohmann::json::parse(*world_.host(host_).files().find(path));
    for (const auto& [name, value] : json["options"].items()) options[name] = value.get<std::string>();
  }
  return options;
}

void InstanceHost::boot() {
  Config config = config_;
  const Texts options = kept();
  if (const auto role = options.find("replicaof"); role != options.end()) {
    config.replicaof = Address();
    if (!role->second.empty()) config.replicaof = parse_address(role->second).value();
  }
  world_.trace("instance {}: boots, replicaof '{}'", host_, config.replicaof.text());
  instance_ = std::make_unique<instance::Instance>(seams_, std::move(config), options);
  auto bound = instance_->bind();
  CHECK(bound.ok());
  starting_.add(start());
}

Task<void> InstanceHost::start() {
  for (;;) {
    auto started = co_await instance_->start();
    if (started.ok()) co_return;
    co_await world_.clock().sleep(200);  // the disk did not work: a supervisor starts it again
  }
}

void InstanceHost::crash() {
  if (!running()) return;
  world_.host(host_).crash();
  starting_.cancel_all();
  instance_.reset();
}

bool InstanceHost::caught_up_with(const FakeNode& primary) {
  return running() && relay().has_history() && relay().history().replid.text() == primary.replid() &&
         relay().offset().value == primary.offset();
}

std::string InstanceHost::describe() {
  if (!running()) return "instance " + host_ + " down";
  const auto upstream = relay().upstream();
  std::string text =
      fmt::format("instance {} {} upstream {} {} ({}) id {} at {}", host_, group().is_primary() ? "primary" : "replica",
                  upstream.address.text(), upstream.state, upstream.last_error,
                  relay().history().replid.text().substr(0, 8), relay().offset().value);
  for (const auto& node : group().nodes())
    text += fmt::format("\n    node {} {} {}", node.address, node.state, node.trouble);
  for (const auto& link : relay().replicas())
    text += fmt::format("\n    replica {}:{} {} {}", link.host, link.port, link.state, link.waits_for);
  return text;
}

}  // namespace sidestream::sim
