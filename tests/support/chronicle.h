// chronicle.h: what really happened. Primaries write down every byte of each history (replid) with the digest of the
// data at each offset; replicas compare what they received with it. The oracle of the simulation: it never looks at
// what is being tested, only at what the fake nodes produced and applied.
//
// Failure modes: anything that does not agree is world.fail().
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/sim_world.h"

namespace sidestream::sim {

class Chronicle {
 public:
  explicit Chronicle(SimWorld& world) : world_(world) {}

  /// A history without ancestors starts behind `offset`.
  void begin(const std::string& replid, int64_t offset, uint64_t digest);
  /// A promotion: the new id shares everything up to and including `offset` with the old one.
  void fork(const std::string& replid, const std::string& parent, int64_t offset);
  /// The primary of the history appends bytes behind `offset`.
  void produced(const std::string& replid, int64_t offset, std::string_view bytes);
  /// The data at that offset, between two commands.
  void settled(const std::string& replid, int64_t offset, uint64_t digest);

  /// A replica received these bytes behind `offset` and believes to be in that history.
  void received(const std::string& who, const std::string& replid, int64_t offset, std::string_view bytes);
  /// A replica is at this offset, between two commands, with that data.
  void holds(const std::string& who, const std::string& replid, int64_t offset, uint64_t digest);
  /// A replica at `offset` of one history was told to go on in another: both must agree up to there.
  void continues(const std::string& who, const std::string& from, const std::string& to, int64_t offset);

  bool knows(const std::string& replid) const { return histories_.count(replid) > 0; }
  /// Last byte of the history; -1 if it is unknown.
  int64_t end(const std::string& replid) const;
  /// The bytes behind `offset`, as far as they were produced.
  std::string_view bytes_after(const std::string& replid, int64_t offset) const;
  std::vector<std::string> replids() const;
  /// All that is known of a history, from its beginning.
  std::string_view bytes(const std::string& replid) const { return histories_.at(replid).bytes; }
  uint64_t checks() const { return checks_; }

 private:
  struct History {
    int64_t before = 0;  // offset in front of the first byte
    std::string bytes;
    std::map<int64_t, uint64_t> digests;
    int64_t end() const { return before + static_cast<int64_t>(bytes.size()); }
  };
  const History* look_up(const std::string& who, const std::string& replid);

  SimWorld& world_;
  std::map<std::string, History> histories_;
  uint64_t checks_ = 0;
};

}  // namespace sidestream::sim
