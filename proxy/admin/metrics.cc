// metrics.cc: what the group is and does. Commands of clients and the process itself are in metrics_traffic.cc.
#include "proxy/admin/metrics.h"

#include <string>

#include "proxy/admin/metrics_traffic.h"
#include "proxy/admin/scrape.h"
#include "proxy/admin/security_facts.h"

namespace sidestream::admin {
namespace {

void add_replication(Scrape& scrape, Group& group) {
  const auto& relay = group.relay();
  const auto& counters = relay.counters();
  const auto upstream = relay.upstream();
  scrape.gauge("upstream_link_up", "1 while the stream of the upstream arrives.",
               upstream.state == "connected" ? 1 : 0);
  scrape.gauge("upstream_held", "1 while the wipe guard keeps the upstream's new history away.",
               relay.guard().quarantine() ? 1 : 0);
  scrape.counter("upstream_held_total", "How often it had to.", relay.guard().times_held());
  scrape.gauge("upstream_link_last_io_seconds", "Since the last byte of the upstream; -1 without a link.",
               upstream.last_io_ms < 0 ? -1.0 : static_cast<double>(upstream.last_io_ms) / 1000);
  scrape.counter("stream_bytes_total", "Bytes of the replication stream.", group.stream_facts().bytes,
                 {{"direction", "in"}});
  scrape.counter("stream_commands_total", "Commands in it.", group.stream_facts().commands, {{"direction", "in"}});
  scrape.histogram("sync_duration_seconds", "From a replica's request until it is online.", counters.full_sync_took,
                   {{"kind", "full"}});
  scrape.histogram("sync_duration_seconds", "", counters.partial_sync_took, {{"kind", "partial"}});
  scrape.counter("partial_syncs_refused_total", "Replicas that asked for history we do not have.",
                 counters.partial_syncs_refused);
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
  scrape.gauge("backlog_compress_ratio", "Of the history on disk that is compressed: its size before by its size now.",
               relay.backlog_packing().ratio());
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

void add_audit(Scrape& scrape, const NodeFacts& node) {
  const AuditFacts& audit = node.audit;
  const std::string help = "Keys that the drift audit looked at, by what came of it.";
  const auto add = [&](const char* result, uint64_t count) {
    scrape.counter("audited_keys_total", help, count, {{"node", node.address}, {"result", result}});
  };
  add("compared", audit.compared);
  add("unclear", audit.unclear);
  add("passed_over", audit.passed_over);
  scrape.counter("audit_differences_total", "Differences from the primary's data that were found and confirmed.",
                 audit.differences, {{"node", node.address}});
  scrape.counter("audit_passes_total", "Times all keys were gone through.", audit.passes, {{"node", node.address}});
}

void add_nodes(Scrape& scrape, Group& group) {
  for (const NodeFacts& node : group.nodes()) {
    const Labels labels = {{"node", node.address}};
    scrape.gauge("node_up", "1 while the node is where the plan wants it.", node.state == "online" ? 1 : 0, labels);
    scrape.gauge("node_is_primary", "1 for the primary.", node.is_primary ? 1 : 0, labels);
    scrape.gauge("replica_lag_bytes", "Bytes the node is behind.", static_cast<double>(node.lag_bytes), labels);
    scrape.gauge("replica_lag_seconds", "Time the node is behind.", static_cast<double>(node.lag_ms) / 1000, labels);
    scrape.gauge("replica_offset_bytes", "Byte of the history that the node has applied.", node.offset.value, labels);
    for (const char* state :
         {"online", "differs", "syncing", "loading", "waiting", "foreign", "down", "held", "quarantine"}) {
      scrape.gauge("replica_state", "1 for the state the node is in.", node.state == state ? 1 : 0,
                   {{"node", node.address}, {"state", state}});
    }
    if (!node.is_primary) add_audit(scrape, node);
    scrape.gauge("pool_connections", "Connections of ours to the node.", node.connections - node.idle_connections,
                 {{"node", node.address}, {"state", "busy"}});
    scrape.gauge("pool_connections", "", node.idle_connections, {{"node", node.address}, {"state", "idle"}});
    scrape.histogram("node_duration_seconds", "What the node took to answer, as command_duration_seconds.", node.took,
                     labels);
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

/// Snapshots that arrive and leave now.
void add_transfers(Scrape& scrape, Group& group) {
  const auto upstream = group.relay().upstream();
  const bool arrives = upstream.state == "sync";
  scrape.gauge("upstream_sync_in_progress", "1 while the upstream sends us a snapshot.", arrives ? 1 : 0);
  scrape.gauge("upstream_sync_received_bytes", "What has come of it.", arrives ? upstream.snapshot.done : 0);
  int64_t sent = 0, total = 0;
  for (const auto& replica : group.relay().replicas()) {
    if (replica.state != "send_bulk") continue;
    sent += replica.sent;
    total += replica.total;
  }
  scrape.gauge("sync_sent_bytes", "What replicas have got of the snapshots that are being sent to them.", sent);
  scrape.gauge("sync_expected_bytes", "What they will get; 0 where the size is not known.", total);
  scrape.gauge("replicas", "Replicas attached to us, our own nodes included.", group.relay().replicas().size());
}

void add_clients(Scrape& scrape, Group& group) {
  const auto clients = group.plane().clients();
  const auto& counters = group.plane().counters();
  scrape.gauge("client_connections", "Clients connected.", static_cast<double>(clients.connected));
  scrape.counter("client_connections_total", "Clients accepted.", clients.accepted);
  scrape.gauge("client_connections_limit", "As limits.maxclients.", group.config().limits.maxclients);
  const std::string rejected = "Clients that were not let in.";
  scrape.counter("client_connections_rejected_total", rejected,
                 clients.rejected - clients.denied - clients.over_address, {{"reason", "maxclients"}});
  scrape.counter("client_connections_rejected_total", rejected, clients.denied, {{"reason", "protected-mode"}});
  scrape.counter("client_connections_rejected_total", rejected, clients.over_address,
                 {{"reason", "clients-per-address"}});
  scrape.counter("client_delays_total", "Times a client was left unread for limits.commands-per-address.",
                 clients.delayed);
  const std::string closed = "Clients closed because of what they sent or did not read, by limit.";
  scrape.counter("client_connections_closed_total", closed, clients.over_query_buffer, {{"limit", "query-buffer"}});
  scrape.counter("client_connections_closed_total", closed, clients.over_output_buffer, {{"limit", "output-buffer"}});
  scrape.counter("client_connections_closed_total", closed, clients.slow_readers, {{"limit", "slow-reader"}});
  scrape.counter("held_writes_total", "Writes that had to wait for a primary.", counters.held_writes);
  scrape.counter("retried_reads_total", "Reads answered by another server than the first one asked.",
                 counters.retried_reads);
  scrape.counter("unknown_outcomes_total", "Writes whose connection broke before the reply.",
                 counters.unknown_outcomes);
  scrape.counter("unacknowledged_writes_total", "Writes that were executed, and that too few replicas had in time.",
                 counters.unacknowledged_writes);
  for (size_t i = 0; i < counters.by_reason.size(); ++i) {
    const auto reason = static_cast<routing::Reason>(i);
    scrape.counter("route_decisions_total", "Why commands went where they went.", counters.by_reason[i],
                   {{"reason", std::string(routing::reason_text(reason))}});
  }
}

void add_reload(Scrape& scrape, const ReloadFacts& facts) {
  scrape.gauge("config_last_reload_successful", "0 while the configuration in force is not the one that is written.",
               facts.good ? 1 : 0);
  scrape.gauge("config_last_reload_success_timestamp_seconds", "When it was read last, in seconds since 1970.",
               static_cast<double>(facts.good_wall_ms / 1000));
}

void add_security(Scrape& scrape, Group& group) {
  const SecurityFacts facts = security_facts(group);
  const std::string help = "TLS handshakes, with clients and with servers.";
  scrape.counter("tls_handshakes_total", help, facts.tls_handshakes, {{"result", "ok"}});
  scrape.counter("tls_handshakes_total", help, facts.tls_handshakes_failed, {{"result", "failed"}});
  scrape.counter("failed_logins_total", "Logins with a wrong name or password.", facts.failed_logins);
  scrape.counter("refused_by_rules_total", "Commands that the rules of their user do not allow.",
                 facts.refused_by_rules);
  const std::string headers = "Connections of load balancers, by what came of their PROXY header.";
  scrape.counter("proxy_headers_total", headers, facts.proxy_headers, {{"result", "ok"}});
  scrape.counter("proxy_headers_total", headers, facts.proxy_headers_failed, {{"result", "failed"}});
  const std::string ends = "When our certificate ends, in seconds since 1970.";
  if (facts.listen_cert_expires_s != 0) {
    scrape.gauge("tls_certificate_expiry_timestamp_seconds", ends, static_cast<double>(facts.listen_cert_expires_s),
                 {{"side", "listen"}});
  }
  if (facts.node_cert_expires_s != 0) {
    scrape.gauge("tls_certificate_expiry_timestamp_seconds", ends, static_cast<double>(facts.node_cert_expires_s),
                 {{"side", "nodes"}});
  }
}

}  // namespace

std::string metrics_text(Group& group) {
  Scrape scrape;
  scrape.gauge("build_info", "Always 1.", 1, {{"version", SIDESTREAM_VERSION}});
  scrape.gauge("ready", "As /readyz.", group.readiness().ready ? 1 : 0);
  scrape.gauge("is_primary", "1 while the instance presents itself as a primary.", group.is_primary() ? 1 : 0);
  scrape.gauge("draining", "1 while clients are being let go.", group.is_draining() ? 1 : 0);
  scrape.gauge("primary_known", "1 while writes have somewhere to go.", group.plane().primary_counts() ? 1 : 0);
  scrape.gauge("node_info", "Always 1: which role and history this is.", 1,
               {{"role", group.is_primary() ? "primary" : "replica"},
                {"replid", group.relay().has_history() ? group.relay().history().replid.text() : ""}});
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
  add_transfers(scrape, group);
  add_clients(scrape, group);
  add_commands(scrape, group);
  add_process(scrape, group);
  add_security(scrape, group);
  add_reload(scrape, group.reload_facts());
  return scrape.text();
}

}  // namespace sidestream::admin
