// admin_client.h: a small blocking HTTP client for the subcommands; they have no loop and need none.
//
// Happy path: connect, one request with `Connection: close`, the whole reply. Failure modes: nobody listens, silence
// beyond the time limit, a reply that is not HTTP or too long: Results with words for the person at the terminal.
#pragma once

#include <cstdint>
#include <string>

#include "common/byte_stream.h"

namespace sidestream {

struct HttpAnswer {
  int status = 0;
  std::string body;
};

/// `method` GET or POST; `path` with its query; `token` as admin-token. The time limit covers all of it. Errc::closed:
/// nobody listens.
Result<HttpAnswer> ask_admin(const Address& admin, const std::string& method, const std::string& path,
                             int64_t timeout_ms, const std::string& token = {});

}  // namespace sidestream
