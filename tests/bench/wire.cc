// wire.cc: see the header.
#include "tests/bench/wire.h"

#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "tests/bench/bench_support.h"

namespace sidestream::bench {
namespace {

SSL_CTX* context() {
  static SSL_CTX* const kContext = [] {
    SSL_CTX* made = SSL_CTX_new(TLS_client_method());
    if (made == nullptr) die("TLS");
    SSL_CTX_set_mode(made, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return made;
  }();
  return kContext;
}

}  // namespace

void Wire::Free::operator()(SSL* ssl) const { SSL_free(ssl); }

Wire::Wire(uint16_t port, bool tls) : fd_(connect_to(port)) {
  if (tls) {
    ssl_.reset(SSL_new(context()));
    SSL_set_fd(ssl_.get(), fd_);
    if (SSL_connect(ssl_.get()) != 1) die("the TLS handshake failed");
  }
  set_nonblocking(fd_);
}

size_t Wire::send_some(std::string_view bytes) {
  if (ssl_ != nullptr) {
    size_t sent = 0;
    if (SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &sent) == 1) return sent;
    if (SSL_get_error(ssl_.get(), 0) != SSL_ERROR_WANT_WRITE) die("a connection was lost while writing");
    return 0;
  }
  const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent > 0) return static_cast<size_t>(sent);
  if (sent == 0 || errno != EAGAIN) die("a connection was lost while writing");
  return 0;
}

size_t Wire::receive_some(std::span<char> into) {
  if (ssl_ != nullptr) {
    size_t got = 0;
    if (SSL_read_ex(ssl_.get(), into.data(), into.size(), &got) == 1) return got;
    if (SSL_get_error(ssl_.get(), 0) != SSL_ERROR_WANT_READ) die("a connection was closed by the server");
    return 0;
  }
  const ssize_t got = read(fd_, into.data(), into.size());
  if (got > 0) return static_cast<size_t>(got);
  if (got == 0 || errno != EAGAIN) die("a connection was closed by the server");
  return 0;
}

}  // namespace sidestream::bench
