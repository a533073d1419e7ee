// database_trail.h: which database the commands of the stream were for, at any recent offset. A stock server puts a
// SELECT into the stream only where the database changes, so who looks at a part of it must know what came before.
//
// Happy path: selected() for each SELECT, at() for an offset. Failure modes: what is older than the trail, or came
// before the first SELECT that was seen, is -1.
#pragma once

#include <cstdint>
#include <vector>

#include "proxy/resp/repl_offset.h"

namespace sidestream::instance {

class DatabaseTrail {
 public:
  static constexpr size_t kChangesMax = 4096;

  /// A SELECT that ends at `end`.
  void selected(ReplOffset end, int64_t db) {
    if (!changes_.empty() && changes_.back().db == db) return;
    if (changes_.size() == kChangesMax) changes_.erase(changes_.begin(), changes_.begin() + kChangesMax / 2);
    changes_.push_back({end, db});
  }
  /// The history goes on behind `offset`; what was there is void.
  void cut(ReplOffset offset) {
    while (!changes_.empty() && changes_.back().end > offset) changes_.pop_back();
  }
  void clear() { changes_.clear(); }

  /// For what comes next.
  int64_t now() const { return changes_.empty() ? -1 : changes_.back().db; }
  /// For what comes behind `offset`.
  int64_t at(ReplOffset offset) const {
    for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) {
      if (change->end <= offset) return change->db;
    }
    return -1;
  }

 private:
  struct Change {
    ReplOffset end;
    int64_t db;
  };
  std::vector<Change> changes_;  // by offset
};

}  // namespace sidestream::instance
