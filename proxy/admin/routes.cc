// routes.cc: one table of paths.
#include "proxy/admin/routes.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "common/ip_network.h"
#include "common/log.h"
#include "common/secrets.h"
#include "common/text.h"
#include "config/options.h"
#include "proxy/admin/metrics.h"
#include "proxy/admin/page/page.h"
#include "proxy/admin/status.h"
#include "proxy/admin/trend.h"

namespace sidestream::admin {
namespace {

constexpr int64_t kStalledMs = 10'000;
constexpr int64_t kWrongTokenMs = 300;  // guessing is slow

using Answer = HttpReply (*)(Group&, const HttpRequest&);

HttpReply text(std::string body, int status = 200) {
  HttpReply reply;
  reply.status = status;
  reply.type = "text/plain; charset=utf-8";
  reply.body = std::move(body);
  return reply;
}

HttpReply json(std::string body, int status = 200) {
  HttpReply reply;
  reply.status = status;
  reply.body = std::move(body);
  return reply;
}

/// nullopt: it may change something. People on this machine may; a web page in their browser may not.
std::optional<HttpReply> refuse_change(Group& group, const HttpRequest& request) {
  constexpr std::string_view kBearer = "Bearer ";
  const std::string& token = group.config().admin_token;
  if (request.authorization.starts_with(kBearer) && !token.empty()) {
    const std::string_view shown = std::string_view(request.authorization).substr(kBearer.size());
    if (equal_in_constant_time(sha256_hex(shown), sha256_hex(token))) return std::nullopt;
    log_warning("admin", "{}: {} refused: the token is wrong", request.peer, request.path);
  } else if (is_loopback(request.peer) && request.authorization.empty()) {
    if (request.origin.empty()) return std::nullopt;
    return text("not from a web page\n", 403);
  }
  if (token.empty())
    return text("only from this machine; others need admin-token or admin-token-file to be set\n", 403);
  HttpReply reply = text("show the admin token: Authorization: Bearer TOKEN\n", 401);
  reply.wants_token = true;
  return reply;
}

HttpReply page(Group&, const HttpRequest&) {
  HttpReply reply;
  reply.type = "text/html; charset=utf-8";
  reply.policy = kPagePolicy;
  reply.body = kPage;
  return reply;
}

/// This loop turns: the answer is the proof. The others leave a mark ten times a second.
HttpReply live(Group& group, const HttpRequest&) {
  const int64_t silent_ms = group.world().clock.now_ms() - group.plane().oldest_heartbeat_ms();
  if (silent_ms < kStalledMs) return text("ok\n");
  return text("an event loop has not turned for " + std::to_string(silent_ms) + " ms\n", 503);
}
/// Listeners are bound before the admin address answers at all.
HttpReply started(Group&, const HttpRequest&) { return text("ok\n"); }

HttpReply ready(Group& group, const HttpRequest& request) {
  const Readiness readiness = group.readiness();
  std::string lines;
  for (const Readiness::Check& check : readiness.checks) {
    if (!check.holds || request.query.find("verbose") != std::string::npos) {
      lines += (check.holds ? "[+] " : "[-] ") + check.name + (check.holds ? " ok" : ": " + check.reason) + "\n";
    }
  }
  return text(lines + (readiness.ready ? "ready\n" : "not ready\n"), readiness.ready ? 200 : 503);
}

HttpReply status(Group& group, const HttpRequest&) { return json(status_json(group) + "\n"); }

HttpReply history(Group& group, const HttpRequest&) { return json(group.trend().history_json() + "\n"); }

/// `?since=N`: only what came behind that number.
HttpReply events(Group&, const HttpRequest& request) {
  constexpr std::string_view kSince = "since=";
  const auto since = request.query.starts_with(kSince) ? parse_int(request.query.substr(kSince.size())) : 0;
  if (!since || *since < 0) return text("since must be the number of an event\n", 400);
  return json(events_json(static_cast<uint64_t>(*since)) + "\n");
}

HttpReply metrics(Group& group, const HttpRequest&) {
  HttpReply reply = text(metrics_text(group));
  reply.type = "text/plain; version=0.0.4; charset=utf-8";
  return reply;
}

HttpReply configuration(Group& group, const HttpRequest&) {
  nlohmann::json all = nlohmann::json::object();
  for (const Option& option : options()) {
    all[std::string(option.name)] = get_masked(group.config(), option);
  }
  return json(all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

HttpReply drain(Group& group, const HttpRequest&) {
  group.drain();
  return json("{\"draining\":true}\n", 202);
}

HttpReply reload(Group& group, const HttpRequest&) {
  auto done = group.reload();
  if (!done.ok()) return text(done.error().detail + "\nnothing was changed\n", 400);
  const nlohmann::json answer = {
      {"reloaded", true}, {"changed", done.value().changed}, {"needs_restart", done.value().needs_restart}};
  return json(answer.dump() + "\n");
}

HttpReply upgrade(Group& group, const HttpRequest&) {
  auto begun = group.upgrade();
  if (!begun.ok()) return text(begun.error().detail + "\n", 409);
  return json("{\"upgrading\":true}\n", 202);
}

struct Entry {
  std::string_view method;
  std::string_view path;
  Answer answer;
  bool counts = false;  // of all loops, which have to be asked first
};

constexpr Entry kRoutes[] = {{"GET", "/", page},
                             {"GET", "/livez", live},
                             {"GET", "/readyz", ready},
                             {"GET", "/startupz", started},
                             {"GET", "/healthz", live},
                             {"GET", "/metrics", metrics, true},
                             {"GET", "/api/v1/status", status, true},
                             {"GET", "/api/v1/history", history},
                             {"GET", "/api/v1/events", events},
                             {"GET", "/api/v1/config", configuration},
                             {"POST", "/api/v1/drain", drain},
                             {"POST", "/api/v1/reload", reload},
                             {"POST", "/api/v1/upgrade", upgrade}};

std::string paths() {
  std::string known;
  for (const Entry& entry : kRoutes) known += std::string(entry.method) + " " + std::string(entry.path) + "\n";
  return known;
}

}  // namespace

Task<HttpReply> route(Group& group, HttpRequest request) {
  for (const Entry& entry : kRoutes) {
    if (entry.path != request.path) continue;
    if (entry.method == request.method) {
      if (entry.method == "POST") {
        auto refusal = refuse_change(group, request);
        if (refusal && refusal->wants_token) co_await group.world().clock.sleep(kWrongTokenMs);
        if (refusal) co_return std::move(*refusal);
      }
      if (entry.counts) co_await group.plane().look_around();
      co_return entry.answer(group, request);
    }
    HttpReply reply = text("use " + std::string(entry.method) + "\n", 405);
    reply.allow = entry.method;
    co_return reply;
  }
  co_return text("no such path; there are:\n" + paths(), 404);
}

}  // namespace sidestream::admin
