// passing.h: what one process of this program gives to the one that takes its place: connections, listening sockets and
// words, over a pair of connected sockets.
//
// Happy path: take_descriptor() makes a stream that was released from its loop into a descriptor with the bytes that it
// had not sent yet; a Passage carries it over; stream_of() makes a stream of it there.
// Failure modes: a TLS connection is more than a descriptor and cannot go (can_be_passed()). The other process is gone,
// or broke the rules: Errc::closed, Errc::protocol.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "common/byte_stream.h"

namespace sidestream {

/// Closes it, unless somebody takes it.
class OwnedDescriptor {
 public:
  OwnedDescriptor() = default;
  explicit OwnedDescriptor(int fd) : fd_(fd) {}
  OwnedDescriptor(OwnedDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedDescriptor& operator=(OwnedDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~OwnedDescriptor();
  int get() const { return fd_; }
  int take() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

/// A listening socket, and the address that it was asked for.
struct PassedListener {
  std::string address;
  OwnedDescriptor socket;
};

/// A connection without a loop.
struct PassedStream {
  OwnedDescriptor socket;
  std::string unsent;
};

bool can_be_passed(const ByteStream& stream);
/// Of one that can be passed.
PassedStream take_descriptor(MovingStream& stream);
std::unique_ptr<MovingStream> stream_of(PassedStream passed);

/// What came through, or goes.
struct Parcel {
  std::string text;
  OwnedDescriptor descriptor;  // may hold none
};

constexpr size_t kParcelBytesMax = 96 * 1024;

/// A pair of connected sockets: ours, and the one for the child, which survives an exec.
Result<std::pair<OwnedDescriptor, OwnedDescriptor>> make_passage();
/// Waits at most `timeout_ms`; for a process that has no loop yet. Errc::timed_out.
Result<Parcel> receive_parcel(int socket, int timeout_ms);

/// One end of the pair, on a loop.
class Passage {
 public:
  virtual ~Passage() = default;
  /// Waits for room. Errc::closed: nobody is at the other end.
  virtual Task<Result<void>> send(Parcel parcel) = 0;
  virtual Task<Result<Parcel>> receive() = 0;
};

}  // namespace sidestream
