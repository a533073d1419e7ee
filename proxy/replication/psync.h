// psync.h: the words of the replication handshake, both sides, as pure functions over text.
//
//   reply    = "+FULLRESYNC" SP replid SP offset | "+CONTINUE" [SP replid] | "-" words | ""   ; "" is a keepalive
//   payload  = "$" length | "$EOF:" mark | "-" words | ""                                     ; mark = 40 octets
//
// Lines end in LF; one CR before it is dropped by whoever reads the line. Failure modes: anything else is
// Errc::protocol, a refusal is Errc::refused with the words of the other side.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/result.h"
#include "proxy/replication/history.h"

namespace sidestream::replication {

/// Instances tell each other what they are; every stock server answers +OK to a capability it does not know.
inline constexpr std::string_view kInstanceCapability = "sidestream";

/// What a replica said about itself by REPLCONF before it asked for the stream.
struct ReplicaHello {
  int listening_port = 0;
  std::string ip_address;
  bool eof = false;
  bool psync2 = false;
  bool instance = false;  ///< another Sidestream
  bool rdb_only = false;
  std::optional<std::string> rdb_filter;  ///< only "" exists: nothing of the data
  std::string version;                    ///< Valkey 8 and later tell it
};

/// Applies one REPLCONF command (its name included). Errc::refused with stock's words ("ERR ..."); what stood before
/// the wrong option holds. An option we do not implement is refused: a +OK would make some replicas change the stream.
Result<void> apply_replconf(std::span<const std::string_view> args, ReplicaHello& hello);
/// REPLCONF ACK and GETACK are never answered, whoever sends them.
bool replconf_is_silent(std::span<const std::string_view> args);
/// The offset of a REPLCONF ACK; nothing for any other command.
std::optional<ReplOffset> parse_ack(std::span<const std::string_view> args);
/// What the replica that sent it has on disk (7.2 and later, with AOF); nothing: it did not say.
std::optional<ReplOffset> parse_fsync_ack(std::span<const std::string_view> args);

struct PsyncReply {
  enum class Kind { keepalive, full_resync, partial_resync } kind = Kind::keepalive;
  ReplId replid;      ///< empty: "+CONTINUE" alone, the id stays
  ReplOffset offset;  ///< of a full resync
};
Result<PsyncReply> parse_psync_reply(std::string_view line);

struct PayloadHeader {
  enum class Kind { keepalive, sized, marked } kind = Kind::keepalive;
  int64_t size = 0;  ///< of a sized payload, bytes
  std::string mark;  ///< of a marked one
};
Result<PayloadHeader> parse_payload_header(std::string_view line);

/// Finds the end of a marked payload in a stream of chunks, wherever the borders fall.
class EofMark {
 public:
  explicit EofMark(std::string mark) : mark_(std::move(mark)) {}
  struct Found {
    std::string_view
        held_back;  ///< payload of earlier chunks that turned out not to be the mark; valid until the next feed()
    std::string_view payload;  ///< payload within this chunk
    bool complete = false;
    std::string_view rest;  ///< behind the mark
  };
  /// Payload comes out in order, `held_back` first.
  Found feed(std::string_view chunk);

 private:
  std::string mark_;
  std::string tail_;  // at most mark_.size() - 1 bytes that may be the beginning of the mark
  std::string released_;
};

/// The first bytes of an RDB file: what the writer said about it.
struct RdbHead {
  std::string magic;  ///< "REDIS0010", "VALKEY080"
  int version = 0;    ///< of the format: 10, 80
  std::string server_version;
  std::optional<ReplId> repl_id;
  std::optional<int64_t> repl_offset;
  bool empty = false;  ///< the end follows at once: there is no data
};
/// Reads the fields that `bytes` holds completely. Errc::protocol when it is no RDB; fewer bytes than a header say
/// nothing.
Result<RdbHead> sniff_rdb(std::string_view bytes);
/// A dataset of no keys, for those who only want the stream behind it.
std::string empty_rdb(const ReplId& replid, ReplOffset offset);

/// The only refusal after which a stock replica keeps its history and tries again.
inline constexpr std::string_view kNoMasterLink = "-NOMASTERLINK Can't SYNC while not connected with my master\r\n";

}  // namespace sidestream::replication
