// attach_plan.h: which byte of which history to ask an upstream for, decided from what its INFO says and what we hold.
// A wrong guess costs at worst an empty snapshot, since PSYNC itself is the judge.
//
//   we hold nothing, it has a backlog      its oldest byte that we have room for: history for our replicas, for free
//   we hold nothing, it has none           a full resync
//   same history                           our next byte
//   it was promoted behind our offset      its fork: what we hold beyond it was lost with the old primary
//   same history, but it knows less        wait: it will learn those bytes, or be promoted without them
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/byte_stream.h"
#include "proxy/replication/history.h"

namespace sidestream::replication {

/// The parts of INFO that matter to a replica.
struct UpstreamFacts {
  std::string run_id;
  std::string version;
  bool is_primary = true;
  Address primary;  ///< of a replica: whom it follows
  History history;
  ReplOffset offset;
  bool backlog_active = false;
  int64_t first_byte = 0;
  int64_t backlog_bytes = 0;    ///< what it keeps at most; 0: it did not say
  std::optional<int64_t> keys;  ///< in all databases; nothing: it did not say, or is loading
};
/// Product and version in one text, out of INFO; two servers with equal ones write the same kind of snapshot.
std::string server_version(std::string_view info);
UpstreamFacts parse_upstream_facts(std::string_view info);
/// The keys of all databases, out of INFO; nothing if its keyspace section is missing or it is loading.
std::optional<int64_t> count_keys(std::string_view info);

/// What we hold. `safe_boundary` as in stream.h.
struct Holdings {
  History history;
  BacklogRange backlog;
  ReplOffset offset;
  ReplOffset safe_boundary;
  bool unusable = false;  ///< the upstream's bytes behind our offset were broken: start over
};

struct AttachPlan {
  enum class Kind { full, fresh_backlog, go_on, rewind, wait } kind = Kind::full;
  ReplId replid;  ///< full: empty
  int64_t next_byte = -1;
  ReplOffset in_sync_from;   ///< fresh_backlog: from here on we know where commands end
  int64_t behind_bytes = 0;  ///< wait: what the upstream lacks
};

/// `held`: nothing if we have no history. `facts`: nothing if the upstream would not say. `backlog_bytes`: our room.
AttachPlan plan_attach(const std::optional<Holdings>& held, const std::optional<UpstreamFacts>& facts,
                       int64_t backlog_bytes);

}  // namespace sidestream::replication
