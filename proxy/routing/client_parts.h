// client_parts.h: what a session consists of besides its connection: what is in flight, and what only few clients have.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/resp/request_tail.h"
#include "proxy/routing/freshness.h"
#include "proxy/routing/guest.h"
#include "proxy/routing/users.h"
#include "proxy/routing/write_acks.h"

namespace sidestream::routing {

using Words = std::vector<std::string>;

class ServerConnection;

inline constexpr std::string_view kNoReplicas = "NOREPLICAS Not enough good replicas to write.";

/// Printable and without blanks, as CLIENT LIST needs it.
bool valid_client_name(std::string_view name);
/// CLIENT LIST, KILL and the like, well-formed: about the clients of every loop.
bool concerns_all_clients(std::span<const std::string_view> args);

/// As whom a client speaks.
struct Login {
  bool authenticated = false;
  std::shared_ptr<const User> user;    // the default user until it logs in
  const User* rules = nullptr;         // null: it may do everything, and need not log in first
  std::shared_ptr<const Guest> guest;  // its server connections are its own; null: ours
  bool vouched = false;                // the node has let it in already
  int64_t refused_ms = 0;              // a login was just refused: how long it waits for the answer
};

/// What one client has in flight on one lane.
struct LaneState {
  uint32_t owed = 0;
  uint64_t bits = 0;                     // its keys, see KeyFacts
  int number = 0;                        // of the replica
  const ServerConnection* on = nullptr;  // where; only compared
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
enum class LeaseUse : uint8_t { none, one_command, transaction, tracking, pinned };

/// A script, or a command that blocks, that was sent; its request is still in the input.
struct ScriptRun {
  uint64_t sequence = 0;    // of its reply
  bool at_replica = false;  // sent there
  bool at_primary = false;  // a replica could not answer, the primary has to
  bool loaded = false;      // SCRIPT LOAD went before it
  bool again = false;       // what came was no answer for the client
  bool blocks = false;      // no script
  bool restrained = false;  // sent to the primary in its reading form, for want of replicas
  bool is_function = false;
  std::string name;  // of the function, or the SHA-1
};

/// CLIENT TRACKING, at the server of the private connection.
struct Tracking {
  enum class Step : uint8_t { none, on, off, other };
  bool on = false;
  Step step = Step::none;        // under way
  uint64_t redirect = 0;         // the client that gets the messages; 0: this one
  uint64_t asked_redirect = 0;   // the same, of the step under way
  int64_t server_id = 0;         // that client's number at the server
  std::optional<int64_t> found;  // the same, just looked up: 0 not now, -1 there is no such client
};

struct Transaction {
  /// A command that we answer ourselves, when the server has executed the others.
  struct Own {
    size_t place;  // among all that were queued
    std::vector<std::string> args;
  };
  bool open = false;       // MULTI came
  bool at_server = false;  // and was passed on
  bool refused = false;    // EXEC will say EXECABORT
  bool watching = false;
  bool watch_lost = false;  // the connection that watched broke
  bool ending = false;      // EXEC, DISCARD or UNWATCH was sent
  bool pins = false;        // a command in it leaves state behind at the server
  bool spoils = false;      // or may do what makes the connection useless for others
  int db = -1;              // selected inside
  size_t queued = 0;        // here and there
  uint64_t sequence = 0;    // of the reply to EXEC
  std::vector<Own> own;
  FreshnessMap::Batch noted;
};

/// Writes whose replies wait for replicas.
struct AwaitedAcks {
  std::deque<AwaitedWrite> sent;  // not answered yet
  size_t held = 0;                // answered, and with WriteAcks
};

/// A request that is passed on while it arrives.
struct LargeRequest {
  bool passing = false;  // the input holds more of it
  resp::RequestTail tail;
  ServerConnection* to = nullptr;  // nullptr: it was refused, its rest is thrown away
  uint64_t sequence = 0;           // of its reply
};

/// Replies that are passed on while they arrive.
struct LargeReplies {
  std::vector<ServerConnection*> from;  // connections whose next reply is a large one of ours
  std::string head;                     // how the one that is passing begins
  uint64_t key = 0;                     // read on a connection of its own, since its reply was large before; 0: none
};

/// What a primary that was left in a planned switch took with it, to be opened at the next.
struct FeedMove {
  bool feed = false;
  bool monitor = false;
  bool monitor_confirmed = true;  // the +OK of the next came, or is the client's
  int64_t until_ms = 0;           // then the client is closed
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
