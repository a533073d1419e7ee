// tls_engine.h: one TLS conversation as bytes in and bytes out; it touches no socket and no loop, so it may move.
//
//   ciphertext ─► room(), filled() ─► read()  ─► plain text
//   plain text ─► write()          ─► out()   ─► ciphertext
//
// Happy path: shake() until it says done, feeding what arrives and sending out(); then read() and write().
// Failure modes: Errc::protocol with OpenSSL's reason, or what is wrong with the other side's certificate; out() then
// holds an alert for them. After an error only out() may be used.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "common/tls_context.h"

struct ssl_st;

namespace sidestream {

class TlsEngine {
 public:
  /// Takes the side of `context`. `host`: a client checks the certificate against it and names it (SNI).
  TlsEngine(std::shared_ptr<const TlsContext> context, const std::string& host);
  ~TlsEngine();
  TlsEngine(const TlsEngine&) = delete;
  TlsEngine& operator=(const TlsEngine&) = delete;

  /// Where arriving ciphertext goes; only when needs_more(). Grows with what comes.
  std::span<char> room();
  void filled(size_t bytes);
  bool needs_more() const { return from_ == to_; }

  /// True: the handshake is done; false: it needs more from the other side.
  Result<bool> shake();
  /// Fills `into` as far as it can. 0: more must arrive, or ended() is true.
  Result<size_t> read(std::span<char> into);
  /// The other side said that nothing more comes.
  bool ended() const { return ended_; }
  Result<void> write(std::string_view plain);
  /// Tells the other side that nothing more comes.
  void close_write();
  /// Ciphertext to be sent; the caller clears it.
  std::string& out() { return out_; }
  /// The first thing that arrived is no TLS: somebody does not know where he is.
  bool plain_text() const { return plain_text_; }

 private:
  friend struct TlsBytes;  // OpenSSL's way to the two buffers
  Error failed(int code);

  std::shared_ptr<const TlsContext> context_;
  ssl_st* ssl_;
  std::vector<char> in_;
  size_t from_ = 0, to_ = 0;
  std::string out_;
  bool ended_ = false;
  bool closed_write_ = false;
  bool begun_ = false;
  bool plain_text_ = false;
};

}  // namespace sidestream
