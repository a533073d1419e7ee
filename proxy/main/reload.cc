// reload.cc: see the header.
#include "proxy/main/reload.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <utility>

#include "common/log.h"
#include "config/tls_config.h"

namespace sidestream {
namespace {

constexpr int64_t kLookEveryMs = 2000;

/// Which file is there now: another one, or the same with other contents, gives another text.
std::string mark_of(const std::string& path) {
  struct stat info{};
  if (path.empty() || stat(path.c_str(), &info) != 0) return {};
  return fmt::format("{}:{}:{}:{}.{}", info.st_dev, info.st_ino, info.st_size, info.st_mtim.tv_sec,
                     info.st_mtim.tv_nsec);
}

}  // namespace

Reloader::Reloader(Inputs inputs, Config config, instance::Instance& instance, World& world)
    : inputs_(std::move(inputs)), config_(std::move(config)), instance_(instance), world_(world) {}

Result<void> Reloader::reload() {
  Loaded loaded = load(inputs_);
  for (const Problem& problem : loaded.problems) log_error("config", "{}", problem.line());
  if (!loaded.problems.empty()) {
    log_error("config", "not reloaded: all stays as it was");
    return Error{Errc::config, loaded.problems.front().line()};
  }
  if (world_.tls != nullptr) {
    auto loaded_tls = load_tls(loaded.config, *world_.tls);  // the files may have changed under the same names
    if (!loaded_tls.ok()) log_error("config", "{}", loaded_tls.error().detail);
    RETURN_IF_ERROR(loaded_tls);
  }
  size_t changed = 0;
  for (const Option* option : differences(config_, loaded.config)) {
    if (option->reload != Reload::live) {
      log_warning("config", "{} was changed, but needs a restart", option->name);
      continue;
    }
    ++changed;
    instance_.take_option(*option, loaded.config);
  }
  log_notice("config", "reloaded: {} options changed", changed);
  config_ = std::move(loaded.config);
  return {};
}

std::vector<std::string> Reloader::look() const {
  std::vector<std::string> marks;
  for (const std::string& path : watched_files(config_)) marks.push_back(mark_of(path));
  return marks;
}

Task<void> Reloader::watch_files() {
  std::vector<std::string> before = look();
  for (;;) {
    co_await world_.clock.sleep(kLookEveryMs);
    std::vector<std::string> now = look();
    if (now == before) continue;
    // A certificate and its key are two files: both must have come to rest.
    co_await world_.clock.sleep(kLookEveryMs / 2);
    if (look() != now) continue;
    log_notice("config", "a file with a secret or a certificate has changed");
    (void)reload().ok();
    before = look();
  }
}

}  // namespace sidestream
