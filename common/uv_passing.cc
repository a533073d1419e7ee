// uv_passing.cc: sequenced packets over a unix socket, a descriptor at most with each (SCM_RIGHTS).
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "common/passing.h"
#include "common/signal.h"
#include "common/uv_parts.h"

namespace sidestream {
namespace {

Error closed(const char* words) { return Error{Errc::closed, words}; }

union Control {
  cmsghdr header;
  std::array<char, CMSG_SPACE(sizeof(int))> bytes;
};

/// False: not now.
Result<bool> try_send(int socket, const Parcel& parcel) {
  iovec piece{const_cast<char*>(parcel.text.data()), parcel.text.size()};
  Control control{};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (const int fd = parcel.descriptor.get(); fd >= 0) {
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  if (::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return true;
  if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ETOOMANYREFS) return false;
  return closed(std::strerror(errno));
}

/// Nothing: not now.
Result<std::optional<Parcel>> try_receive(int socket) {
  Parcel parcel;
  parcel.text.resize(kParcelBytesMax);
  iovec piece{parcel.text.data(), parcel.text.size()};
  Control control{};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = &control;
  message.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return std::optional<Parcel>();
  if (n < 0) return closed(std::strerror(errno));
  if (n == 0) return closed("the other process has ended");
  if (const cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    parcel.descriptor = OwnedDescriptor(fd);
  }
  if ((message.msg_flags & MSG_TRUNC) != 0) return Error{Errc::protocol, "a parcel is too large"};
  parcel.text.resize(static_cast<size_t>(n));
  return std::optional<Parcel>(std::move(parcel));
}

class UvPassage final : public Passage {
 public:
  UvPassage(uv_loop_t& loop, OwnedDescriptor socket)
      : socket_(std::move(socket)), poll_(std::make_unique<UvPoll>(loop, socket_.get(), [this](int) {
          wanted_ = 0;
          poll_->watch(0);
          ready_.notify_all();
        })) {}
  ~UvPassage() override { poll_.reset(); }

  Task<Result<void>> send(Parcel parcel) override {
    for (;;) {
      auto sent = try_send(socket_.get(), parcel);
      CO_RETURN_IF_ERROR(sent);
      if (sent.value()) co_return Result<void>();
      watch(UV_WRITABLE);
      co_await ready_.wait();
    }
  }

  Task<Result<Parcel>> receive() override {
    for (;;) {
      auto received = try_receive(socket_.get());
      CO_RETURN_IF_ERROR(received);
      if (received.value()) co_return std::move(*received.value());
      watch(UV_READABLE);
      co_await ready_.wait();
    }
  }

 private:
  /// One may send while another waits for what comes.
  void watch(int events) {
    wanted_ |= events;
    poll_->watch(wanted_);
  }

  OwnedDescriptor socket_;
  int wanted_ = 0;
  Signal ready_;
  std::unique_ptr<UvPoll> poll_;
};

}  // namespace

OwnedDescriptor::~OwnedDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Result<std::pair<OwnedDescriptor, OwnedDescriptor>> make_passage() {
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair.data()) != 0) {
    return Error{Errc::io, std::string("cannot make a pair of sockets: ") + std::strerror(errno)};
  }
  std::pair<OwnedDescriptor, OwnedDescriptor> ends{OwnedDescriptor(pair[0]), OwnedDescriptor(pair[1])};
  const int bytes = 4 * static_cast<int>(kParcelBytesMax);
  for (const int fd : pair) ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  ::fcntl(pair[0], F_SETFD, FD_CLOEXEC);
  return ends;
}

Result<Parcel> receive_parcel(int socket, int timeout_ms) {
  pollfd wanted{socket, POLLIN, 0};
  if (::poll(&wanted, 1, timeout_ms) <= 0) return Error{Errc::timed_out, "nothing came from the other process"};
  auto received = try_receive(socket);
  RETURN_IF_ERROR(received);
  if (!received.value()) return Error{Errc::timed_out, "nothing came from the other process"};
  return std::move(*received.value());
}

std::unique_ptr<Passage> make_uv_passage(uv_loop_t& loop, OwnedDescriptor socket) {
  return std::make_unique<UvPassage>(loop, std::move(socket));
}

}  // namespace sidestream
