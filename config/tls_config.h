// tls_config.h: from the tls section of the configuration to what TLS is set up with.
//
// Happy path: load_tls() reads the files and puts both sides into force; called again, it replaces them for the
// connections that begin from then on. Failure modes: Errc::config naming the option and the file; what was in force
// stays.
#pragma once

#include "common/tls_context.h"
#include "config/config.h"

namespace sidestream {

Result<void> load_tls(const Config& config, TlsInForce& in_force);

}  // namespace sidestream
