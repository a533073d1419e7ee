// info.h: texts that describe the instance in stock's own words: INFO replication, ROLE, and the node's other INFO
// sections with what is ours put in their place. Pure: facts in, text out.
//
//   info    = section *( CRLF section )
//   section = "# " Title CRLF *( name ":" value CRLF )
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sidestream::admin {

/// A replica as INFO and ROLE show it.
struct ReplicaLine {
  std::string ip;
  int port = 0;
  std::string state;   // wait_bgsave, send_bulk, online
  int64_t offset = 0;  // last acknowledged
  int64_t lag_s = 0;
};

/// What INFO replication says (protocol facts 3.1).
struct ReplicationFacts {
  bool is_primary = true;
  // As a replica:
  std::string master_host;
  int master_port = 0;
  std::string link_state = "connect";  // as in ROLE: connect, connecting, handshake, sync, connected
  int64_t last_io_s = -1;
  bool sync_in_progress = false;
  int64_t sync_total_bytes = 0;  // 0: not known (an EOF-marked payload)
  int64_t sync_read_bytes = 0;
  int64_t link_down_since_s = -1;
  int64_t read_offset = 0;     // received
  int64_t applied_offset = 0;  // up to the last whole command
  int64_t priority = 100;
  // Always:
  int64_t connected_replicas = 0;        // connections in any state
  std::optional<int64_t> good_replicas;  // only with min-replicas-to-write
  std::vector<ReplicaLine> replicas;
  std::string_view failover_state = "no-failover";  // no-failover, waiting-for-sync, failover-in-progress
  std::string replid;
  std::string replid2;
  int64_t offset = 0;
  int64_t second_offset = -1;
  bool backlog_active = false;
  int64_t backlog_size = 0;
  int64_t backlog_first_byte = 0;
  int64_t backlog_histlen = 0;
};

/// The whole section, title line included.
std::string replication_section(const ReplicationFacts& facts);
/// The reply to ROLE, RESP.
std::string role_reply(const ReplicationFacts& facts);

/// Which sections an INFO command asks for.
struct SectionWish {
  bool defaults = false;
  bool everything = false;
  std::vector<std::string> names;  // lower case
  bool wants(std::string_view title_lower, bool in_defaults) const;
  /// True when replication and our own section are all that is asked for.
  bool only_ours() const;
};
SectionWish parse_sections(std::span<const std::string> args_after_info);

struct Section {
  std::string title;
  std::string body;  // lines with CRLF
};
std::vector<Section> split_sections(std::string_view info);
std::string join_sections(const std::vector<Section>& sections);
/// Replaces the value of a field that is there; a field that is not there stays away.
void set_field(Section& section, std::string_view name, std::string_view value);

}  // namespace sidestream::admin
