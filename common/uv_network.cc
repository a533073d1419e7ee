// uv_network.cc: sockets under a libuv poll handle. We read and write ourselves: one system call each way per wake-up.
//
// Happy path: a readable socket fills the armed ReadOp and posts its owner; a write goes out at once and only what the
// system does not take is queued. Failure modes: any error breaks the stream once and for all; the pending read and
// drain fail with Errc::closed. Back-pressure: nobody reading means the socket is not watched for reading.
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "common/signal.h"
#include "common/uv_parts.h"

namespace sidestream {
namespace {

constexpr size_t kQueueBlockBytes = 16 * 1024;
constexpr int kLingerMs = 2000;
constexpr int kListenBacklog = 511;

Error closed_error(int number) { return Error{Errc::closed, std::strerror(number)}; }

/// A socket address with its length.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

std::string text_of(const SocketAddress& address) {
  std::array<char, INET6_ADDRSTRLEN> host{};
  if (address.storage.ss_family == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(&address.storage);
    inet_ntop(AF_INET, &in->sin_addr, host.data(), host.size());
    return Address{host.data(), ntohs(in->sin_port), ""}.text();
  }
  if (address.storage.ss_family == AF_INET6) {
    const auto* in = reinterpret_cast<const sockaddr_in6*>(&address.storage);
    inet_ntop(AF_INET6, &in->sin6_addr, host.data(), host.size());
    return Address{host.data(), ntohs(in->sin6_port), ""}.text();
  }
  return "unix";
}

std::string end_of(int fd, int (*which)(int, sockaddr*, socklen_t*)) {
  SocketAddress address;
  address.size = sizeof address.storage;
  if (which(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.size) != 0) return "?";
  return text_of(address);
}

/// What waits to be sent, oldest first. An empty one owns no memory: of many streams few ever queue anything.
class SliceQueue {
 public:
  bool empty() const { return first_ == slices_.size(); }
  Slice& front() { return slices_[first_]; }
  Slice& back() { return slices_.back(); }
  std::span<const Slice> all() const { return std::span(slices_).subspan(first_); }
  void push_back(Slice slice) { slices_.push_back(std::move(slice)); }
  void pop_front() {
    slices_[first_++] = Slice();
    if (empty()) {
      clear();
    } else if (first_ >= kGoneMax && first_ >= slices_.size() / 2) {
      slices_.erase(slices_.begin(), slices_.begin() + static_cast<ptrdiff_t>(first_));
      first_ = 0;
    }
  }
  void clear() {
    slices_ = std::vector<Slice>();
    first_ = 0;
  }

 private:
  static constexpr size_t kGoneMax = 32;
  std::vector<Slice> slices_;
  size_t first_ = 0;
};

/// Sends what is queued behind a stream that was destroyed, then closes. Gives up after kLingerMs.
class Linger {
 public:
  Linger(uv_loop_t& loop, int fd, SliceQueue queue)
      : fd_(fd), queue_(std::move(queue)), poll_(std::make_unique<UvPoll>(loop, fd, [this](int) { flush(); })) {
    uv_timer_init(&loop, &timer_);
    timer_.data = this;
    uv_timer_start(&timer_, [](uv_timer_t* timer) { static_cast<Linger*>(timer->data)->finish(); }, kLingerMs, 0);
    poll_->watch(UV_WRITABLE);
  }

 private:
  void flush() {
    while (!queue_.empty()) {
      std::string_view& bytes = queue_.front().bytes;
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (n < 0) break;
      bytes.remove_prefix(static_cast<size_t>(n));
      if (bytes.empty()) queue_.pop_front();
    }
    finish();
  }
  void finish() {
    if (fd_ < 0) return;
    poll_.reset();
    ::shutdown(fd_, SHUT_WR);
    ::close(fd_);
    fd_ = -1;
    uv_close(reinterpret_cast<uv_handle_t*>(&timer_),
             [](uv_handle_t* handle) { delete static_cast<Linger*>(handle->data); });
  }
  int fd_;
  SliceQueue queue_;
  std::unique_ptr<UvPoll> poll_;
  uv_timer_t timer_{};
};

struct UvMovingStream final : MovingStream {
  explicit UvMovingStream(int fd) : socket(fd) {}
  OwnedDescriptor socket;
  std::string unsent;
  bool write_closed = false;
};

class UvStream final : public ByteStream {
 public:
  UvStream(uv_loop_t& loop, int fd)
      : loop_(loop),
        fd_(fd),
        peer_(end_of(fd, ::getpeername)),
        local_(end_of(fd, ::getsockname)),
        poll_(std::in_place, loop, fd, [this](int events) { on_ready(events); }) {
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  }

