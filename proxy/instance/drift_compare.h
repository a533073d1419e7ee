// drift_compare.h: the pure part of the drift audit (drift_audit.h): what is asked about a key, what two answers mean,
// and when they prove anything.
//
// Values are read type by type, since dumps of equal values differ with encodings and versions: fields and members are
// sorted, scores compared as numbers, times of expiry as points in time. Failure modes: an error reply, a key that
// expires or changes its type while it is read, a value of a type we cannot read: `unclear`, which is no difference.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/resp/repl_offset.h"
#include "proxy/resp/reply.h"

namespace sidestream::instance {

using Words = std::vector<std::string>;

/// Whether all of a value of that type can be read: a stock type, and not a module's.
bool can_read(std::string_view type);
/// What is asked about `key`, which was of `type` a moment ago: one command an answer. `absolute_expiry`: the server
/// knows PEXPIRETIME (7.0), and its primary's expiries reach it as points in time.
std::vector<Words> questions_about(const std::string& key, std::string_view type, bool absolute_expiry);

/// What a server says about one key.
struct Reading {
  static constexpr int64_t kNone = -1;
  static constexpr int64_t kNotAsked = -2;
  bool clear = false;  // false: it could not be read as one value
  std::string type;    // "none": there is no such key
  int64_t ttl_ms = kNone;
  int64_t expires_at_ms = kNotAsked;
  std::optional<std::string> value;  // equal values are equal bytes; only where the type is the one that was asked for
  bool exists() const { return type != "none"; }
};
/// From the answers to questions_about() with the same `type`.
Reading reading_of(std::span<const resp::Value> answers, std::string_view type);

enum class Verdict { equal, differs, unclear };
struct Comparison {
  Verdict verdict = Verdict::unclear;
  std::string what;  // in words, of a difference
};
Comparison compare(const Reading& primary, const Reading& replica);

/// Offsets around the reading of both sides. The primary is read first.
struct Bracket {
  ReplOffset primary_before, primary_after;
  ReplOffset replica_before, replica_after;
  ReplOffset seen_from, seen_to;  // writes that end behind the one and not behind the other were noticed
};
/// Whether both sides must hold the same value of a key whose last noticed write ends at `last_write`.
bool is_proof(const Bracket& bracket, ReplOffset last_write);

/// "db0:keys=..." of INFO: the databases that hold keys.
std::vector<int> databases_in_use(std::string_view info);

}  // namespace sidestream::instance
