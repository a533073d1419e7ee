// privileges.h: what the process may do less once it has what it needs: no root, and no core file full of other
// people's data and passwords.
//
// Happy path: drop_privileges() once all addresses are bound, then allow_core_dumps(). Failure modes: Errc::config when
// the user or group does not exist or we are not root; the process must not go on then.
#pragma once

#include <string>

#include "common/result.h"
#include "config/config.h"

namespace sidestream {

/// Becomes config.run_as for good, on every thread. Makes `dir`, and the log file, its own if they are root's.
Result<void> drop_privileges(const Config& config);
/// Without: other processes of this user cannot read our memory, and a crash leaves no core file. Behind
/// drop_privileges(), which the kernel answers by hiding it.
void allow_core_dumps(bool allowed);

}  // namespace sidestream