  ~UvStream() override {
    if (fd_ < 0) return;
    poll_.reset();
    if (!broken_ && !queue_.empty()) {
      new Linger(loop_, fd_, std::exchange(queue_, {}));  // deletes itself when the bytes are out or the time is over
    } else {
      ::close(fd_);
    }
  }

  /// Leaves nothing behind but an object to be destroyed. A stream that broke is found broken again by its next reader.
  std::unique_ptr<MovingStream> release() {
    CHECK(read_ == nullptr && drain_ == nullptr);
    poll_.reset();
    auto moving = std::make_unique<UvMovingStream>(std::exchange(fd_, -1));
    for (const Slice& slice : queue_.all()) moving->unsent.append(slice.bytes);
    moving->write_closed = write_closed_;
    return moving;
  }

  void start_read(ReadOp& op) override {
    CHECK(read_ == nullptr);
    if (broken_) {
      op.fail(closed_error(errno_));
      return;
    }
    read_ = &op;
    watch();
  }
  void cancel_read(ReadOp& op) override {
    if (read_ == &op) read_ = nullptr;
  }

  void write(std::string_view bytes) override {
    if (broken_ || write_closed_) return;
    if (queue_.empty()) bytes.remove_prefix(send_now(bytes));
    if (!bytes.empty() && !broken_) queue_copy(bytes);
  }
  void write(Slice slice) override {
    if (broken_ || write_closed_) return;
    if (queue_.empty()) slice.bytes.remove_prefix(send_now(slice.bytes));
    if (slice.bytes.empty() || broken_) return;
    unsent_ += slice.bytes.size();
    queue_.push_back(std::move(slice));
    tail_room_ = 0;
    watch();
  }
  size_t unsent() const override { return unsent_; }
  void close_write() override {
    write_closed_ = true;
    if (queue_.empty()) ::shutdown(fd_, SHUT_WR);
  }
  bool broken() override {
    if (broken_) return true;
    char byte = 0;
    const ssize_t n = ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
  }
  const std::string& peer() const override { return peer_; }
  const std::string& local() const override { return local_; }

  void start_drain(DrainOp& op) override {
    CHECK(drain_ == nullptr);
    drain_ = &op;
    check_drain();
  }
  void cancel_drain(DrainOp& op) override {
    if (drain_ == &op) drain_ = nullptr;
  }

 private:
  void watch() {
    const int events = (read_ != nullptr ? UV_READABLE : 0) | (queue_.empty() ? 0 : UV_WRITABLE);
    // Reading stays watched between two reads of the same turn; it is given up only when bytes come and nobody reads.
    const int keep = watched_ & UV_READABLE;
    set_watch(events | keep);
  }
  void set_watch(int events) {
    watched_ = events;
    poll_->watch(events);
  }

  void on_ready(int events) {
    if ((events & UV_WRITABLE) != 0) flush();
    if ((events & (UV_READABLE | UV_DISCONNECT)) == 0 || broken_) return;
    if (read_ == nullptr) {
      set_watch(queue_.empty() ? 0 : UV_WRITABLE);
      return;
    }
    const ssize_t n = ::recv(fd_, read_->into.data(), read_->into.size(), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n < 0) {
      break_stream(errno);
      return;
    }
    std::exchange(read_, nullptr)->finish(static_cast<size_t>(n));
    if (n == 0) set_watch(queue_.empty() ? 0 : UV_WRITABLE);
  }

  size_t send_now(std::string_view bytes) {
    size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t n = ::send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        if (errno != EAGAIN) break_stream(errno);
        break;
      }
      sent += static_cast<size_t>(n);
    }
    return sent;
  }

