// users.h: the entries of `users` and the ACL file, read, checked and turned into what decides: AclUser.
//
// Happy path: load_users() fills Config::accounts. Failure modes: a password file that cannot be read or is empty, a
// name that is given twice, a rule that is none: problems with their places, all of them.
#pragma once

#include "config/sources.h"

namespace sidestream {

/// The user that our own nodes log in as; see Config::follow_user.
inline constexpr std::string_view kFollowUser = "sidestream-nodes";

/// What is wrong with an entry although each of its fields is right, and what to do. Errc::config.
Result<void> check_user(const UserConfig& user);
/// An entry as ACL rules. Passwords of its files are not in there.
AclUser to_acl(const UserConfig& user);
/// Part of what `access` stands for: older nodes need not know all of it.
bool said_by_access(std::string_view rule);
/// May attach as a replica, and nothing else.
AclUser replication_user(std::string name);

void load_users(Loaded& loaded);

}  // namespace sidestream
