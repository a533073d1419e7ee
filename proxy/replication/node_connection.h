// node_connection.h: a conversation with one server: commands and replies, one at a time. For the control plane, for
// the handshake of replication links, for fetching snapshots; never for client traffic.
//
// Happy path: open(), then ask() as often as needed. Replication takes it from there: read_line(), read_chunk(), and
// in the end the stream itself. Failure modes: unreachable, silent (Errc::timed_out), wrong password (Errc::refused
// with the server's words), closed; after any Error the connection only wants to be destroyed. An error *reply* is a
// value.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "common/world.h"
#include "proxy/resp/reply.h"

namespace sidestream::replication {

struct Credentials {
  std::string user;      ///< empty: the default user
  std::string password;  ///< empty: no AUTH is sent
};

/// "host" of "host:port".
std::string host_of(const std::string& address);

class NodeConnection {
 public:
  /// Connects and authenticates within `timeout_ms`, which also bounds each later step.
  static Task<Result<std::unique_ptr<NodeConnection>>> open(World& world, Address address, Credentials credentials,
                                                            int64_t timeout_ms);
  NodeConnection(World& world, std::unique_ptr<ByteStream> stream, int64_t timeout_ms);

  /// Sends a command and waits for its reply (RESP2). Replies beyond 64 MB are Errc::over_limit.
  Task<Result<resp::Value>> ask(std::vector<std::string> args);
  /// As ask(), with its own bound.
  Task<Result<resp::Value>> ask_within(int64_t timeout_ms, std::vector<std::string> args);
  /// ask(), where an error reply is Errc::refused with the server's words.
  Task<Result<resp::Value>> demand(std::vector<std::string> args);

  /// All in one round trip, in this order; a reply for each. What others do may come in between.
  Task<Result<std::vector<resp::Value>>> ask_all(std::vector<std::vector<std::string>> commands);
  /// All in one step, which nobody comes in between, and in one round trip; the replies. Errc::refused: the first that
  /// failed, with the server's words.
  Task<Result<std::vector<resp::Value>>> transact(std::vector<std::vector<std::string>> commands);

  /// Tells an instance that this is another one: what Sentinel has it close is not meant for us, and what it says about
  /// offsets has to be its primary's.
  Task<Result<void>> introduce();

  void send(std::string_view bytes) { stream_->write(bytes); }
  /// One line without its LF and CR; may be empty. Lines beyond 1 KB are Errc::protocol.
  Task<Result<std::string>> read_line();
  /// The next bytes, at least one; valid until the next call of anything here.
  Task<Result<std::string_view>> read_chunk();
  /// The last bytes of the last chunk, to be read again.
  void unread(std::string_view rest);
  /// What was read and not consumed; the stream goes on behind it.
  std::string take_leftover();

  ByteStream& stream() { return *stream_; }
  const ByteStream& stream() const { return *stream_; }
  /// When the last byte came, on the world's clock; 0: never.
  int64_t last_io_us() const { return last_io_us_; }

 private:
  static Task<Result<std::unique_ptr<NodeConnection>>> open_now(World& world, Address address, Credentials credentials,
                                                                int64_t timeout_ms);
  Task<Result<void>> fill();
  Task<Result<resp::Value>> next_reply();
  Task<Result<std::string>> next_line();

  World& world_;
  std::unique_ptr<ByteStream> stream_;
  int64_t timeout_ms_;
  int64_t last_io_us_ = 0;
  std::string buffer_;  // read, from consumed_ on not yet consumed
  size_t consumed_ = 0;
  std::string room_;  // where reads go
};

}  // namespace sidestream::replication
