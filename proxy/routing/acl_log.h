// acl_log.h: what was refused lately, for ACL LOG. As in stock, the same refusal within a minute is one entry.
// Failure modes: none; the oldest entries go.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

namespace sidestream::routing {

struct AclLogEntry {
  std::string reason;   // command, key, channel, auth
  std::string context;  // toplevel, multi
  std::string object;
  std::string user;
  std::string client;  // its line of CLIENT LIST
  int64_t wall_ms = 0;
  uint64_t count = 1;
};

class AclLog {
 public:
  void add(AclLogEntry entry);
  /// The latest first.
  const std::deque<AclLogEntry>& all() const { return entries_; }
  void clear() { entries_.clear(); }

 private:
  std::deque<AclLogEntry> entries_;
};

}  // namespace sidestream::routing
