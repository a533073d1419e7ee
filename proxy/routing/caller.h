// caller.h: who asks the host for something, and what it is answered. Plain values: both may travel between loops.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/config.h"
#include "proxy/resp/repl_offset.h"
#include "proxy/routing/facts.h"

namespace sidestream::routing {

/// A client as it was when it asked.
struct Caller {
  uint64_t id = 0;
  Face face = Face::node;
  int protocol = 2;
  int db = 0;
  std::string peer, local;
  bool has_written = false;               // something, through us
  std::optional<ReplOffset> written;      // an offset at or past its last write, where that is known
  std::optional<ReadPolicy> read_policy;  // its own choice
  ReplOffset read_floor;                  // no later read of it is older than this
};

/// The reply, complete RESP in the caller's protocol, and what the command changes about the client.
struct Answer {
  std::string frame;  // empty: no reply
  std::optional<ReadPolicy> read_policy;
  ReplOffset read_floor;         // raises that of the client
  bool becomes_replica = false;  // the stream is to be handed over, see PlaneHost::adopt_replica()

  Answer() = default;
  Answer(std::string reply) : frame(std::move(reply)) {}  // NOLINT: most answers are nothing else
};

}  // namespace sidestream::routing