  void queue_copy(std::string_view bytes) {
    unsent_ += bytes.size();
    while (!bytes.empty()) {
      if (tail_room_ == 0) {
        BlockRef block = Block::make(std::max(kQueueBlockBytes, bytes.size()));
        tail_room_ = block->capacity();
        std::string_view none(block->data(), 0);
        queue_.push_back(Slice{std::move(block), none});
      }
      Slice& tail = queue_.back();
      char* end = tail.block->data() + tail.block->capacity() - tail_room_;
      const size_t n = std::min(tail_room_, bytes.size());
      std::memcpy(end, bytes.data(), n);
      tail.bytes = std::string_view(tail.bytes.data(), tail.bytes.size() + n);
      tail_room_ -= n;
      bytes.remove_prefix(n);
    }
    watch();
  }

  void flush() {
    while (!queue_.empty()) {
      std::array<iovec, 64> pieces;
      size_t count = 0;
      for (const Slice& slice : queue_.all().first(std::min(queue_.all().size(), pieces.size()))) {
        pieces[count++] = {const_cast<char*>(slice.bytes.data()), slice.bytes.size()};
      }
      msghdr message{};
      message.msg_iov = pieces.data();
      message.msg_iovlen = count;
      const ssize_t n = ::sendmsg(fd_, &message, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        if (errno != EAGAIN) break_stream(errno);
        break;
      }
      sent(static_cast<size_t>(n));
    }
    if (broken_) return;
    if (queue_.empty()) {
      tail_room_ = 0;
      if (write_closed_) ::shutdown(fd_, SHUT_WR);
      set_watch(watched_ & UV_READABLE);
    }
    check_drain();
  }

  void sent(size_t n) {
    unsent_ -= n;
    while (n > 0) {
      std::string_view& bytes = queue_.front().bytes;
      const size_t part = std::min(n, bytes.size());
      bytes.remove_prefix(part);
      n -= part;
      if (bytes.empty()) {
        queue_.pop_front();
        if (queue_.empty()) tail_room_ = 0;
      }
    }
  }

  void check_drain() {
    if (drain_ == nullptr) return;
    if (broken_) {
      drain_->failed = true;
      drain_->error = closed_error(errno_);
    } else if (unsent_ > drain_->below) {
      return;
    }
    std::exchange(drain_, nullptr)->resumption.post();
  }

  void break_stream(int number) {
    broken_ = true;
    errno_ = number;
    queue_.clear();
    unsent_ = tail_room_ = 0;
    set_watch(0);
    if (read_ != nullptr) std::exchange(read_, nullptr)->fail(closed_error(number));
    check_drain();
  }

  uv_loop_t& loop_;
  int fd_;
  std::string peer_;
  std::string local_;
  std::optional<UvPoll> poll_;  // gone before the descriptor
  int watched_ = 0;
  SliceQueue queue_;
  size_t unsent_ = 0;
  size_t tail_room_ = 0;  // bytes that still fit into the last queued block, if that is a copy of ours
  bool write_closed_ = false;
  bool broken_ = false;
  int errno_ = 0;
  ReadOp* read_ = nullptr;
  DrainOp* drain_ = nullptr;
};

class UvListener final : public Listener {
 public:
  /// `asked`: the address before port 0 was replaced.
  UvListener(uv_loop_t& loop, int fd, Address address, std::string asked, UvListening& listening)
      : loop_(loop), fd_(fd), address_(std::move(address)), listening_(listening), poll_(loop, fd, [this](int) {
          poll_.watch(0);
          readable_.notify_all();
        }) {
    listening_.open.emplace_back(std::move(asked), fd_);
  }
  ~UvListener() override {
    std::erase_if(listening_.open, [this](const auto& each) { return each.second == fd_; });
    ::close(fd_);
    if (!address_.path.empty() && !listening_.given_away) ::unlink(address_.path.c_str());
  }

