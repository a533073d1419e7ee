// script_cache.h: the scripts that clients have sent lately, by their SHA-1, and what is known about functions. Servers
// do not pass scripts on to their replicas, and a new primary may never have seen them: we have.
//
// Happy path: add() what EVAL and SCRIPT LOAD carry; body() when a server answers NOSCRIPT. Bounded in number and
// bytes, the oldest goes first. Failure modes: a script that is not here gets the server's own NOSCRIPT.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace sidestream::routing {

/// What a script or function does to data, as far as its text or its past tells.
enum class Effect : uint8_t { unknown, reads, writes };

/// By the shebang line: only `#!lua flags=no-writes` promises to read.
Effect effect_of_script(std::string_view body);

/// 40 hex digits, as SCRIPT LOAD answers.
std::string sha1_hex(std::string_view bytes);

/// May be shared by event loops.
class ScriptCache {
 public:
  /// True: it is new here.
  bool add(std::string_view body);
  void forget_scripts();
  /// `sha` in either case. nullptr: not known.
  std::shared_ptr<const std::string> body(std::string_view sha) const;

  Effect effect_of_function(std::string_view name) const;
  void learn_function(std::string_view name, Effect effect);
  /// Libraries changed.
  void forget_functions();

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<const std::string>> scripts_;  // by SHA-1
  std::unordered_map<uint64_t, std::string> shas_;  // of bodies, by a cheaper hash: EVAL sends the same ones for ever
  std::deque<std::pair<uint64_t, std::string>> order_;
  size_t bytes_ = 0;
  std::map<std::string, Effect, std::less<>> functions_;
};

}  // namespace sidestream::routing
