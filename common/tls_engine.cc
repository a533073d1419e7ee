// tls_engine.cc: OpenSSL between two buffers, by a BIO of our own that copies once each way.
#include "common/tls_engine.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstring>

#include "common/check.h"

namespace sidestream {
namespace {

constexpr size_t kInFirstBytes = 2 * 1024;  // most connections are idle
constexpr size_t kInMaxBytes = 256 * 1024;
constexpr unsigned char kHandshakeRecord = 0x16;

bool is_number(const std::string& host) {
  unsigned char number[sizeof(in6_addr)];
  return inet_pton(AF_INET, host.c_str(), number) == 1 || inet_pton(AF_INET6, host.c_str(), number) == 1;
}

}  // namespace

struct TlsBytes {
  static int read(BIO* bio, char* into, int size) {
    auto& engine = *static_cast<TlsEngine*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const size_t n = std::min(static_cast<size_t>(size), engine.to_ - engine.from_);
    if (n == 0) {
      BIO_set_retry_read(bio);
      return -1;
    }
    std::memcpy(into, engine.in_.data() + engine.from_, n);
    engine.from_ += n;
    return static_cast<int>(n);
  }
  static int write(BIO* bio, const char* from, int size) {
    static_cast<TlsEngine*>(BIO_get_data(bio))->out_.append(from, static_cast<size_t>(size));
    return size;
  }
  static long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }
  static BIO* make(TlsEngine& engine) {
    static BIO_METHOD* const kMethod = [] {
      BIO_METHOD* method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sidestream");
      BIO_meth_set_read(method, read);
      BIO_meth_set_write(method, write);
      BIO_meth_set_ctrl(method, control);
      return method;
    }();
    BIO* bio = BIO_new(kMethod);
    CHECK(bio != nullptr);
    BIO_set_data(bio, &engine);
    BIO_set_init(bio, 1);
    return bio;
  }
};

TlsEngine::TlsEngine(std::shared_ptr<const TlsContext> context, const std::string& host)
    : context_(std::move(context)), ssl_(SSL_new(context_->get())) {
  CHECK(ssl_ != nullptr);
  BIO* bio = TlsBytes::make(*this);
  SSL_set_bio(ssl_, bio, bio);
  if (context_->is_server()) {
    SSL_set_accept_state(ssl_);
    return;
  }
  context_->trust_system();
  SSL_set_connect_state(ssl_);
  const TlsSettings& settings = context_->settings();
  const std::string& name = settings.expected_name.empty() ? host : settings.expected_name;
  if (!is_number(name)) SSL_set_tlsext_host_name(ssl_, name.c_str());
  if (!settings.check_name) return;
  X509_VERIFY_PARAM* wanted = SSL_get0_param(ssl_);
  if (is_number(name)) {
    X509_VERIFY_PARAM_set1_ip_asc(wanted, name.c_str());
  } else {
    X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    X509_VERIFY_PARAM_set1_host(wanted, name.data(), name.size());
  }
}

TlsEngine::~TlsEngine() { SSL_free(ssl_); }

std::span<char> TlsEngine::room() {
  DCHECK(needs_more());
  const size_t last = to_;
  from_ = to_ = 0;
  if (in_.empty()) {
    in_.resize(kInFirstBytes);
  } else if (last == in_.size() && in_.size() < kInMaxBytes) {
    in_.resize(in_.size() * 2);
  } else if (last < in_.size() / 16) {
    in_.resize(std::max(kInFirstBytes, in_.size() / 2));
    in_.shrink_to_fit();
  }
  return in_;
}

void TlsEngine::filled(size_t bytes) {
  to_ = bytes;
  if (!begun_ && bytes > 0) plain_text_ = static_cast<unsigned char>(in_[0]) != kHandshakeRecord;
  begun_ |= bytes > 0;
}

Error TlsEngine::failed(int code) {
  const long verdict = SSL_get_verify_result(ssl_);
  std::string text;
  if (verdict != X509_V_OK) {
    text = std::string("the certificate of the other side is not accepted: ") + X509_verify_cert_error_string(verdict);
  } else if (const char* known = ERR_reason_error_string(ERR_peek_last_error()); known != nullptr) {
    text = known;
  } else {
    text = "error " + std::to_string(code);
  }
  ERR_clear_error();
  return Error{Errc::protocol, "TLS: " + text};
}

Result<bool> TlsEngine::shake() {
  ERR_clear_error();
  const int done = SSL_do_handshake(ssl_);
  if (done == 1) return true;
  const int code = SSL_get_error(ssl_, done);
  if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE) return false;
  return failed(code);
}

Result<size_t> TlsEngine::read(std::span<char> into) {
  size_t got = 0;
  while (got < into.size() && !ended_) {
    ERR_clear_error();
    size_t n = 0;
    if (SSL_read_ex(ssl_, into.data() + got, into.size() - got, &n) == 1) {
      got += n;
      continue;
    }
    const int code = SSL_get_error(ssl_, 0);
    if (code == SSL_ERROR_WANT_READ) break;
    if (code == SSL_ERROR_ZERO_RETURN) {
      ended_ = true;
    } else if (got == 0) {
      return failed(code);
    } else {
      break;  // what came before it counts; the next read finds the error again
    }
  }
  return got;
}

Result<void> TlsEngine::write(std::string_view plain) {
  if (closed_write_) return {};
  while (!plain.empty()) {
    ERR_clear_error();
    size_t n = 0;
    if (SSL_write_ex(ssl_, plain.data(), plain.size(), &n) != 1) return failed(SSL_get_error(ssl_, 0));
    plain.remove_prefix(n);
  }
  return {};
}

void TlsEngine::close_write() {
  if (closed_write_) return;
  closed_write_ = true;
  ERR_clear_error();
  if (SSL_is_init_finished(ssl_) == 1) SSL_shutdown(ssl_);
  ERR_clear_error();
}

}  // namespace sidestream
