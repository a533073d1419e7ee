// stream_scanner.h: where commands begin and end in the replication stream, found as the bytes pass by.
//
//   stream  = *( command | LF | CR LF )             ; a stray newline counts as a byte like any other
//   command = "*" count CRLF count*( "$" length CRLF length*OCTET 2*OCTET )
//
// Happy path: feed() chunks of any size, command() is called once for each whole command, with its arguments in place
// or, where they straddle chunks, copied. A command of any size passes; of a large one only the beginning is kept.
// Failure modes: anything else in the stream is Errc::protocol; command_boundary() tells where the sane part ended.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "proxy/resp/repl_offset.h"

namespace sidestream::replication {

class StreamScanner {
 public:
  /// Longer arguments are cut to this, whatever the chunks were, and the command is called truncated.
  static constexpr size_t kArgumentBytesMax = 16 * 1024;
  /// All arguments of a command together; those beyond are left out.
  static constexpr size_t kArgumentsBytesMax = 64 * 1024;
  static constexpr size_t kArgumentsMax = 4096;

  struct Command {
    std::span<const std::string_view> args;  ///< valid during the call
    bool truncated = false;
    ReplOffset before;  ///< last byte before the command
    ReplOffset end;     ///< its last byte
  };
  class Visitor {
   public:
    virtual ~Visitor() = default;
    virtual void command(const Command& command) = 0;
  };

  StreamScanner();
  /// The byte behind `at` begins a command, outside a transaction.
  void reset(ReplOffset at);
  /// The next bytes of the stream. After an error only reset() helps.
  Result<void> feed(std::string_view bytes, Visitor& visitor);

  /// Last byte fed.
  ReplOffset position() const { return position_; }
  /// End of the last whole command.
  ReplOffset command_boundary() const { return command_boundary_; }
  /// End of the last whole command outside MULTI ... EXEC: here a stock replica would continue.
  ReplOffset safe_boundary() const { return safe_boundary_; }

 private:
  enum class Phase : uint8_t { start, bulk_header, body };
  size_t take_whole(std::string_view rest, Visitor& visitor);
  Result<size_t> take_line(std::string_view rest);
  Result<void> apply_line(std::string_view line);
  size_t take_body(std::string_view rest);
  void begin_argument(int64_t length);
  void keep_borrowed();
  void complete(std::span<const std::string_view> args, Visitor& visitor);
  void forget_arguments();
  void note_boundary();

  Phase phase_ = Phase::start;
  bool in_transaction_ = false;
  ReplOffset position_;
  ReplOffset command_boundary_;
  ReplOffset safe_boundary_;
  int64_t arguments_left_ = 0;
  int64_t body_left_ = 0;     // with the two bytes behind it
  size_t keep_left_ = 0;      // of the body being copied
  size_t kept_from_ = 0;      // where in kept_ that copy began
  bool body_fresh_ = false;   // none of the body was seen in an earlier chunk
  bool body_wanted_ = false;  // it becomes an argument
  bool truncated_ = false;
  bool whole_command_ = false;  // arguments are complete, complete() is due
  size_t arguments_bytes_ = 0;
  std::string line_;                          // beginning of a header line that straddles chunks
  std::vector<std::string_view> whole_args_;  // of a command that lies whole in the chunk
  std::vector<std::string_view> args_;
  size_t borrowed_from_ = 0;  // arguments from here on are views into the chunk being fed
  std::string kept_;          // never grows beyond its reservation: views into it stay valid
};

}  // namespace sidestream::replication
