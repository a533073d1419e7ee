// request_tail.cc: counting down bytes and arguments. See the header.
#include "proxy/resp/request_tail.h"

#include <algorithm>

namespace sidestream::resp {
namespace {
constexpr std::string_view kOneArgument = "*1\r\n";
constexpr size_t kLineBytesMax = 64 * 1024;
}  // namespace

RequestTail::RequestTail(int64_t arguments_left, size_t known_until, size_t seen, std::string_view line,
                         RequestLimits limits)
    : arguments_left_(arguments_left), skip_(known_until), seen_(seen), line_(kOneArgument), limits_(limits) {
  line_.append(line);
}

RequestTail::State RequestTail::pass(std::string_view bytes, size_t& taken) {
  taken = 0;
  while (arguments_left_ > 0) {
    if (taken == bytes.size()) return State::more;
    if (skip_ > 0) {
      const size_t n = std::min(skip_, bytes.size() - taken);
      taken += n;
      seen_ += n;
      skip_ -= n;
      if (skip_ == 0) --arguments_left_;
      continue;
    }
    line_ += bytes[taken++];
    const bool whole = line_.size() > kOneArgument.size() + 1 && line_[line_.size() - 2] == '\r';
    if ((whole || line_.size() > kOneArgument.size() + kLineBytesMax) && !read_length()) return State::bad;
  }
  return State::done;
}

/// The line is a request that lacks only its argument: what the parser says about it holds for ours.
bool RequestTail::read_length() {
  RequestParser parser;
  parser.limits = limits_;
  Request request;
  if (parser.next(line_, request) == RequestParser::State::bad) {
    error_ = parser.error();
    return false;
  }
  skip_ = parser.expected() - line_.size();
  seen_ = 0;
  line_.resize(kOneArgument.size());
  return true;
}

}  // namespace sidestream::resp
