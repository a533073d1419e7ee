// dataset_file.h: what history this instance held and how much was in it, for the wipe guard of the next run: a restart
// must not make us forget that there was something to lose. One line in `dir`/dataset, replaced as a whole.
//
//   dataset = replid SP offset SP ( keys / "?" ) SP ( "trusted" / "held" / "rejected" ) LF
//
// Failure modes: no file, or one that cannot be read as this: nothing is known, which is said in the log; the nodes'
// own word is still asked for.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/world.h"
#include "proxy/replication/wipe_guard.h"

namespace sidestream::instance {

struct KeptDataset {
  replication::Dataset ours;
  bool held = false;      // something else was being offered in its place
  bool rejected = false;  // and the operator had refused it
  friend bool operator==(const KeptDataset&, const KeptDataset&) = default;
};

std::string dataset_line(const KeptDataset& kept);
std::optional<KeptDataset> parse_dataset(std::string_view line);
/// Whether `now` tells the next run something that `kept` does not. Offsets alone do not.
bool is_news(const KeptDataset& kept, const KeptDataset& now);

Task<std::optional<KeptDataset>> read_dataset(World& world, std::string dir);
/// Errc::io.
Task<Result<void>> write_dataset(World& world, std::string dir, KeptDataset kept);

}  // namespace sidestream::instance