  Task<Result<std::unique_ptr<ByteStream>>> accept() override {
    for (;;) {
      const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) co_return std::unique_ptr<ByteStream>(std::make_unique<UvStream>(loop_, fd));
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EAGAIN) co_return Error{Errc::io, std::string("cannot accept: ") + std::strerror(errno)};
      poll_.watch(UV_READABLE);
      co_await readable_.wait();
    }
  }
  const Address& address() const override { return address_; }

 private:
  uv_loop_t& loop_;
  int fd_;
  Address address_;
  UvListening& listening_;
  Signal readable_;
  UvPoll poll_;
};

/// A name lookup on the thread pool; numbers are answered at once.
std::vector<SocketAddress> lookup(const Address& address, bool numeric, int& failure) {
  std::vector<SocketAddress> found;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (numeric ? AI_NUMERICHOST : 0);
  addrinfo* list = nullptr;
  failure = ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &list);
  for (const addrinfo* entry = list; failure == 0 && entry != nullptr; entry = entry->ai_next) {
    SocketAddress one;
    std::memcpy(&one.storage, entry->ai_addr, entry->ai_addrlen);
    one.size = entry->ai_addrlen;
    found.push_back(one);
  }
  if (list != nullptr) ::freeaddrinfo(list);
  return found;
}

Result<SocketAddress> unix_address(const std::string& path) {
  SocketAddress address;
  auto* un = reinterpret_cast<sockaddr_un*>(&address.storage);
  if (path.size() >= sizeof un->sun_path) return Error{Errc::config, "the path of a unix socket is too long: " + path};
  un->sun_family = AF_UNIX;
  std::memcpy(un->sun_path, path.c_str(), path.size() + 1);
  address.size = sizeof *un;
  return address;
}

class UvNetwork final : public Network {
 public:
  UvNetwork(uv_loop_t& loop, UvListening& listening) : loop_(loop), listening_(listening) {}

  std::unique_ptr<MovingStream> release(std::unique_ptr<ByteStream> stream) override {
    return static_cast<UvStream&>(*stream).release();
  }
  std::unique_ptr<ByteStream> adopt(std::unique_ptr<MovingStream> stream) override {
    auto& moving = static_cast<UvMovingStream&>(*stream);
    auto adopted = std::make_unique<UvStream>(loop_, moving.socket.take());
    if (!moving.unsent.empty()) adopted->write(moving.unsent);
    if (moving.write_closed) adopted->close_write();
    return adopted;
  }

  Task<Result<std::unique_ptr<ByteStream>>> connect(Address address) override {
    auto addresses = co_await resolve(address);
    CO_RETURN_IF_ERROR(addresses);
    Error last{Errc::refused, "no address"};
    for (const SocketAddress& candidate : addresses.value()) {
      auto stream = co_await connect_to(candidate);
      if (stream.ok()) co_return std::move(stream);
      last = std::move(stream).error();
    }
    last.detail = "cannot connect to " + address.text() + ": " + last.detail;
    co_return last;
  }

  Result<std::unique_ptr<Listener>> listen(const Address& address) override {
    const auto inherited = std::find_if(listening_.inherited.begin(), listening_.inherited.end(),
                                        [&](const auto& each) { return each.address == address.text(); });
    if (inherited != listening_.inherited.end()) {
      OwnedDescriptor socket(inherited->socket.take());
      listening_.inherited.erase(inherited);
      return listener_of(std::move(socket), address);
    }
    SocketAddress where;
    if (address.path.empty()) {
      int failure = 0;
      const auto found = lookup(address, false, failure);
      if (failure != 0 || found.empty()) {
        return Error{Errc::config, "cannot resolve " + address.text() + ": " + ::gai_strerror(failure)};
      }
      where = found.front();
    } else {
      auto unix_where = unix_address(address.path);
      RETURN_IF_ERROR(unix_where);
      where = unix_where.value();
      auto cleared = clear_path(address, where);
      RETURN_IF_ERROR(cleared);
    }
    return open_listener(address, where);
  }

