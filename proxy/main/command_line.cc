// command_line.cc: only here is CLI11, and it only finds flags and their texts; what they mean is in the option table.
#include "proxy/main/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <sstream>

#include "common/text.h"
#include "config/config_file.h"
#include "config/print.h"

namespace sidestream {
namespace {

constexpr const char* kDefaultAdmin = "127.0.0.1:9180";
constexpr size_t kTokenBytesMax = 4096;

constexpr const char* kFooter =
    "Example: sidestream --node 127.0.0.1:6380\n"
    "Every option can also be given as --set KEY=VALUE or as environment variable: SIDESTREAM_LOG_LEVEL for "
    "log.level.\n"
    "Exit codes: 0 clean stop, 1 configuration, 2 usage, 3 cannot bind, 4 fatal at run time.\n"
    "Signals: SIGTERM or SIGINT drains and exits (a second one: at once), SIGHUP reloads, SIGUSR1 reopens the log "
    "file, SIGUSR2 upgrades.";

/// The texts as typed, before anybody judged them.
struct Typed {
  std::string file;
  std::vector<std::string> listen;
  std::string admin;
  std::vector<std::string> nodes;
  std::string replicaof;
  std::string dir;
  std::vector<std::string> sets;
  bool forget_state = false;
  bool check_config = false;
  bool print_config = false;
  bool version = false;
  std::string reference;

  bool watch = false;
  bool json = false;
  bool ready = false;
  bool synced = false;
  std::string timeout = "60s";
  std::string drain_wait = "25s";
  std::string upgrade_timeout = "60s";
};

class Parser {
 public:
  explicit Parser(Typed& typed)
      : typed_(typed), app_("A replication sidecar proxy for Redis and Valkey.", "sidestream") {
    app_.footer(kFooter);
    app_.require_subcommand(0, 1);
    add_flags();
    add_subcommands();
  }

  /// What is left to print and the exit code, if parsing is the end of it.
  std::optional<CommandLine> parse(std::vector<std::string> arguments) {
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
    try {
      app_.parse(std::move(arguments));
    } catch (const CLI::ParseError& e) {
      std::ostringstream out;
      std::ostringstream err;
      CommandLine line;
      line.exit_code = app_.exit(e, out, err) == 0 ? kExitOk : kExitUsage;
      line.out = out.str();
      line.err = err.str();
      return line;
    }
    return std::nullopt;
  }
  bool given(const CLI::App* subcommand) const { return app_.got_subcommand(subcommand); }
  bool admin_given() const { return !typed_.admin.empty(); }
  CLI::App* status = nullptr;
  CLI::App* wait = nullptr;
  CLI::App* drain = nullptr;
  CLI::App* upgrade = nullptr;

 private:
  void add_flags() {
    app_.add_option("--config", typed_.file, "Configuration file (YAML)")->type_name("FILE");
    app_.add_option("--listen", typed_.listen, "Where clients and replicas connect; may be repeated")
        ->type_name("ADDR")
        ->expected(1)
        ->take_all();
    add_admin(app_, "HTTP address: status page, metrics, probes");
    app_.add_option("--node", typed_.nodes, "A stock server of this instance; may be repeated")
        ->type_name("HOST:PORT")
        ->expected(1)
        ->take_all();
    app_.add_option("--replicaof", typed_.replicaof, "The server to follow")->type_name("HOST:PORT");
    app_.add_option("--dir", typed_.dir, "Our own files")->type_name("PATH");
    app_.add_flag("--forget-state", typed_.forget_state,
                  "Drop what an earlier run kept in --dir: role, changed options");
    app_.add_option("--set", typed_.sets, "Any option; may be repeated")
        ->type_name("KEY=VALUE")
        ->expected(1)
        ->take_all();
    app_.add_flag("--check-config", typed_.check_config, "Print every mistake, or `configuration OK`, and exit");
    app_.add_flag("--print-config", typed_.print_config, "Print what is in force and where it came from, and exit");
    app_.add_flag("--version", typed_.version, "Print the versions and exit");
    app_.add_option("--print-reference", typed_.reference)->check(CLI::IsMember({"yaml", "markdown"}))->group("");
  }

