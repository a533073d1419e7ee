// slow_log.cc: a ring, and the name of a command that is already bytes. See the header.
#include "proxy/routing/slow_log.h"

#include <utility>

#include "common/text.h"
#include "proxy/routing/limits.h"

namespace sidestream::routing {
namespace {
constexpr size_t kNameShown = 32;
}

void SlowLog::add(SlowRequest request) {
  requests_.push_front(std::move(request));
  if (requests_.size() > limits::kSlowRequestsMax) requests_.pop_back();
}

std::string command_name(std::string_view request) {
  const size_t count_end = request.find("\r\n");  // *2
  const size_t length_end = request.find("\r\n", count_end == std::string_view::npos ? count_end : count_end + 2);
  if (length_end == std::string_view::npos) return "?";
  const std::string_view rest = request.substr(length_end + 2);
  return to_upper(printable(rest.substr(0, rest.find("\r\n")), kNameShown));
}

}  // namespace sidestream::routing
