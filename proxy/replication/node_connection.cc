// node_connection.cc: see node_connection.h.
#include "proxy/replication/node_connection.h"

#include <utility>

#include "common/signal.h"
#include "common/text.h"
#include "proxy/resp/writer.h"

namespace sidestream::replication {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
constexpr size_t kReplyBytesMax = 64 * 1024 * 1024;
constexpr size_t kLineBytesMax = 1024;

std::string encode(const std::vector<std::string>& args) {
  const std::vector<std::string_view> views(args.begin(), args.end());
  std::string out;
  resp::append_command(out, views);
  return out;
}

}  // namespace

std::string host_of(const std::string& address) {
  const auto parsed = parse_address(address);
  return parsed.ok() ? parsed.value().host : address;
}

NodeConnection::NodeConnection(World& world, std::unique_ptr<ByteStream> stream, int64_t timeout_ms)
    : world_(world), stream_(std::move(stream)), timeout_ms_(timeout_ms), room_(kReadBytes, '\0') {}

Task<Result<std::unique_ptr<NodeConnection>>> NodeConnection::open(World& world, Address address,
                                                                   Credentials credentials, int64_t timeout_ms) {
  auto opening = open_now(world, std::move(address), std::move(credentials), timeout_ms);
  co_return co_await with_timeout(world.clock, timeout_ms, "connect", std::move(opening));
}

Task<Result<std::unique_ptr<NodeConnection>>> NodeConnection::open_now(World& world, Address address,
                                                                       Credentials credentials, int64_t timeout_ms) {
  auto stream = co_await world.network.connect(address);
  CO_RETURN_IF_ERROR(stream);
  auto connection = std::make_unique<NodeConnection>(world, std::move(stream).value(), timeout_ms);
  if (!credentials.password.empty()) {
    std::vector<std::string> auth;
    auth.push_back("AUTH");
    if (!credentials.user.empty()) auth.push_back(credentials.user);
    auth.push_back(credentials.password);
    auto accepted = co_await connection->demand(std::move(auth));
    CO_RETURN_IF_ERROR(accepted);
  }
  co_return std::move(connection);
}

Task<Result<resp::Value>> NodeConnection::ask(std::vector<std::string> args) {
  co_return co_await ask_within(timeout_ms_, std::move(args));
}

Task<Result<resp::Value>> NodeConnection::ask_within(int64_t timeout_ms, std::vector<std::string> args) {
  const std::string what = to_upper(args.front());
  stream_->write(encode(args));
  auto reply = next_reply();
  co_return co_await with_timeout(world_.clock, timeout_ms, what.c_str(), std::move(reply));
}

Task<Result<resp::Value>> NodeConnection::demand(std::vector<std::string> args) {
  auto reply = co_await ask(std::move(args));
  CO_RETURN_IF_ERROR(reply);
  if (reply.value().is_error()) co_return Error{Errc::refused, printable(reply.value().text, 256)};
  co_return std::move(reply);
}

Task<Result<std::vector<resp::Value>>> NodeConnection::ask_all(std::vector<std::vector<std::string>> commands) {
  std::string request;
  for (const auto& command : commands) request += encode(command);
  stream_->write(request);
  std::vector<resp::Value> replies;
  for (const auto& command : commands) {
    auto reading = next_reply();
    auto reply = co_await with_timeout(world_.clock, timeout_ms_, command.front().c_str(), std::move(reading));
    CO_RETURN_IF_ERROR(reply);
    replies.push_back(std::move(reply).value());
  }
  co_return std::move(replies);
}

