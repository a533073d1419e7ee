// group.h: what the admin room may ask of the instance, and what it may have it do. The instance implements it;
// commands, HTTP and status are written against it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/byte_stream.h"
#include "common/task.h"
#include "common/world.h"
#include "config/config.h"
#include "config/options.h"
#include "proxy/replication/relay.h"
#include "proxy/resp/reply.h"
#include "proxy/routing/plane.h"

namespace sidestream::admin {

/// A key whose value at a replica is not the primary's.
struct DriftedKey {
  int db = 0;
  std::string name;
  std::string what;  // in words, without the value
};

/// What the drift audit knows about one replica, since the start.
struct AuditFacts {
  uint64_t compared = 0;     // at offsets where both must be equal
  uint64_t unclear = 0;      // written or expiring meanwhile, or the replica was too far behind
  uint64_t passed_over = 0;  // too large, or of a module's type
  uint64_t differences = 0;  // found again and again at fresh offsets
  uint64_t passes = 0;       // through all keys of both sides
  std::string trouble;       // why nothing is compared now, in words
  bool differs = false;      // until a full resync
  std::vector<DriftedKey> keys;
};

/// One configured node as people want to see it.
struct NodeFacts {
  std::string address;
  bool is_primary = false;
  std::string state;    // online, differs, syncing, loading, down, foreign, waiting
  std::string trouble;  // why it is not online, in words; empty if it is
  ReplOffset offset;
  int64_t lag_bytes = 0;
  int64_t lag_ms = 0;
  uint64_t reads = 0;
  uint64_t writes = 0;
  size_t connections = 0, idle_connections = 0;  // of ours to it
  Latency took;                                  // its answers, since it became one of ours
  AuditFacts audit;
};

/// A configured Sentinel and what it says.
struct SentinelFacts {
  std::string address;
  std::string names;    // the primary; empty: it has not said lately
  std::string trouble;  // why, in words
  int64_t epoch = 0;
};

/// A server that follows the same primary beside us and is read from.
struct PeerFacts {
  std::string address;
  std::string state;  // online, syncing, loading, down, foreign; instance: not read, it would ask others
  ReplOffset offset;
};

struct Readiness {
  bool ready = false;
  /// name, whether it holds, and why not
  struct Check {
    std::string name;
    bool holds = false;
    std::string reason;
  };
  std::vector<Check> checks;
};

/// FAILOVER, as asked for.
struct FailoverOrder {
  std::optional<Address> to;   // as INFO names it; nothing: the best replica
  bool force = false;          // when the time is over, go on without what the target lacks
  int64_t timeout_ms = 0;      // 0: none
  bool below_us_only = false;  // none of our own nodes: we are leaving
  bool instances_only = false;
};

/// A command of the former primary that the new history does not have.
struct LostWrite {
  ReplOffset offset;              // of its last byte, in the former history
  int64_t db = -1;                // -1: not known
  std::vector<std::string> args;  // long ones are cut
};

/// A key that such commands wrote.
struct LostKey {
  int64_t db = -1;
  std::string key;
  uint64_t writes = 0;     // that were lost
  const char* since = "";  // what the new history did with it: untouched, overwritten, unknown
};

/// What became of reading the configuration again.
struct Reloaded {
  std::vector<std::string> changed;        // options, at once
  std::vector<std::string> needs_restart;  // what the sources want and the process cannot change
};

struct ReloadFacts {
  bool good = true;  // the last one; the start counts
  int64_t good_wall_ms = 0;
  std::string trouble;  // why the last one was not
};

/// Another process of the program takes our place (SIGUSR2, POST /api/v1/upgrade).
struct UpgradeFacts {
  std::string state = "none";  // none, starting, passing, failed
  std::string trouble;         // why the last one failed
};

struct SwitchFacts {
  std::string_view state = "no-failover";  // master_failover_state
  uint64_t failovers = 0;                  // switches of the primary by us
  uint64_t lost_writes = 0;                // by unplanned ones
  int64_t lost_bytes_unseen = 0;           // the same, where nobody has the bytes any more
  int64_t lost_keys_untouched = 0;         // keys of those writes that the new history did not write since
  int64_t lost_keys_overwritten = 0;
  int64_t lost_keys_unknown = 0;
};

class Trend;

/// What came from the upstream since the start.
struct StreamFacts {
  uint64_t commands = 0, bytes = 0;
};

class Group {
 public:
  virtual ~Group() = default;

  virtual World& world() = 0;
  virtual Config& config() = 0;
  virtual replication::Relay& relay() = 0;
  virtual routing::Plane& plane() = 0;
  virtual const std::string& run_id() const = 0;
  virtual int64_t started_at_ms() const = 0;  // of the monotonic clock
  virtual int node_port() const = 0;          // the first address of `listen`, as bound

