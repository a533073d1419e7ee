// command_table.h: what a command does and where its keys stand, learnt from the node's own COMMAND reply (modules
// included), corrected where the flags mislead (PFCOUNT is flagged readonly and writes; EVAL is flagged nothing).
//
// Happy path: find(args) gives the entry of the command or subcommand; for_each_key() gives the key positions.
// Failure modes: an unknown command gives nullptr (the session answers or pins the client to the primary);
// keys that cannot be located give Keys::unknown, which freshness treats as "any key".
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "proxy/resp/reply.h"

namespace sidestream::resp {

/// How a command is routed (facts: command classes). What is not READONLY or WRITE is never guessed to be a read.
enum class CommandClass : uint8_t {
  read,             ///< any replica that is fresh enough
  read_primary,     ///< reads about the node itself, or writes behind the scenes: the primary by default
  write,            ///< the primary; never sent twice
  scripts,          ///< SCRIPT LOAD, FLUSH and KILL, FUNCTION KILL: concern every server
  script,           ///< EVAL and friends: a connection of its own (may be slow), may write anything; _RO: replicas too
  blocking,         ///< may wait: a connection of its own for the duration
  transaction,      ///< MULTI EXEC DISCARD WATCH UNWATCH
  subscribe,        ///< the SUBSCRIBE families
  monitor,          ///< MONITOR: the connection is the client's until it ends
  tracking,         ///< CLIENT TRACKING and its kin: invalidations belong to the connection that read
  session,          ///< connection state kept by the session: AUTH HELLO SELECT CLIENT ... QUIT RESET
  local,            ///< answered by the instance: INFO ROLE CONFIG REPLICAOF SIDESTREAM ...
  scan,             ///< SCAN HSCAN SSCAN ZSCAN: continue where they began
  private_primary,  ///< the primary on a connection of its own for one command: slow (SAVE, DEBUG) or not understood
  pin,              ///< nothing known: the client is pinned to the primary until RESET or the end
};

inline constexpr size_t kCommandClasses = static_cast<size_t>(CommandClass::pin) + 1;
/// "read", "private_primary", ...: for EXPLAIN and logs.
std::string_view class_name(CommandClass cls);

enum class Keys : uint8_t { none, known, unknown };

struct KeyRange {  // old style: first/last/step, or one key spec
  enum class Begin : uint8_t { index, keyword };
  enum class Find : uint8_t { range, keynum };
  Begin begin = Begin::index;
  int index = 0;  // of the first key, or where the search for the keyword starts (negative: from the end, backwards)
  std::string keyword;  // keys start behind it; it may be missing
  Find find = Find::range;
  int last = 0;                         // range: relative to begin; -1 the last argument, -2 the one before
  int step = 1;                         // from key to key
  int limit = 0;                        // range with a negative last: 2 means the first half of the rest, ...
  int keynum_index = 0, first_key = 1;  // keynum: relative to begin
  bool reads = true, writes = true;     // what is done with these keys: their values told, changed
};

/// Names of commands, found without case.
struct NameHash {
  using is_transparent = void;
  size_t operator()(std::string_view name) const;
};
struct NameEqual {
  using is_transparent = void;
  bool operator()(std::string_view a, std::string_view b) const;
};
struct CommandEntry;
using CommandMap = std::unordered_map<std::string, std::unique_ptr<CommandEntry>, NameHash, NameEqual>;

struct CommandEntry {
  std::string name;  // lower case; "container|sub" for subcommands
  int arity = 0;     // as in COMMAND: negative means at least; 0 unknown
  CommandClass cls = CommandClass::pin;
  bool writes = false;  // the WRITE flag, or known to write: marks keys
  bool admin = false;
  bool denied = false;           // by the operator
  bool incomplete_keys = false;  // touches keys that it does not name, or at places nobody told us
  bool pattern_keys = false;     // SORT_RO BY/GET: reads keys made of patterns
  bool block_option = false;     // XREAD, XREADGROUP: blocks only if told so, see effective_class()
  // What follows from the above, so that nobody compares names on the way of each request.
  bool without_login = false;     // AUTH, HELLO, QUIT, RESET
  bool while_subscribed = false;  // may be sent by a RESP2 subscriber
  bool may_write = false;         // held while CLIENT PAUSE WRITE lasts
  bool is_container = false;      // all its subcommands are known: others do not exist
  bool publishes = false;         // a message, which is no data
  std::string_view kept_name;     // the name, which outlives the table
  size_t only_key = 0;            // where the key stands, if there is exactly one and at a fixed place
  std::vector<KeyRange> keys;
  std::vector<std::string> flags;  // as the node names them
  // For permissions.
  std::vector<std::string> categories;  // of ACLs, without '@'
  size_t id = 0;                        // dense, in this table
  bool hidden_keys = false;             // some of its keys stand at places that nobody told us
  bool variable_use = false;            // SET, BITFIELD: their last argument may turn writing into reading too
  CommandMap subcommands;               // by the part behind '|'
};

/// The class of one request: that of its command, except that XREAD and XREADGROUP with BLOCK are blocking.
CommandClass effective_class(const CommandEntry& entry, std::span<const std::string_view> args);

/// A reference to anything callable with a key, for the duration of a call.
class KeyVisitor {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, KeyVisitor>)
  KeyVisitor(F&& visit)  // NOLINT(google-explicit-constructor)
      : object_(const_cast<void*>(static_cast<const void*>(&visit))),
        call_([](void* object, std::string_view key) { (*static_cast<std::remove_reference_t<F>*>(object))(key); }) {}
  void operator()(std::string_view key) const { call_(object_, key); }

