// stream_scanner.cc: see stream_scanner.h. Nothing is allocated per command; a chunk is looked at once.
#include "proxy/replication/stream_scanner.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "common/check.h"
#include "common/text.h"
#include "proxy/resp/plain_length.h"

namespace sidestream::replication {
namespace {

constexpr size_t kHeaderLineMax = 32;  // "$" and 20 digits fit
constexpr int64_t kTrailer = 2;        // CR LF behind a body; unchecked, as in stock

std::optional<int64_t> parse_length(std::string_view digits) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) return {};
  return value;
}

Error broken(std::string_view what, std::string_view bytes) {
  return Error{Errc::protocol,
               "the replication stream is broken: " + std::string(what) + " at " + printable(bytes, 32)};
}

}  // namespace

StreamScanner::StreamScanner() { kept_.reserve(kArgumentsBytesMax); }

void StreamScanner::reset(ReplOffset at) {
  in_transaction_ = false;
  position_ = command_boundary_ = safe_boundary_ = at;
  line_.clear();
  forget_arguments();
}

Result<void> StreamScanner::feed(std::string_view bytes, Visitor& visitor) {
  const ReplOffset before = position_;
  size_t at = 0;
  while (at < bytes.size()) {
    const auto rest = bytes.substr(at);
    if (const size_t whole = take_whole(rest, visitor)) {
      at += whole;
      continue;
    }
    if (phase_ == Phase::body) {
      at += take_body(rest);
    } else {
      auto taken = take_line(rest);
      RETURN_IF_ERROR(taken);
      at += taken.value();
    }
    position_ = before + static_cast<int64_t>(at);
    if (whole_command_) {
      complete(args_, visitor);
      forget_arguments();
    }
  }
  keep_borrowed();
  return {};
}

/// What most of a stream consists of: a command that lies in the chunk from beginning to end. Its size; 0: it does not,
/// or is anything but plain, which the careful steps below judge.
size_t StreamScanner::take_whole(std::string_view rest, Visitor& visitor) {
  if (phase_ != Phase::start || !line_.empty()) return 0;
  const char* at = rest.data();
  const char* const end = at + rest.size();
  int64_t count = 0;
  at = resp::read_plain_length(at, end, '*', count);
  if (at == nullptr || count == 0 || count > static_cast<int64_t>(kArgumentsMax)) return 0;
  whole_args_.resize(static_cast<size_t>(count));
  size_t bytes = 0;
  for (std::string_view& arg : whole_args_) {
    int64_t length = 0;
    at = resp::read_plain_length(at, end, '$', length);
    if (at == nullptr || length > static_cast<int64_t>(kArgumentBytesMax) || length + kTrailer > end - at) return 0;
    bytes += static_cast<size_t>(length);
    if (bytes > kArgumentsBytesMax) return 0;
    arg = {at, static_cast<size_t>(length)};
    at += length + kTrailer;
  }
  const auto taken = static_cast<size_t>(at - rest.data());
  position_ = position_ + static_cast<int64_t>(taken);
  complete(whole_args_, visitor);
  return taken;
}

Result<size_t> StreamScanner::take_line(std::string_view rest) {
  if (phase_ == Phase::start && line_.empty() && rest[0] != '*' && rest[0] != '\n' && rest[0] != '\r') {
    return broken("an inline command", rest);
  }
  const size_t newline = rest.find('\n');
  const bool whole = newline != std::string_view::npos;
  const size_t taken = whole ? newline + 1 : rest.size();
  if (line_.size() + taken > kHeaderLineMax + 2)
    return broken("a header line without end", line_.empty() ? rest : line_);
  std::string_view line = rest.substr(0, whole ? newline : taken);
  if (!line_.empty() || !whole) {
    line_ += line;
    line = line_;
  }
  if (!whole) return taken;
  if (line.ends_with('\r')) line.remove_suffix(1);
  auto applied = apply_line(line);
  RETURN_IF_ERROR(applied);
  line_.clear();
  return taken;
}

