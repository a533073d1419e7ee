// client_parts.h: what a session consists of besides its connection: what is in flight, and what only few clients have.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/resp/request_tail.h"
#include "proxy/routing/freshness.h"

namespace sidestream::routing {

class ServerConnection;

/// What one client has in flight on one lane.
struct LaneState {
  uint32_t owed = 0;
  uint64_t bits = 0;   // its keys, see KeyFacts
  int number = 0;      // of the replica
};

/// What a paused session waits for.
enum class Pause : uint8_t {
  none,
  drained,  // until nothing is owed
  server,   // until a server can take it, or hold.timeout
  clients,  // until CLIENT PAUSE is over
  reply,    // until the private connection has answered
  feed,     // until (un)subscriptions are confirmed
  step,     // until the host has answered
  output,   // until the client has read more
};

enum class ReplyMode : uint8_t { on, off, skip_next };

/// What a private connection was borrowed for.
enum class LeaseUse : uint8_t { none, one_command, transaction, pinned };

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

/// A request that is passed on while it arrives.
struct LargeRequest {
  bool passing = false;  // the input holds more of it
  resp::RequestTail tail;
  ServerConnection* to = nullptr;  // nullptr: it was refused, its rest is thrown away
  uint64_t sequence = 0;           // of its reply
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
