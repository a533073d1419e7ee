// reply_fuzz.cc: borders of replies, as found by ReplyScanner: the same whether the bytes come at once or in pieces,
// the same as a plain recursive reading of the protocol finds, and the same as hiredis' reader finds where that knows
// the type (RESP2, few levels).
#include <hiredis/hiredis.h>

#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "common/text.h"
#include "proxy/resp/reply.h"
#include "tests/fuzz/fuzz_input.h"

namespace sidestream::fuzz {
namespace {

using resp::ReplyScanner;
using State = ReplyScanner::State;

constexpr size_t kHiredisLevels = 7;  // that every version of its reader takes
constexpr size_t kNumberBytesMax = 32;

struct Found {
  State state = State::complete;
  size_t size = 0;
  size_t levels = 0;  // of nesting
  bool resp2 = true;  // only types that hiredis 0.14 knows, and integers that are numbers
};

/// The protocol, read as it is written down. Recursion is as deep as the input is long at most: inputs are short.
class Reference {
 public:
  explicit Reference(std::string_view bytes) : bytes_(bytes) {}
  Found read() {
    Found found;
    found.state = frame(0, found);
    found.size = at_;
    return found;
  }

 private:
  State frame(size_t level, Found& found) {
    found.levels = std::max(found.levels, level);
    if (at_ >= bytes_.size()) return State::incomplete;
    const char type = bytes_[at_];
    const bool line_type = std::string_view("+-:_,#(").find(type) != std::string_view::npos;
    if (!line_type && std::string_view("$=!*~>%|").find(type) == std::string_view::npos) return State::bad;
    if (std::string_view("+-:$*").find(type) == std::string_view::npos) found.resp2 = false;
    const size_t end = bytes_.find("\r\n", at_);
    const size_t line_size = (end == std::string_view::npos ? bytes_.size() : end) - at_;
    if (!line_type && line_size > kNumberBytesMax) return State::bad;
    if (end == std::string_view::npos) return State::incomplete;
    const std::string_view text = bytes_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 2;
    if (type == ':' && !parse_int(text)) found.resp2 = false;
    if (line_type) return State::complete;
    return counted(type, parse_int(text), level, found);
  }

  State counted(char type, std::optional<int64_t> count, size_t level, Found& found) {
    if (count == -1 && (type == '$' || type == '*')) return State::complete;
    if (!count || *count < 0) return State::bad;
    if (type == '$' || type == '=' || type == '!') {
      if (*count > std::numeric_limits<int>::max()) found.resp2 = false;  // more than hiredis can hold
      const auto wanted = static_cast<uint64_t>(*count) + 2;
      if (wanted > bytes_.size() - at_) return State::incomplete;
      at_ += wanted;
      return State::complete;
    }
    if (*count > 4294967295) return State::bad;
    if (*count > std::numeric_limits<int>::max()) found.resp2 = false;
    const int64_t parts = type == '%' || type == '|' ? 2 * *count : *count;
    for (int64_t i = 0; i < parts; ++i) {
      const State state = frame(level + 1, found);
      if (state != State::complete) return state;
    }
    return type == '|' ? frame(level, found) : State::complete;
  }

  std::string_view bytes_;
  size_t at_ = 0;
};

/// Each call sees a copy of its own: a view that was kept from an earlier call shows under a sanitizer.
State scan_in_pieces(ReplyScanner& scanner, std::string_view bytes, size_t piece) {
  for (size_t seen = std::min(piece, bytes.size());; seen = std::min(seen + piece, bytes.size())) {
    const std::string copy(bytes.substr(0, seen));
    const State state = scanner.scan(copy);
    if (state != State::incomplete || seen == bytes.size()) return state;
  }
}

void compare_with_hiredis(std::string_view bytes, const Found& found) {
  const std::unique_ptr<redisReader, decltype(&redisReaderFree)> reader(redisReaderCreateWithFunctions(nullptr),
                                                                        &redisReaderFree);
  void* reply = nullptr;
  CHECK(redisReaderFeed(reader.get(), bytes.data(), bytes.size()) == REDIS_OK);
  const bool sane = redisReaderGetReply(reader.get(), &reply) == REDIS_OK;
  const bool complete = sane && reply != nullptr;
  if (complete) {
    CHECK(found.state == State::complete);
    // It forgets what it has read once that is more than a kilobyte.
    CHECK(bytes.size() - (reader->len - reader->pos) == found.size);
  } else if (found.resp2 && found.levels <= kHiredisLevels) {
    CHECK(found.state != State::complete);
    CHECK(sane || found.state == State::bad);
  }
}

}  // namespace
}  // namespace sidestream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sidestream;
  fuzz::Input input(data, size);
  const size_t piece = 1 + input.take_below(16);
  std::string_view bytes = input.rest();
  while (!bytes.empty()) {
    const fuzz::Found expected = fuzz::Reference(bytes).read();
    resp::ReplyScanner whole, pieces;
    CHECK(whole.scan(bytes) == expected.state);
    CHECK(fuzz::scan_in_pieces(pieces, bytes, piece) == expected.state);
    fuzz::compare_with_hiredis(bytes, expected);
    if (expected.state != resp::ReplyScanner::State::complete) break;
    CHECK(whole.size() == expected.size);
    CHECK(pieces.size() == expected.size);
    const resp::Value value = resp::parse_value(bytes.substr(0, expected.size));
    CHECK(!expected.resp2 || expected.levels > fuzz::kHiredisLevels || !value.is_error() || value.text != "protocol" ||
          bytes[0] == '-');
    bytes.remove_prefix(expected.size);
  }
  return 0;
}
