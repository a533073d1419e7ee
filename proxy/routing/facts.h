// facts.h: what the instance tells the client plane about servers, and the faces it shows to clients. Plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/byte_stream.h"
#include "proxy/resp/repl_offset.h"

namespace sidestream::routing {

/// The port a client came in by (contract: two faces, and the read-only one).
enum class Face : uint8_t { node, service, read_only };

/// Where writes go: a stock server, or the instance that we follow.
struct PrimaryFacts {
  Address address;
  std::string user, password;  // empty: no AUTH; only the password: the default user
  bool is_instance = false;
  friend bool operator==(const PrimaryFacts&, const PrimaryFacts&) = default;
};

/// A server that may answer reads. The primary itself is not listed here.
struct TargetFacts {
  Address address;
  int weight = 100;  // share of the reads; 0: none
  std::string zone;
  bool local = false;   // stands on this machine
  bool online = false;  // its replication link is up, it has loaded, nothing speaks against reading it
  bool is_instance = false;
  bool apart = false;               // cut off from its primary, which is no loss: nobody knows more than it does
  bool beside_us = false;           // follows the primary itself: it may have what was not relayed here yet
  ReplOffset acked;                 // what it has applied for sure, in the coordinates of the current history
  std::optional<Address> upstream;  // whom it must say that it follows; nullopt: nobody knows what it calls us
  int64_t lag_ms = 0;               // since it last said so
  std::string user, password;
};

}  // namespace sidestream::routing
