// block.h: shared bytes. A Block is filled once, front to back, and read by many; a Slice keeps its block alive.
// Counts are not atomic: blocks stay on the loop that made them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string_view>
#include <utility>

#include "common/check.h"

namespace sidestream {

class BlockRef;

class Block {
 public:
  /// Room for `capacity` bytes in one allocation.
  static BlockRef make(size_t capacity);
  char* data() { return reinterpret_cast<char*>(this + 1); }
  size_t capacity() const { return capacity_; }

 private:
  friend class BlockRef;
  explicit Block(size_t capacity) : capacity_(capacity) {}
  size_t capacity_;
  uint32_t refs_ = 0;
};

class BlockRef {
 public:
  BlockRef() = default;
  explicit BlockRef(Block* block) : block_(block) {
    if (block_ != nullptr) ++block_->refs_;
  }
  BlockRef(const BlockRef& other) : BlockRef(other.block_) {}
  BlockRef(BlockRef&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  BlockRef& operator=(BlockRef other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~BlockRef() {
    if (block_ != nullptr && --block_->refs_ == 0) {
      block_->~Block();
      std::free(block_);
    }
  }
  Block* operator->() const { return block_; }
  /// Nobody else has it: it may be written anew.
  bool is_sole() const { return block_ != nullptr && block_->refs_ == 1; }
  explicit operator bool() const { return block_ != nullptr; }

 private:
  Block* block_ = nullptr;
};

inline BlockRef Block::make(size_t capacity) {
  void* memory = std::malloc(sizeof(Block) + capacity);
  CHECK(memory != nullptr);
  return BlockRef(new (memory) Block(capacity));
}

/// Some bytes of a block.
struct Slice {
  BlockRef block;
  std::string_view bytes;
};

}  // namespace sidestream
