// command_line.h: what the user typed, understood: what to do, with which configuration.
//
// Happy path: parse_command_line(), then subcommand() for everything that is done in a moment, or the instance for
// Action::run. Failure modes: a mistake on the command line is Action::leave with exit code 2 and help in `err`; one in
// the file or the environment with exit code 1 and all problems in `err`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/sources.h"

namespace sidestream {

/// Exit codes of the program.
enum ExitCode : int { kExitOk = 0, kExitConfig = 1, kExitUsage = 2, kExitBind = 3, kExitFatal = 4 };

struct CommandLine {
  enum class Action {
    run,     ///< the instance, with `config`
    leave,   ///< print `out` and `err`, exit with `exit_code`: help, version, checks, mistakes
    status,  ///< the rest talks to a running instance at `admin`
    wait,
    drain,
    upgrade,
  };
  Action action = Action::leave;
  int exit_code = kExitOk;
  std::string out;
  std::string err;

  // run
  Inputs inputs;  // for load() again: at a reload, or with the state kept in config.dir as inputs.state
  Config config;
  std::vector<std::string> warnings;  // to be logged
  bool forget_state = false;

  // status, wait, drain, upgrade
  Address admin;
  std::string admin_token;  // from SIDESTREAM_ADMIN_TOKEN or the file of SIDESTREAM_ADMIN_TOKEN_FILE
  bool watch = false;
  bool json = false;
  bool synced = false;     // wait for synced instead of ready
  int64_t timeout_ms = 0;  // wait, drain, upgrade
};

/// `arguments` without the program's name.
CommandLine parse_command_line(std::vector<std::string> arguments, const Texts& environment);
/// "sidestream 0.1.0 (g++ 12.2.0; libuv 1.44.2, ...)".
std::string version_text();

}  // namespace sidestream
