// snapshot_choice.h: which server to take a snapshot from: a fork costs it memory and time, so the one with the least
// to do, a replica before the primary, and none that would be asked in vain.
//
// Happy path: survey() asks each candidate for its INFO; rank() drops those that cannot give a snapshot of our history
// and puts the others in order. Failure modes: a candidate that does not answer in time is dropped, with the reason.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/world.h"
#include "proxy/replication/history.h"
#include "proxy/replication/node_connection.h"

namespace sidestream::replication {

struct SourceFacts {
  Address address;
  std::string trouble;  ///< it could not be asked; empty: what follows is valid
  std::string version;  ///< as server_version()
  ReplId replid;
  ReplOffset offset;
  bool loading = false;
  bool link_down = false;  ///< of a replica: then it refuses to give a snapshot
  bool saves = false;      ///< it has a child already: a snapshot would have to wait for it
  int64_t ops_per_sec = 0;
};
/// `info`: the reply to INFO.
SourceFacts parse_source_facts(Address address, std::string_view info);

/// What a snapshot must be like.
struct SourceWish {
  History history;
  std::string version;    ///< the upstream's: a newer server's snapshot might not suit our replicas; empty: any
  ReplOffset offset{-1};  ///< not before this one
};
/// Best first. `reasons` gets a line for each that is left out.
std::vector<Address> rank(std::vector<SourceFacts> candidates, const SourceWish& wish, std::string& reasons);

/// Asks one after the other; at most a few are asked at all.
Task<std::vector<SourceFacts>> survey(World& world, std::vector<Address> candidates, Credentials credentials);

}  // namespace sidestream::replication
