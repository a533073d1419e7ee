// lost_writes.h: the ledger of what an unplanned change of the primary cost: commands that the former primary had
// written behind the place where the new history forks off. They are counted, shown by SIDESTREAM LOST with what the
// new history did to their keys since, and kept as a RESP file in `dir`, to be looked at or replayed; they never mix
// into the new history.
//
//   lost-REPLID-FORK.resp           = *( SELECT | MULTI | EXEC | command )      ; as they stood in the stream
//   lost-REPLID-FORK.untouched.resp = the same, without commands on keys that were, or may have been, overwritten
//
// Happy path: add() with the bytes behind the fork, then passes() for each command of the new history. Where that was
// seen before the bytes could be had: Watched::from_now and a LookBack. Failure modes: bytes that cannot be read any
// more are counted as unseen; a file that cannot be written is logged, the ledger in memory stands; keys of which not
// all is known are `unknown`.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/text.h"
#include "common/world.h"
#include "config/config.h"
#include "proxy/admin/group.h"
#include "proxy/instance/database_trail.h"
#include "proxy/instance/lost_keys.h"
#include "proxy/replication/history.h"
#include "proxy/replication/stream_scanner.h"

namespace sidestream::instance {

class LostWrites {
 public:
  /// Shown of one loss after the other; the files have all.
  static constexpr size_t kShownMax = 1000;
  /// Whose keys are watched, the latest.
  static constexpr size_t kLossesMax = 4;

  /// From where on passes() tells of the new history.
  enum class Watched : uint8_t { from_the_fork, from_now };
  using Args = LostKeys::Args;

  struct Loss {
    std::string file;  // without ".resp"
    ReplOffset fork;
    int64_t db = -1;  // in force at the fork
    LostKeys keys;
    bool kept = false;  // the file is there
  };
  /// What the lead node knows, at the moment.
  using Commands = std::function<const resp::CommandTable&()>;

  /// All outlive it.
  LostWrites(World& world, const Config& config, Commands commands)
      : world_(world), config_(config), commands_(std::move(commands)) {}

  /// `bytes` of the history `replid`, the first one behind `fork`. What was counted before is not counted again.
  std::shared_ptr<Loss> add(const replication::ReplId& replid, ReplOffset fork, std::string_view bytes,
                            Watched watched = Watched::from_the_fork);
  /// Bytes that were lost, and nobody has them any more.
  void add_unseen(int64_t bytes) { unseen_bytes_ += bytes; }

  /// Each command of the stream: on the hot path.
  void passes(Args args, bool truncated, ReplOffset end) {
    constexpr std::string_view kSelect = "select";
    if (args.size() == 2 && args[0].size() == kSelect.size() && iequals(args[0], kSelect)) {
      trail_.selected(end, parse_int(args[1]).value_or(-1));
    } else if (!losses_.empty()) {
      watch(args, truncated);
    }
  }
  /// The stream ends at `offset` now, which is where it ended, or before.
  void history_ends(ReplOffset offset) { trail_.cut(offset); }
  /// Another history began, of which we know nothing.
  void new_history();

  /// What the new history had written before add(): its commands from the fork on.
  class LookBack;

  uint64_t count() const { return count_; }
  int64_t unseen_bytes() const { return unseen_bytes_; }
  const std::deque<admin::LostWrite>& writes() const { return writes_; }
  /// As many as there are writes shown, the latest.
  std::vector<admin::LostKey> keys() const;
  LostKeys::Counts key_counts() const;
  /// See admin::Group::export_untouched().
  Task<Result<std::vector<std::string>>> export_untouched();

 private:
  std::shared_ptr<Loss> loss(const std::string& file, ReplOffset fork) const;
  void enter(const std::shared_ptr<Loss>& loss, std::vector<admin::LostWrite> writes);
  void watch(Args args, bool truncated);
  Task<void> keep(std::shared_ptr<Loss> loss, std::string bytes);
  Task<Result<void>> write(std::string path, std::string bytes);
  Task<Result<std::string>> read(std::string path);

  World& world_;
  const Config& config_;
  const Commands commands_;
  uint64_t count_ = 0;
  int64_t unseen_bytes_ = 0;
  std::deque<admin::LostWrite> writes_;        // the latest
  std::map<std::string, ReplOffset> counted_;  // by history: up to here; a few entries in a life
  std::deque<std::shared_ptr<Loss>> losses_;   // by time
  DatabaseTrail trail_;
  TaskSet tasks_;
};

/// One that is not done() leaves the keys unknown.
class LostWrites::LookBack final : private replication::StreamScanner::Visitor {
 public:
  LookBack(const LostWrites& ledger, std::shared_ptr<Loss> loss);

  /// Last byte fed.
  ReplOffset position() const { return scanner_.position(); }
  /// The bytes behind position(). False: they are no commands.
  bool feed(std::string_view bytes) { return scanner_.feed(bytes, *this).ok(); }
  void done() { loss_->keys.seen_all(); }

 private:
  void command(const replication::StreamScanner::Command& command) override;

  const LostWrites& ledger_;
  const std::shared_ptr<Loss> loss_;
  int64_t db_;
  replication::StreamScanner scanner_;
};

}  // namespace sidestream::instance
