// http.cc: http_parser over a byte stream.
#include "proxy/admin/http.h"

#include <http_parser.h>

#include <array>
#include <utility>

#include "common/log.h"
#include "common/signal.h"
#include "common/text.h"

namespace sidestream::admin {
namespace {

constexpr int kConnectionsMax = 64;
constexpr int64_t kIdleMs = 10'000;
constexpr int64_t kRefusedMs = 1000;
constexpr size_t kHeaderBytesMax = 8 * 1024;
constexpr uint64_t kBodyBytesMax = 64 * 1024;

const char* reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 202:
      return "Accepted";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 413:
      return "Payload Too Large";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Error";
  }
}

std::string render(const HttpReply& reply, bool keep_alive, bool head_only) {
  std::string out = "HTTP/1.1 " + std::to_string(reply.status) + " " + reason(reply.status) + "\r\n";
  out += "Content-Type: " + reply.type + "\r\nContent-Length: " + std::to_string(reply.body.size()) + "\r\n";
  out += "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
  if (!reply.allow.empty()) out += "Allow: " + reply.allow + "\r\n";
  if (reply.wants_token) out += "WWW-Authenticate: Bearer\r\n";
  if (!reply.policy.empty()) out += "Content-Security-Policy: " + reply.policy + "\r\nReferrer-Policy: no-referrer\r\n";
  out += keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  if (!head_only) out += reply.body;
  return out;
}

/// One connection's parser and the request it is gathering.
struct Exchange {
  explicit Exchange(std::string peer_address) {
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = this;
    request.peer = std::move(peer_address);
  }
  static Exchange& of(http_parser* parser) { return *static_cast<Exchange*>(parser->data); }

  static const http_parser_settings& settings() {
    static const http_parser_settings kSettings = [] {
      http_parser_settings made;
      http_parser_settings_init(&made);
      made.on_message_begin = [](http_parser* p) { return of(p).begin(), 0; };
      made.on_header_field = [](http_parser* p, const char* at, size_t n) { return of(p).take_name({at, n}), 0; };
      made.on_header_value = [](http_parser* p, const char* at, size_t n) { return of(p).take_value({at, n}), 0; };
      made.on_url = [](http_parser* p, const char* at, size_t n) { return of(p).url.append(at, n), 0; };
      made.on_body = [](http_parser* p, const char*, size_t n) {
        of(p).body_bytes += n;
        return of(p).body_bytes > kBodyBytesMax ? 1 : 0;
      };
      made.on_headers_complete = [](http_parser* p) {
        of(p).header_bytes = 0;
        of(p).in_headers = false;
        return 0;
      };
      made.on_message_complete = [](http_parser* p) {
        of(p).complete = true;
        http_parser_pause(p, 1);
        return 0;
      };
      return made;
    }();
    return kSettings;
  }

  /// Parses from the front of `bytes`, at most one request. 0, or the status that refuses it.
  int feed(std::string& bytes) {
    const size_t used = http_parser_execute(&parser, &settings(), bytes.data(), bytes.size());
    bytes.erase(0, used);
    if (body_bytes > kBodyBytesMax) return 413;
    if (in_headers && (header_bytes += used) > kHeaderBytesMax) return 431;
    if (!complete) return HTTP_PARSER_ERRNO(&parser) == HPE_OK ? 0 : 400;
    http_parser_pause(&parser, 0);
    request.method = http_method_str(static_cast<http_method>(parser.method));
    const size_t mark = url.find('?');
    request.path = url.substr(0, mark);
    request.query = mark == std::string::npos ? "" : url.substr(mark + 1);
    return 0;
  }
  void begin() {
    url.clear();
    request.authorization.clear();
    request.origin.clear();
    header.clear();
  }
  /// Both may come in pieces.
  void take_name(std::string_view piece) {
    if (std::exchange(in_value, false)) header.clear();
    header += piece;
  }
  void take_value(std::string_view piece) {
    in_value = true;
    if (iequals(header, "authorization")) request.authorization += piece;
    if (iequals(header, "origin")) request.origin += piece;
  }
  void next() {
    complete = false;
    in_headers = true;
    body_bytes = 0;
  }

  http_parser parser{};
  HttpRequest request;
  std::string url;
  std::string header;  // the name of the one that is being read
  bool in_value = false;
  size_t header_bytes = 0;
  uint64_t body_bytes = 0;
  bool in_headers = true;
  bool complete = false;
};

}  // namespace

HttpServer::HttpServer(World& world, Route route, std::unique_ptr<Listener> listener)
    : world_(world), route_(std::move(route)), listener_(std::move(listener)) {}

void HttpServer::pause() { accepting_.cancel_all(); }
void HttpServer::resume() {
  if (accepting_.empty()) accepting_.add(accept_loop());
}

Task<void> HttpServer::accept_loop() {
  for (;;) {
    auto stream = co_await listener_->accept();
    if (!stream.ok()) {
      co_await world_.clock.sleep(100);
      continue;
    }
    if (connections_ < kConnectionsMax) tasks_.add(bounded(std::move(stream).value()));
  }
}

Task<void> HttpServer::bounded(std::unique_ptr<ByteStream> stream) {
  ++connections_;
  co_await converse(std::move(stream));
  --connections_;
}

namespace {
Task<Result<size_t>> read_some(ByteStream& stream, std::span<char> into) { co_return co_await stream.read(into); }

/// Reads on a little: a socket that is closed with unread bytes is reset, and takes our last words with it.
Task<Result<void>> let_finish(ByteStream& stream) {
  std::array<char, 4096> chunk;
  stream.close_write();
  for (;;) {
    auto n = co_await stream.read(chunk);
    CO_RETURN_IF_ERROR(n);
    if (n.value() == 0) co_return Result<void>();
  }
}
}  // namespace

Task<void> HttpServer::converse(std::unique_ptr<ByteStream> stream) {
  Exchange exchange(stream->peer());
  std::array<char, 4096> chunk;
  std::string bytes;
  for (;;) {
    const int refused = exchange.feed(bytes);
    if (refused != 0) {
      HttpReply bad;
      bad.status = refused;
      stream->write(render(bad, false, false));
      auto ending = let_finish(*stream);
      auto ended = co_await with_timeout(world_.clock, kRefusedMs, "http", std::move(ending));
      if (!ended.ok()) log_debug("http", "{}: {}", exchange.request.peer, ended.error().detail);
      co_return;
    }
    if (exchange.complete) {
      const bool keep_alive = http_should_keep_alive(&exchange.parser) != 0;
      const bool head = exchange.request.method == "HEAD";
      if (head) exchange.request.method = "GET";
      auto reply = co_await route_(exchange.request);
      stream->write(render(reply, keep_alive, head));
      exchange.next();
      auto sent = co_await stream->drained();
      if (!keep_alive || !sent.ok()) co_return;
      if (!bytes.empty()) continue;
    }
    auto n = co_await with_timeout(world_.clock, kIdleMs, "http", read_some(*stream, chunk));
    if (!n.ok() || n.value() == 0) co_return;
    bytes.append(chunk.data(), n.value());
  }
}

}  // namespace sidestream::admin
