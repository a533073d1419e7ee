// info.cc: fields in stock 7.0's order; tests/integration compares names and formats with a real server.
#include "proxy/admin/info.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "common/text.h"
#include "proxy/resp/writer.h"

namespace sidestream::admin {
namespace {

void append_upstream_fields(std::string& out, const ReplicationFacts& facts) {
  const bool up = facts.link_state == "connected";
  auto to = std::back_inserter(out);
  fmt::format_to(to, "master_host:{}\r\nmaster_port:{}\r\nmaster_link_status:{}\r\n", facts.master_host,
                 facts.master_port, up ? "up" : "down");
  fmt::format_to(to, "master_last_io_seconds_ago:{}\r\nmaster_sync_in_progress:{}\r\n", facts.last_io_s,
                 facts.sync_in_progress ? 1 : 0);
  fmt::format_to(to, "slave_read_repl_offset:{}\r\nslave_repl_offset:{}\r\n", facts.read_offset, facts.applied_offset);
  if (facts.sync_in_progress) {
    const double percent = facts.sync_total_bytes > 0 ? 100.0 * static_cast<double>(facts.sync_read_bytes) /
                                                            static_cast<double>(facts.sync_total_bytes)
                                                      : 0.0;
    fmt::format_to(to, "master_sync_total_bytes:{}\r\nmaster_sync_read_bytes:{}\r\nmaster_sync_left_bytes:{}\r\n",
                   facts.sync_total_bytes, facts.sync_read_bytes, facts.sync_total_bytes - facts.sync_read_bytes);
    fmt::format_to(to, "master_sync_perc:{:.2f}\r\nmaster_sync_last_io_seconds_ago:{}\r\n", percent, facts.last_io_s);
  }
  if (!up) fmt::format_to(to, "master_link_down_since_seconds:{}\r\n", facts.link_down_since_s);
  // Writes are accepted here and go upstream; what the nodes behind us hold is read-only.
  fmt::format_to(to, "slave_priority:{}\r\nslave_read_only:1\r\nreplica_announced:1\r\n", facts.priority);
}

}  // namespace

std::string replication_section(const ReplicationFacts& facts) {
  std::string out = "# Replication\r\n";
  auto to = std::back_inserter(out);
  fmt::format_to(to, "role:{}\r\n", facts.is_primary ? "master" : "slave");
  if (!facts.is_primary) append_upstream_fields(out, facts);
  fmt::format_to(to, "connected_slaves:{}\r\n", facts.connected_replicas);
  if (facts.good_replicas) fmt::format_to(to, "min_slaves_good_slaves:{}\r\n", *facts.good_replicas);
  size_t index = 0;
  for (const ReplicaLine& replica : facts.replicas) {
    fmt::format_to(to, "slave{}:ip={},port={},state={},offset={},lag={}\r\n", index++, replica.ip, replica.port,
                   replica.state, replica.offset, replica.lag_s);
  }
  fmt::format_to(to, "master_failover_state:{}\r\nmaster_replid:{}\r\nmaster_replid2:{}\r\n", facts.failover_state,
                 facts.replid, facts.replid2);
  fmt::format_to(to, "master_repl_offset:{}\r\nsecond_repl_offset:{}\r\n", facts.offset, facts.second_offset);
  fmt::format_to(to, "repl_backlog_active:{}\r\nrepl_backlog_size:{}\r\n", facts.backlog_active ? 1 : 0,
                 facts.backlog_size);
  fmt::format_to(to, "repl_backlog_first_byte_offset:{}\r\nrepl_backlog_histlen:{}\r\n",
                 facts.backlog_active ? facts.backlog_first_byte : 0, facts.backlog_active ? facts.backlog_histlen : 0);
  return out;
}

std::string role_reply(const ReplicationFacts& facts) {
  std::string out;
  if (!facts.is_primary) {
    resp::append_array(out, 5);
    resp::append_bulk(out, "slave");
    resp::append_bulk(out, facts.master_host);
    resp::append_integer(out, facts.master_port);
    resp::append_bulk(out, facts.link_state);
    resp::append_integer(out, facts.link_state == "connected" ? facts.applied_offset : -1);
    return out;
  }
  const auto online = [](const ReplicaLine& replica) { return replica.state == "online"; };
  resp::append_array(out, 3);
  resp::append_bulk(out, "master");
  resp::append_integer(out, facts.offset);
  resp::append_array(out, std::count_if(facts.replicas.begin(), facts.replicas.end(), online));
  for (const ReplicaLine& replica : facts.replicas) {
    if (!online(replica)) continue;
    resp::append_array(out, 3);
    resp::append_bulk(out, replica.ip);
    resp::append_bulk(out, std::to_string(replica.port));
    resp::append_bulk(out, std::to_string(replica.offset));
  }
  return out;
}

bool SectionWish::wants(std::string_view title_lower, bool in_defaults) const {
  if (everything || (defaults && in_defaults)) return true;
  return std::find(names.begin(), names.end(), title_lower) != names.end();
}

bool SectionWish::only_ours() const {
  const auto ours = [](const std::string& name) { return name == "replication" || name == "sidestream"; };
  return !defaults && !everything && std::all_of(names.begin(), names.end(), ours);
}

SectionWish parse_sections(std::span<const std::string> args_after_info) {
  SectionWish wish;
  if (args_after_info.empty()) wish.defaults = true;
  for (const std::string& arg : args_after_info) {
    const std::string name = to_lower(arg);
    if (name == "default") {
      wish.defaults = true;
    } else if (name == "all" || name == "everything") {
      wish.everything = true;
    } else {
      wish.names.push_back(name);
    }
  }
  return wish;
}

std::vector<Section> split_sections(std::string_view info) {
  std::vector<Section> sections;
  while (!info.empty()) {
    const size_t end = std::min(info.find("\r\n"), info.size());
    const std::string_view line = info.substr(0, end);
    info.remove_prefix(std::min(info.size(), end + 2));
    if (line.starts_with("# ")) {
      sections.push_back(Section{std::string(line.substr(2)), ""});
    } else if (!line.empty() && !sections.empty()) {
      sections.back().body.append(line).append("\r\n");
    }
  }
  return sections;
}

std::string join_sections(const std::vector<Section>& sections) {
  std::string out;
  for (const Section& section : sections) {
    if (!out.empty()) out += "\r\n";
    out += "# " + section.title + "\r\n" + section.body;
  }
  return out;
}

void set_field(Section& section, std::string_view name, std::string_view value) {
  const std::string start = std::string(name) + ":";
  size_t at = section.body.starts_with(start) ? 0 : section.body.find("\r\n" + start);
  if (at == std::string::npos) return;
  if (at != 0 || !section.body.starts_with(start)) at += 2;
  const size_t from = at + start.size();
  section.body.replace(from, section.body.find("\r\n", from) - from, value);
}

}  // namespace sidestream::admin
