// handshake.cc: see handshake.h.
#include "proxy/replication/handshake.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "common/text.h"
#include "proxy/resp/writer.h"

namespace sidestream::replication {

Task<Result<void>> introduce(NodeConnection& server, Announcement announcement) {
  std::vector<std::string> ping{"PING"};
  auto pong = co_await server.ask(std::move(ping));
  CO_RETURN_IF_ERROR(pong);
  // A user that may not PING may still replicate, and an instance without its node still has the history; any other
  // error (LOADING, NOAUTH, MASTERDOWN...) means: not now. As stock replicas see it.
  const std::string& said = pong.value().text;
  const bool may_go_on = said.starts_with("NOPERM") || said.starts_with("ERR operation not permitted");
  if (pong.value().is_error() && !may_go_on) co_return Error{Errc::refused, printable(said, 256)};
  if (announcement.listening_port != 0) {
    auto port = co_await set_option(server, "listening-port", std::to_string(announcement.listening_port));
    CO_RETURN_IF_ERROR(port);
  }
  if (!announcement.ip.empty()) {
    auto ip = co_await set_option(server, "ip-address", announcement.ip);
    CO_RETURN_IF_ERROR(ip);
  }
  std::vector<std::string> capabilities{
      "REPLCONF", "capa", "eof", "capa", "psync2", "capa", std::string(kInstanceCapability)};
  auto known = co_await server.ask(std::move(capabilities));
  CO_RETURN_IF_ERROR(known);
  co_return Result<void>();
}

Task<Result<bool>> set_option(NodeConnection& server, std::string name, std::string value) {
  std::vector<std::string> option{"REPLCONF", std::move(name), std::move(value)};
  auto reply = co_await server.ask(std::move(option));
  CO_RETURN_IF_ERROR(reply);
  co_return !reply.value().is_error();
}

Task<Result<PsyncReply>> request_sync(NodeConnection& server, std::string replid, int64_t next_byte) {
  std::string request;
  const std::string number = std::to_string(next_byte);
  resp::append_command(request, {"PSYNC", replid, number});
  server.send(request);
  for (;;) {
    auto line = co_await server.read_line();
    CO_RETURN_IF_ERROR(line);
    auto reply = parse_psync_reply(line.value());
    CO_RETURN_IF_ERROR(reply);
    if (reply.value().kind != PsyncReply::Kind::keepalive) co_return std::move(reply);
  }
}

Task<Result<PayloadHeader>> read_payload_header(NodeConnection& server) {
  for (;;) {
    auto line = co_await server.read_line();
    CO_RETURN_IF_ERROR(line);
    auto header = parse_payload_header(line.value());
    CO_RETURN_IF_ERROR(header);
    if (header.value().kind != PayloadHeader::Kind::keepalive) co_return std::move(header);
  }
}

namespace {

/// Cuts a payload out of the chunks of a connection.
class PayloadCutter {
 public:
  explicit PayloadCutter(const PayloadHeader& header) : left_(header.size) {
    if (header.kind == PayloadHeader::Kind::marked) mark_.emplace(header.mark);
  }
  EofMark::Found cut(std::string_view chunk) {
    if (mark_) return mark_->feed(chunk);
    const size_t taken = std::min(chunk.size(), static_cast<size_t>(left_));
    left_ -= static_cast<int64_t>(taken);
    return {{}, chunk.substr(0, taken), left_ == 0, chunk.substr(taken)};
  }

 private:
  int64_t left_;
  std::optional<EofMark> mark_;
};

Task<Result<void>> store(std::shared_ptr<Snapshot> into, std::string_view bytes, bool keep_reading,
                         TransferProgress& progress) {
  progress.received += static_cast<int64_t>(bytes.size());
  if (bytes.empty() || into == nullptr || (into->failed() && keep_reading)) co_return Result<void>();
  auto stored = co_await into->append(bytes);
  if (!keep_reading) co_return std::move(stored);
  co_return Result<void>();
}

}  // namespace

Task<Result<void>> receive_payload(NodeConnection& server, PayloadHeader header, std::shared_ptr<Snapshot> into,
                                   bool keep_reading, TransferProgress& progress) {
  PayloadCutter cutter(header);
  progress = TransferProgress{0, header.size, server.last_io_us(), server.last_io_us()};
  for (bool complete = false; !complete;) {
    auto chunk = co_await server.read_chunk();
    CO_RETURN_IF_ERROR(chunk);
    progress.last_io_us = server.last_io_us();
    const EofMark::Found found = cutter.cut(chunk.value());
    auto held_back = co_await store(into, found.held_back, keep_reading, progress);
    CO_RETURN_IF_ERROR(held_back);
    auto stored = co_await store(into, found.payload, keep_reading, progress);
    CO_RETURN_IF_ERROR(stored);
    server.unread(found.rest);
    complete = found.complete;
  }
  co_return Result<void>();
}

}  // namespace sidestream::replication
