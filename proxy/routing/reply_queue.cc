// reply_queue.cc: a ring of slots, and the cursors of SCAN. See the header.
#include "proxy/routing/reply_queue.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "common/check.h"

namespace sidestream::routing {
namespace {
constexpr size_t kSlotsFirst = 4;
constexpr size_t kFrameKeptBytes = 1024;  // of a slot, for the next reply that comes early
}  // namespace

ReplyQueue::Slot& ReplyQueue::append(Lane lane, bool muted, uint8_t cursor_number) {
  if (next_ - first_ == slots_.size()) grow();
  Slot& fresh = slot(next_++);
  fresh.lane = lane;
  fresh.muted = muted;
  fresh.done = false;
  fresh.cursor_number = cursor_number;
  return fresh;
}

void ReplyQueue::grow() {
  std::vector<Slot> larger(slots_.empty() ? kSlotsFirst : slots_.size() * 2);
  for (uint64_t i = first_; i < next_; ++i) larger[i & (larger.size() - 1)] = std::move(slot(i));
  slots_ = std::move(larger);
}

uint64_t ReplyQueue::expect(Lane lane, bool muted, uint8_t cursor_number) {
  append(lane, muted, cursor_number);
  ++owed_;
  return next_ - 1;
}

Lane ReplyQueue::deliver(uint64_t sequence, std::string_view frame) {
  if (sequence < first_ || sequence >= next_ || slot(sequence).done) return Lane::none;
  Slot& answered = slot(sequence);
  const Lane lane = answered.lane;
  --owed_;
  usual_bytes_ = std::max(frame.size(), usual_bytes_ - usual_bytes_ / 8);
  if (sequence != first_) {
    answered.frame.assign(frame);
    answered.done = true;
    return lane;
  }
  if (std::exchange(passing_, false)) {
    if (!answered.muted) out_.append(frame);
    out_.append(std::exchange(behind_, {}));
  } else {
    emit(answered, frame);
  }
  ++first_;
  emit_early();
  return lane;
}

void ReplyQueue::emit_early() {
  for (; first_ < next_ && slot(first_).done; ++first_) {
    std::string& early = slot(first_).frame;
    emit(slot(first_), early);
    early.clear();
    if (early.capacity() > kFrameKeptBytes) early = std::string();  // a thousand large ones would stay for ever
  }
}

void ReplyQueue::pass(std::string_view bytes) {
  DCHECK(owed_ > 0 && !slot(first_).done);
  if (!std::exchange(passing_, true)) {
    emit(slot(first_), bytes);  // a cursor stands in front
  } else if (!slot(first_).muted) {
    out_.append(bytes);
  }
}

void ReplyQueue::add(std::string_view frame) {
  if (owed_ == 0) return push(frame);
  Slot& own = append(Lane::none, false, 0);
  own.frame.assign(frame);
  own.done = true;
}

void ReplyQueue::emit(const Slot& slot, std::string_view frame) {
  if (slot.muted) return;
  if (slot.cursor_number != 0) {
    out_.append(mark_cursor(frame, slot.cursor_number));
  } else {
    out_.append(frame);
  }
}

void ReplyQueue::shrink() {
  DCHECK(owed_ == 0);
  slots_ = std::vector<Slot>();  // `= {}` would keep the room
  out_ = std::string();
}

std::string mark_cursor(std::string_view frame, uint8_t number) {
  constexpr std::string_view kHead = "*2\r\n$";
  const size_t length_end = frame.find("\r\n", kHead.size());
  const size_t text_at = length_end + 2;
  const size_t text_end = length_end == std::string_view::npos ? length_end : frame.find("\r\n", text_at);
  Cursor cursor;
  if (!frame.starts_with(kHead) || text_end == std::string_view::npos ||
      !parse_cursor(frame.substr(text_at, text_end - text_at), cursor) || cursor.own == 0 || cursor.number != 0) {
    return std::string(frame);
  }
  const std::string text = std::to_string(cursor.own | uint64_t{number} << Cursor::kShift);
  std::string marked(kHead);
  marked.append(std::to_string(text.size())).append("\r\n").append(text).append(frame.substr(text_end));
  return marked;
}

bool parse_cursor(std::string_view text, Cursor& cursor) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return false;
  cursor.number = static_cast<int>(value >> Cursor::kShift);
  cursor.own = value & ((uint64_t{1} << Cursor::kShift) - 1);
  return cursor.number <= 127;
}

}  // namespace sidestream::routing
