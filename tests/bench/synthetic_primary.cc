// synthetic_primary.cc: handshake and endless stream of a primary that stores nothing.
//
// Happy path: PING, REPLCONF and PSYNC are answered as Redis 7.0 does, with an empty snapshot; then commands at full
// speed. Failure modes: a replica that leaves is forgotten and may come back by PSYNC at any offset; unknown commands
// get -ERR.
#include "tests/bench/synthetic_primary.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "tests/bench/bench_support.h"

namespace sidestream::bench {
namespace {

constexpr size_t kBlockBytesMin = size_t{8} << 20;
constexpr size_t kWriteBytesMax = size_t{1} << 20;
constexpr std::string_view kReplId = "5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed";
// Magic, end of file, checksum "not computed".
constexpr std::string_view kEmptyRdb{"REDIS0009\xff\0\0\0\0\0\0\0\0", 18};

/// Takes one command, RESP array or inline, off the front of `input`.
std::optional<std::vector<std::string>> take_command(std::string& input) {
  size_t at = 0;
  const auto take_line = [&]() -> std::optional<std::string> {
    const size_t end = input.find('\n', at);
    if (end == std::string::npos) return std::nullopt;
    std::string line = input.substr(at, end - at);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    at = end + 1;
    return line;
  };
  std::vector<std::string> words;
  const auto first = take_line();
  if (!first) return std::nullopt;
  if (first->starts_with('*')) {
    for (int left = std::atoi(first->c_str() + 1); left > 0; --left) {
      const auto header = take_line();
      if (!header) return std::nullopt;
      const auto length = static_cast<size_t>(std::max(0, std::atoi(header->c_str() + 1)));
      if (at + length + 2 > input.size()) return std::nullopt;
      words.push_back(input.substr(at, length));
      at += length + 2;
    }
  } else {
    for (size_t begin = 0; begin < first->size();) {
      const size_t end = std::min(first->find(' ', begin), first->size());
      if (end > begin) words.push_back(first->substr(begin, end - begin));
      begin = end + 1;
    }
  }
  input.erase(0, at);
  if (!words.empty()) std::transform(words[0].begin(), words[0].end(), words[0].begin(), ::toupper);
  return words;
}

std::string bulk(std::string_view text) { return fmt::format("${}\r\n{}\r\n", text.size(), text); }

}  // namespace

EndlessStream::EndlessStream(size_t value_bytes) {
  const std::string value(value_bytes, 'x');
  block_ = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";
  for (int key = 0; block_.size() < kBlockBytesMin; ++key) {
    block_ += fmt::format("*3\r\n$3\r\nSET\r\n$12\r\nkey:{:08}\r\n${}\r\n{}\r\n", key, value_bytes, value);
  }
}

std::string_view EndlessStream::from(int64_t offset) const {
  return std::string_view(block_).substr(static_cast<size_t>(offset) % block_.size());
}

bool EndlessStream::matches(int64_t offset, std::string_view bytes) const {
  while (!bytes.empty()) {
    const std::string_view expected = from(offset).substr(0, bytes.size());
    if (bytes.substr(0, expected.size()) != expected) return false;
    bytes.remove_prefix(expected.size());
    offset += static_cast<int64_t>(expected.size());
  }
  return true;
}

SyntheticPrimary::SyntheticPrimary(uint16_t port, const EndlessStream& stream, StreamProgress& progress, int64_t window)
    : stream_(stream), progress_(progress), window_(window), listener_(listen_on(port)), thread_([this] { run(); }) {}

SyntheticPrimary::~SyntheticPrimary() {
  stopping_ = true;
  thread_.join();
  for (const Replica& replica : replicas_) close(replica.fd);
  close(listener_);
}

int64_t SyntheticPrimary::limit() const { return std::min(progress_.end.load(), progress_.slowest + window_); }

void SyntheticPrimary::run() {
  std::vector<pollfd> interests;
  while (!stopping_) {
    const int64_t limit_now = limit();
    interests.assign(1, {listener_, POLLIN, 0});
    for (const Replica& replica : replicas_) {
      const bool has_bytes = replica.cursor >= 0 && replica.cursor < limit_now;
      interests.push_back({replica.fd, static_cast<short>(POLLIN | (has_bytes ? POLLOUT : 0)), 0});
    }
    poll(interests.data(), interests.size(), 1);  // 1 ms: the window has moved, or the stream has started
    auto interest = interests.begin() + 1;
    for (Replica& replica : replicas_) {
      const short events = (interest++)->revents;
      if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) read_commands(replica);
      if ((events & POLLOUT) != 0 && !replica.closing && !send_some(replica, limit_now)) replica.closing = true;
    }
    std::erase_if(replicas_, [](const Replica& replica) { return replica.closing && close(replica.fd) == 0; });
    if ((interests[0].revents & POLLIN) == 0) continue;
    const int fd = accept_from(listener_);
    if (fd >= 0) replicas_.emplace_back().fd = fd;
  }
}

