// reload.h: what happens at run time when files change: the configuration on SIGHUP, secrets and certificates by
// themselves (Kubernetes and certbot replace them without telling anybody).
//
// Happy path: reload() reads every source again and gives what differs to the instance; connections stay open.
// Failure modes: a mistake anywhere is logged with its place, and everything stays as it was; an option that needs a
// restart is named and left.
#pragma once

#include <string>
#include <vector>

#include "config/sources.h"
#include "proxy/instance/instance.h"

namespace sidestream {

class Reloader {
 public:
  /// `inputs` and `config` as the instance was started with. All others outlive the reloader.
  Reloader(Inputs inputs, Config config, instance::Instance& instance, World& world);
  /// Errc::config with the first mistake.
  Result<admin::Reloaded> reload();
  /// Looks after the files that hold secrets and certificates, for ever.
  Task<void> watch_files();

 private:
  std::vector<std::string> look() const;
  Result<void> check(const Config& fresh) const;

  Inputs inputs_;
  const Config started_;  // the values of what needs a restart
  Config config_;         // as the sources had it last: what was changed at run time is not touched
  instance::Instance& instance_;
  World& world_;
};

}  // namespace sidestream
