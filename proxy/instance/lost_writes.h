// lost_writes.h: the ledger of what an unplanned change of the primary cost: commands that the former primary had
// written behind the place where the new history forks off. They are counted, shown by SIDESTREAM LOST, and kept as a
// RESP file in `dir`, to be looked at or replayed; they never mix into the new history.
//
//   lost-REPLID-FORK.resp = *( SELECT | MULTI | EXEC | command )      ; as they stood in the stream
//
// Happy path: add() with the bytes behind the fork. Failure modes: bytes that cannot be read any more are counted as
// unseen; a file that cannot be written is logged, the ledger in memory stands.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/world.h"
#include "config/config.h"
#include "proxy/admin/group.h"
#include "proxy/replication/history.h"

namespace sidestream::instance {

class LostWrites {
 public:
  /// Shown of one loss after the other; the files have all.
  static constexpr size_t kShownMax = 1000;

  /// Both outlive it.
  LostWrites(World& world, const Config& config) : world_(world), config_(config) {}

  /// `bytes` of the history `replid`, the first one behind `fork`. What was counted before is not counted again.
  void add(const replication::ReplId& replid, ReplOffset fork, std::string_view bytes);
  /// Bytes that were lost, and nobody has them any more.
  void add_unseen(int64_t bytes) { unseen_bytes_ += bytes; }

  uint64_t count() const { return count_; }
  int64_t unseen_bytes() const { return unseen_bytes_; }
  const std::deque<admin::LostWrite>& writes() const { return writes_; }

 private:
  Task<void> keep(std::string name, std::string bytes);

  World& world_;
  const Config& config_;
  uint64_t count_ = 0;
  int64_t unseen_bytes_ = 0;
  std::deque<admin::LostWrite> writes_;        // the latest
  std::map<std::string, ReplOffset> counted_;  // by history: up to here; a few entries in a life
  TaskSet tasks_;
};

}  // namespace sidestream::instance
