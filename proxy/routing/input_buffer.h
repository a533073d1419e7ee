// input_buffer.h: bytes read and not yet understood. Starts small, doubles while one frame does not fit or reads fill
// it to the brim, moves the rest to the front when it runs out of room, gives a large buffer back when it is empty. A
// read may be under way while bytes are consumed: only room() moves them.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "common/check.h"

namespace sidestream::routing {

class InputBuffer {
 public:
  /// Starts with `first_bytes` when something is to be read, keeps at most `kept_bytes` while empty.
  InputBuffer(size_t first_bytes, size_t kept_bytes) : first_bytes_(first_bytes), kept_bytes_(kept_bytes) {}

  std::string_view view() const { return {bytes_.get() + begin_, end_ - begin_}; }
  size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  size_t capacity() const { return capacity_; }

  /// What is kept from now on.
  void keep(size_t bytes) { kept_bytes_ = bytes; }

  /// At least one byte of room. The place stays valid while bytes are consumed, until the next call of room().
  std::span<char> room() {
    if (empty()) begin_ = end_ = 0;
    if (end_ == capacity_ || filled_up_ || (empty() && capacity_ > kept_bytes_)) make_room();
    return {bytes_.get() + end_, capacity_ - end_};
  }
  /// `n` bytes of room() were written.
  void filled(size_t n) {
    DCHECK(n <= capacity_ - end_);
    filled_up_ = n == capacity_ - end_ && capacity_ < kept_bytes_;
    end_ += n;
  }
  void consume(size_t n) {
    DCHECK(n <= size());
    begin_ += n;
  }

 private:
  void make_room() {
    size_t capacity = capacity_;
    if (empty() && capacity_ > kept_bytes_) {
      capacity = first_bytes_;
    } else if (capacity_ == 0 || filled_up_ || begin_ < capacity_ / 4) {
      capacity = capacity_ == 0 ? first_bytes_ : capacity_ * 2;
    }
    filled_up_ = false;
    if (capacity == capacity_) {
      std::memmove(bytes_.get(), bytes_.get() + begin_, size());
    } else {
      auto other = std::make_unique_for_overwrite<char[]>(capacity);
      if (!empty()) std::memcpy(other.get(), bytes_.get() + begin_, size());
      bytes_ = std::move(other);
      capacity_ = capacity;
    }
    end_ -= begin_;
    begin_ = 0;
  }

  size_t first_bytes_, kept_bytes_;
  std::unique_ptr<char[]> bytes_;
  size_t capacity_ = 0;
  size_t begin_ = 0, end_ = 0;
  bool filled_up_ = false;  // the last read took all the room there was
};

}  // namespace sidestream::routing
