// byte_stream.h: the seam to the network: byte streams, listeners and the network that makes them. libuv implements
// it (uv_network), the simulation does (tests/support), and tls_network wraps either.
//
// Reading waits, writing never does: write() sends what the other side takes now and queues the rest; a writer
// that may produce much awaits drained() before it goes on. An error or a close is reported by the next read or
// drained(); after that the stream only wants to be destroyed. Destroying it closes it; what was written but not
// yet sent is still delivered as far as the other side takes it within a moment (a reply before the close).
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "common/block.h"
#include "common/ready_queue.h"
#include "common/result.h"
#include "common/task.h"

namespace sidestream {

class ByteStream;

/// One read in progress; lives in the awaiter.
struct ReadOp {
  std::span<char> into;
  Resumption resumption;
  size_t bytes = 0;  // valid when done without error; 0 is the end of the stream
  bool failed = false;
  Error error;
  bool done = false;
  void finish(size_t n) {
    bytes = n;
    done = true;
    resumption.post();
  }
  void fail(Error e) {
    error = std::move(e);
    failed = done = true;
    resumption.post();
  }
};

/// One wait for the write queue to fall; lives in the awaiter.
struct DrainOp {
  size_t below = 0;
  Resumption resumption;
  bool failed = false;
  Error error;
};

class ByteStream {
 public:
  virtual ~ByteStream() = default;

  struct Read;
  /// Result: bytes read, at least 1, or 0 at the end of the stream. One read at a time. `into` must stay valid.
  Read read(std::span<char> into);
  struct Drained;
  /// Waits until at most `below` bytes are queued. Result: Errc::closed when the stream broke.
  Drained drained(size_t below = 0);

  /// Sends what can be sent now, copies the rest into the queue. No effect on a broken stream.
  virtual void write(std::string_view bytes) = 0;
  /// As above without the copy: the slice keeps its block alive.
  virtual void write(Slice slice) = 0;
  /// Bytes accepted by write() and not yet taken by the system.
  virtual size_t unsent() const = 0;
  /// Tells the other side that nothing more comes, after what is queued.
  virtual void close_write() = 0;
  /// True once the stream is known to be broken or ended by the other side; never waits, may look at the socket.
  virtual bool broken() = 0;
  /// "host:port" of the two ends, for people, INFO and CLIENT LIST.
  virtual const std::string& peer() const = 0;
  virtual const std::string& local() const = 0;

  virtual void start_read(ReadOp& op) = 0;
  virtual void cancel_read(ReadOp& op) = 0;
  virtual void start_drain(DrainOp& op) = 0;
  virtual void cancel_drain(DrainOp& op) = 0;
};

struct ByteStream::Read {
  Read(ByteStream& owner, std::span<char> into) : stream(owner) { op.into = into; }
  Read(const Read&) = delete;
  Read& operator=(const Read&) = delete;
  ~Read() {
    if (started && !op.done) stream.cancel_read(op);
  }
  ByteStream& stream;
  ReadOp op;
  bool started = false;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) {
    op.resumption.set(handle);
    started = true;
    stream.start_read(op);
  }
  Result<size_t> await_resume() {
    if (op.failed) return std::move(op.error);
    return op.bytes;
  }
};

struct ByteStream::Drained {
  Drained(ByteStream& owner, size_t below) : stream(owner) { op.below = below; }
  Drained(const Drained&) = delete;
  Drained& operator=(const Drained&) = delete;
  ~Drained() {
    if (started) stream.cancel_drain(op);
  }
  ByteStream& stream;
  DrainOp op;
  bool started = false;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) {
    op.resumption.set(handle);
    started = true;
    stream.start_drain(op);
  }
  Result<void> await_resume() {
    if (op.failed) return std::move(op.error);
    return {};
  }
};

inline ByteStream::Read ByteStream::read(std::span<char> into) { return Read(*this, into); }
inline ByteStream::Drained ByteStream::drained(size_t below) { return Drained(*this, below); }

/// What is spoken at an address; one that does not say goes by the configuration (tls_network.h).
enum class Transport : uint8_t { unsaid, plain, tls };

/// Where to listen or connect: host and port, or the path of a unix socket.
struct Address {
  std::string host;  // name or number; empty with a path
  int port = 0;
  std::string path;
  Transport transport = Transport::unsaid;
  unsigned file_mode = 0;   // to listen at a path: its permissions; 0: by the umask
  bool introduced = false;  // to listen: a load balancer may say who its client is (proxy_network.h)

  bool empty() const { return host.empty() && path.empty(); }
  /// The place alone: "h:p", "[v6]:p" or "unix:/path".
  std::string text() const;
  /// As the user would write it, with the transport where it was said.
  std::string url() const;
  /// The same place, whatever is spoken there.
  friend bool operator==(const Address& a, const Address& b) {
    return a.host == b.host && a.port == b.port && a.path == b.path;
  }
};

/// "h:p", "h p", "[v6]:p", "tcp://h:p", "tls://h:p", "unix:/path". Errc::config with the reason.
Result<Address> parse_address(std::string_view text);

class Listener {
 public:
  virtual ~Listener() = default;
  /// The next connection. Errc::io: out of descriptors and the like; try again later.
  virtual Task<Result<std::unique_ptr<ByteStream>>> accept() = 0;
  /// Where it really listens (port 0 was replaced).
  virtual const Address& address() const = 0;
};

/// A stream between two loops, of neither. Destroying it closes the connection.
class MovingStream {
 public:
  virtual ~MovingStream() = default;
};

class Network {
 public:
  virtual ~Network() = default;
  /// Takes a stream off this loop; the network of another one adopts it. Nobody may be waiting for it.
  virtual std::unique_ptr<MovingStream> release(std::unique_ptr<ByteStream> stream) = 0;
  virtual std::unique_ptr<ByteStream> adopt(std::unique_ptr<MovingStream> stream) = 0;
  /// Resolves and connects. No time limit of its own: wrap it in with_timeout.
  virtual Task<Result<std::unique_ptr<ByteStream>>> connect(Address address) = 0;
  virtual Result<std::unique_ptr<Listener>> listen(const Address& address) = 0;
};

}  // namespace sidestream
