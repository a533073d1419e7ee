// replica_client.h: the benchmark's end of a replication link: attach like a replica, take bytes, acknowledge.
#pragma once

#include <cstdint>
#include <string>

namespace sidestream::bench {

/// A link whose snapshot has been taken and thrown away. The stream begins with `early`, then comes from `fd`.
struct ReplicaLink {
  int fd = -1;         ///< owned by whoever holds the link; blocking; -1: the primary refused or went away
  int64_t offset = 0;  ///< of the last stream byte before `early`
  std::string early;   ///< stream bytes that came together with the end of the snapshot
  uint64_t snapshot_bytes = 0;
  std::string refusal;  ///< why fd is -1
};

/// Connects to 127.0.0.1:`port`, asks for a full resync (PING, REPLCONF capa, PSYNC ? -1), reads the snapshot to its
/// end and acknowledges it. Waits as long as the primary shows signs of life, at most 60 s without a byte.
ReplicaLink attach(uint16_t port);

/// The same, tried again every 100 ms for `seconds`; then the program ends.
ReplicaLink attach_within(uint16_t port, double seconds);

/// `REPLCONF ACK offset`. False when the primary is gone.
bool acknowledge(int fd, int64_t offset);

}  // namespace sidestream::bench
