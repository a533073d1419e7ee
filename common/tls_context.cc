// tls_context.cc: see the header.
#include "common/tls_context.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <ctime>

#include "common/check.h"
#include "common/log.h"

namespace sidestream {
namespace {

/// The newest reason in OpenSSL's queue, and the queue is empty.
std::string reason() {
  const unsigned long code = ERR_peek_last_error();
  const char* text = ERR_reason_error_string(code);
  std::string out = text != nullptr ? text : "unknown reason";
  ERR_clear_error();
  return out;
}

Error refused(const std::string& what, const std::string& path) {
  return Error{Errc::config, what + " '" + path + "' cannot be used: " + reason()};
}

int64_t seconds_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) return 0;
  return static_cast<int64_t>(timegm(&parts));
}

}  // namespace

TlsContext::TlsContext(const TlsSettings& settings, bool is_server)
    : settings_(settings),
      is_server_(is_server),
      context_(SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method())) {
  CHECK(context_ != nullptr);
}

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

Result<std::shared_ptr<const TlsContext>> TlsContext::for_server(const TlsSettings& settings) {
  std::shared_ptr<TlsContext> context(new TlsContext(settings, true));
  auto loaded = context->load();
  RETURN_IF_ERROR(loaded);
  return std::shared_ptr<const TlsContext>(std::move(context));
}

Result<std::shared_ptr<const TlsContext>> TlsContext::for_client(const TlsSettings& settings) {
  std::shared_ptr<TlsContext> context(new TlsContext(settings, false));
  auto loaded = context->load();
  RETURN_IF_ERROR(loaded);
  return std::shared_ptr<const TlsContext>(std::move(context));
}

Result<void> TlsContext::load() {
  ERR_clear_error();
  SSL_CTX_set_min_proto_version(context_, settings_.only_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
  // Buffers of idle connections are given back: there may be thousands.
  SSL_CTX_set_mode(context_,
                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_options(context_, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  static constexpr unsigned char kSessions[] = "sidestream";
  SSL_CTX_set_session_id_context(context_, kSessions, sizeof kSessions - 1);
  auto own = load_own();
  RETURN_IF_ERROR(own);
  return load_authorities();
}

Result<void> TlsContext::load_own() {
  if (settings_.cert.empty()) return {};
  if (SSL_CTX_use_certificate_chain_file(context_, settings_.cert.c_str()) != 1) {
    return refused("the certificate", settings_.cert);
  }
  if (SSL_CTX_use_PrivateKey_file(context_, settings_.key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context_) != 1) {
    return refused("the private key", settings_.key);
  }
  expires_s_ = seconds_of(X509_get0_notAfter(SSL_CTX_get0_certificate(context_)));
  return {};
}

void TlsContext::trust_system() const {
  if (is_server_ || !settings_.ca.empty()) return;
  std::call_once(trusted_, [this] {
    if (SSL_CTX_set_default_verify_paths(context_) == 1) return;
    log_warning("tls", "{}: nobody is trusted", refused("the authorities of", "the system").detail);
  });
}

Result<void> TlsContext::load_authorities() {
  if (!settings_.ca.empty()) {
    if (SSL_CTX_load_verify_locations(context_, settings_.ca.c_str(), nullptr) != 1) {
      return refused("the authorities in", settings_.ca);
    }
    if (is_server_) SSL_CTX_set_client_CA_list(context_, SSL_load_client_CA_file(settings_.ca.c_str()));
  }
  int mode = SSL_VERIFY_NONE;
  if (!is_server_ || !settings_.ca.empty()) mode = SSL_VERIFY_PEER;
  if (is_server_ && settings_.require_peer) mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  SSL_CTX_set_verify(context_, mode, nullptr);
  ERR_clear_error();
  return {};
}

void TlsInForce::set(Context server, Context client, bool client_by_default) {
  const std::lock_guard lock(mutex_);
  server_ = std::move(server);
  client_ = std::move(client);
  client_by_default_ = client_by_default;
}

}  // namespace sidestream
