// subcommands.cc: blocking and simple; each asks the admin address until it has what it wants or its time is over.
#include "proxy/main/subcommands.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "common/text.h"
#include "proxy/main/admin_client.h"
#include "proxy/main/status_view.h"

namespace sidestream {
namespace {

using Steady = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int64_t kAskMs = 5000;
constexpr int64_t kPollMs = 200;
constexpr const char* kStatusPath = "/api/v1/status";

void print(const std::string& text, std::FILE* stream = stdout) {
  std::fwrite(text.data(), 1, text.size(), stream);
  std::fflush(stream);
}

int fail(const std::string& text) {
  print("sidestream: " + text + "\n", stderr);
  return kExitConfig;
}

/// What a server said, fit for the end of a sentence.
std::string one_line(std::string_view text) {
  std::vector<std::string> lines;
  for (const std::string& line : split(trim(text), '\n')) lines.push_back(printable(trim(line)));
  return fmt::format("{}", fmt::join(lines, "; "));
}

/// The text to show, or why there is none.
Result<std::string> status_text(const CommandLine& line) {
  auto answer = ask_admin(line.admin, "GET", kStatusPath, kAskMs);
  if (!answer.ok()) return answer.error();
  if (answer.value().status != 200) {
    return Error{Errc::protocol,
                 fmt::format("{} answers with HTTP status {}", line.admin.text(), answer.value().status)};
  }
  if (line.json) return std::string(trim(answer.value().body)) + "\n";
  return draw_status(answer.value().body, isatty(STDOUT_FILENO) != 0);
}

int status(const CommandLine& line) {
  const bool redraw = line.watch && isatty(STDOUT_FILENO) != 0;
  for (;;) {
    const auto text = status_text(line);
    if (!text.ok() && !line.watch) return fail(text.error().detail);
    const std::string shown = text.ok() ? text.value() : "sidestream: " + text.error().detail + "\n";
    print((redraw ? "\x1b[H\x1b[2J" : "") + shown);
    if (!line.watch) return kExitOk;
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

/// Asks `done` until it says yes or the time is over; at least once.
template <class Done>
bool poll_until(int64_t timeout_ms, Done done) {
  const auto deadline = Steady::now() + milliseconds(timeout_ms);
  for (;;) {
    const int64_t left = std::chrono::duration_cast<milliseconds>(deadline - Steady::now()).count();
    if (done(std::clamp<int64_t>(left, 1, kAskMs))) return true;
    if (Steady::now() + milliseconds(kPollMs) >= deadline) return false;
    std::this_thread::sleep_for(milliseconds(kPollMs));
  }
}

int wait(const CommandLine& line) {
  std::string last;
  const bool reached = poll_until(line.timeout_ms, [&](int64_t ask_ms) {
    auto answer = ask_admin(line.admin, "GET", line.synced ? kStatusPath : "/readyz", ask_ms);
    if (!answer.ok()) {
      last = answer.error().detail;
      return false;
    }
    const std::string body(trim(answer.value().body));
    last = line.synced ? "it answers, but is not synced; `sidestream status` shows more" : "it says: " + one_line(body);
    return answer.value().status == 200 && (!line.synced || is_synced(body));
  });
  if (reached) return kExitOk;
  return fail(fmt::format("not {} within {} ms; {}", line.synced ? "synced" : "ready", line.timeout_ms, last));
}

/// Clients of the instance; nothing when it is gone, which is as good as none.
std::optional<int64_t> connected_clients(const Address& admin, int64_t ask_ms) {
  auto answer = ask_admin(admin, "GET", kStatusPath, ask_ms);
  if (!answer.ok()) {
    if (answer.error().code == Errc::closed) return std::nullopt;
    return INT64_MAX;  // silent: ask again
  }
  const auto status = nlohmann::json::parse(answer.value().body, nullptr, false);
  const auto path = nlohmann::json::json_pointer("/clients/connected");
  if (status.is_discarded() || !status.contains(path) || !status[path].is_number()) return INT64_MAX;
  return status[path].get<int64_t>();
}

int drain(const CommandLine& line) {
  auto answer = ask_admin(line.admin, "POST", "/api/v1/drain", kAskMs, line.admin_token);
  if (!answer.ok()) return fail(answer.error().detail);
  if (answer.value().status / 100 != 2) {
    return fail(fmt::format("{} refuses to drain (HTTP status {}): {}", line.admin.text(), answer.value().status,
                            one_line(answer.value().body)));
  }
  int64_t left = INT64_MAX;
  const bool empty = poll_until(line.timeout_ms, [&](int64_t ask_ms) {
    left = connected_clients(line.admin, ask_ms).value_or(0);
    return left == 0;
  });
  if (empty) return kExitOk;
  const std::string who = left == INT64_MAX ? "some clients are" : fmt::format("{} clients are", left);
  return fail(fmt::format("{} still connected after {} ms", who, line.timeout_ms));
}

struct Running {
  int64_t pid = 0;
  std::string version, upgrade, trouble;
};

/// Nothing: it does not answer (for a moment), or says something else.
std::optional<Running> running_process(const Address& admin, int64_t ask_ms) {
  auto answer = ask_admin(admin, "GET", kStatusPath, ask_ms);
  if (!answer.ok()) return std::nullopt;
  const auto status = nlohmann::json::parse(answer.value().body, nullptr, false);
  if (!status.is_object() || !status.contains("process")) return std::nullopt;
  const auto text = [&](const char* path) { return status.value(nlohmann::json::json_pointer(path), std::string()); };
  return Running{status.value(nlohmann::json::json_pointer("/process/pid"), int64_t{0}), text("/version"),
                 text("/process/upgrade/state"), text("/process/upgrade/trouble")};
}

int upgrade(const CommandLine& line) {
  const auto before = running_process(line.admin, kAskMs);
  if (!before) return fail(line.admin.text() + " does not answer as an instance that can be upgraded");
  auto answer = ask_admin(line.admin, "POST", "/api/v1/upgrade", kAskMs, line.admin_token);
  if (!answer.ok()) return fail(answer.error().detail);
  if (answer.value().status / 100 != 2) {
    return fail(fmt::format("refused (HTTP status {}): {}", answer.value().status, one_line(answer.value().body)));
  }
  Running now;
  const bool ended = poll_until(line.timeout_ms, [&](int64_t ask_ms) {
    const auto answered = running_process(line.admin, ask_ms);
    if (answered) now = *answered;
    return answered && (now.pid != before->pid || now.upgrade == "failed");
  });
  if (!ended) return fail("it is not over yet; `sidestream status` and the log show more");
  if (now.pid == before->pid) return fail("the upgrade was given up, all is as before: " + printable(now.trouble, 512));
  print(fmt::format("process {} (sidestream {}) was succeeded by process {} (sidestream {})\n", before->pid,
                    printable(before->version), now.pid, printable(now.version)));
  return kExitOk;
}

}  // namespace

int subcommand(const CommandLine& line) {
  switch (line.action) {
    case CommandLine::Action::status:
      return status(line);
    case CommandLine::Action::wait:
      return wait(line);
    case CommandLine::Action::drain:
      return drain(line);
    case CommandLine::Action::upgrade:
      return upgrade(line);
    case CommandLine::Action::run:
    case CommandLine::Action::leave:
      break;
  }
  print(line.out);
  print(line.err, stderr);
  return line.exit_code;
}

}  // namespace sidestream
