// client_parts.h: what a session consists of besides its connection: what is in flight, and what only few clients have.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/routing/freshness.h"

namespace sidestream::routing {

/// What one client has in flight on one lane.
struct LaneState {
  uint32_t owed = 0;
  uint64_t bits = 0;   // its keys, see KeyFacts
  int number = 0;      // of the replica
};

struct Transaction {
  bool open = false;        // MULTI came
  bool at_server = false;   // and was passed on
  bool refused = false;     // EXEC will say EXECABORT
  bool watching = false;
  bool watch_lost = false;  // the connection that watched broke
  bool ending = false;      // EXEC, DISCARD or UNWATCH was sent
  int db = -1;              // selected inside
  std::vector<std::vector<std::string>> local;
  FreshnessMap::Batch noted;
};

using NameSet = std::set<std::string, std::less<>>;

struct Subscriptions {
  NameSet channels, patterns, shards;
  size_t count() const { return channels.size() + patterns.size() + shards.size(); }
  /// By the name of a command, or the kind of a confirmation.
  NameSet& of(std::string_view command) {
    if (command[0] == 'p') return patterns;
    return command.starts_with("ss") || command.starts_with("sun") ? shards : channels;
  }
};

}  // namespace sidestream::routing