  /// Whether the instance presents itself as a primary.
  virtual bool is_primary() const = 0;
  /// Whom the instance follows; nothing on a primary.
  virtual std::optional<Address> master() const = 0;
  /// That is about to change.
  virtual bool is_changing_role() const = 0;
  virtual std::vector<NodeFacts> nodes() const = 0;
  /// Whether a node stands ready that could become the primary. Sentinel must not choose an instance without.
  virtual bool can_be_promoted() const = 0;
  virtual std::vector<SentinelFacts> sentinels() const = 0;
  virtual std::vector<PeerFacts> peers() const = 0;
  virtual const Trend& trend() const = 0;
  virtual const StreamFacts& stream_facts() const = 0;
  virtual bool is_draining() const = 0;
  /// Whether that replica is one of our configured nodes.
  virtual bool is_own_node(const replication::ReplicaStatus& replica) const = 0;
  /// Whether it is the one that speaks for us: a primary that is handing over has made it a replica already.
  virtual bool is_lead(const replication::ReplicaStatus& replica) const = 0;
  /// How old the data of a replica is that acknowledged `offset`.
  virtual int64_t lag_ms(ReplOffset offset) const = 0;
  /// What an operator should know now, in words; empty when all is well.
  virtual std::string trouble() const = 0;
  virtual Readiness readiness() const = 0;

  /// REPLICAOF: follow `master`, or with nothing become a primary. Errc::refused says why not; then nothing changed.
  virtual Task<Result<void>> change_role(std::optional<Address> master) = 0;
  /// FAILOVER: begins a planned switch, and FAILOVER ABORT: it is put back. Errc::refused with stock's words.
  /// Why no writes are taken although this is a primary; empty: they are.
  virtual const std::string& fenced() const = 0;
  /// `successor` went on with the history `replid`. Errc::refused: that is not ours.
  virtual Result<void> succeeded_by(const replication::ReplId& replid, Address successor) = 0;
  /// Asks the upstream to hand the primary's role over to us. True: done. False: there is none who could.
  /// Errc::refused: it could have, and did not.
  virtual Task<Result<bool>> request_handover() = 0;
  virtual Result<void> begin_failover(FailoverOrder order) = 0;
  virtual Task<Result<void>> abort_failover() = 0;
  virtual SwitchFacts switch_facts() const = 0;
  /// The latest of the writes that were lost.
  virtual std::vector<LostWrite> lost_writes() const = 0;
  virtual std::vector<LostKey> lost_keys() const = 0;
  /// Writes files of those that concern untouched keys only. Their paths; Errc::io.
  virtual Task<Result<std::vector<std::string>>> export_untouched() = 0;
  /// Between instances: become a primary where the history `replid` ends, at `at`. The upstream that asks holds all
  /// writes; when this returns an Error it goes on as the primary.
  virtual Task<Result<void>> take_over(replication::ReplId replid, ReplOffset at) = 0;
  /// Gives an upstream that is held (see wipe_guard.h) what we hold. What was done, in words; Errc::refused.
  virtual Task<Result<std::string>> revive() = 0;
  /// That replica gets all data anew, from the server we follow. Errc::refused.
  virtual Result<void> resync(const Address& replica) = 0;
  /// INFO of the lead node: fetched now if it answers quickly, else its last words; empty if it was never heard.
  virtual Task<std::string> lead_info(bool everything) = 0;
  /// One command to the lead node, or to every node (the first error wins).
  virtual Task<Result<resp::Value>> ask_lead(std::vector<std::string> args) = 0;
  virtual Task<Result<resp::Value>> ask_all(std::vector<std::string> args) = 0;
  /// A conversation of the caller's own with the server that takes writes. Errc::refused: there is none.
  virtual Task<Result<std::unique_ptr<replication::NodeConnection>>> open_to_primary() = 0;
  /// Has the primary ask its replicas for acknowledgements now; they arrive through the relay.
  virtual void request_acks() = 0;
  /// Whether a live option can be as `fresh` has it, at this moment. Errc::refused with what to do instead.
  virtual Result<void> may_take(const Option& option, const Config& fresh) = 0;
  /// A live option changed its value.
  virtual void option_changed(std::string_view name) = 0;
  /// Remembers options that were changed at run time, for the next start. Errc::io.
  virtual Task<Result<void>> save_state() = 0;
  virtual void drain() = 0;
  /// Reads the configuration again. Errc::config with the first mistake; then nothing changed.
  virtual Result<Reloaded> reload() = 0;
  virtual const ReloadFacts& reload_facts() const = 0;
  /// Starts the program that lies where ours came from, and gives everything to it. Errc::refused: not now.
  virtual Result<void> upgrade() = 0;
  virtual const UpgradeFacts& upgrade_facts() const = 0;
};

}  // namespace sidestream::admin
