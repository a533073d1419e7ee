// request_tail.h: the rest of a request that is too large to be kept: where it ends, and whether it is well formed.
//
// Happy path: made by RequestParser::leave() in the middle of a request, fed with everything that comes behind; says
// how many bytes still belong to the request. Keeps nothing but the line it is in.
// Failure modes: bad, with stock's error text, as the parser would have said.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/resp/request.h"

namespace sidestream::resp {

class RequestTail {
 public:
  enum class State { more, done, bad };

  RequestTail() = default;
  /// `arguments_left`: the one that has begun included. `known_until`: how many bytes more belong to it; 0: `line`, the
  /// beginning of its length, is all there is. `seen`: bytes of it that have passed.
  RequestTail(int64_t arguments_left, size_t known_until, size_t seen, std::string_view line, RequestLimits limits);

  /// Takes from the front of `bytes`; `taken` of them belong to the request, all unless done or bad.
  State pass(std::string_view bytes, size_t& taken);
  /// Bytes of the current argument that have passed.
  size_t argument_bytes() const { return seen_; }
  const std::string& error() const { return error_; }

 private:
  bool read_length();

  int64_t arguments_left_ = 0;
  size_t skip_ = 0;  // of the current argument, its line end included
  size_t seen_ = 0;
  std::string line_;  // a request of one argument, as far as it has come
  RequestLimits limits_;
  std::string error_;
};

}  // namespace sidestream::resp
