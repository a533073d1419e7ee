// log.cc: the only place that configures spdlog. Text or JSON, to standard error or a file that can be reopened.
//
// JSON lines are built by nlohmann-json, because a spdlog pattern does not escape its message.
#include "common/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <ctime>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>

#include "common/text.h"

namespace sidestream {
namespace {

std::mutex g_mutex;  // of all below: any loop may have something to say
LogSettings g_settings;
std::shared_ptr<spdlog::logger> g_logger;
std::atomic<LogLevel> g_level{LogLevel::notice};

/// spdlog's own levels are coarser than Redis': verbose and notice both print at its "info".
spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::trace:
      return spdlog::level::trace;
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::verbose:
    case LogLevel::notice:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

/// Keeps a line that is said over and over (a thousand clients with the same mistake) from filling the disk: the same
/// words are written kBurst times in kWindowMs, whoever they are about; then how often they were left out.
class Repeats {
 public:
  /// Whether to write; `left_out` then tells how often it was not since the last time.
  bool allow(std::string_view text, int64_t now_ms, uint64_t& left_out) {
    const size_t words = std::hash<std::string_view>()(text);
    Seen& seen = seen_[words % seen_.size()];
    if (seen.words != words || now_ms - seen.since_ms > kWindowMs) {
      left_out = seen.words == words ? seen.left_out : 0;
      seen = {words, now_ms, 1, 0};
      return true;
    }
    left_out = 0;
    if (++seen.times <= kBurst) return true;
    ++seen.left_out;
    return false;
  }

 private:
  static constexpr int64_t kWindowMs = 10'000;
  static constexpr int kBurst = 20;
  struct Seen {
    size_t words = 0;  // their hash
    int64_t since_ms = 0;
    int times = 0;
    uint64_t left_out = 0;
  };
  std::array<Seen, 64> seen_;
};

Repeats g_repeats;
std::deque<LogEvent> g_events;
uint64_t g_last_event = 0;
LogCounts g_counts;

timespec time_of(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return now;
}
int64_t milliseconds(const timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * 1000 + time.tv_nsec / 1'000'000;
}

std::string timestamp(const timespec& now) {
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  char day[32];
  strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:03}Z", day, now.tv_nsec / 1'000'000);
}

/// One event is one line, whatever a peer called itself.
std::string one_line(std::string_view text) {
  std::string line;
  line.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      line += fmt::format("\\x{:02x}", byte);
    } else {
      line += c;
    }
  }
  return line;
}

void keep_event(LogLevel level, int64_t wall_ms, std::string_view tag, std::string_view text) {
  g_events.push_back({++g_last_event, wall_ms, level, std::string(tag), std::string(text)});
  if (g_events.size() > kLogEventsMax) g_events.pop_front();
}

std::shared_ptr<spdlog::logger> open_logger(const std::string& file) {
  std::shared_ptr<spdlog::sinks::sink> sink;
  if (file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file);
  }
  sink->set_formatter(std::make_unique<spdlog::pattern_formatter>("%v"));
  auto logger = std::make_shared<spdlog::logger>("sidestream", std::move(sink));
  logger->set_level(spdlog::level::trace);
  logger->flush_on(spdlog::level::trace);
  return logger;
}

}  // namespace

Result<LogLevel> parse_log_level(std::string_view name) {
  const std::string lower = to_lower(name);
  if (lower == "trace") return LogLevel::trace;
  if (lower == "debug") return LogLevel::debug;
  if (lower == "verbose" || lower == "info") return LogLevel::verbose;
  if (lower == "notice") return LogLevel::notice;
  if (lower == "warning" || lower == "warn") return LogLevel::warning;
  if (lower == "error") return LogLevel::error;
  return Error{Errc::config, "unknown log level (wanted debug, verbose, notice, warning or error)"};
}

Result<void> set_log(const LogSettings& settings) {
  const std::lock_guard lock(g_mutex);
  try {
    g_logger = open_logger(settings.file);
  } catch (const spdlog::spdlog_ex& failure) {
    return Error{Errc::io, std::string("cannot open the log file: ") + failure.what()};
  }
  g_settings = settings;
  g_level.store(settings.level, std::memory_order_relaxed);
  return {};
}

Result<void> reopen_log() {
  std::unique_lock lock(g_mutex);
  const LogSettings settings = g_settings;
  lock.unlock();
  return set_log(settings);
}

bool log_enabled(LogLevel level) {
  return level >= LogLevel::notice || level >= g_level.load(std::memory_order_relaxed);
}

std::string_view name_of(LogLevel level) {
  static constexpr std::string_view kNames[] = {"trace", "debug", "verbose", "notice", "warning", "error"};
  return kNames[static_cast<int>(level)];
}

std::vector<LogEvent> log_events(uint64_t after) {
  const std::lock_guard lock(g_mutex);
  const auto first = std::find_if(g_events.begin(), g_events.end(), [&](const auto& e) { return e.number > after; });
  return {first, g_events.end()};
}

void forget_log_events() {
  const std::lock_guard lock(g_mutex);
  g_events = std::deque<LogEvent>();
  g_repeats = Repeats();
}

LogCounts log_counts() {
  const std::lock_guard lock(g_mutex);
  return g_counts;
}

void log_line(LogLevel level, std::string_view tag, std::string_view text) {
  const std::lock_guard lock(g_mutex);
  ++g_counts.lines[static_cast<size_t>(level)];
  uint64_t left_out = 0;
  if (!g_repeats.allow(text, milliseconds(time_of(CLOCK_MONOTONIC)), left_out)) {
    ++g_counts.dropped;
    return;
  }
  const timespec now = time_of(CLOCK_REALTIME);
  std::string words = one_line(text);
  if (left_out > 0) words += fmt::format(" (and {} times before, not written)", left_out);
  if (level >= LogLevel::notice) keep_event(level, milliseconds(now), tag, words);
  if (level < g_level.load(std::memory_order_relaxed)) return;
  if (!g_logger) g_logger = open_logger("");
  if (g_settings.json) {
    const nlohmann::json line = {
        {"ts", timestamp(now)}, {"level", name_of(level)}, {"tag", std::string(tag)}, {"msg", words}};
    g_logger->log(spdlog_level(level), "{}", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    g_logger->log(spdlog_level(level), "{} {:7} {}: {}", timestamp(now), name_of(level), one_line(tag), words);
  }
}

}  // namespace sidestream
