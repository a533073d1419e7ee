// backlog.cc: see backlog.h. Compared with a naive string in tests/unit/backlog_test.cc.
#include "proxy/replication/backlog.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/check.h"

namespace sidestream::replication {
namespace {

// One read of a socket brings at most this much, and a block must hold several reads to keep blocks few.
constexpr size_t kBlockBytesMax = 256 * 1024;
constexpr size_t kBlockBytesMin = 16 * 1024;
// Less room than this is left unused: tiny reads cost more than the bytes.
constexpr size_t kRoomMin = 1024;
constexpr uintptr_t kPageBytes = 4096;

/// A block whose pages are there. Left to themselves they come one by one, in the middle of reads, and cost twice as
/// much. A kernel before 5.14 does not know how, and leaves them to that.
BlockRef make_block(size_t capacity) {
  BlockRef block = Block::make(capacity);
  const auto first = reinterpret_cast<uintptr_t>(block->data()) / kPageBytes * kPageBytes;
  const auto end = reinterpret_cast<uintptr_t>(block->data()) + capacity;
  ::madvise(reinterpret_cast<void*>(first), end - first, MADV_POPULATE_WRITE);
  return block;
}

}  // namespace

size_t Backlog::block_bytes() const {
  return std::clamp(static_cast<size_t>(size_) / 8, kBlockBytesMin, kBlockBytesMax);
}

size_t Backlog::memory_bytes() const {
  size_t bytes = 0;
  if (spare_) bytes += spare_->capacity();
  for (const Piece& piece : pieces_) bytes += piece.block->capacity();
  return bytes;
}

void Backlog::restart(ReplOffset offset) {
  pieces_.clear();
  first_byte_ = end_ = oldest_ = offset.next_byte();
}

void Backlog::release() {
  first_byte_ = oldest_ = end_;
  while (pieces_.size() > 1) pieces_.pop_front();
}

void Backlog::resize(int64_t size) {
  size_ = size;
  trim();
}

void Backlog::truncate_to(ReplOffset offset) {
  CHECK(offset.next_byte() >= first_byte_ && offset.next_byte() <= end_);
  end_ = offset.next_byte();
  while (!pieces_.empty() && pieces_.back().first >= end_) pieces_.pop_back();
  if (pieces_.empty()) return;
  Piece& last = pieces_.back();
  last.used = std::min(last.used, static_cast<size_t>(end_ - last.first));
  last.sealed = true;
}

std::span<char> Backlog::write_space() {
  if (pieces_.empty() || pieces_.back().sealed || pieces_.back().block->capacity() - pieces_.back().used < kRoomMin) {
    pieces_.push_back(Piece{next_block(), end_, 0, false});
  }
  const Piece& last = pieces_.back();
  return {last.block->data() + last.used, last.block->capacity() - last.used};
}

/// A full backlog gives up a block for each that it takes: one whose pages are there is worth keeping.
BlockRef Backlog::next_block() {
  BlockRef spare = std::exchange(spare_, {});
  if (spare.is_sole() && spare->capacity() == block_bytes()) return spare;
  return make_block(block_bytes());
}

void Backlog::commit(size_t n) {
  if (n == 0) return;
  Piece& last = pieces_.back();
  CHECK(n <= last.block->capacity() - last.used);
  last.used += n;
  end_ += static_cast<int64_t>(n);
  trim();
}

void Backlog::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto room = write_space();
    const size_t n = std::min(room.size(), bytes.size());
    std::memcpy(room.data(), bytes.data(), n);
    commit(n);
    bytes.remove_prefix(n);
  }
}

Slice Backlog::slice(int64_t from, size_t most) const {
  CHECK(from >= oldest() && from < end_);
  auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), from,
                                [](int64_t byte, const Piece& candidate) { return byte < candidate.first; });
  --piece;
  const auto at = static_cast<size_t>(from - piece->first);
  return Slice{piece->block, std::string_view(piece->block->data() + at, std::min(piece->used - at, most))};
}

void Backlog::trim() {
  first_byte_ = std::max(first_byte_, end_ - size_);
  oldest_ = std::max(oldest_, std::min(first_byte_, std::max(wanted_, end_ - size_ - kKeptBytesMax)));
  // The last piece stays: its room may be handed out.
  while (pieces_.size() > 1 && pieces_.front().end() <= oldest_) {
    spare_ = std::move(pieces_.front().block);
    pieces_.pop_front();
  }
}

}  // namespace sidestream::replication