Task<Result<std::vector<resp::Value>>> NodeConnection::transact(std::vector<std::vector<std::string>> commands) {
  std::string request = resp::command({"MULTI"});
  for (const auto& command : commands) request += encode(command);
  stream_->write(request + resp::command({"EXEC"}));
  std::string refusal;
  resp::Value last;
  for (size_t unread = commands.size() + 2; unread > 0; --unread) {
    auto reading = next_reply();
    auto reply = co_await with_timeout(world_.clock, timeout_ms_, "EXEC", std::move(reading));
    CO_RETURN_IF_ERROR(reply);
    last = std::move(reply).value();
    if (last.is_error() && refusal.empty()) refusal = last.text;
  }
  for (const resp::Value& each : last.elements) {
    if (each.is_error() && refusal.empty()) refusal = each.text;
  }
  if (!refusal.empty()) co_return Error{Errc::refused, printable(refusal, 256)};
  if (last.elements.size() != commands.size()) co_return Error{Errc::protocol, "EXEC: not a reply for each command"};
  co_return std::move(last.elements);
}

Task<Result<void>> NodeConnection::introduce() {
  std::vector<std::string> words = {"SIDESTREAM", "READS", "primary"};
  auto heard = co_await demand(std::move(words));
  CO_RETURN_IF_ERROR(heard);
  co_return Result<void>();
}

Task<Result<std::string>> NodeConnection::read_line() {
  auto line = next_line();
  co_return co_await with_timeout(world_.clock, timeout_ms_, "reading", std::move(line));
}

Task<Result<std::string_view>> NodeConnection::read_chunk() {
  if (consumed_ == buffer_.size()) {
    auto filling = fill();
    auto filled = co_await with_timeout(world_.clock, timeout_ms_, "reading", std::move(filling));
    CO_RETURN_IF_ERROR(filled);
  }
  const std::string_view chunk = std::string_view(buffer_).substr(consumed_);
  consumed_ = buffer_.size();
  co_return chunk;
}

void NodeConnection::unread(std::string_view rest) {
  CHECK(rest.size() <= consumed_);
  consumed_ -= rest.size();
}

std::string NodeConnection::take_leftover() {
  std::string rest = buffer_.substr(consumed_);
  buffer_.clear();
  consumed_ = 0;
  return rest;
}

Task<Result<void>> NodeConnection::fill() {
  if (consumed_ == buffer_.size()) {
    buffer_.clear();
    consumed_ = 0;
  }
  auto n = co_await stream_->read(room_);
  CO_RETURN_IF_ERROR(n);
  if (n.value() == 0) co_return Error{Errc::closed, "the other side closed the connection"};
  last_io_us_ = world_.clock.now_us();
  buffer_.append(room_, 0, n.value());
  co_return Result<void>();
}

Task<Result<resp::Value>> NodeConnection::next_reply() {
  resp::ReplyScanner scanner;
  for (;;) {
    const std::string_view bytes = std::string_view(buffer_).substr(consumed_);
    const auto state = scanner.scan(bytes);
    if (state == resp::ReplyScanner::State::bad) {
      co_return Error{Errc::protocol, "not a Redis reply: " + printable(bytes, 64)};
    }
    if (state == resp::ReplyScanner::State::complete) {
      resp::Value value = resp::parse_value(bytes.substr(0, scanner.size()));
      consumed_ += scanner.size();
      co_return std::move(value);
    }
    if (bytes.size() > kReplyBytesMax) co_return Error{Errc::over_limit, "the reply is larger than 64 MB"};
    auto filled = co_await fill();
    CO_RETURN_IF_ERROR(filled);
  }
}

Task<Result<std::string>> NodeConnection::next_line() {
  for (;;) {
    const size_t newline = buffer_.find('\n', consumed_);
    if (newline != std::string::npos) {
      std::string line = buffer_.substr(consumed_, newline - consumed_);
      consumed_ += line.size() + 1;
      if (line.ends_with('\r')) line.pop_back();
      co_return std::move(line);
    }
    if (buffer_.size() - consumed_ > kLineBytesMax) {
      co_return Error{Errc::protocol, "a line without end: " + printable(buffer_.substr(consumed_, 64))};
    }
    auto filled = co_await fill();
    CO_RETURN_IF_ERROR(filled);
  }
}

}  // namespace sidestream::replication
