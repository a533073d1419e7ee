// trend.cc: differences of counters. See the header.
#include "proxy/admin/trend.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace sidestream::admin {
namespace {

using nlohmann::json;

double rate(double difference, int64_t ms) {
  return ms <= 0 ? 0 : std::max(0.0, difference) * 1000 / static_cast<double>(ms);
}

/// Of a counter that only grows, unless it began anew.
template <class Number>
double rate(Number before, Number after, int64_t ms) {
  return after < before ? 0 : rate(static_cast<double>(after - before), ms);
}

}  // namespace

void Trend::advance(Track& track, Counted now) {
  track.push_back(std::move(now));
  if (track.size() > kRecentSamples + 1) track.pop_front();
}

Trend::Recent Trend::over(const Track& track) {
  if (track.size() < 2) return {};
  const Counted& first = track.front();
  const Counted& last = track.back();
  const int64_t ms = last.at_ms - first.at_ms;
  const Latency took = last.took.since(first.took);
  return {rate(first.reads, last.reads, ms), rate(first.writes, last.writes, ms),
          rate(first.stream_bytes, last.stream_bytes, ms), took.quantile_us(0.5), took.quantile_us(0.99)};
}

void Trend::sample(Group& group) {
  const int64_t now_ms = group.world().clock.now_ms();
  const auto counters = group.plane().counters();
  const auto clients = group.plane().clients();
  Sample sample;
  sample.at_ms = now_ms;
  sample.reads_replica = counters.reads_replica;
  sample.reads_primary = counters.reads_primary;
  sample.writes = counters.writes;
  sample.offset = group.relay().offset().value;
  sample.clients = clients.connected;
  sample.held = clients.held;
  std::set<std::string> present;
  for (const NodeFacts& node : group.nodes()) {
    present.insert(node.address);
    const bool known = node.state == "online" && !node.is_primary;
    if (!node.is_primary) sample.lags[node.address] = known ? Lag{node.lag_ms, node.lag_bytes} : Lag{};
    advance(tracks_[node.address], {now_ms, node.reads, node.writes, node.offset.value, node.took});
  }
  for (const auto& replica : group.relay().replicas()) {
    const std::string address = Address{replica.host, replica.port, ""}.text();
    if (group.is_own_node(replica) || !present.insert(address).second) continue;
    const bool online = replica.state == "online";
    const int64_t behind = std::max<int64_t>(0, group.relay().offset() - replica.acked);
    sample.lags[address] = online ? Lag{group.lag_ms(replica.acked), behind} : Lag{};
    advance(tracks_[address], {now_ms, 0, 0, replica.acked.value, {}});
  }
  std::erase_if(tracks_, [&](const auto& each) { return !present.contains(each.first); });
  advance(total_, {now_ms, counters.reads_replica + counters.reads_primary, counters.writes, sample.offset, {}});
  end_wall_ms_ = group.world().clock.wall_ms();
  samples_.push_back(std::move(sample));
  if (samples_.size() > kSamples + 1) samples_.pop_front();
}

Trend::Recent Trend::recent(const std::string& address) const {
  const auto found = tracks_.find(address);
  return found == tracks_.end() ? Recent{} : over(found->second);
}

Trend::Recent Trend::total() const { return over(total_); }

std::string Trend::history_json() const {
  std::set<std::string> names;
  for (const Sample& sample : samples_) {
    for (const auto& [name, lag] : sample.lags) names.insert(name);
  }
  json nodes = json::object();
  for (const std::string& name : names) nodes[name] = {{"lag_ms", json::array()}, {"lag_bytes", json::array()}};
  json history = {{"every_ms", kEveryMs}, {"end_ms", end_wall_ms_}};
  for (const char* name : {"reads_replica", "reads_primary", "writes", "stream_bytes", "clients", "held"}) {
    history[name] = json::array();
  }
  for (size_t i = 1; i < samples_.size(); ++i) {
    const Sample& before = samples_[i - 1];
    const Sample& now = samples_[i];
    const int64_t ms = now.at_ms - before.at_ms;
    history["reads_replica"].push_back(rate(before.reads_replica, now.reads_replica, ms));
    history["reads_primary"].push_back(rate(before.reads_primary, now.reads_primary, ms));
    history["writes"].push_back(rate(before.writes, now.writes, ms));
    history["stream_bytes"].push_back(rate(before.offset, now.offset, ms));
    history["clients"].push_back(now.clients);
    history["held"].push_back(now.held);
    for (const std::string& name : names) {
      const auto lag = now.lags.find(name);
      const bool known = lag != now.lags.end() && lag->second.ms >= 0;
      nodes[name]["lag_ms"].push_back(known ? json(lag->second.ms) : json());
      nodes[name]["lag_bytes"].push_back(known ? json(lag->second.bytes) : json());
    }
  }
  history["nodes"] = std::move(nodes);
  return history.dump();
}

}  // namespace sidestream::admin
