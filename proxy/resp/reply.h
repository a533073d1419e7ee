// reply.h: what servers send: borders of whole replies for those who pass bytes on, values for those who read them.
//
// Types (RESP2 and 3): + - : $ * _ , # ( = ! % ~ | >. An attribute '|' belongs to the reply behind it; a push '>' is
// a frame of its own. Streamed forms ($?, *?) are in the specification but no server sends them: bad.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sidestream::resp {

/// Finds the end of one reply. Incremental: remembers how far it looked; no recursion, no allocation by counts.
class ReplyScanner {
 public:
  enum class State { complete, incomplete, bad };
  /// What the first byte of a frame says about the rest.
  enum class Frame : uint8_t { line, bulk, aggregate, pairs, attribute, unknown };
  /// `bytes` starts with the current reply and only grows while the answer is incomplete.
  State scan(std::string_view bytes);
  /// Size of the complete reply; then start afresh for the next with reset().
  size_t size() const { return position_; }
  /// While it is incomplete: how far it is understood; beyond the bytes while a bulk is on its way.
  size_t understood() const { return position_; }
  /// The first `n` bytes, at most those understood, are gone: `bytes` start behind them from now on.
  void forget(size_t n) {
    position_ -= n;
    searched_ = searched_ > n ? searched_ - n : 0;
  }
  void reset() { *this = {}; }

 private:
  State scan_one(std::string_view bytes);
  State take_length(Frame frame, int64_t number);

  size_t position_ = 0;  // where the next frame starts; lies beyond the bytes while a bulk is on its way
  size_t searched_ = 0;  // up to here the current line has no end
  int64_t pending_ = 1;  // frames still to be seen; aggregates add their elements
};

/// A reply as a tree, for the control plane (INFO, ROLE, COMMAND of nodes). Read by hiredis' reader underneath, which
/// takes eight nested arrays: exactly what COMMAND of 7.0 and later needs (subcommands with key specs).
struct Value {
  enum class Type { nil, simple, error, integer, bulk, array };
  Type type = Type::nil;
  int64_t integer = 0;
  std::string text;             // simple, error, bulk
  std::vector<Value> elements;  // array
  bool is_error() const { return type == Type::error; }
  bool is_text() const { return type == Type::simple || type == Type::bulk; }
};

/// Parses one complete RESP2 reply (as found by ReplyScanner). An error value "protocol" when it is anything else.
Value parse_value(std::string_view frame);

/// "name:value" of an INFO text, without CR; empty if missing.
std::string_view info_field(std::string_view info, std::string_view name);

}  // namespace sidestream::resp
