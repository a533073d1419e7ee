// reply_sink.h: the seam between server connections and those they work for: where replies go, and who keeps the
// connection. Called from the connection's own turn; must not destroy it.
//
// Happy path: one reply() for each request. Failure modes: a request that must be asked elsewhere is moved, one that
// will not be answered is lost.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "common/result.h"
#include "proxy/resp/repl_offset.h"
#include "proxy/routing/timings.h"

namespace sidestream::routing {

class ServerConnection;

/// Whom a reply is for: a session by place and id (it may be gone by then), and which of its replies.
struct ReplyTo {
  uint32_t place = 0;
  uint64_t session_id = 0;  // 0: nobody
  uint64_t sequence = 0;
};

/// A request that must be asked elsewhere.
struct Moved {
  ReplyTo to;
  std::string_view request;
  int protocol = 2;
  int db = 0;
  bool write = false;       // never left us, or was refused by a former primary; else a read
  bool is_private = false;  // it was sent on a private connection: the client runs it again
};

/// Whether a large reply may go on to its client: now; not before read_on(); never, since nobody wants it; or only when
/// all of it is there.
enum class Turn : uint8_t { now, later, never, whole };

/// Where replies go.
class ReplySink {
 public:
  virtual void reply(const ReplyTo& to, std::string_view frame) = 0;
  /// The server did not answer this read, or not freshly enough; or the write was not executed.
  virtual void move(const Moved& moved) = 0;
  /// The request was sent and no answer will come. `again`: it is a read that was moved once already.
  virtual void lost(const ReplyTo& to, bool again) = 0;
  /// The connection broke before all of this request was there to be sent.
  virtual void cut_short(const ReplyTo& to) = 0;
  /// pass_request() may go on.
  virtual void request_flows(const ReplyTo& borrower) = 0;
  /// A reply to this that is larger than stream_above() is arriving. From the first `now` on it is passed on in parts.
  virtual Turn begin_large(const ReplyTo& to, ServerConnection& from) = 0;
  virtual Turn pass_large(const ReplyTo& to, std::string_view bytes) = 0;
  virtual void end_large(const ReplyTo& to, ServerConnection& from, std::string_view bytes) = 0;
  /// It will not be completed. `begun`: parts of it have been passed on; else the request is given back as usual.
  virtual void large_lost(const ReplyTo& to, ServerConnection& from, bool begun) = 0;
  /// Others wait behind a large reply to a client that does not read.
  virtual void slow_reader(const ReplyTo& to) = 0;
  /// This read gave a large reply on a connection that others share.
  virtual void learn_large(std::string_view request) = 0;
  virtual size_t stream_above() const = 0;
  /// A push, or anything that arrives on a feed.
  virtual void frame(const ServerConnection& connection, std::string_view frame) = 0;
  /// Where the times that servers take are counted; it outlives every connection.
  virtual Timings& timings() = 0;
  /// This request took so long at its server.
  virtual void slow(const ServerConnection& server, const ReplyTo& to, std::string_view request, int64_t us) = 0;
  /// An answer to ask_role(); -1: none will come.
  /// Where writes go is no primary any more.
  virtual void primary_refuses() = 0;
  virtual void fence(uint64_t fence_id, ReplOffset offset) = 0;

 protected:
  ~ReplySink() = default;
};

/// Who keeps the connection.
class ConnectionOwner {
 public:
  virtual void connection_ready(ServerConnection& connection) = 0;
  /// It is down; destroy it in a turn of its own.
  virtual void connection_down(ServerConnection& connection, const Error& error) = 0;
  /// It takes requests again after it was full().
  virtual void connection_relieved() = 0;
  /// It refuses writes: the server became a replica. The connection answers what was sent, nothing new must come.
  virtual void connection_demoted(ServerConnection& connection) = 0;
  /// A large reply stands in the way on this shared connection: it answers what was sent, others take what comes.
  virtual void connection_occupied(ServerConnection& connection) = 0;
  /// Of all its connections.
  virtual Latency& latency() = 0;
  /// Checks a ROLE reply against what this server should be and remembers its offset; nothing: it is not that server.
  virtual std::optional<ReplOffset> role_offset(std::string_view frame) = 0;

 protected:
  ~ConnectionOwner() = default;
};

}  // namespace sidestream::routing
