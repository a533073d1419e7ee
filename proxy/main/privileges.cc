// privileges.cc: see the header.
#include "proxy/main/privileges.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/log.h"
#include "common/text.h"

namespace sidestream {
namespace {

struct Identity {
  std::string name;
  uid_t user = 0;
  gid_t group = 0;
};

Result<Identity> find_identity(const std::string& text) {
  const size_t colon = text.find(':');
  Identity found;
  found.name = text.substr(0, colon);
  const passwd* user = getpwnam(found.name.c_str());
  if (user == nullptr) {
    return Error{Errc::config, fmt::format("run-as: there is no user '{}' on this machine", printable(found.name))};
  }
  found.user = user->pw_uid;
  found.group = user->pw_gid;
  if (colon == std::string::npos) return found;
  const std::string name = text.substr(colon + 1);
  const group* group = getgrnam(name.c_str());
  if (group == nullptr) {
    return Error{Errc::config, fmt::format("run-as: there is no group '{}' on this machine", printable(name))};
  }
  found.group = group->gr_gid;
  return found;
}

/// What root has made for us must be ours afterwards; what belongs to somebody else already stays his.
void give(const std::string& path, const Identity& to) {
  struct stat info{};
  if (path.empty() || lstat(path.c_str(), &info) != 0 || info.st_uid != 0 || S_ISLNK(info.st_mode)) return;
  if (lchown(path.c_str(), to.user, to.group) != 0)
    log_warning("config", "{} stays root's: {}", path, std::strerror(errno));
}

Error failed(const char* what) {
  return Error{Errc::config, fmt::format("run-as: {}: {}", what, std::strerror(errno))};
}

}  // namespace

Result<void> drop_privileges(const Config& config) {
  if (config.run_as.empty()) return {};
  const auto found = find_identity(config.run_as);
  RETURN_IF_ERROR(found);
  const Identity& to = found.value();
  if (geteuid() == to.user && getegid() == to.group) return {};
  if (geteuid() != 0) {
    return Error{Errc::config,
                 fmt::format("run-as: only root can become '{}'; start as root, or leave it out", to.name)};
  }
  if (mkdir(config.dir.c_str(), 0700) != 0 && errno != EEXIST) return failed("dir cannot be made");
  give(config.dir, to);
  give(config.log.file, to);
  if (initgroups(to.name.c_str(), to.group) != 0) return failed("the groups of the user cannot be taken");
  if (setgid(to.group) != 0) return failed("the group cannot be taken");
  if (setuid(to.user) != 0) return failed("the user cannot be taken");
  if (to.user != 0 && setuid(0) == 0) return Error{Errc::config, "run-as: root could be had back"};
  log_notice("config", "running as {}", config.run_as);
  return {};
}

void allow_core_dumps(bool allowed) { prctl(PR_SET_DUMPABLE, allowed ? 1 : 0); }

}  // namespace sidestream
