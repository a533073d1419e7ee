// command_table.h: what a command does and where its keys stand, learnt from the node's own COMMAND reply (modules included),
// corrected where the flags mislead (PFCOUNT is flagged readonly and writes; EVAL is flagged nothing).
//
// Happy path: find(args) gives the entry of the command or subcommand; for_each_key() gives the key positions.
// Failure modes: an unknown command gives nullptr (the session answers or pins the client to the primary);
// keys that cannot be located give Keys::unknown, which freshness treats as "any key".
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "proxy/resp/reply.h"

namespace sidestream::resp {

/// How a command is routed (facts: command classes). What is not READONLY or WRITE is never guessed to be a read.
enum class CommandClass : uint8_t {
  read,         ///< any replica that is fresh enough
  read_primary, ///< flagged readonly, but about the node itself or writing behind the scenes: the primary by default
  write,        ///< the primary; never sent twice
  script,       ///< EVAL and friends: the primary on a connection of its own (may be slow), may write anything
  blocking,     ///< may wait: a connection of its own for the duration
  transaction,  ///< MULTI EXEC DISCARD WATCH UNWATCH
  subscribe,    ///< the SUBSCRIBE families
  monitor,      ///< MONITOR: the connection is the client's until it ends
  session,      ///< connection state kept by the session: AUTH HELLO SELECT CLIENT ... QUIT RESET
  local,        ///< answered by the instance: INFO ROLE CONFIG REPLICAOF SIDESTREAM ...
  scan,         ///< SCAN HSCAN SSCAN ZSCAN: continue where they began
  private_primary, ///< the primary on a connection of its own for one command: slow (SAVE, DEBUG) or not understood
  pin,          ///< nothing known: the client is pinned to the primary until RESET or the end
};

enum class Keys : uint8_t { none, known, unknown };

struct KeyRange {       // old style: first/last/step, or one key spec
  enum class Begin : uint8_t { index, keyword };
  enum class Find : uint8_t { range, keynum };
  Begin begin = Begin::index;
  int index = 0;               // of the first key, or where the search for the keyword starts (negative: from the end)
  std::string keyword;
  Find find = Find::range;
  int last = 0;                // range: relative to begin; -1 the last argument, -2 the one before
  int step = 1;
  int limit = 0;               // range with last -1: 2 means the first half of the rest, ...
  int keynum_index = 0, first_key = 1;  // keynum: relative to begin
};

struct CommandEntry {
  std::string name;     // lower case; "container|sub" for subcommands
  int arity = 0;        // as in COMMAND: negative means at least
  CommandClass cls = CommandClass::pin;
  bool writes = false;  // the WRITE flag, or known to write: marks keys
  bool admin = false;
  bool incomplete_keys = false;  // movable, without usable specs
  std::vector<KeyRange> keys;
  std::vector<std::string> flags;         // as the node names them
  std::unordered_map<std::string, std::unique_ptr<CommandEntry>> subcommands;
};

class CommandTable {
 public:
  /// From the reply to COMMAND (5.0: six fields an entry; 7.0: tips, key specs, subcommands too).
  static CommandTable from_command_reply(const Value& reply);
  /// Commands that are ours whatever the nodes know (SIDESTREAM, REPLICAOF, ...) are always present.
  CommandTable();

  /// The entry of a request; for containers the subcommand's, if it is known. nullptr: unknown command.
  /// The name is compared without case.
  const CommandEntry* find(std::span<const std::string_view> args) const;
  bool empty() const { return from_node_ == 0; }
  size_t size() const { return commands_.size(); }
  bool arity_fits(const CommandEntry& entry, size_t count) const;

  /// Calls `visit` for each key of the request.
  static Keys for_each_key(const CommandEntry& entry, std::span<const std::string_view> args,
                           const std::function<void(std::string_view)>& visit);

 private:
  void add(const Value& entry);
  void add_own();
  std::unordered_map<std::string, std::unique_ptr<CommandEntry>> commands_;
  size_t from_node_ = 0;
};

}  // namespace sidestream::resp
