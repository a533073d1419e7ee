// main.cc: from the command line to a running instance, and its exit code.
#include <csignal>
#include <cstdio>

#include "common/log.h"
#include "common/uv_world.h"
#include "config/tls_config.h"
#include "proxy/instance/instance.h"
#include "proxy/main/command_line.h"
#include "proxy/main/privileges.h"
#include "proxy/main/reload.h"
#include "proxy/main/service_notice.h"
#include "proxy/main/subcommands.h"
#include "proxy/main/upgrade.h"

namespace sidestream {
namespace {

int complain(const std::string& text, int code) {
  std::fprintf(stderr, "%s\n", text.c_str());
  return code;
}

LogSettings log_settings(const Config& config) {
  const auto level = parse_log_level(config.log.level);
  return {level.ok() ? level.value() : LogLevel::notice, config.log.format == "json", config.log.file};
}

/// What earlier runs kept wins over the file; the log says so.
Result<Texts> apply_state(CommandLine& line) {
  if (line.forget_state) {
    instance::forget_state(line.config.dir);
    return Texts{};
  }
  auto state = instance::read_state(line.config.dir);
  RETURN_IF_ERROR(state);
  line.inputs.state = state.value();
  for (const std::string* note : instance::kNotes) line.inputs.state.erase(*note);
  Loaded loaded = load(line.inputs);
  if (!loaded.problems.empty()) return Error{Errc::config, loaded.problems.front().line()};
  line.config = std::move(loaded.config);
  line.warnings = std::move(loaded.warnings);
  return state;
}

/// What was changed by CONFIG SET in the process whose place we take.
Result<void> apply_legacy(const instance::Legacy& legacy, Config& config) {
  for (const auto& [name, text] : legacy.options) {
    auto done = set(config, name, text);
    RETURN_IF_ERROR(done);
  }
  return {};
}

Task<void> start(instance::Instance& instance, std::optional<Inheritance> inheritance, ServiceNotice& notice,
                 UvWorld& world, int& exit_code) {
  TaskSet heartbeats;
  const auto up = [&] {
    log_notice("instance", "sidestream {} is up at {}", SIDESTREAM_VERSION, instance.node_address().text());
    instance.answer_admin();
    // Clients are accepted. Not before the first sync: a primary that is away would make systemd give us up.
    notice.ready();
    if (notice.wanted()) heartbeats.add(send_heartbeats(notice, instance.group()));
  };
  auto started = Result<void>();
  if (inheritance) {
    auto taken = co_await take_over(instance, world, std::move(*inheritance), up);
    started = std::move(taken);
  } else {
    instance.answer_admin();
    auto begun = co_await instance.start();
    started = std::move(begun);
    if (started.ok()) up();
  }
  if (!started.ok()) {
    exit_code = complain("sidestream: " + started.error().detail, kExitFatal);
    world.stop();
  }
  co_await Signal().wait();  // the heartbeats go on
}

int run(CommandLine line, std::vector<std::string> arguments) {
  auto inheritance = receive_inheritance();
  if (!inheritance.ok()) return complain("sidestream: " + inheritance.error().detail, kExitFatal);
  auto state = apply_state(line);
  if (!state.ok()) return complain("sidestream: " + state.error().detail, kExitConfig);
  auto log = set_log(log_settings(line.config));
  if (!log.ok()) return complain("sidestream: " + log.error().detail, kExitConfig);
  for (const std::string& warning : line.warnings) log_warning("config", "{}", warning);
  for (const auto& [name, text] : state.value()) {
    log_notice("config", "{} is '{}' as decided in an earlier run (--forget-state drops this)", name, text);
  }
  int exit_code = kExitOk;
  TlsInForce tls;
  auto loaded_tls = load_tls(line.config, tls);
  if (!loaded_tls.ok()) return complain("sidestream: " + loaded_tls.error().detail, kExitConfig);
  std::vector<PassedListener> listeners;
  instance::Legacy legacy;
  if (inheritance.value()) {
    listeners = std::move(inheritance.value()->listeners);
    legacy = inheritance.value()->legacy;
    auto applied = apply_legacy(legacy, line.config);
    if (!applied.ok()) return complain("sidestream: " + applied.error().detail, kExitConfig);
  }
  Introductions introductions;
  UvWorld world(tls, introductions, std::move(listeners));
  instance::Instance instance(world.world(), line.config, std::move(state).value(), std::move(legacy));
  auto bound = instance.bind();
  if (!bound.ok()) return complain("sidestream: " + bound.error().detail, kExitBind);
  auto dropped = drop_privileges(line.config);
  if (!dropped.ok()) return complain("sidestream: " + dropped.error().detail, kExitConfig);
  allow_core_dumps(line.config.core_dumps);
  ServiceNotice notice(process_environment());
  bool asked_before = false;
  const auto finish = [&] {
    if (asked_before) return world.stop();
    asked_before = true;
    notice.stopping();
    instance.drain();
  };
  instance.when_drained([&] { world.stop(); });
  world.on_signal(SIGTERM, finish);
  world.on_signal(SIGINT, finish);
  Reloader reloader(line.inputs, line.config, instance, world.world());
  const auto reload = [&] { return reloader.reload(); };
  instance.when_reload_wanted(reload);
  world.on_signal(SIGHUP, [&] { (void)instance.group().reload().ok(); });
  world.on_signal(SIGUSR1, [] {
    auto reopened = reopen_log();
    if (!reopened.ok()) log_error("log", "{}", reopened.error().detail);
  });
  world.on_stall([&] { instance.was_stopped(); });
  Upgrade upgrade(std::move(arguments), instance, world, notice, [&] { world.stop(); });
  instance.when_upgrade_wanted([&] { return upgrade.begin(); });
  world.on_signal(SIGUSR2, [&] {
    auto begun = instance.group().upgrade();
    if (!begun.ok()) log_error("upgrade", "refused: {}", begun.error().detail);
  });
  TaskSet starting;
  starting.add(start(instance, std::move(inheritance).value(), notice, world, exit_code));
  starting.add(reloader.watch_files());
  world.run();
  return exit_code;
}

}  // namespace
}  // namespace sidestream

int main(int argc, char** argv) {
  using namespace sidestream;
  CommandLine line = parse_command_line(std::vector<std::string>(argv + 1, argv + argc), process_environment());
  if (line.action != CommandLine::Action::run) return subcommand(line);
  return run(std::move(line), std::vector<std::string>(argv, argv + argc));
}
