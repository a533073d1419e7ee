// stream_fuzz.cc: commands in the replication stream, as StreamScanner finds them: the same commands and boundaries for
// any chunks, and the same as a plain reading of the whole stream gives. Half of the inputs are raw bytes, half are
// blueprints for commands that are larger than what the scanner keeps.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "common/text.h"
#include "proxy/replication/stream_scanner.h"
#include "tests/fuzz/fuzz_input.h"

namespace sidestream::fuzz {
namespace {

using replication::StreamScanner;

constexpr int64_t kStart = 1000;

struct Seen {
  std::vector<std::string> args;
  bool truncated;
  int64_t before, end;
  bool operator==(const Seen&) const = default;
};

struct Outcome : StreamScanner::Visitor {
  std::vector<Seen> commands;
  bool broken = false;
  int64_t command_boundary = kStart, safe_boundary = kStart;
  void command(const StreamScanner::Command& command) override {
    Seen seen{{}, command.truncated, command.before.value, command.end.value};
    for (const auto& arg : command.args) seen.args.emplace_back(arg);
    commands.push_back(std::move(seen));
  }
};

void scan(std::string_view bytes, size_t piece, Outcome& outcome) {
  StreamScanner scanner;
  scanner.reset(ReplOffset{kStart});
  while (!bytes.empty() && !outcome.broken) {
    const std::string copy(bytes.substr(0, piece));  // gone before the next chunk comes
    outcome.broken = !scanner.feed(copy, outcome).ok();
    bytes.remove_prefix(copy.size());
  }
  outcome.command_boundary = scanner.command_boundary().value;
  outcome.safe_boundary = scanner.safe_boundary().value;
}

/// std::from_chars' idea of a number: digits, perhaps with zeros in front.
std::optional<int64_t> number(std::string_view text) {
  const bool negative = text.starts_with('-');
  std::string_view digits = text.substr(negative ? 1 : 0);
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size() - 1));
  return parse_int(negative && digits != "0" ? "-" + std::string(digits) : std::string(digits));
}

class Reference {
 public:
  Reference(std::string_view bytes, Outcome& outcome) : bytes_(bytes), outcome_(outcome) {}
  void read() {
    while (at_ < bytes_.size() && element()) {
      outcome_.command_boundary = kStart + static_cast<int64_t>(at_);
      if (!in_transaction_) outcome_.safe_boundary = outcome_.command_boundary;
    }
  }

 private:
  bool broken() { return outcome_.broken = true, false; }

  /// A line without its end. nullopt: broken, or not complete.
  std::optional<std::string_view> line() {
    const size_t newline = bytes_.find('\n', at_);
    const bool whole = newline != std::string_view::npos;
    if ((whole ? newline + 1 : bytes_.size()) - at_ > 34) return broken(), std::nullopt;
    if (!whole) return std::nullopt;
    std::string_view text = bytes_.substr(at_, newline - at_);
    at_ = newline + 1;
    if (text.ends_with('\r')) text.remove_suffix(1);
    return text;
  }

  /// False: the stream ends here.
  bool element() {
    if (bytes_[at_] != '*' && bytes_[at_] != '\n' && bytes_[at_] != '\r') return broken();
    const int64_t before = outcome_.command_boundary;
    const auto head = line();
    if (!head) return false;
    if (head->empty()) return true;
    const auto count = head->front() == '*' ? number(head->substr(1)) : std::nullopt;
    if (!count) return broken();
    Seen seen{{}, false, before, 0};
    size_t room = StreamScanner::kArgumentsBytesMax;
    bool full = false;
    for (int64_t i = 0; i < *count; ++i) {
      if (at_ >= bytes_.size()) return false;
      const auto size_line = line();
      if (!size_line) return false;
      const auto size = size_line->starts_with('$') ? number(size_line->substr(1)) : std::nullopt;
      if (!size || *size < 0 || *size > INT64_MAX - 2) return broken();
      const size_t kept = static_cast<size_t>(std::min<int64_t>(*size, StreamScanner::kArgumentBytesMax));
      full = full || kept > room || seen.args.size() >= StreamScanner::kArgumentsMax;
      seen.truncated = seen.truncated || full || kept < static_cast<size_t>(*size);
      if (static_cast<uint64_t>(*size) + 2 > bytes_.size() - at_) return false;
      if (!full) seen.args.emplace_back(bytes_.substr(at_, kept));
      if (!full) room -= kept;
      at_ += static_cast<size_t>(*size) + 2;
    }
    seen.end = kStart + static_cast<int64_t>(at_);
    if (!seen.args.empty() && iequals(seen.args[0], "MULTI")) in_transaction_ = true;
    if (!seen.args.empty() && iequals(seen.args[0], "EXEC")) in_transaction_ = false;
    if (!seen.args.empty() || seen.truncated) outcome_.commands.push_back(std::move(seen));
    return true;
  }

  std::string_view bytes_;
  Outcome& outcome_;
  size_t at_ = 0;
  bool in_transaction_ = false;
};

/// A stream of few but large commands, from a few bytes each.
std::string build(Input& input) {
  std::string stream;
  while (!input.empty() && stream.size() < 120'000) {
    const size_t kind = input.take_below(8);
    if (kind == 0) {
      stream += "\n";
      continue;
    }
    const size_t count = kind == 1 ? 4090 + input.take_below(16) : 1 + input.take_below(12);
    stream += "*" + std::to_string(count) + "\r\n";
    for (size_t i = 0; i < count; ++i) {
      static constexpr size_t kScale[] = {1, 1, 64, 127, 128, 129, 257, 1024};
      const size_t size = kind == 1 ? i % 3 : input.take() * kScale[kind];
      const std::string body = kind == 2 && i == 0 ? "MULTI" : kind == 3 && i == 0 ? "exec" : std::string(size, 'x');
      stream += "$" + std::to_string(body.size()) + "\r\n" + body + "\r\n";
    }
  }
  return stream;
}

}  // namespace
}  // namespace sidestream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sidestream::fuzz;
  Input input(data, size);
  const bool raw = input.take() % 2 == 0;
  const size_t piece = raw ? 1 + input.take_below(40) : 200 + input.take() * 113U;
  const std::string bytes = raw ? std::string(input.rest()) : build(input);
  Outcome expected, whole, pieces;
  Reference(bytes, expected).read();
  scan(bytes, bytes.size(), whole);
  scan(bytes, piece, pieces);
  for (const Outcome* outcome : {&whole, &pieces}) {
    CHECK(outcome->broken == expected.broken);
    CHECK(outcome->commands == expected.commands);
    CHECK(outcome->command_boundary == expected.command_boundary);
    CHECK(outcome->safe_boundary == expected.safe_boundary);
  }
  return 0;
}