 private:
  /// Only the socket of somebody who has gone may be replaced.
  static Result<void> clear_path(const Address& address, const SocketAddress& where) {
    struct stat info{};
    if (::lstat(address.path.c_str(), &info) != 0) return {};
    if (!S_ISSOCK(info.st_mode)) {
      return Error{Errc::io, "cannot listen on " + address.text() + ": there is a file that is no socket"};
    }
    const OwnedDescriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const bool answers = ::connect(probe.get(), where.get(), where.size) == 0 || errno == EAGAIN;
    if (answers) return Error{Errc::io, "cannot listen on " + address.text() + ": another process listens there"};
    ::unlink(address.path.c_str());
    return {};
  }

  Result<std::unique_ptr<Listener>> open_listener(const Address& address, const SocketAddress& where) {
    OwnedDescriptor socket(::socket(where.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (socket.get() < 0 || ::bind(socket.get(), where.get(), where.size) != 0 ||
        (address.file_mode != 0 && ::chmod(address.path.c_str(), address.file_mode) != 0) ||
        ::listen(socket.get(), kListenBacklog) != 0) {
      return Error{Errc::io, "cannot listen on " + address.text() + ": " + std::strerror(errno)};
    }
    return listener_of(std::move(socket), address);
  }

  std::unique_ptr<Listener> listener_of(OwnedDescriptor socket, const Address& address) {
    Address bound = address;
    if (address.path.empty()) {
      const auto real = parse_address(end_of(socket.get(), ::getsockname));
      if (real.ok()) bound.port = real.value().port;
    }
    const int fd = socket.take();
    return std::make_unique<UvListener>(loop_, fd, std::move(bound), address.text(), listening_);
  }

  Task<Result<std::vector<SocketAddress>>> resolve(Address address) {
    if (!address.path.empty()) {
      auto one = unix_address(address.path);
      CO_RETURN_IF_ERROR(one);
      co_return std::vector<SocketAddress>(1, one.value());
    }
    int failure = 0;
    auto numeric = lookup(address, true, failure);
    if (failure == 0) co_return std::move(numeric);
    auto found = std::make_shared<std::vector<SocketAddress>>();
    std::function<int64_t()> job = [found, address]() -> int64_t {
      int status = 0;
      *found = lookup(address, false, status);
      return status;
    };
    const int64_t status = co_await UvJob(loop_, std::move(job));
    if (status != 0) {
      co_return Error{Errc::io, "cannot resolve " + address.host + ": " + ::gai_strerror(static_cast<int>(status))};
    }
    co_return std::move(*found);
  }

  Task<Result<std::unique_ptr<ByteStream>>> connect_to(SocketAddress address) {
    OwnedDescriptor socket(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (socket.get() < 0) co_return Error{Errc::io, std::strerror(errno)};
    if (::connect(socket.get(), address.get(), address.size) != 0) {
      if (errno != EINPROGRESS) co_return Error{Errc::refused, std::strerror(errno)};
      Signal writable;
      UvPoll poll(loop_, socket.get(), [&writable](int) { writable.notify_all(); });
      poll.watch(UV_WRITABLE);
      co_await writable.wait();
      int status = 0;
      socklen_t size = sizeof status;
      ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &status, &size);
      if (status != 0) co_return Error{Errc::refused, std::strerror(status)};
    }
    const int fd = socket.take();
    co_return std::unique_ptr<ByteStream>(std::make_unique<UvStream>(loop_, fd));
  }

  uv_loop_t& loop_;
  UvListening& listening_;
};

}  // namespace

std::unique_ptr<Network> make_uv_network(uv_loop_t& loop, UvListening& listening) {
  return std::make_unique<UvNetwork>(loop, listening);
}

bool can_be_passed(const ByteStream& stream) { return dynamic_cast<const UvStream*>(&stream) != nullptr; }

PassedStream take_descriptor(MovingStream& stream) {
  auto& moving = dynamic_cast<UvMovingStream&>(stream);
  return {OwnedDescriptor(moving.socket.take()), std::move(moving.unsent)};
}

std::unique_ptr<MovingStream> stream_of(PassedStream passed) {
  auto moving = std::make_unique<UvMovingStream>(passed.socket.take());
  moving->unsent = std::move(passed.unsent);
  return moving;
}

}  // namespace sidestream
