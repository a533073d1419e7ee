// limits.h: the bounds of the client plane that no option sets. Worst-case memory of the plane is their sum times the
// number of clients and servers, plus limits.* and hold.max-bytes of the configuration.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sidestream::routing::limits {

// One client.
inline constexpr size_t kRepliesPendingMax = 1024;          // replies a client may be owed before it is read on
inline constexpr size_t kRepliesPendingBytes = 4 << 20;     // the same, of replies as large as its latest
inline constexpr size_t kPausedInputMax = 64 * 1024;        // read ahead while a command waits, to notice the end
inline constexpr size_t kInputKeptBytes = 16 * 1024;        // room that is kept while nothing is half-read
inline constexpr size_t kOutputPauseBytes = 1024 * 1024;    // unsent replies above which no further command is run
inline constexpr size_t kFeedOutputMax = 32 * 1024 * 1024;  // unsent messages of a subscriber or monitor: closed
inline constexpr size_t kQueuedLocalMax = 256;              // own commands in one MULTI
inline constexpr size_t kLargeWindowBytes = 1024 * 1024;    // of a large request on its way, unsent to the server
inline constexpr size_t kLargeChunkBytes = 256 * 1024;      // read at once while a large request passes
inline constexpr size_t kLargeArgumentsSeen = 64;           // of a large request, to tell its command and keys
inline constexpr int64_t kLastAnswerMs = 10'000;            // after the last byte of a client that has closed its side
inline constexpr int64_t kPaceStepMs = 1'000;               // of a client that is slowed down: it may be closed
inline constexpr int kReservedClients = 32;                 // on the node port, for Sentinel and replicas

// Scripts that are kept to be loaded again.
inline constexpr size_t kScriptBytesMax = 1024 * 1024;  // of one
inline constexpr size_t kScriptsBytesMax = 16 * 1024 * 1024;
inline constexpr size_t kScriptsMax = 4096;
inline constexpr size_t kFunctionsKnownMax = 4096;  // names of functions that were seen to write or to read

// One server.
inline constexpr size_t kInFlightBytesMax = 64 * 1024 * 1024;  // requests sent or gathered and not answered
inline constexpr size_t kPrivateConnectionsMax = 10'000;
inline constexpr size_t kPrivateIdleMax = 16;        // more are closed when they are given back
inline constexpr int64_t kConnectTimeoutMs = 5'000;  // TCP, AUTH, HELLO and the first ROLE together
inline constexpr int64_t kBackoffMinMs = 50;
inline constexpr int64_t kBackoffMaxMs = 1'000;
inline constexpr int64_t kReadStallMs = 3'000;     // a replica that answers nothing for so long is dropped
inline constexpr int64_t kScriptStallMs = 60'000;  // the same, where it may run a script
inline constexpr int64_t kSlowReaderMs = 2'000;    // for others to wait behind a client that does not read
inline constexpr int64_t kRetireMs = 5'000;        // to answer what was sent to a server that is left
inline constexpr int64_t kAskOffsetsMs = 5;        // between questions how far replicas are

// What is remembered for people.
inline constexpr size_t kSlowRequestsMax = 128;    // by each loop
inline constexpr size_t kSlowRequestsPerTick = 8;  // when everything is slow, the log must not make it slower
inline constexpr size_t kAclLogMax = 128;          // refusals, by each loop

// Commands between servers.
inline constexpr int kCursorServersMax = 127;  // servers that a SCAN cursor can name
inline constexpr int64_t kTickMs = 100;

}  // namespace sidestream::routing::limits
