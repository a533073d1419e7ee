// passed_client.h: a client on its way to the process that takes our place: what it is besides its connection. Plain
// values, so that they may travel between loops and, as text, between processes.
//
// Only a client that is in the middle of nothing goes (ClientSession::may_leave()). What it has sent and we have not
// run goes with it, unread. Failure modes: a text that another version wrote and that lacks something: Errc::protocol.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/passing.h"
#include "config/config.h"
#include "proxy/routing/facts.h"

namespace sidestream::routing {

struct PassedClient {
  uint64_t id = 0;
  Face face = Face::node;
  bool reserved = false;
  std::string user;
  bool authenticated = false;
  int protocol = 2;
  int db = 0;
  std::string name, library_name, library_version;
  std::optional<ReadPolicy> policy;
  int64_t read_after = 0;
  bool has_written = false;
  bool no_evict = false;
  int reply_mode = 0;
  int64_t age_ms = 0;
  std::string input;   // not run yet
  std::string unsent;  // replies that it has not taken yet

  /// Not for people: CBOR.
  std::string text() const;
  static Result<PassedClient> parse(std::string_view text);
};

}  // namespace sidestream::routing