 private:
  void* object_;
  void (*call_)(void*, std::string_view);
};

class CommandTable {
 public:
  /// From the reply to COMMAND (5.0: six fields an entry; 7.0: tips, key specs, subcommands too). What is not an entry
  /// is skipped: after an error reply only our own commands are there and empty() is true.
  static CommandTable from_command_reply(const Value& reply);
  /// Commands that are ours whatever the nodes know (SIDESTREAM, REPLICAOF, ...) are always present.
  CommandTable();

  /// The entry of a request; for containers the subcommand's, if it is known. nullptr: unknown command.
  /// The name is compared without case. Entries live as long as the table, also when it is moved.
  const CommandEntry* find(std::span<const std::string_view> args) const;
  /// True until a node's COMMAND reply was understood.
  bool empty() const { return from_node_ == 0; }
  size_t size() const { return commands_.size(); }
  /// All commands by name, for those who list them.
  const CommandMap& commands() const { return commands_; }
  /// Marks commands as denied, by name or "container|sub"; a container with all that is in it.
  void deny(std::span<const std::string> names);
  /// Whether a request of `count` arguments, name included, has the right number.
  bool arity_fits(const CommandEntry& entry, size_t count) const;

  /// Calls `visit` for each key of the request; possibly for a few arguments more, never for fewer unless it says
  /// unknown.
  template <class Visit>
  static Keys for_each_key(const CommandEntry& entry, std::span<const std::string_view> args, Visit&& visit) {
    if (entry.only_key == 0 || entry.only_key >= args.size()) return search_keys(entry, args, visit);
    visit(args[entry.only_key]);
    return Keys::known;
  }
  /// The same keys with what the request does to them. `visit(key, reads, writes)`.
  template <class Visit>
  static void for_each_key_use(const CommandEntry& entry, std::span<const std::string_view> args, Visit visit) {
    const bool only_reads = told_to_read(entry, args), only_writes = told_to_write(entry, args);
    for (const KeyRange& range : entry.keys) {
      visit_range(range, args,
                  [&](std::string_view key) { visit(key, range.reads && !only_writes, range.writes && !only_reads); });
    }
  }
  /// How many entries there are, subcommands included: their ids are below.
  size_t ids() const { return ids_; }

 private:
  static Keys search_keys(const CommandEntry& entry, std::span<const std::string_view> args, KeyVisitor visit);
  static bool visit_range(const KeyRange& range, std::span<const std::string_view> args, KeyVisitor visit);
  static bool told_to_read(const CommandEntry& entry, std::span<const std::string_view> args);
  static bool told_to_write(const CommandEntry& entry, std::span<const std::string_view> args);
  void add_own();
  void make_index();
  const CommandEntry* find_command(std::string_view name) const;

  /// A name of up to 16 bytes, without case, in a form that is compared at once.
  struct PackedName {
    uint64_t head = 0, tail = 0;  // they overlap in names of 9 to 15 bytes
    uint64_t size = 0;
    static PackedName of(std::string_view name);
    size_t place(size_t slots) const;
    bool operator==(const PackedName&) const = default;
  };
  struct IndexSlot {
    PackedName name;
    const CommandEntry* entry = nullptr;
  };
  CommandMap commands_;
  std::vector<IndexSlot> index_;  // of all names that can be packed; probed linearly, its size is a power of two
  size_t from_node_ = 0;
  size_t ids_ = 0;
};

}  // namespace sidestream::resp