  void add_subcommands() {
    status = app_.add_subcommand("status", "Topology, lag and sync progress of a running instance");
    status->add_flag("--watch", typed_.watch, "Redraw every second");
    status->add_flag("--json", typed_.json, "As JSON");
    wait = app_.add_subcommand("wait",
                               "Wait until a running instance is ready or synced; exit code 1 if it is not in time");
    CLI::Option* ready = wait->add_flag("--ready", typed_.ready, "It serves clients");
    CLI::Option* synced = wait->add_flag("--synced", typed_.synced, "Ready, its upstream connected, all nodes online");
    ready->excludes(synced);
    wait->add_option("--timeout", typed_.timeout, "How long")->type_name("TIME")->capture_default_str();
    drain = app_.add_subcommand("drain", "Ask a running instance to send its clients away; exit code 1 if some stay");
    drain->add_option("--wait", typed_.drain_wait, "How long to wait for them")
        ->type_name("TIME")
        ->capture_default_str();
    upgrade = app_.add_subcommand("upgrade",
                                  "Have the program that is installed now take a running instance's place; its clients "
                                  "and replicas stay. Exit code 1 if it could not: then all is as before");
    upgrade->add_option("--timeout", typed_.upgrade_timeout, "How long to wait for it")
        ->type_name("TIME")
        ->capture_default_str();
    for (CLI::App* subcommand : {status, wait, drain, upgrade}) add_admin(*subcommand, "Its HTTP address");
  }

  void add_admin(CLI::App& app, const std::string& help) {
    app.add_option("--admin", typed_.admin, help)->type_name("ADDR");
  }

