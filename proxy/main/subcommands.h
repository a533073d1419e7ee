// subcommands.h: everything the program does besides being an instance: answers about itself, status, wait, drain.
#pragma once

#include "proxy/main/command_line.h"

namespace sidestream {

/// Does what `line` says, on standard output and error; not for Action::run. Returns the exit code.
int subcommand(const CommandLine& line);

}  // namespace sidestream
