// reply.cc: where replies end, and what they say. Failure modes: see reply.h; the scanner never trusts a length beyond
// what has arrived, the tree is only made of frames that are complete.
#include "proxy/resp/reply.h"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "common/text.h"
#include "proxy/resp/plain_length.h"

namespace sidestream::resp {
namespace {

constexpr int64_t kElementsMax = 4294967295;  // a count field of the protocol
constexpr size_t kNumberBytesMax = 32;        // a line that holds a count or a length

using Frame = ReplyScanner::Frame;

Frame frame_of(char type) {
  switch (type) {
    case '+':
    case '-':
    case ':':
    case '_':
    case ',':
    case '#':
    case '(':
      return Frame::line;
    case '$':
    case '=':
    case '!':
      return Frame::bulk;
    case '*':
    case '~':
    case '>':
      return Frame::aggregate;
    case '%':
      return Frame::pairs;
    case '|':
      return Frame::attribute;
    default:
      return Frame::unknown;
  }
}

/// The size of a reply that is nothing but "+OK" or one plain bulk, and whole; 0: for scan_one() to find out.
size_t plain_size(std::string_view bytes) {
  constexpr std::string_view kOk = "+OK\r\n";
  if (bytes.starts_with(kOk)) return kOk.size();
  int64_t length = 0;
  const char* const end = bytes.data() + bytes.size();
  const char* const body = read_plain_length(bytes.data(), end, '$', length);
  if (body == nullptr || length + 2 > end - body) return 0;
  return static_cast<size_t>(body + length + 2 - bytes.data());
}

}  // namespace

ReplyScanner::State ReplyScanner::scan(std::string_view bytes) {
  if (position_ == 0 && searched_ == 0 && pending_ == 1) {
    if (const size_t size = plain_size(bytes)) {
      position_ = size;
      pending_ = 0;
      return State::complete;
    }
  }
  while (pending_ > 0) {
    if (position_ >= bytes.size()) return State::incomplete;
    const State state = scan_one(bytes);
    if (state != State::complete) return state;
  }
  return position_ <= bytes.size() ? State::complete : State::incomplete;
}

/// Moves past one frame, or past the head of an aggregate.
ReplyScanner::State ReplyScanner::scan_one(std::string_view bytes) {
  const char type = bytes[position_];
  const Frame frame = frame_of(type);
  if (frame == Frame::unknown) return State::bad;
  int64_t plain = 0;
  const char* const end_of_all = bytes.data() + bytes.size();
  const char* const next =
      frame == Frame::line ? nullptr : read_plain_length(bytes.data() + position_, end_of_all, type, plain);
  if (next != nullptr) {
    position_ = static_cast<size_t>(next - bytes.data());
    return take_length(frame, plain);
  }
  const size_t end = bytes.find("\r\n", std::max(position_, searched_));
  const bool found = end != std::string_view::npos;
  if (frame != Frame::line && (found ? end : bytes.size()) - position_ > kNumberBytesMax) return State::bad;
  if (!found) {
    searched_ = bytes.size() - 1;  // its last byte may be the CR
    return State::incomplete;
  }
  const std::string_view text = bytes.substr(position_ + 1, end - position_ - 1);
  position_ = end + 2;
  if (frame == Frame::line) return take_length(frame, 0);
  const auto number = parse_int(text);
  const bool null = number && *number == -1 && (type == '$' || type == '*');
  if (null) return take_length(Frame::line, 0);
  if (!number || *number < 0) return State::bad;
  return take_length(frame, *number);
}

/// A line of a frame was passed; what it says of more to come.
ReplyScanner::State ReplyScanner::take_length(Frame frame, int64_t number) {
  --pending_;
  if (frame == Frame::line) return State::complete;
  if (frame == Frame::bulk) {
    position_ += static_cast<size_t>(number) + 2;
    return State::complete;
  }
  if (number > kElementsMax) return State::bad;
  pending_ += frame == Frame::aggregate ? number : 2 * number;
  if (frame == Frame::attribute) ++pending_;  // the reply it belongs to is still to come
  return State::complete;
}

namespace {

Value::Type type_of(const redisReply& reply) {
  static constexpr std::pair<int, Value::Type> kTypes[] = {
      {REDIS_REPLY_STATUS, Value::Type::simple}, {REDIS_REPLY_ERROR, Value::Type::error},
      {REDIS_REPLY_STRING, Value::Type::bulk},   {REDIS_REPLY_INTEGER, Value::Type::integer},
      {REDIS_REPLY_ARRAY, Value::Type::array},   {REDIS_REPLY_NIL, Value::Type::nil}};
  for (const auto& [theirs, ours] : kTypes) {
    if (theirs == reply.type) return ours;
  }
  return Value::Type::nil;
}

/// Recursion is as deep as hiredis' reader goes.
Value value_from(const redisReply& reply) {
  Value value;
  value.type = type_of(reply);
  if (value.is_text() || value.is_error()) value.text.assign(reply.str, static_cast<size_t>(reply.len));
  if (value.type == Value::Type::integer) value.integer = reply.integer;
  if (value.type == Value::Type::array) {
    value.elements.reserve(reply.elements);
    for (size_t i = 0; i < reply.elements; ++i) value.elements.push_back(value_from(*reply.element[i]));
  }
  return value;
}

}  // namespace

Value parse_value(std::string_view frame) {
  Value broken;
  broken.type = Value::Type::error;
  broken.text = "protocol";
  const std::unique_ptr<redisReader, decltype(&redisReaderFree)> reader(redisReaderCreate(), &redisReaderFree);
  void* reply = nullptr;
  if (!reader || redisReaderFeed(reader.get(), frame.data(), frame.size()) != REDIS_OK) return broken;
  if (redisReaderGetReply(reader.get(), &reply) != REDIS_OK || reply == nullptr) return broken;
  const std::unique_ptr<void, decltype(&freeReplyObject)> owned(reply, &freeReplyObject);
  return value_from(*static_cast<const redisReply*>(reply));
}

std::string_view info_field(std::string_view info, std::string_view name) {
  while (!info.empty()) {
    std::string_view line = info.substr(0, info.find('\n'));
    info.remove_prefix(std::min(info.size(), line.size() + 1));
    if (!line.starts_with(name) || line.size() == name.size() || line[name.size()] != ':') continue;
    line.remove_prefix(name.size() + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
  }
  return {};
}

}  // namespace sidestream::resp
