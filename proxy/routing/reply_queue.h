// reply_queue.h: what a client is owed, in the order of its requests, whatever order servers answer in. A reply whose
// turn it is goes straight to the output; others wait in their slot.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sidestream::routing {

/// Where the reply comes from.
enum class Lane : uint8_t { none, primary, replica };

class ReplyQueue {
 public:
  /// A reply that will come. `muted`: it is awaited and then dropped (CLIENT REPLY OFF). `cursor_number`: the reply is
  /// one of a SCAN family, and this server's number goes into its cursor; 0: as it is.
  uint64_t expect(Lane lane, bool muted, uint8_t cursor_number = 0);
  /// The reply came. Its lane; none if nobody waits for it.
  Lane deliver(uint64_t sequence, std::string_view frame);
  /// Whether this reply may go out now.
  bool is_next(uint64_t sequence) const { return sequence == first_ && first_ != next_; }
  /// A part of the next reply, which is large. Its last part is delivered.
  void pass(std::string_view bytes);
  /// A reply of our own.
  void add(std::string_view frame);
  /// Not a reply: goes out now, or behind the large reply that is going out.
  void push(std::string_view frame) { (passing_ ? behind_ : out_).append(frame); }
  size_t waiting_pushes() const { return behind_.size(); }

  /// Another server answers than was expected.
  void unmark_cursor(uint64_t sequence) {
    if (sequence >= first_ && sequence < next_) slot(sequence).cursor_number = 0;
  }
  /// What expect() gave out last.
  uint64_t last() const { return next_ - 1; }
  size_t owed() const { return owed_; }
  /// What is owed if it is like the latest replies; before the first ones a guess that lets a pipeline begin.
  size_t owed_bytes() const { return owed_ * usual_bytes_; }
  std::string& out() { return out_; }
  const std::string& out() const { return out_; }
  /// Gives memory back; only while nothing is owed and nothing is to be sent.
  void shrink();

 private:
  static constexpr size_t kUsualBytesFirst = 128 * 1024;
  struct Slot {
    std::string frame;  // if it came early, else empty
    Lane lane = Lane::none;
    bool muted = false;
    bool done = false;
    uint8_t cursor_number = 0;
  };
  Slot& slot(uint64_t sequence) { return slots_[sequence & (slots_.size() - 1)]; }
  Slot& append(Lane lane, bool muted, uint8_t cursor_number);
  void grow();
  void emit(const Slot& slot, std::string_view frame);
  void emit_early();

  std::vector<Slot> slots_;        // a ring; its size is a power of two
  uint64_t first_ = 0, next_ = 0;  // sequences: the oldest not emitted, the next to be given out
  size_t owed_ = 0;
  size_t usual_bytes_ = kUsualBytesFirst;  // of a reply: grows at once, falls by an eighth with each smaller one
  bool passing_ = false;                   // parts of the first one went out
  std::string out_;
  std::string behind_;  // pushes meanwhile
};

/// `frame` of a SCAN family with the cursor marked as one of server `number`; other frames unchanged.
std::string mark_cursor(std::string_view frame, uint8_t number);

/// A cursor as clients send it: the server's own and the number in it.
struct Cursor {
  static constexpr int kShift = 56;
  uint64_t own = 0;
  int number = 0;
};
/// False: not a number that we can have given out.
bool parse_cursor(std::string_view text, Cursor& cursor);

}  // namespace sidestream::routing
