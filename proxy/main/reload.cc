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
    : inputs_(std::move(inputs)), started_(std::move(config)), config_(started_), instance_(instance), world_(world) {}

Result<admin::Reloaded> Reloader::reload() {
  Loaded loaded = load(inputs_);
  for (const Problem& problem : loaded.problems) log_error("config", "{}", problem.line());
  for (const std::string& warning : loaded.warnings) log_warning("config", "{}", warning);
  auto good = loaded.problems.empty() ? check(loaded.config)
                                      : Result<void>(Error{Errc::config, loaded.problems.front().line()});
  if (!good.ok()) {
    if (loaded.problems.empty()) log_error("config", "{}", good.error().detail);
    log_error("config", "not reloaded: all stays as it was");
    return good.error();
  }
  admin::Reloaded reloaded;
  std::vector<const Option*> changed;
  for (const Option* option : differences(config_, loaded.config)) {
    if (option->reload != Reload::live) continue;
    reloaded.changed.emplace_back(option->name);
    changed.push_back(option);
  }
  if (config_.users == loaded.config.users && config_.accounts != loaded.config.accounts) {
    reloaded.changed.emplace_back("users");  // by their files
  }
  instance_.take(changed, loaded.config);
  for (const Option* option : differences(started_, loaded.config)) {
    if (option->reload == Reload::live) continue;
    reloaded.needs_restart.emplace_back(option->name);
    const bool is_role = option->name == "replicaof";
    log_warning("config", "{} was changed, but needs {}", option->name, is_role ? "REPLICAOF" : "a restart");
  }
  log_notice("config", "reloaded: {} options changed, {} wait for a restart", reloaded.changed.size(),
             reloaded.needs_restart.size());
  config_ = std::move(loaded.config);
  return reloaded;
}

/// What is right by itself may not be possible now. The certificates are in force when this has said yes: the files may
/// have changed under the same names.
Result<void> Reloader::check(const Config& fresh) const {
  for (const Option* option : differences(config_, fresh)) {
    if (option->reload != Reload::live) continue;
    auto allowed = instance_.may_take(*option, fresh);
    RETURN_IF_ERROR(allowed);
  }
  if (world_.tls == nullptr) return {};
  return load_tls(fresh, *world_.tls);
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
    (void)instance_.group().reload().ok();
    before = look();
  }
}

}  // namespace sidestream
