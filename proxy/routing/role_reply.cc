// role_reply.cc: see the header for the grammar.
#include "proxy/routing/role_reply.h"

#include <fmt/format.h>

#include "common/text.h"
#include "proxy/resp/plain_length.h"

namespace sidestream::routing {
namespace {

/// Takes one line of type `type` from the front; the text behind the type, or nothing.
std::optional<std::string_view> take_line(std::string_view& bytes, char type) {
  const size_t end = bytes.find("\r\n");
  if (end == std::string_view::npos || bytes[0] != type) return std::nullopt;
  const std::string_view line = bytes.substr(1, end - 1);
  bytes.remove_prefix(end + 2);
  return line;
}

std::optional<std::string_view> take_bulk(std::string_view& bytes) {
  int64_t length = 0;
  const char* const end = bytes.data() + bytes.size();
  const char* const body = resp::read_plain_length(bytes.data(), end, '$', length);
  if (body == nullptr || length + 2 > end - body) return std::nullopt;
  const std::string_view text(body, static_cast<size_t>(length));
  bytes.remove_prefix(static_cast<size_t>(body + length + 2 - bytes.data()));
  return text;
}

std::optional<int64_t> take_integer(std::string_view& bytes) {
  const auto line = take_line(bytes, ':');
  return line ? parse_int(*line) : std::nullopt;
}

}  // namespace

std::string role_upstream(const Address& upstream) {
  return fmt::format("${}\r\n{}\r\n:{}\r\n", upstream.host.size(), upstream.host, upstream.port);
}

std::optional<RoleReply> parse_role(std::string_view frame) {
  RoleReply role;
  if (!take_line(frame, '*')) return std::nullopt;
  const auto name = take_bulk(frame);
  if (!name) return std::nullopt;
  if (*name == "slave") {
    const std::string_view from_host = frame;
    const bool has_upstream = take_bulk(frame).has_value() && take_integer(frame).has_value();
    if (!has_upstream) return std::nullopt;
    role.upstream = from_host.substr(0, from_host.size() - frame.size());
    const auto state = take_bulk(frame);
    role.connected = state == "connected";
  } else if (*name == "master") {
    role.primary = true;
  } else {
    return std::nullopt;
  }
  const auto offset = take_integer(frame);
  if (!offset) return std::nullopt;
  role.offset = ReplOffset{*offset};
  return role;
}

}  // namespace sidestream::routing
