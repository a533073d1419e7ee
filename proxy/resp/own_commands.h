// own_commands.h: what is ours whatever the nodes know, with arities and ACL categories of 7.0. They are there even
// while no node answers: Sentinel and operators need them most then, and permissions hold then too.
#pragma once

#include <span>
#include <string_view>

namespace sidestream::resp {

struct OwnCommand {
  std::string_view names;  // parted by blanks; "container|sub" stands behind its container
  int arity;
  std::string_view categories;  // of ACLs
};

std::span<const OwnCommand> own_commands();

}  // namespace sidestream::resp
