// fence.h: whether an instance that fronts a primary may take writes. Pure: what is known in, a reason not to out.
//
// Happy path: whoever could know of another primary was heard a moment ago and knows of none. Failure modes: somebody
// does, or nobody was heard for `fence-after`, or nobody was asked yet since the start: no writes until that changes.
#pragma once

#include <cstdint>
#include <string>

namespace sidestream::instance {

struct FenceFacts {
  int64_t now_ms = 0;
  int64_t fence_after_ms = 0;     // 0: being cut off is no reason
  int64_t primary_since_ms = 0;   // our role, or the start of the process
  bool began_as_primary = false;  // nobody promoted us: what an earlier run knew may be history
  int64_t unsure_since_ms = 0;    // since when that has to be asked
  std::string successor;          // an instance told us that it went on with our history; empty: none did

  bool asks_sentinels = false;
  int64_t agreed_ms = -1;  // as of when enough Sentinels agreed; -1: not since the start
  std::string named;       // whom they name
  bool names_us = false;
  bool names_our_replica = false;  // they do not know yet that it handed over to us
  bool is_news = false;            // said by a configuration of theirs that is newer than our role

  int64_t replicas_known = 0;  // below us, since we are primary; our own nodes are none
  int64_t replicas_heard = 0;  // of these, within fence-after
};

/// Why no write may be taken; empty: it may.
std::string fence_reason(const FenceFacts& facts);

}  // namespace sidestream::instance
