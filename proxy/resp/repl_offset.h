// repl_offset.h: where in a history we are. The lowest thing replication and routing share.
//
// An offset N means: the bytes 1..N of this history are owned. PSYNC asks for the *next* byte instead, N + 1; that
// is another type in spirit, so it is only made by next_byte() and read by before().
#pragma once

#include <compare>
#include <cstdint>

namespace sidestream {

struct ReplOffset {
  int64_t value = 0;
  constexpr int64_t next_byte() const { return value + 1; }
  static constexpr ReplOffset before(int64_t next_byte) { return ReplOffset{next_byte - 1}; }
  friend constexpr auto operator<=>(ReplOffset, ReplOffset) = default;
  friend constexpr ReplOffset operator+(ReplOffset a, int64_t n) { return ReplOffset{a.value + n}; }
  friend constexpr int64_t operator-(ReplOffset a, ReplOffset b) { return a.value - b.value; }
};

}  // namespace sidestream
