// request.h: what clients (and the replication stream) send, found in place: no copy, no allocation per command.
//
//   request  = multibulk | inline
//   multibulk= "*" count CRLF count*bulk         ; count <= 0: an empty request, ignored
//   bulk     = "$" length CRLF length*OCTET CRLF
//   inline   = words separated by blanks, quoted as in a shell, up to LF
//
// Happy path: next() returns ok with the arguments as views into the caller's buffer. Failure modes: incomplete
// (call again with more bytes appended; the parser remembers how far it got), bad (stock's error text in `error`).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sidestream::resp {

struct Request {
  std::string_view raw;                 ///< the frame's own bytes, for multibulk requests
  std::vector<std::string_view> args;   ///< views into the buffer (or into `unquoted`); empty: nothing to do
  bool is_inline = false;
  std::string unquoted;                 ///< storage for inline arguments
  std::string_view name() const { return args.empty() ? std::string_view{} : args[0]; }
};

struct RequestLimits {
  int64_t bulk_bytes_max = 512LL * 1024 * 1024;  ///< proto-max-bulk-len
  int64_t arguments_max = 2147483647;
};

class RequestParser {
 public:
  enum class State { ok, incomplete, bad };

  /// Looks at `bytes`, which starts with the current request and only grows between calls that say incomplete.
  /// On ok `consumed` bytes belong to the request; views in `request` live as long as the caller's bytes stay put.
  State next(std::string_view bytes, Request& request);
  size_t consumed() const { return position_; }
  /// Stock's words, without the leading "-ERR " and line end; valid after bad.
  const std::string& error() const { return error_; }
  /// A multibulk request that is still incomplete: bytes that it will have at least. 0 if unknown.
  size_t expected() const { return expected_; }
  RequestLimits limits;

 private:
  State fail(std::string text);
  State parse_inline(std::string_view bytes, Request& request);
  State parse_multibulk(std::string_view bytes, Request& request);
  struct Line;

  size_t position_ = 0;
  int64_t arguments_left_ = -1;  // -1: at the start of a request
  std::vector<std::pair<size_t, size_t>> found_;  // offset and length of arguments
  size_t expected_ = 0;
  bool finished_ = true;
  std::string error_;
};

}  // namespace sidestream::resp
