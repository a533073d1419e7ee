// backlog.h: the last bytes of the stream, one copy for all readers.
//
//   pieces:   [ block ....... ][ block ....... ][ block ....    ]
//             first_byte ^ (logical trim)       end ^  write_space
//
// The upstream reads straight into the last block; readers take slices that keep their block alive, so trimming never
// waits for anybody. What INFO calls histlen never exceeds the size, to the byte; a burst that readers have not caught
// up with yet is kept beyond it, up to a bound (keep_for()). Failure modes: a reader that wants a byte before oldest()
// has lost it; nothing else can fail.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string_view>

#include "common/block.h"
#include "proxy/replication/history.h"

namespace sidestream::replication {

class Backlog {
 public:
  /// Beyond the size, for readers who are a little behind.
  static constexpr int64_t kKeptBytesMax = 8 << 20;
  /// `size` bytes of history are kept.
  explicit Backlog(int64_t size) : size_(size) {}

  int64_t first_byte() const { return first_byte_; }
  /// The first byte that slice() can give: first_byte() or before it.
  int64_t oldest() const { return pieces_.empty() ? first_byte_ : std::min(oldest_, first_byte_); }
  /// The next byte that will be appended: offset plus one.
  int64_t end() const { return end_; }
  BacklogRange range() const { return {first_byte_, end_ - first_byte_}; }
  int64_t size() const { return size_; }
  /// What the blocks take, used or not.
  size_t memory_bytes() const;

  /// Forgets everything; the next byte is the one behind `offset`.
  void restart(ReplOffset offset);
  /// Forgets what there is; the history goes on behind it. Room that was handed out stays valid.
  void release();
  /// Somebody still wants the bytes from `byte` on; at most kKeptBytesMax beyond the size are kept for him.
  void keep_for(int64_t byte) { wanted_ = byte; }
  /// Takes effect at once, keeps what fits.
  void resize(int64_t size);
  /// Drops what is behind `offset`, which must be at first_byte - 1 or later. The bytes' memory is not used again,
  /// since slices of it may still be on their way.
  void truncate_to(ReplOffset offset);

  /// Room to read into, valid until the next call of a non-const function; never empty.
  std::span<char> write_space();
  /// The first `n` bytes of the last write_space() are history now.
  void commit(size_t n);
  void append(std::string_view bytes);

  /// Bytes from `from` (oldest <= from < end) to the end of their block, at most `most`.
  Slice slice(int64_t from, size_t most) const;

 private:
  struct Piece {
    BlockRef block;
    int64_t first;  // number of the block's first byte
    size_t used;
    bool sealed;  // no more bytes, even if there is room
    int64_t end() const { return first + static_cast<int64_t>(used); }
  };
  size_t block_bytes() const;
  BlockRef next_block();
  void trim();

  std::deque<Piece> pieces_;
  BlockRef spare_;  // the last one that was trimmed, if nobody reads it any more
  int64_t size_;
  int64_t first_byte_ = 1;
  int64_t end_ = 1;
  int64_t oldest_ = 1;
  int64_t wanted_ = INT64_MAX;
};

}  // namespace sidestream::replication
