// admin_client.cc: one non-blocking socket and poll(), so that the time limit holds for each step.
#include "proxy/main/admin_client.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>

#include "common/text.h"

namespace sidestream {
namespace {

constexpr size_t kMaxAnswerBytes = 16 << 20;

using Steady = std::chrono::steady_clock;

class Socket {
 public:
  Socket(int fd, Steady::time_point deadline) : fd_(fd), deadline_(deadline) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { close(fd_); }
  int fd() const { return fd_; }

  /// Until the socket can do what `events` says.
  Result<void> wait(short events) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Steady::now()).count();
    pollfd entry{fd_, events, 0};
    const int ready = left <= 0 ? 0 : poll(&entry, 1, static_cast<int>(std::min<int64_t>(left, INT32_MAX)));
    if (ready > 0 || (ready < 0 && errno == EINTR)) return {};
    return Error{Errc::timed_out, "no answer in time"};
  }

  Result<void> connect_to(const sockaddr* address, socklen_t length) {
    if (connect(fd_, address, length) == 0) return {};
    if (errno != EINPROGRESS) return Error{Errc::closed, std::strerror(errno)};
    auto waited = wait(POLLOUT);
    RETURN_IF_ERROR(waited);
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == 0) return {};
    return Error{Errc::closed, std::strerror(error)};
  }

  Result<void> send_all(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
      if (sent < 0 && errno != EAGAIN && errno != EINTR) return Error{Errc::io, std::strerror(errno)};
      if (bytes.empty()) break;
      auto waited = wait(POLLOUT);
      RETURN_IF_ERROR(waited);
    }
    return {};
  }

  Result<std::string> receive_all() {
    std::string all;
    char chunk[16384];
    for (;;) {
      const ssize_t got = recv(fd_, chunk, sizeof chunk, 0);
      if (got == 0) return all;
      if (got > 0) all.append(chunk, static_cast<size_t>(got));
      if (all.size() > kMaxAnswerBytes) return Error{Errc::over_limit, "the answer is too long"};
      if (got > 0) continue;
      if (errno != EAGAIN && errno != EINTR) return Error{Errc::io, std::strerror(errno)};
      auto waited = wait(POLLIN);
      RETURN_IF_ERROR(waited);
    }
  }

 private:
  int fd_;
  Steady::time_point deadline_;
};

using Opened = Result<std::unique_ptr<Socket>>;

Opened open_one(int family, const sockaddr* address, socklen_t length, Steady::time_point deadline) {
  const int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return Error{Errc::io, std::strerror(errno)};
  auto opened = std::make_unique<Socket>(fd, deadline);
  auto connected = opened->connect_to(address, length);
  RETURN_IF_ERROR(connected);
  return opened;
}

Opened open_path(const std::string& path, Steady::time_point deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return Error{Errc::config, "the path is too long for a socket"};
  std::memcpy(address.sun_path, path.data(), path.size());
  return open_one(AF_UNIX, reinterpret_cast<const sockaddr*>(&address), sizeof address, deadline);
}

Opened open_host(const Address& admin, Steady::time_point deadline) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int failed = getaddrinfo(admin.host.c_str(), std::to_string(admin.port).c_str(), &hints, &list);
  if (failed != 0) return Error{Errc::closed, gai_strerror(failed)};
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list, &freeaddrinfo);
  Opened opened = Error{Errc::closed, "no address"};
  for (const addrinfo* entry = list; entry != nullptr && !opened.ok(); entry = entry->ai_next) {
    opened = open_one(entry->ai_family, entry->ai_addr, entry->ai_addrlen, deadline);
  }
  return opened;
}

Result<HttpAnswer> parse_answer(const std::string& bytes) {
  const size_t head_end = bytes.find("\r\n\r\n");
  const auto status = bytes.size() > 12 ? parse_int(std::string_view(bytes).substr(9, 3)) : std::nullopt;
  if (!bytes.starts_with("HTTP/1.") || head_end == std::string::npos || !status) {
    return Error{Errc::protocol, "what answers there does not speak HTTP"};
  }
  return HttpAnswer{static_cast<int>(*status), bytes.substr(head_end + 4)};
}

Result<HttpAnswer> ask(const Address& admin, const std::string& method, const std::string& path, int64_t timeout_ms,
                       const std::string& token) {
  const auto deadline = Steady::now() + std::chrono::milliseconds(timeout_ms);
  auto opened = admin.path.empty() ? open_host(admin, deadline) : open_path(admin.path, deadline);
  RETURN_IF_ERROR(opened);
  Socket& socket = *opened.value();
  // HTTP/1.0: the body comes in one piece and the end of the connection is its end.
  auto sent =
      socket.send_all(fmt::format("{} {} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n{}\r\n",
                                  method, path, admin.path.empty() ? admin.text() : "localhost",
                                  token.empty() ? "" : fmt::format("Authorization: Bearer {}\r\n", token)));
  RETURN_IF_ERROR(sent);
  const auto bytes = socket.receive_all();
  if (!bytes.ok()) return bytes.error();
  return parse_answer(bytes.value());
}

}  // namespace

Result<HttpAnswer> ask_admin(const Address& admin, const std::string& method, const std::string& path,
                             int64_t timeout_ms, const std::string& token) {
  auto answer = ask(admin, method, path, timeout_ms, token);
  if (answer.ok()) return answer;
  const Error& error = answer.error();
  if (error.code != Errc::closed) return Error{error.code, fmt::format("{}: {}", admin.text(), error.detail)};
  return Error{Errc::closed,
               fmt::format("no instance answers at {} ({}); is it running? --admin ADDR chooses another address",
                           admin.text(), error.detail)};
}

}  // namespace sidestream
