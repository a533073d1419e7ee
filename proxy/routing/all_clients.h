// all_clients.h: CLIENT LIST, KILL, PAUSE and UNPAUSE: about the clients of every loop, wherever they were asked for.
// Texts are those of stock 7.0.
//
// Happy path: one visit to all loops, one reply. PAUSE answers when the writes that were sent before are answered: who
// compares offsets then relies on it. Failure modes: what is malformed gets stock's error; writes that get no answer
// within hold.timeout make PAUSE say so.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/task.h"

namespace sidestream::routing {

struct Core;

struct Asker {
  uint64_t id = 0;
  int protocol = 2;
  bool reconfigures = false;  // in a transaction that also changes our role, as Sentinel sends it
};

struct AllClientsAnswer {
  std::string reply;  // RESP
  bool kills_asker = false;
};

/// `args` is well-formed: see concerns_all_clients(). `core` outlives it.
Task<AllClientsAnswer> ask_all_clients(Core& core, Asker asker, std::vector<std::string> args);

}  // namespace sidestream::routing