void SyntheticPrimary::read_commands(Replica& replica) {
  std::array<char, 16384> chunk{};
  const ssize_t got = read(replica.fd, chunk.data(), chunk.size());
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) {
    replica.closing = true;
    return;
  }
  replica.input.append(chunk.data(), static_cast<size_t>(got));
  while (auto command = take_command(replica.input)) {
    if (!command->empty()) answer(replica, *command);
  }
}

void SyntheticPrimary::answer(Replica& replica, const std::vector<std::string>& command) {
  const std::string& name = command[0];
  const std::string option = command.size() > 1 ? command[1] : "";
  if (name == "REPLCONF" && (option == "ACK" || option == "ack")) return;
  if (name == "PSYNC" || name == "SYNC") return start_stream(replica, command);
  std::string reply = fmt::format("-ERR unknown command '{}'\r\n", name);
  if (name == "REPLCONF" || name == "AUTH" || name == "SELECT" || name == "CLIENT") reply = "+OK\r\n";
  for (size_t i = 1; i + 1 < command.size(); i += 2) replica.snapshot_only |= command[i] == "rdb-only";
  if (name == "PING") reply = "+PONG\r\n";
  if (name == "COMMAND" || name == "CONFIG") reply = "*0\r\n";
  const int64_t offset = limit();
  if (name == "ROLE") reply = fmt::format("*3\r\n{}:{}\r\n*0\r\n", bulk("master"), offset);
  if (name == "INFO") {
    reply = bulk(
        fmt::format("# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n\r\n# Replication\r\nrole:master\r\n"
                    "connected_slaves:0\r\nmaster_replid:{}\r\nmaster_replid2:{:0>40}\r\nmaster_repl_offset:{}\r\n"
                    "second_repl_offset:-1\r\nrepl_backlog_active:1\r\nrepl_backlog_size:1048576\r\n"
                    "repl_backlog_first_byte_offset:1\r\nrepl_backlog_histlen:{}\r\n",
                    kReplId, "", offset, offset));
  }
  if (!write_all(replica.fd, reply)) replica.closing = true;
}

void SyntheticPrimary::start_stream(Replica& replica, const std::vector<std::string>& psync) {
  std::string reply;
  if (psync.size() > 2 && psync[1] == kReplId) {
    replica.cursor = std::atoll(psync[2].c_str()) - 1;  // PSYNC names the byte after the last one owned, counted from 1
    reply = "+CONTINUE\r\n";
  } else {
    replica.cursor = limit();
    if (psync[0] == "PSYNC") reply = fmt::format("+FULLRESYNC {} {}\r\n", kReplId, replica.cursor);
    reply += fmt::format("${}\r\n{}", kEmptyRdb.size(), kEmptyRdb);
  }
  if (!write_all(replica.fd, reply) || replica.snapshot_only) replica.closing = true;
}

bool SyntheticPrimary::send_some(Replica& replica, int64_t limit) {
  const auto room = static_cast<size_t>(limit - replica.cursor);
  const std::string_view bytes = stream_.from(replica.cursor).substr(0, std::min(room, kWriteBytesMax));
  int64_t not_yet = 0;
  progress_.first_sent.compare_exchange_strong(not_yet, now_ns());
  const ssize_t sent = send(replica.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent > 0) replica.cursor += sent;
  return sent > 0 || errno == EAGAIN;
}

}  // namespace sidestream::bench