Result<void> StreamScanner::apply_line(std::string_view line) {
  if (phase_ == Phase::start) {
    if (line.empty()) {  // a stray newline
      whole_command_ = true;
      return {};
    }
    const auto count = line[0] == '*' ? parse_length(line.substr(1)) : std::nullopt;
    if (!count) return broken("an invalid multibulk length", line);
    arguments_left_ = std::max<int64_t>(*count, 0);
    whole_command_ = arguments_left_ == 0;
    if (!whole_command_) phase_ = Phase::bulk_header;
    return {};
  }
  const auto length = !line.empty() && line[0] == '$' ? parse_length(line.substr(1)) : std::nullopt;
  if (!length || *length < 0 || *length > INT64_MAX - kTrailer) return broken("an invalid bulk length", line);
  begin_argument(*length);
  return {};
}

void StreamScanner::begin_argument(int64_t length) {
  phase_ = Phase::body;
  body_left_ = length + kTrailer;
  body_fresh_ = true;
  const auto keep = static_cast<size_t>(std::min<int64_t>(length, kArgumentBytesMax));
  body_wanted_ = args_.size() < kArgumentsMax && arguments_bytes_ + keep <= kArgumentsBytesMax;
  keep_left_ = body_wanted_ ? keep : 0;
  arguments_bytes_ += keep;  // once one is left out, so are all behind it: positions stay true
  if (!body_wanted_) arguments_bytes_ = kArgumentsBytesMax + 1;
  if (!body_wanted_ || keep < static_cast<size_t>(length)) truncated_ = true;
}

size_t StreamScanner::take_body(std::string_view rest) {
  const auto taken = static_cast<size_t>(std::min<int64_t>(body_left_, static_cast<int64_t>(rest.size())));
  const bool ends = static_cast<int64_t>(taken) == body_left_;
  if (body_fresh_ && ends) {
    if (body_wanted_) args_.push_back(rest.substr(0, keep_left_));
  } else {
    if (body_fresh_) {
      keep_borrowed();  // what comes now must stay contiguous until the body ends
      kept_from_ = kept_.size();
    }
    const size_t copied = std::min(keep_left_, taken);
    kept_.append(rest.substr(0, copied));
    keep_left_ -= copied;
    if (ends && body_wanted_) {
      args_.push_back(std::string_view(kept_).substr(kept_from_));
      borrowed_from_ = args_.size();
    }
  }
  body_fresh_ = false;
  body_left_ -= static_cast<int64_t>(taken);
  if (ends) {
    phase_ = Phase::bulk_header;
    whole_command_ = --arguments_left_ == 0;
  }
  return taken;
}

void StreamScanner::keep_borrowed() {
  for (; borrowed_from_ < args_.size(); ++borrowed_from_) {
    std::string_view& arg = args_[borrowed_from_];
    CHECK(kept_.size() + arg.size() <= kept_.capacity());
    const size_t from = kept_.size();
    kept_ += arg;
    arg = std::string_view(kept_).substr(from);
  }
}

void StreamScanner::complete(std::span<const std::string_view> args, Visitor& visitor) {
  const std::string_view name = args.empty() ? std::string_view{} : args[0];
  if (name.size() == 5 && iequals(name, "MULTI")) in_transaction_ = true;
  if (name.size() == 4 && iequals(name, "EXEC")) in_transaction_ = false;
  const ReplOffset before = command_boundary_;
  note_boundary();
  if (!args.empty() || truncated_) visitor.command(Command{args, truncated_, before, command_boundary_});
}

void StreamScanner::forget_arguments() {
  whole_command_ = false;
  phase_ = Phase::start;
  args_.clear();
  borrowed_from_ = 0;
  kept_.clear();
  arguments_bytes_ = 0;
  truncated_ = false;
}

void StreamScanner::note_boundary() {
  command_boundary_ = position_;
  if (!in_transaction_) safe_boundary_ = position_;
}

}  // namespace sidestream::replication