  Typed& typed_;
  CLI::App app_;
};

CommandLine leave(int exit_code, std::string out, std::string err = {}) {
  CommandLine line;
  line.exit_code = exit_code;
  line.out = std::move(out);
  line.err = std::move(err);
  return line;
}

CommandLine misused(const std::string& text) {
  return leave(kExitUsage, {}, fmt::format("{}\nRun with --help for more information.\n", text));
}

std::string joined(const std::vector<std::string>& texts) { return fmt::format("{}", fmt::join(texts, ",")); }

/// The flags as options. Errc::config: a --set without `=`.
Result<std::vector<Flag>> flags_of(const Typed& typed) {
  std::vector<Flag> flags;
  const auto add = [&](const char* name, const std::string& text) {
    if (!text.empty())
      flags.push_back({name, text, std::string("--") + (name == std::string("nodes") ? "node" : name)});
  };
  add("listen", joined(typed.listen));
  add("admin", typed.admin);
  add("nodes", joined(typed.nodes));
  add("replicaof", typed.replicaof);
  add("dir", typed.dir);
  for (const std::string& entry : typed.sets) {
    const size_t equals = entry.find('=');
    if (equals == std::string::npos || equals == 0) {
      return Error{Errc::config, fmt::format("--set: wanted KEY=VALUE, not '{}'", printable(entry))};
    }
    const std::string key = entry.substr(0, equals);
    flags.push_back({key, entry.substr(equals + 1), "--set"});
  }
  return flags;
}

/// The token by which we may ask for a drain from another machine; never on the command line, where all can see it.
Result<std::string> admin_token(const Texts& environment) {
  const auto variable = environment.find("SIDESTREAM_ADMIN_TOKEN");
  if (variable != environment.end()) return variable->second;
  const auto file = environment.find("SIDESTREAM_ADMIN_TOKEN_FILE");
  if (file == environment.end()) return std::string();
  auto token = read_whole_file(file->second, kTokenBytesMax);
  if (token.ok()) return std::string(trim(token.value()));
  return Error{Errc::config, fmt::format("SIDESTREAM_ADMIN_TOKEN_FILE: '{}' cannot be read: {}",
                                         printable(file->second), token.error().detail)};
}

/// For status, wait, drain and upgrade: where the instance is and how long to stay.
CommandLine remote(const Typed& typed, const Parser& parser, const Texts& environment) {
  CommandLine line;
  line.watch = typed.watch;
  line.json = typed.json;
  line.synced = typed.synced;
  const auto variable = environment.find("SIDESTREAM_ADMIN");
  const std::string fallback = variable == environment.end() ? kDefaultAdmin : variable->second;
  const auto admin = parse_address(parser.admin_given() ? typed.admin : fallback);
  if (!admin.ok()) return misused("--admin: " + admin.error().detail);
  line.admin = admin.value();
  auto token = admin_token(environment);
  if (!token.ok()) return misused(token.error().detail);
  line.admin_token = std::move(token).value();
  line.action = parser.given(parser.status)  ? CommandLine::Action::status
                : parser.given(parser.wait)  ? CommandLine::Action::wait
                : parser.given(parser.drain) ? CommandLine::Action::drain
                                             : CommandLine::Action::upgrade;
  if (line.action == CommandLine::Action::status) return line;
  const bool waits = line.action == CommandLine::Action::wait, drains = line.action == CommandLine::Action::drain;
  if (waits && !typed.ready && !typed.synced) return misused("wait: name what to wait for, --ready or --synced");
  const std::string& text = waits ? typed.timeout : drains ? typed.drain_wait : typed.upgrade_timeout;
  const auto ms = parse_duration_ms(text, 1000);
  if (!ms)
    return misused(fmt::format("--{}: wanted a time such as 500ms, 25s or 2m, not '{}'", drains ? "wait" : "timeout",
                               printable(text)));
  line.timeout_ms = *ms;
  return line;
}

CommandLine refused(const Loaded& loaded) {
  std::string err;
  bool typed_wrong = false;
  for (const Problem& problem : loaded.problems) {
    err += problem.line() + '\n';
    typed_wrong |= problem.origin.source == Source::flag;
  }
  return leave(typed_wrong ? kExitUsage : kExitConfig, {}, err);
}

CommandLine instance(const Typed& typed, const Texts& environment) {
  auto flags = flags_of(typed);
  if (!flags.ok()) return misused(flags.error().detail);
  Inputs inputs{typed.file, environment, std::move(flags).value(), {}};
  Loaded loaded = load(inputs);
  std::string warnings;
  for (const std::string& warning : loaded.warnings) warnings += fmt::format("warning: {}\n", warning);
  if (!loaded.problems.empty()) {
    CommandLine line = refused(loaded);
    line.err += warnings;
    return line;
  }
  if (typed.check_config) return leave(kExitOk, "configuration OK\n", warnings);
  if (typed.print_config) return leave(kExitOk, print_config(loaded), warnings);
  CommandLine line;
  line.action = CommandLine::Action::run;
  line.inputs = std::move(inputs);
  line.config = std::move(loaded.config);
  line.warnings = std::move(loaded.warnings);
  line.forget_state = typed.forget_state;
  return line;
}

std::string compiler() {
#ifdef __clang__
  return "clang " __clang_version__;
#else
  return "g++ " __VERSION__;
#endif
}

}  // namespace

CommandLine parse_command_line(std::vector<std::string> arguments, const Texts& environment) {
  Typed typed;
  Parser parser(typed);
  if (auto done = parser.parse(std::move(arguments))) return *done;
  if (typed.version) return leave(kExitOk, version_text() + "\n");
  if (typed.reference == "yaml") return leave(kExitOk, reference_yaml());
  if (typed.reference == "markdown") return leave(kExitOk, reference_markdown());
  const std::array remotes = {parser.status, parser.wait, parser.drain, parser.upgrade};
  if (std::any_of(remotes.begin(), remotes.end(), [&](const auto* each) { return parser.given(each); })) {
    return remote(typed, parser, environment);
  }
  return instance(typed, environment);
}

std::string version_text() {
  return fmt::format("sidestream {} ({}; {})", SIDESTREAM_VERSION, compiler(), SIDESTREAM_LIBRARIES);
}

}  // namespace sidestream
