// log.h: one line per event, on standard error or in a file, as text or JSON. A line has a level, the tag of its link,
// session or part, and words. State moves read `handshake -> snapshot`. Keys, values and secrets never reach a line.
//
// Happy path: log_notice(tag, format, ...). From notice on a line is also an event: the last ones are kept for the
// status page, whatever log.level says. Failure modes: words that repeat are cut off after a few and counted; a file
// that cannot be written loses lines, never the process.
#pragma once

#include <fmt/core.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace sidestream {

enum class LogLevel { trace, debug, verbose, notice, warning, error };

struct LogSettings {
  LogLevel level = LogLevel::notice;
  bool json = false;
  std::string file;  // empty: standard error
};

/// Names of redis.conf and of spdlog: debug, verbose (info), notice, warning (warn), error; nothing else.
Result<LogLevel> parse_log_level(std::string_view name);
/// May be called again. Errc::io when the file cannot be opened; then nothing changed.
Result<void> set_log(const LogSettings& settings);
/// Opens the log file anew, for logrotate.
Result<void> reopen_log();
bool log_enabled(LogLevel level);
void log_line(LogLevel level, std::string_view tag, std::string_view text);
std::string_view name_of(LogLevel level);

/// A line that people may have missed.
struct LogEvent {
  uint64_t number = 0;  // counts from 1
  int64_t wall_ms = 0;
  LogLevel level = LogLevel::notice;
  std::string tag;
  std::string text;
};
inline constexpr size_t kLogEventsMax = 256;
/// The latest events with a number above `after`, the oldest first.
std::vector<LogEvent> log_events(uint64_t after);
/// Gives back their memory, for those who count what is left of it.
void forget_log_events();

struct LogCounts {
  std::array<uint64_t, 6> lines{};  // by LogLevel, also those that were not written for their level
  uint64_t dropped = 0;             // repeats
};
LogCounts log_counts();

template <class... Args>
void log_at(LogLevel level, std::string_view tag, fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(level)) log_line(level, tag, fmt::format(format, std::forward<Args>(args)...));
}
#define SIDESTREAM_LOG(name)                                                                  \
  template <class... Args>                                                                    \
  void log_##name(std::string_view tag, fmt::format_string<Args...> format, Args&&... args) { \
    log_at(LogLevel::name, tag, format, std::forward<Args>(args)...);                         \
  }
SIDESTREAM_LOG(debug)
SIDESTREAM_LOG(verbose)
SIDESTREAM_LOG(notice)
SIDESTREAM_LOG(warning)
SIDESTREAM_LOG(error)
#undef SIDESTREAM_LOG

}  // namespace sidestream
