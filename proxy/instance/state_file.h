// state_file.h: what was decided at run time and must survive a restart: the role (option `replicaof`), and options
// that CONFIG REWRITE kept. One small JSON file in `dir`, replaced as a whole (write, sync, rename): a crash leaves the
// old or the new one.
//
//   {"options": {"replicaof": "HOST PORT" | "", "name": "value", ...}}
//
// Beside options there may be notes:
//   handover   the primary's role is being passed to a replica (Handover::text())
//   taken-over what was passed to us so, the latest last: who asks again gets the same answer ("REPLID:OFFSET ...")
//   successor  where the history went on without our help, so that this primary takes no writes
//   replicas   "below": a primary with fence-after that hears none of them any more takes no writes
//
// Failure modes: no file is an ordinary start. A damaged one is an error that names the file: guessing a role could
// wipe data.
#pragma once

#include <string>

#include "common/world.h"
#include "config/sources.h"

namespace sidestream::instance {

inline const std::string kHandoverKey = "handover";
inline const std::string kTakenOverKey = "taken-over";
inline const std::string kSuccessorKey = "successor";
inline const std::string kReplicasKey = "replicas";
inline const std::string* const kNotes[] = {&kHandoverKey, &kTakenOverKey, &kSuccessorKey, &kReplicasKey};

/// At start, before there is a loop. Errc::config when the file is damaged.
Result<Texts> read_state(const std::string& dir);
void forget_state(const std::string& dir);
Task<Result<void>> write_state(World& world, std::string dir, Texts options);

}  // namespace sidestream::instance
