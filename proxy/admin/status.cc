// status.cc: gathered afresh at each call; nothing here is remembered.
#include "proxy/admin/status.h"

#include <unistd.h>

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "common/log.h"
#include "common/text.h"
#include "proxy/admin/security_facts.h"
#include "proxy/admin/trend.h"

namespace sidestream::admin {
namespace {

using nlohmann::json;

constexpr size_t kKeyShown = 256;

int64_t seconds(int64_t ms) { return ms < 0 ? -1 : ms / 1000; }

std::string master_name(const Address& address) { return address.host; }

void fill_upstream(Group& group, ReplicationFacts& facts) {
  const auto master = group.master();
  const auto upstream = group.relay().upstream();
  facts.master_host = master ? master_name(*master) : "";
  facts.master_port = master ? master->port : 0;
  facts.link_state = upstream.state == "held" ? "connect" : upstream.state;
  facts.last_io_s = seconds(upstream.last_io_ms);
  facts.sync_in_progress = upstream.state == "sync";
  facts.sync_total_bytes = upstream.snapshot.total;
  facts.sync_read_bytes = upstream.snapshot.done;
  facts.link_down_since_s = seconds(upstream.link_down_since_ms);
}

json replica_json(Group& group, const replication::ReplicaStatus& replica) {
  return {{"address", Address{replica.host, replica.port, ""}.text()},
          {"state", replica.state},
          {"offset", replica.acked.value},
          {"lag_bytes", std::max<int64_t>(0, group.relay().offset() - replica.acked)},
          {"lag_ms", group.lag_ms(replica.acked)},
          {"sent", replica.sent},
          {"total", replica.total},
          {"percent", replica.progress.percent()},
          {"rate", replica.progress.rate},
          {"eta_ms", replica.progress.eta_ms},
          {"waits_for", replica.waits_for},
          {"failures", replica.failures},
          {"trouble", replica.trouble}};
}

json snapshot_json(Group& group) {
  const auto& relay = group.relay();
  const replication::SnapshotStatus snapshot = relay.snapshot();
  return {{"state", snapshot.state},
          {"source", snapshot.source},
          {"offset", snapshot.offset.value},
          {"rdb_version", snapshot.rdb_version},
          {"received", snapshot.progress.done},
          {"total", snapshot.progress.total},
          {"percent", snapshot.progress.percent()},
          {"rate", snapshot.progress.rate},
          {"eta_ms", snapshot.progress.eta_ms},
          {"age_ms", snapshot.age_ms},
          {"served", snapshot.served},
          {"kept", snapshot.kept},
          {"disk_bytes", snapshot.disk_bytes},
          {"sending", relay.transfers()},
          {"queued", relay.queued()},
          {"last_error", snapshot.last_error}};
}

json sync_failures_json(Group& group) {
  json failures = json::object();
  const auto& counts = group.relay().sync_failures();
  for (size_t i = 1; i < counts.size(); ++i) {
    failures[std::string(replication::name(static_cast<replication::SyncFault>(i)))] = counts[i];
  }
  return failures;
}

json node_json(const NodeFacts& node, const Trend::Recent& recent) {
  return {{"address", node.address},
          {"role", node.is_primary ? "primary" : "replica"},
          {"state", node.state},
          {"trouble", node.trouble},
          {"offset", node.offset.value},
          {"lag_bytes", node.lag_bytes},
          {"lag_ms", node.lag_ms},
          {"reads", node.reads},
          {"writes", node.writes},
          {"reads_per_s", recent.reads_per_s},
          {"writes_per_s", recent.writes_per_s},
          {"p50_us", recent.p50_us},
          {"p99_us", recent.p99_us},
          {"connections", node.connections},
          {"audit",
           {{"compared", node.audit.compared},
            {"unclear", node.audit.unclear},
            {"passed_over", node.audit.passed_over},
            {"differences", node.audit.differences},
            {"passes", node.audit.passes},
            {"trouble", node.audit.trouble}}}};
}

std::string relay_held_reason(Group& group) {
  const auto& quarantine = group.relay().guard().quarantine();
  return quarantine ? quarantine->reason : "";
}

json sentinels_json(Group& group) {
  json sentinels = json::array();
  for (const SentinelFacts& each : group.sentinels()) {
    sentinels.push_back(
        {{"address", each.address}, {"names", each.names}, {"epoch", each.epoch}, {"trouble", each.trouble}});
  }
  return sentinels;
}

json peers_json(Group& group) {
  json peers = json::array();
  for (const PeerFacts& each : group.peers()) {
    peers.push_back({{"address", each.address}, {"state", each.state}, {"offset", each.offset.value}});
  }
  return peers;
}

json upstream_json(Group& group) {
  const auto upstream = group.relay().upstream();
  return {{"address", upstream.address.empty() ? "" : upstream.address.text()},
          {"state", upstream.state},
          {"offset", group.relay().offset().value},
          {"last_io_ms", upstream.last_io_ms},
          {"last_error", upstream.last_error},
          {"held", relay_held_reason(group)},
          {"rejected", group.relay().guard().rejected()},
          {"times_held", group.relay().guard().times_held()},
          {"snapshot",
           {{"received", upstream.snapshot.done},
            {"total", upstream.snapshot.total},
            {"rate", upstream.snapshot.rate},
            {"eta_ms", upstream.snapshot.eta_ms}}}};
}

json counters_json(Group& group) {
  const auto& relay = group.relay().counters();
  const auto& plane = group.plane().counters();
  return {{"full_syncs", relay.full_syncs},
          {"partial_syncs", relay.partial_syncs},
          {"partial_syncs_refused", relay.partial_syncs_refused},
          {"snapshots_fetched", relay.snapshots_fetched},
          {"snapshots_shared", relay.snapshots_shared},
          {"upstream_full_syncs", relay.upstream_full_syncs},
          {"upstream_partial_syncs", relay.upstream_partial_syncs},
          {"reads_replica", plane.reads_replica},
          {"reads_primary", plane.reads_primary},
          {"writes", plane.writes},
          {"held_writes", plane.held_writes},
          {"retried_reads", plane.retried_reads},
          {"unknown_outcomes", plane.unknown_outcomes},
          {"unacknowledged_writes", plane.unacknowledged_writes},
          {"failovers", group.switch_facts().failovers},
          {"lost_writes", group.switch_facts().lost_writes}};
}

json lost_json(Group& group) {
  const SwitchFacts facts = group.switch_facts();
  return {{"writes", facts.lost_writes},
          {"bytes_unseen", facts.lost_bytes_unseen},
          {"keys",
           {{"untouched", facts.lost_keys_untouched},
            {"overwritten", facts.lost_keys_overwritten},
            {"unknown", facts.lost_keys_unknown}}}};
}

json reasons_json(const routing::Counters& counters) {
  json reasons = json::object();
  for (size_t i = 0; i < counters.by_reason.size(); ++i) {
    if (counters.by_reason[i] == 0) continue;
    reasons[std::string(routing::reason_text(static_cast<routing::Reason>(i)))] = counters.by_reason[i];
  }
  return reasons;
}

json security_json(Group& group) {
  const SecurityFacts facts = security_facts(group);
  return {{"tls_handshakes", facts.tls_handshakes},
          {"tls_handshakes_failed", facts.tls_handshakes_failed},
          {"failed_logins", facts.failed_logins},
          {"refused_by_rules", facts.refused_by_rules},
          {"proxy_headers", facts.proxy_headers},
          {"proxy_headers_failed", facts.proxy_headers_failed},
          {"listen_cert_expires", facts.listen_cert_expires_s},
          {"node_cert_expires", facts.node_cert_expires_s}};
}

}  // namespace

ReplicationFacts replication_facts(Group& group, routing::Face face) {
  const auto& relay = group.relay();
  ReplicationFacts facts;
  facts.is_primary = group.is_primary() || face == routing::Face::service;
  if (!facts.is_primary) fill_upstream(group, facts);
  facts.failover_state = group.switch_facts().state;
  facts.priority = group.can_be_promoted() ? group.config().replica_priority : 0;
  facts.replid = relay.has_history() ? relay.history().replid.text() : group.run_id();
  facts.replid2 = relay.history().replid2.text();
  facts.second_offset = relay.history().second_offset;
  facts.offset = facts.applied_offset = relay.safe_boundary().value;
  facts.read_offset = relay.offset().value;
  facts.backlog_active = relay.has_history();
  facts.backlog_size = group.config().repl_backlog_size;
  facts.backlog_first_byte = relay.info_backlog_range().first_byte;
  facts.backlog_histlen = relay.info_backlog_range().histlen;
  const Config& config = group.config();
  if (config.min_replicas_to_write > 0 && config.min_replicas_max_lag > 0) {
    facts.good_replicas = relay.good_replicas(config.min_replicas_max_lag);
  }
  const bool lines = face != routing::Face::service;  // applications must not go looking for addresses behind us
  for (const auto& replica : relay.replicas()) {
    // On a replica our own nodes are what we are, not who follows us. In front of a primary they are its replicas.
    if (face == routing::Face::node && !group.is_primary() && group.is_own_node(replica)) continue;
    if (group.is_primary() && group.is_lead(replica)) continue;  // Sentinel would never forget it
    ++facts.connected_replicas;
    // Without a port nobody can reach it (redis-cli --rdb): a line would become a phantom replica in Sentinel.
    if (!lines || replica.port == 0 || replica.rdb_only) continue;
    facts.replicas.push_back({replica.host, replica.port, replica.state, replica.acked.value, replica.lag_seconds});
  }
  return facts;
}

namespace {

json clients_json(Group& group) {
  const auto clients = group.plane().clients();
  return {{"connected", clients.connected},
          {"accepted", clients.accepted},
          {"rejected", clients.rejected},
          {"held", clients.held}};
}

json rates_json(Group& group) {
  const Trend::Recent total = group.trend().total();
  return {{"reads_per_s", total.reads_per_s},
          {"writes_per_s", total.writes_per_s},
          {"stream_bytes_per_s", total.stream_bytes_per_s}};
}

}  // namespace

std::string status_json(Group& group) {
  const auto& relay = group.relay();
  const auto range = relay.backlog_range();
  const int64_t now_ms = group.world().clock.now_ms();
  json nodes = json::array();
  for (const NodeFacts& node : group.nodes()) nodes.push_back(node_json(node, group.trend().recent(node.address)));
  json replicas = json::array();
  for (const auto& replica : relay.replicas()) replicas.push_back(replica_json(group, replica));
  const ReplicationFacts facts = replication_facts(group, routing::Face::node);
  const json process = {
      {"pid", ::getpid()},
      {"upgrade", {{"state", group.upgrade_facts().state}, {"trouble", group.upgrade_facts().trouble}}}};
  const json status = {{"version", SIDESTREAM_VERSION},
                       {"process", process},
                       {"reload", {{"good", group.reload_facts().good}, {"trouble", group.reload_facts().trouble}}},
                       {"role", group.is_primary() ? "primary" : "replica"},
                       {"state", relay.upstream().state},
                       {"ready", group.readiness().ready},
                       {"trouble", group.trouble()},
                       {"fenced", group.fenced()},
                       {"run_id", group.run_id()},
                       {"uptime_ms", now_ms - group.started_at_ms()},
                       {"replid", facts.replid},
                       {"replid2", facts.replid2},
                       {"offset", relay.offset().value},
                       {"second_offset", facts.second_offset},
                       {"backlog",
                        {{"first", range.first_byte},
                         {"histlen", range.histlen},
                         {"memory_bytes", relay.backlog_memory_bytes()},
                         {"disk_bytes", relay.backlog_disk_bytes()},
                         {"disk_lag_bytes", relay.backlog_disk_lag()},
                         {"disk_trouble", relay.backlog_disk_trouble()},
                         {"compressed_history_bytes", relay.backlog_packing().history_bytes},
                         {"compressed_disk_bytes", relay.backlog_packing().disk_bytes}}},
                       {"upstream", upstream_json(group)},
                       {"snapshot", snapshot_json(group)},
                       {"sync_failures", sync_failures_json(group)},
                       {"nodes", nodes},
                       {"replicas", replicas},
                       {"peers", peers_json(group)},
                       {"sentinels", sentinels_json(group)},
                       {"counters", counters_json(group)},
                       {"lost", lost_json(group)},
                       {"routing", reasons_json(group.plane().counters())},
                       {"rates", rates_json(group)},
                       {"security", security_json(group)},
                       {"draining", group.is_draining()},
                       {"clients", clients_json(group)}};
  return status.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string events_json(uint64_t after) {
  json events = json::array();
  for (const LogEvent& event : log_events(after)) {
    events.push_back({{"number", event.number},
                      {"wall_ms", event.wall_ms},
                      {"level", std::string(name_of(event.level))},
                      {"tag", event.tag},
                      {"text", event.text}});
  }
  return events.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string latency_text(Group& group) {
  const auto times = group.plane().times();
  std::string out = fmt::format("{:8} {:8} {:>12} {:>10} {:>10} {:>10} {:>10}\n", "route", "class", "requests",
                                "p50_us", "p99_us", "p999_us", "max_us");
  const auto add = [&](std::string_view route, std::string_view what, const Latency& took) {
    fmt::format_to(std::back_inserter(out), "{:8} {:8} {:12} {:10} {:10} {:10} {:10}\n", route, what, took.count(),
                   took.quantile_us(0.5), took.quantile_us(0.99), took.quantile_us(0.999), took.max_us());
  };
  for (size_t route = 0; route < times.routes.size(); ++route) {
    for (size_t work = 0; work < times.routes[route].took.size(); ++work) {
      add(routing::kRouteNames[route], routing::kWorkNames[work], times.routes[route].took[work]);
    }
  }
  for (const NodeFacts& node : group.nodes()) add("node", node.address, node.took);
  add("here", "held", times.held);
  add("here", "loop-lag", times.loop_lag);
  return out;
}

std::string nodes_text(Group& group) {
  std::string out;
  for (const NodeFacts& node : group.nodes()) {
    fmt::format_to(std::back_inserter(out), "{} {} {} offset={} lag_bytes={} lag_ms={}{}\n", node.address,
                   node.is_primary ? "primary" : "replica", node.state, node.offset.value, node.lag_bytes, node.lag_ms,
                   node.trouble.empty() ? "" : " (" + node.trouble + ")");
  }
  return out;
}

std::string audit_text(Group& group) {
  std::string out;
  auto to = std::back_inserter(out);
  for (const NodeFacts& node : group.nodes()) {
    if (node.is_primary) continue;
    const AuditFacts& audit = node.audit;
    fmt::format_to(to, "{} {} compared={} differences={} unclear={} passed_over={} passes={}{}\n", node.address,
                   node.state, audit.compared, audit.differences, audit.unclear, audit.passed_over, audit.passes,
                   audit.trouble.empty() ? "" : " (" + audit.trouble + ")");
    for (const DriftedKey& key : audit.keys) {
      fmt::format_to(to, "  db={} key=\"{}\": {}\n", key.db, printable(key.name, kKeyShown), key.what);
    }
  }
  if (group.config().audit_rate == 0) out += "nothing is compared now: audit-rate is 0\n";
  return out;
}

namespace {

std::string progress_fields(const replication::Progress& progress) {
  return fmt::format("bytes={},total={},perc={:.2f},rate={},eta_ms={}", progress.done, progress.total,
                     progress.percent(), progress.rate, progress.eta_ms);
}

/// Snapshots on their way, both ways, and replicas whose syncs do not come to an end.
void snapshot_fields(Group& group, std::string& out) {
  const auto& relay = group.relay();
  const replication::SnapshotStatus snapshot = relay.snapshot();
  auto to = std::back_inserter(out);
  fmt::format_to(to, "snapshot:state={},source={},offset={},{},age={},served={},kept={},disk_bytes={}\r\n",
                 snapshot.state, snapshot.source, snapshot.offset.value, progress_fields(snapshot.progress),
                 snapshot.age_ms / 1000, snapshot.served, snapshot.kept, snapshot.disk_bytes);
  fmt::format_to(to, "snapshot_last_error:{}\r\nsnapshots_sending:{}\r\nsnapshots_queued:{}\r\n", snapshot.last_error,
                 relay.transfers(), relay.queued());
  if (relay.upstream().state == "sync")
    fmt::format_to(to, "upstream_sync:{}\r\n", progress_fields(relay.upstream().snapshot));
  const auto& counts = relay.sync_failures();
  for (size_t i = 1; i < counts.size(); ++i) {
    fmt::format_to(to, "sync_failures_{}:{}\r\n", replication::name(static_cast<replication::SyncFault>(i)), counts[i]);
  }
  size_t index = 0;
  for (const auto& replica : relay.replicas()) {
    if (replica.state == "online" && replica.failures == 0) continue;
    fmt::format_to(to, "sync{}:replica={},state={},{},failures={},waits_for={},trouble={}\r\n", index++,
                   Address{replica.host, replica.port, ""}.text(), replica.state, progress_fields(replica.progress),
                   replica.failures, replica.waits_for, replica.trouble);
  }
}

}  // namespace

std::string sidestream_section(Group& group) {
  const auto& relay = group.relay();
  const auto& plane = group.plane().counters();
  const auto upstream = relay.upstream();
  std::string out = "# Sidestream\r\n";
  auto to = std::back_inserter(out);
  fmt::format_to(to, "sidestream_version:{}\r\nsidestream_role:{}\r\n", SIDESTREAM_VERSION,
                 group.is_primary() ? "primary" : "replica");
  fmt::format_to(to, "sidestream_upstream:{}\r\nsidestream_upstream_state:{}\r\n",
                 upstream.address.empty() ? "" : upstream.address.text(), upstream.state);
  fmt::format_to(to, "sidestream_upstream_held:{}\r\n", relay.guard().quarantine() ? 1 : 0);
  fmt::format_to(to, "sidestream_trouble:{}\r\nsidestream_fenced:{}\r\n", group.trouble(), group.fenced());
  fmt::format_to(to, "reads_replica:{}\r\nreads_primary:{}\r\nwrites:{}\r\nheld_writes:{}\r\n", plane.reads_replica,
                 plane.reads_primary, plane.writes, plane.held_writes);
  fmt::format_to(to, "unacknowledged_writes:{}\r\n", plane.unacknowledged_writes);
  fmt::format_to(to, "full_syncs:{}\r\npartial_syncs:{}\r\nsnapshots_fetched:{}\r\nsnapshots_shared:{}\r\n",
                 relay.counters().full_syncs, relay.counters().partial_syncs, relay.counters().snapshots_fetched,
                 relay.counters().snapshots_shared);
  const SwitchFacts switches = group.switch_facts();
  fmt::format_to(to, "failovers:{}\r\nlost_writes:{}\r\nlost_bytes_unseen:{}\r\n", switches.failovers,
                 switches.lost_writes, switches.lost_bytes_unseen);
  fmt::format_to(to, "lost_keys_untouched:{}\r\nlost_keys_overwritten:{}\r\nlost_keys_unknown:{}\r\n",
                 switches.lost_keys_untouched, switches.lost_keys_overwritten, switches.lost_keys_unknown);
  const auto packing = relay.backlog_packing();
  fmt::format_to(to, "backlog_disk_bytes:{}\r\nbacklog_compressed_segments:{}\r\nbacklog_compress_ratio:{:.2f}\r\n",
                 relay.backlog_disk_bytes(), packing.segments, packing.ratio());
  snapshot_fields(group, out);
  const SecurityFacts security = security_facts(group);
  fmt::format_to(to, "tls_handshakes:{}\r\ntls_handshakes_failed:{}\r\n", security.tls_handshakes,
                 security.tls_handshakes_failed);
  fmt::format_to(to, "failed_logins:{}\r\nrefused_by_rules:{}\r\n", security.failed_logins, security.refused_by_rules);
  fmt::format_to(to, "proxy_headers:{}\r\nproxy_headers_failed:{}\r\n", security.proxy_headers,
                 security.proxy_headers_failed);
  fmt::format_to(to, "tls_listen_cert_expires:{}\r\ntls_node_cert_expires:{}\r\n", security.listen_cert_expires_s,
                 security.node_cert_expires_s);
  size_t index = 0;
  for (const NodeFacts& node : group.nodes()) {
    fmt::format_to(to,
                   "node{}:address={},role={},state={},offset={},lag_bytes={},reads={},writes={},audited={},"
                   "differences={}\r\n",
                   index++, node.address, node.is_primary ? "primary" : "replica", node.state, node.offset.value,
                   node.lag_bytes, node.reads, node.writes, node.audit.compared, node.audit.differences);
  }
  index = 0;
  for (const SentinelFacts& each : group.sentinels()) {
    fmt::format_to(to, "sentinel{}:address={},names={},epoch={}\r\n", index++, each.address, each.names, each.epoch);
  }
  index = 0;
  for (const PeerFacts& each : group.peers()) {
    fmt::format_to(to, "peer{}:address={},state={},offset={}\r\n", index++, each.address, each.state,
                   each.offset.value);
  }
  return out;
}

}  // namespace sidestream::admin
