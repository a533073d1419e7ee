// metrics.cc: one table of plain numbers, and the families that have labels. A registry of prometheus-cpp lives for one
// scrape.
#include "proxy/admin/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <string>

namespace sidestream::admin {
namespace {

using Labels = std::map<std::string, std::string>;

class Scrape {
 public:
  void gauge(const std::string& name, const std::string& help, double value, const Labels& labels = {}) {
    prometheus::BuildGauge().Name("sidestream_" + name).Help(help).Register(registry_).Add(labels).Set(value);
  }
  template <class Number>
  void counter(const std::string& name, const std::string& help, Number value, const Labels& labels = {}) {
    auto& family = prometheus::BuildCounter().Name("sidestream_" + name).Help(help).Register(registry_);
    family.Add(labels).Increment(static_cast<double>(value));
  }
  std::string text() const { return prometheus::TextSerializer().Serialize(registry_.Collect()); }

 private:
  prometheus::Registry registry_{prometheus::Registry::InsertBehavior::Merge};
};

void add_replication(Scrape& scrape, Group& group) {
  const auto& relay = group.relay();
  const auto& counters = relay.counters();
  const auto upstream = relay.upstream();
  scrape.gauge("upstream_link_up", "1 while the stream of the upstream arrives.",
               upstream.state == "connected" ? 1 : 0);
  scrape.gauge("upstream_held", "1 while the wipe guard keeps the upstream's new history away.",
               relay.guard().quarantine() ? 1 : 0);
  scrape.counter("upstream_held_total", "How often it had to.", relay.guard().times_held());
  scrape.gauge("primary_offset_bytes", "Last byte of the history that was received.",
               static_cast<double>(relay.offset().value));
  scrape.gauge("backlog_size_bytes", "Configured history in memory.",
               static_cast<double>(group.config().repl_backlog_size));
  scrape.gauge("backlog_used_bytes", "History held.", static_cast<double>(relay.backlog_range().histlen));
  scrape.gauge("backlog_first_offset_bytes", "First byte held.", static_cast<double>(relay.backlog_range().first_byte));
  const std::string help = "Resyncs, of replicas by us and of us by the upstream.";
  scrape.counter("sync_total", help, counters.full_syncs, {{"side", "downstream"}, {"kind", "full"}});
  scrape.counter("sync_total", help, counters.partial_syncs, {{"side", "downstream"}, {"kind", "partial"}});
  scrape.counter("sync_total", help, counters.upstream_full_syncs, {{"side", "upstream"}, {"kind", "full"}});
  scrape.counter("sync_total", help, counters.upstream_partial_syncs, {{"side", "upstream"}, {"kind", "partial"}});
  scrape.counter("snapshot_sources_total", "Snapshots fetched from a server.", counters.snapshots_fetched);
  scrape.counter("snapshot_shares_total", "Replicas served from a snapshot fetched for another.",
                 counters.snapshots_shared);
  const auto snapshot = relay.snapshot();
  scrape.gauge("snapshot_disk_bytes", "Snapshots on disk.", static_cast<double>(snapshot.disk_bytes));
  const bool arriving = snapshot.state == "fetching";
  scrape.gauge("snapshot_received_bytes", "Of the snapshot that is being fetched.",
               static_cast<double>(arriving ? snapshot.progress.done : 0));
  scrape.gauge("snapshot_expected_bytes", "Of the snapshot that is being fetched; 0: unknown or none.",
               static_cast<double>(arriving ? snapshot.progress.total : 0));
  scrape.gauge("syncs_in_progress", "Snapshots that are being sent to replicas.",
               static_cast<double>(relay.transfers()));
  scrape.gauge("syncs_queued", "Replicas that wait for their turn.", static_cast<double>(relay.queued()));
  const auto& failures = relay.sync_failures();
  for (size_t i = 1; i < failures.size(); ++i) {
    scrape.counter("sync_failures_total", "Full syncs of replicas that came to nothing, by reason.", failures[i],
                   {{"reason", std::string(replication::name(static_cast<replication::SyncFault>(i)))}});
  }
}

void add_nodes(Scrape& scrape, Group& group) {
  for (const NodeFacts& node : group.nodes()) {
    const Labels labels = {{"node", node.address}};
    scrape.gauge("node_up", "1 while the node is where the plan wants it.", node.state == "online" ? 1 : 0, labels);
    scrape.gauge("node_is_primary", "1 for the primary.", node.is_primary ? 1 : 0, labels);
    scrape.gauge("replica_lag_bytes", "Bytes the node is behind.", static_cast<double>(node.lag_bytes), labels);
    scrape.gauge("replica_lag_seconds", "Time the node is behind.", static_cast<double>(node.lag_ms) / 1000, labels);
    scrape.counter("node_reads_total", "Reads the node was asked.", node.reads, labels);
    scrape.counter("node_writes_total", "Writes the node was asked.", node.writes, labels);
  }
}

void add_neighbours(Scrape& scrape, Group& group) {
  for (const SentinelFacts& each : group.sentinels()) {
    scrape.gauge("sentinel_votes", "1 while the Sentinel says who is primary.", each.names.empty() ? 0 : 1,
                 {{"sentinel", each.address}});
  }
  for (const PeerFacts& each : group.peers()) {
    scrape.gauge("peer_up", "1 while the replica beside us may be read.", each.state == "online" ? 1 : 0,
                 {{"peer", each.address}});
  }
}

void add_clients(Scrape& scrape, Group& group) {
  const auto clients = group.plane().clients();
  const auto& counters = group.plane().counters();
  scrape.gauge("client_connections", "Clients connected.", static_cast<double>(clients.connected));
  scrape.counter("client_connections_total", "Clients accepted.", clients.accepted);
  scrape.counter("client_connections_rejected_total", "Clients refused at maxclients.", clients.rejected);
  const std::string closed = "Clients closed because of what they sent or did not read, by limit.";
  scrape.counter("client_connections_closed_total", closed, clients.over_query_buffer, {{"limit", "query-buffer"}});
  scrape.counter("client_connections_closed_total", closed, clients.over_output_buffer, {{"limit", "output-buffer"}});
  scrape.counter("client_connections_closed_total", closed, clients.slow_readers, {{"limit", "slow-reader"}});
  const std::string help = "Commands routed, by who was asked.";
  scrape.counter("commands_total", help, counters.reads_replica, {{"route", "replica"}, {"class", "read"}});
  scrape.counter("commands_total", help, counters.reads_primary, {{"route", "primary"}, {"class", "read"}});
  scrape.counter("commands_total", help, counters.writes, {{"route", "primary"}, {"class", "write"}});
  scrape.counter("held_writes_total", "Writes that had to wait for a primary.", counters.held_writes);
  scrape.counter("retried_reads_total", "Reads answered by another server than the first one asked.",
                 counters.retried_reads);
  scrape.counter("unknown_outcomes_total", "Writes whose connection broke before the reply.",
                 counters.unknown_outcomes);
  for (size_t i = 0; i < counters.by_reason.size(); ++i) {
    const auto reason = static_cast<routing::Reason>(i);
    scrape.counter("route_decisions_total", "Why commands went where they went.", counters.by_reason[i],
                   {{"reason", std::string(routing::reason_text(reason))}});
  }
}

}  // namespace

std::string metrics_text(Group& group) {
  Scrape scrape;
  scrape.gauge("build_info", "Always 1.", 1, {{"version", SIDESTREAM_VERSION}});
  scrape.gauge("ready", "As /readyz.", group.readiness().ready ? 1 : 0);
  scrape.gauge("is_primary", "1 while the instance presents itself as a primary.", group.is_primary() ? 1 : 0);
  scrape.gauge("uptime_seconds", "Since the start.",
               static_cast<double>(group.world().clock.now_ms() - group.started_at_ms()) / 1000);
  scrape.counter("failovers_total", "Switches of the primary made by this instance.", group.switch_facts().failovers);
  scrape.counter("lost_writes_total", "Writes of a former primary that the new history does not have.",
                 group.switch_facts().lost_writes);
  scrape.gauge("fenced", "1 while a primary takes no writes because there may be another.",
               group.fenced().empty() ? 0 : 1);
  add_replication(scrape, group);
  add_nodes(scrape, group);
  add_neighbours(scrape, group);
  add_clients(scrape, group);
  return scrape.text();
}

}  // namespace sidestream::admin
