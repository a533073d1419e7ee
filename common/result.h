// result.h: a value or the reason why there is none. What peers and the environment do to us travels as a
// Result; what we did wrong ourselves is a CHECK. No exceptions cross files.
//
// In coroutines the awaited call stands alone (rule C1 in proxy/README.md), the macro follows:
//   auto reply = co_await link.read_line();
//   CO_RETURN_IF_ERROR(reply);
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "common/check.h"

namespace sidestream {

/// What the caller can do about it, not where it came from.
enum class Errc {
  closed,      ///< the other side went away
  timed_out,   ///< no answer within the bound
  refused,     ///< the other side said no, `detail` holds its words
  protocol,    ///< the other side sent what it must not
  over_limit,  ///< a bound of ours was reached
  config,      ///< the user must change something
  io,          ///< disk, address or another resource of the machine
};

struct Error {
  Errc code = Errc::io;
  std::string detail;
};

template <class T = void>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return state_.index() == 0; }
  T& value() & {
    CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    CHECK(ok());
    return std::move(*std::get_if<0>(&state_));
  }
  const Error& error() const& {
    CHECK(!ok());
    return *std::get_if<1>(&state_);
  }
  Error&& error() && {
    CHECK(!ok());
    return std::move(*std::get_if<1>(&state_));
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return ok_; }
  const Error& error() const& {
    CHECK(!ok_);
    return error_;
  }
  Error&& error() && {
    CHECK(!ok_);
    return std::move(error_);
  }

 private:
  Error error_;
  bool ok_ = true;
};

}  // namespace sidestream

#define RETURN_IF_ERROR(result) \
  if (!(result).ok()) return std::move(result).error()
#define CO_RETURN_IF_ERROR(result) \
  if (!(result).ok()) co_return std::move(result).error()
