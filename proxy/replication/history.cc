// history.cc: see history.h. The table of cases is tests/unit/history_test.cc.
#include "proxy/replication/history.h"

#include <utility>

namespace sidestream::replication {

void History::shift(ReplId new_id, ReplOffset fork) {
  replid2 = std::exchange(replid, std::move(new_id));
  second_offset = fork.next_byte();
}

bool History::contains(const ReplId& id, ReplOffset offset) const {
  if (id.empty()) return false;
  return id == replid || (id == replid2 && offset.next_byte() <= second_offset);
}

bool holds_all(const History& held, ReplOffset end, const ReplId& id, ReplOffset offset) {
  return held.contains(id, offset) && end >= offset;
}

Continuation can_continue(const SyncRequest& request, const History& history, const BacklogRange& held) {
  if (!request.psync) return Continuation::no;
  const bool current = history.replid.matches(request.replid);
  const bool previous = history.replid2.matches(request.replid) && request.next_byte <= history.second_offset;
  if (!current && !previous) return Continuation::no;
  if (request.next_byte < held.first_byte) return Continuation::no;
  return request.next_byte <= held.end() ? Continuation::yes : Continuation::ahead;
}

}  // namespace sidestream::replication
