// request.h: what clients (and the replication stream) send, found in place: no copy, no allocation per command.
//
//   request  = multibulk | inline
//   multibulk= "*" count CRLF count*bulk         ; count <= 0: an empty request, ignored
//   bulk     = "$" length CRLF length*OCTET CRLF
//   inline   = words separated by blanks, quoted as in a shell, up to LF
//
// As in stock Redis the two bytes behind a bulk and the one behind a CR are skipped unseen.
//
// Happy path: next() returns ok with the arguments as views into the caller's buffer. Failure modes: incomplete
// (call again with more bytes appended; the parser remembers how far it got), bad (stock's error text in `error`).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sidestream::resp {

/// One request. Reuse it: its vectors keep their room. May be moved, not copied (`args` may point into `unquoted`).
struct Request {
  Request() = default;
  Request(Request&&) = default;
  Request& operator=(Request&&) = default;

  std::string_view raw;                ///< the frame's own bytes, for multibulk requests
  std::vector<std::string_view> args;  ///< views into the buffer (or into `unquoted`); empty: nothing to do
  bool is_inline = false;
  std::string unquoted;  ///< storage for inline arguments
  std::string_view name() const { return args.empty() ? std::string_view{} : args[0]; }
};

struct RequestLimits {
  int64_t bulk_bytes_max = 512LL * 1024 * 1024;  ///< proto-max-bulk-len
  int64_t arguments_max = 2147483647;
  bool authenticated = true;  ///< false: stock's smaller bounds, 10 arguments of 16384 bytes
};

class RequestTail;

class RequestParser {
 public:
  enum class State { ok, incomplete, bad };

  /// Looks at `bytes`, which starts with the current request and only grows between calls that say incomplete.
  /// On ok `consumed` bytes belong to the request; views in `request` live as long as the caller's bytes stay put.
  State next(std::string_view bytes, Request& request);
  size_t consumed() const { return position_; }
  /// Stock's words, without the leading "-ERR " and line end; valid after bad.
  const std::string& error() const { return error_; }
  /// After incomplete: bytes that the request will have at least; 0 if unknown. What a peer claims: do not reserve it.
  size_t expected() const { return expected_; }
  /// After incomplete: the first complete arguments of a multibulk request, `most` at most; raw: all of `bytes`.
  /// How many arguments it will have; 0: not known yet, or inline.
  int64_t peek(std::string_view bytes, Request& request, size_t most) const;
  /// After incomplete: gives up the multibulk request of which `bytes` have come; its rest is to go through the tail.
  RequestTail leave(std::string_view bytes);
  RequestLimits limits;

 private:
  struct Line;
  /// What nearly every call finds: a multibulk request, whole and plain. False: anything else, for the others to judge.
  bool take_whole(std::string_view bytes, Request& request);
  State fail(std::string text);
  State parse_inline(std::string_view bytes, Request& request);
  State parse_multibulk(std::string_view bytes, Request& request);
  Line read_length(std::string_view bytes) const;
  State read_count(std::string_view bytes);
  State read_bulk(std::string_view bytes);

  struct Argument {
    size_t offset, length;
  };
  size_t position_ = 0;          // everything before it is understood
  int64_t arguments_left_ = -1;  // -1: at the start of a request
  std::vector<Argument> found_;  // offsets, since the caller's buffer may move between calls
  size_t expected_ = 0;
  bool finished_ = true;
  std::string error_;
};

}  // namespace sidestream::resp
