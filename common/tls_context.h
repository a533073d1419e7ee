// tls_context.h: what TLS is set up with, read from files once and then immutable; and what is in force now, for all
// loops of the process.
//
// Happy path: for_server() and for_client() read certificate, key and authorities; TlsInForce hands out the newest to
// each connection that begins. A reload replaces them; connections that are open keep theirs.
// Failure modes: a file that cannot be read, a key that is not the certificate's, no certificate in the file:
// Errc::config with the name of the file and OpenSSL's reason. Whoever reloads keeps the old ones then.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "common/result.h"

struct ssl_ctx_st;

namespace sidestream {

/// One side's files and wishes. An empty path: none.
struct TlsSettings {
  std::string cert, key;      // PEM: our chain and its private key
  std::string ca;             // PEM: authorities of the other side; a client without one trusts those of the system
  bool require_peer = false;  // server: refuse clients without a certificate
  bool check_name = true;     // client: the certificate must name the host that was asked for
  std::string expected_name;  // client: that name instead of the address
  bool only_1_3 = false;      // else 1.2 as well
};

class TlsContext {
 public:
  static Result<std::shared_ptr<const TlsContext>> for_server(const TlsSettings& settings);
  static Result<std::shared_ptr<const TlsContext>> for_client(const TlsSettings& settings);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  ssl_ctx_st* get() const { return context_; }
  const TlsSettings& settings() const { return settings_; }
  bool is_server() const { return is_server_; }
  /// Before a client's first conversation: the authorities of the system, if no others were named. They are many, some
  /// 50 ms and 2 MB, and most instances never speak to anybody whom they vouch for.
  void trust_system() const;
  /// Seconds since 1970 at which our own certificate ends; 0: there is none.
  int64_t expires_s() const { return expires_s_; }

 private:
  TlsContext(const TlsSettings& settings, bool is_server);
  Result<void> load();
  Result<void> load_own();
  Result<void> load_authorities();

  TlsSettings settings_;
  bool is_server_;
  ssl_ctx_st* context_;
  mutable std::once_flag trusted_;
  int64_t expires_s_ = 0;
};

/// Shared by all loops; every member may be used from any of them.
class TlsInForce {
 public:
  using Context = std::shared_ptr<const TlsContext>;
  void set(Context server, Context client, bool client_by_default);
  /// nullptr: not set up.
  Context server() const { return locked(server_); }
  Context client() const { return locked(client_); }
  /// Whether an address that does not say so is spoken to in TLS.
  bool client_by_default() const { return client_by_default_.load(std::memory_order_relaxed); }
  bool server_by_default() const { return server() != nullptr; }

  std::atomic<int64_t> handshake_ms{10'000};   // how long one may take; 0: for ever
  std::atomic<uint64_t> handshakes{0};         // that succeeded, in both directions
  std::atomic<uint64_t> failed_handshakes{0};  // plain text, no common version, certificates, timeouts

 private:
  Context locked(const Context& which) const {
    const std::lock_guard lock(mutex_);
    return which;
  }
  mutable std::mutex mutex_;
  Context server_, client_;
  std::atomic<bool> client_by_default_{false};
};

}  // namespace sidestream
