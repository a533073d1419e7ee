// drift_audit.h: do replicas really hold what the primary holds? Compares keys, a few a second (audit-rate), at offsets
// where both sides must be equal; a replica that is not leaves the reads until it was resynced in full.
//
// Happy path: SCAN walks through all keys, of the primary and of the replica in turn (a key that only the replica has
// is drift too). A few keys at a time are read at the primary, then, when the replica has got as far, there: each side
// in one segment between two ROLEs. No write to the key in the stream from the first ROLE to the last: the values must
// be equal (drift_compare.h). What is not, is read again at fresh offsets before it is called a difference. Failure
// modes: a key is being written, expires or is too large: counted, and met again in the next pass; a server that
// breaks, refuses or lags: nothing is concluded, tried again a second later. Names of keys are data: SIDESTREAM AUDIT
// shows them, log and metrics do not.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/world.h"
#include "config/config.h"
#include "proxy/admin/group.h"
#include "proxy/instance/drift_compare.h"
#include "proxy/replication/node_connection.h"
#include "proxy/replication/relay.h"
#include "proxy/routing/key_watch.h"
#include "proxy/routing/plane.h"

namespace sidestream::instance {

/// A server that takes part.
struct AuditPlace {
  Address address;
  std::string name;
  bool is_instance = false;
  bool absolute_expiry = false;  // 7.0 and later
  std::vector<int> databases;    // that hold keys
  // Of a replica: its link to us, and whether that one began with a snapshot.
  uint64_t link_id = 0;
  bool resynced = false;
};

class DriftAudit {
 public:
  /// All outlive it. `changed`: a replica differs, or does not any more.
  DriftAudit(World& world, const Config& config, const replication::Relay& relay, routing::Plane& plane,
             std::function<void()> changed);
  ~DriftAudit();

  /// Who is to be compared from now on: the server that we follow (none: nobody is), and our replicas that are online.
  /// Not from inside `changed`.
  void set_places(const std::optional<AuditPlace>& primary, const std::vector<AuditPlace>& replicas);
  /// Nothing is compared until the next set_places(), which would change nothing while is_idle().
  void stop();
  bool is_idle() const;
  /// That node is none of ours any more.
  void forget(const std::string& name);
  /// What is known about it; it may be away.
  admin::AuditFacts facts(const std::string& name) const;
  bool differs(const std::string& name) const;
  /// Names of those that differ, for the next run; and what an earlier run knew.
  std::vector<std::string> drifted() const;
  void recall(const std::string& name) { records_[name].facts.differs = true; }

 private:
  class Auditor;
  struct Record {
    admin::AuditFacts facts;
    uint64_t link_id = 0;        // over which it was fed when it was found to differ
    uint64_t passes_before = 0;  // of former auditors
  };
  void clear(const std::string& name, std::string_view why);

  World& world_;
  const Config& config_;
  const replication::Relay& relay_;
  routing::Plane& plane_;
  std::function<void()> changed_;
  std::map<std::string, Record, std::less<>> records_;
  std::map<std::string, std::unique_ptr<Auditor>, std::less<>> auditors_;
};

}  // namespace sidestream::instance
