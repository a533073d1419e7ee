// log.cc: the only place that configures spdlog. Text or JSON, to standard error or a file that can be reopened.
//
// JSON lines are built by nlohmann-json, because a spdlog pattern does not escape its message.
#include "common/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <ctime>
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

const char* level_name(LogLevel level) {
  static constexpr const char* kNames[] = {"trace", "debug", "verbose", "notice", "warning", "error"};
  return kNames[static_cast<int>(level)];
}

std::string timestamp() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  char day[32];
  strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:03}Z", day, now.tv_nsec / 1'000'000);
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

bool log_enabled(LogLevel level) { return level >= g_level.load(std::memory_order_relaxed); }

void log_line(LogLevel level, std::string_view tag, std::string_view text) {
  const std::lock_guard lock(g_mutex);
  if (!g_logger) g_logger = open_logger("");
  if (g_settings.json) {
    const nlohmann::json line = {
        {"ts", timestamp()}, {"level", level_name(level)}, {"tag", std::string(tag)}, {"msg", std::string(text)}};
    g_logger->log(spdlog_level(level), "{}", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    g_logger->log(spdlog_level(level), "{} {:7} {}: {}", timestamp(), level_name(level), tag, text);
  }
}

}  // namespace sidestream
