// config_commands.h: CONFIG GET, SET, REWRITE, RESETSTAT. Names of the option table are ours; everything else is the
// nodes': GET asks the lead node, SET goes to all of them.
//
// Failure modes: stock 7.0's error texts. A SET of several names checks ours before anything is changed.
#pragma once

#include <string>
#include <vector>

#include "proxy/admin/group.h"

namespace sidestream::admin {

class ConfigCommands {
 public:
  explicit ConfigCommands(Group& group) : group_(group) {}
  /// `args` with CONFIG itself in front. RESP of the given protocol.
  Task<std::string> answer(std::vector<std::string> args, int protocol);

 private:
  struct Assignment {
    const Option* option;
    std::string text;
  };

  Result<void> check(const std::vector<Assignment>& ours, const Config& trial);
  Task<std::string> get(std::vector<std::string> args, int protocol);
  Task<std::string> set(std::vector<std::string> args);
  Task<std::string> rewrite();
  Task<std::string> forward(std::vector<std::string> args);

  Group& group_;
};

}  // namespace sidestream::admin
