// wire.h: one connection of the load client, plain or TLS, non-blocking once it is there. TLS does not look at the
// server's certificate: what is measured is the work, not the trust. A connection that is lost ends the program.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

typedef struct ssl_st SSL;

namespace sidestream::bench {

class Wire {
 public:
  Wire(uint16_t port, bool tls);
  int fd() const { return fd_; }
  /// Bytes sent; 0: not now.
  size_t send_some(std::string_view bytes);
  /// Bytes received; 0: there are no more now.
  size_t receive_some(std::span<char> into);
  /// There may be more than the descriptor shows.
  bool buffers() const { return ssl_ != nullptr; }

 private:
  struct Free {
    void operator()(SSL* ssl) const;
  };
  int fd_;
  std::unique_ptr<SSL, Free> ssl_;
};

}  // namespace sidestream::bench
