// log.h: one line per event, on standard error or in a file, as text or JSON. A line has a level, the tag of its link,
// session or part, and words. State moves read `handshake -> snapshot`. Keys, values and secrets never reach a line.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

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
