// handshake.h: what a replica says to a primary, for the stream and for a snapshot alike: who it is, what it can, what
// it wants; then the payload. One command at a time: stock refuses a PSYNC behind replies that are still on their way.
//
// Happy path: introduce(), request_sync(), and when the reply is a full resync receive_payload(). Failure modes:
// refusals (Errc::refused, the server's words), silence beyond the connection's bound (Errc::timed_out), a broken link,
// nonsense.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "proxy/replication/node_connection.h"
#include "proxy/replication/progress.h"
#include "proxy/replication/psync.h"
#include "proxy/replication/spool.h"

namespace sidestream::replication {

/// What we say about ourselves on every connection that asks for a stream: Sentinel takes one without a port for a
/// replica of its own, for ever.
struct Announcement {
  int listening_port = 0;
  std::string ip;  ///< empty: the other side sees where we come from
};

struct TransferProgress {
  int64_t received = 0;  ///< bytes of payload
  int64_t total = 0;     ///< 0: unknown
  int64_t last_io_us = 0;
  int64_t began_us = 0;
  Progress so_far(int64_t now_us) const { return progress(received, total, began_us, now_us); }
};

/// PING, listening-port, ip-address, capa. Refused options are no error (stock ignores them too); a refused PING is.
Task<Result<void>> introduce(NodeConnection& server, Announcement announcement);
/// REPLCONF name value. Whether the server knows the option.
Task<Result<bool>> set_option(NodeConnection& server, std::string name, std::string value);
/// PSYNC and its reply; keepalives are waited over as long as they come.
Task<Result<PsyncReply>> request_sync(NodeConnection& server, std::string replid, int64_t next_byte);
/// The line in front of a payload.
Task<Result<PayloadHeader>> read_payload_header(NodeConnection& server);
/// Reads the payload to its end, into `into` if there is one. With `keep_reading` a snapshot that fails (full disk)
/// only marks itself and the payload is read on; otherwise that is the error. What comes behind stays with the
/// connection.
Task<Result<void>> receive_payload(NodeConnection& server, PayloadHeader header, std::shared_ptr<Snapshot> into,
                                   bool keep_reading, TransferProgress& progress);

}  // namespace sidestream::replication
