// fake_replica.cc: a fake node as a replica. What stock 7.0 does, step by step.
//
// Happy path: connect, PING, AUTH, REPLCONF, PSYNC with what it remembers; the snapshot is loaded, acknowledged; the
// stream is applied command by command and fed to its own replicas. Failure modes: broken links are made again at once,
// refused ones a second later; "-NOMASTERLINK" and "-LOADING" mean later; a reply that stock would answer with SYNC,
// bytes behind the EOF mark, an inline or unknown command in the stream, a broken payload fail the simulation.
#include <algorithm>

#include "common/text.h"
#include "proxy/resp/writer.h"
#include "tests/support/fake_node.h"

namespace sidestream::sim {
namespace {

const std::string kNoId(40, '0');

Task<Result<size_t>> read_some(ByteStream& stream, std::string& into) {
  char chunk[4096];
  auto n = co_await stream.read(chunk);
  CO_RETURN_IF_ERROR(n);
  if (n.value() == 0) co_return Error{Errc::closed, "end of stream"};
  into.append(chunk, n.value());
  co_return n.value();
}

}  // namespace

struct FakeNode::Downlink {
  std::unique_ptr<ByteStream> stream;
  std::string buffer;  // read, not used yet
  resp::RequestParser parser;
  int64_t received = 0;  // offset of the last byte read from the stream
  bool in_transaction = false;
  std::vector<Words> transaction;
  std::string held;      // raw bytes of an open transaction: applied bytes are fed, others are not
  bool garbage = false;  // the stream cannot be understood: forget the history
};

void FakeNode::replicaof(const Address& primary) {
  CHECK(!loading_);
  world_.trace("{}: REPLICAOF {}", name_, primary.text());
  if (!is_replica()) remembers_ = true;  // its own history, to be offered to the new primary
  primary_ = primary;
  link_ = Link::connect;
  following_.cancel_all();
  following_.add(follow());
}

void FakeNode::promote() {
  if (!is_replica()) return;
  CHECK(!loading_);
  following_.cancel_all();
  primary_ = Address();
  link_ = Link::none;
  remembers_ = false;
  replid2_ = replid_;
  second_offset_ = offset_ + 1;
  replid_ = seams_.random.hex40();
  if (chronicle_.knows(replid2_))
    chronicle_.fork(replid_, replid2_, offset_);
  else
    chronicle_.begin(replid_, offset_, data_.digest());
  chronicle_.settled(replid_, offset_, data_.digest());
  world_.trace("{}: promoted, {} goes on as {} behind {}", name_, replid2_, replid_, offset_);
  stream_db_ = -1;
  lonely_since_ms_ = now_ms();
  kick_replicas();
}

Task<void> FakeNode::follow() {
  co_await world_.clock().sleep(0);  // the caller of REPLICAOF gets its reply first
  for (;;) {
    auto at_once = co_await follow_once();
    link_ = Link::connect;
    const int64_t pause_ms = at_once ? 1 : world_.dice().between(1, 1000);
    co_await world_.clock().sleep(pause_ms);
  }
}

/// True: stock would try again at once, else at its next cron tick.
Task<bool> FakeNode::follow_once() {
  Downlink link;
  link_ = Link::connecting;
  auto connecting = seams_.network.connect(primary_);
  auto stream = co_await with_timeout(world_.clock(), options_.repl_timeout_ms, "connect", std::move(connecting));
  if (!stream.ok()) co_return false;
  link.stream = std::move(stream).value();
  link_ = Link::handshake;
  auto greeted = co_await handshake(link);
  if (!greeted.ok()) co_return false;
  const std::string asked_id = remembers_ ? replid_ : "?";
  const int64_t asked_byte = remembers_ ? offset_ + 1 : -1;
  auto reply = co_await psync(link);
  if (!reply.ok()) co_return false;
  const std::string line = reply.value();
  world_.trace("{}: PSYNC {} {} gives {}", name_, asked_id, asked_byte, line);
  if (on_sync) on_sync(SyncEvent{name_, primary_, asked_id, asked_byte, line});
  if (line.starts_with("-NOMASTERLINK") || line.starts_with("-LOADING")) co_return false;
  if (line.starts_with("+CONTINUE")) {
    if (!adopt_continue(line)) co_return false;
  } else if (line.starts_with("+FULLRESYNC ")) {
    const auto words = split(line, ' ');
    const auto offset = words.size() == 3 ? parse_int(words[2]) : std::nullopt;
    if (!offset || words[1].size() != 40) {
      world_.fail(fmt::format("{}: malformed reply to PSYNC: {}", name_, printable(line)));
      co_return false;
    }
    std::string id = words[1];
    auto taken = co_await take_snapshot(link, std::move(id), *offset);
    if (!taken.ok()) world_.trace("{}: snapshot: {}", name_, taken.error().detail);
    if (!taken.ok()) co_return true;
  } else {
    world_.fail(fmt::format("{}: this reply to PSYNC makes stock fall back to SYNC: {}", name_, printable(line)));
    co_return false;
  }
  auto ended = co_await take_stream(link);
  world_.trace("{}: link ends: {}", name_, ended.ok() ? "" : ended.error().detail);
  if (link.garbage) remembers_ = false;
  co_return true;
}

Task<Result<void>> FakeNode::ask(Downlink& link, std::string command) {
  if (!command.empty()) link.stream->write(command);
  size_t end;
  while ((end = link.buffer.find('\n')) == std::string::npos) {
    auto reading = read_some(*link.stream, link.buffer);
    auto n = co_await with_timeout(world_.clock(), options_.repl_timeout_ms, "handshake", std::move(reading));
    CO_RETURN_IF_ERROR(n);
  }
  co_return Result<void>();
}

Task<Result<void>> FakeNode::handshake(Downlink& link) {
  const auto take_line = [](std::string& buffer) {
    const size_t end = buffer.find('\n');
    std::string line(trim(std::string_view(buffer).substr(0, end)));
    buffer.erase(0, end + 1);
    return line;
  };
  std::string ping = resp::command({"PING"});
  auto pinged = co_await ask(link, std::move(ping));
  CO_RETURN_IF_ERROR(pinged);
  const std::string pong = take_line(link.buffer);
  if (!pong.starts_with("+") && !pong.starts_with("-NOAUTH") && !pong.starts_with("-NOPERM")) {
    co_return Error{Errc::refused, pong};
  }
  // 6.2 and later send the rest back to back.
  std::string burst;
  int replies = 2;
  if (!options_.password.empty()) {
    resp::append_command(burst, {"AUTH", options_.password});
    ++replies;
  }
  const std::string port = std::to_string(options_.port);
  resp::append_command(burst, {"REPLCONF", "listening-port", port});
  resp::append_command(burst, {"REPLCONF", "capa", "eof", "capa", "psync2"});
  for (int i = 0; i < replies; ++i) {
    auto answered = co_await ask(link, std::exchange(burst, std::string()));
    CO_RETURN_IF_ERROR(answered);
    const std::string line = take_line(link.buffer);
    if (replies == 3 && i == 0 && line.starts_with("-")) co_return Error{Errc::refused, line};
  }
  co_return Result<void>();
}

Task<Result<std::string>> FakeNode::psync(Downlink& link) {
  const std::string byte = std::to_string(remembers_ ? offset_ + 1 : -1);
  std::string request = resp::command({"PSYNC", remembers_ ? std::string_view(replid_) : "?", byte});
  for (;;) {
    auto answered = co_await ask(link, std::exchange(request, std::string()));
    CO_RETURN_IF_ERROR(answered);
    const size_t end = link.buffer.find('\n');
    const std::string line(trim(std::string_view(link.buffer).substr(0, end)));
    link.buffer.erase(0, end + 1);
    if (!line.empty()) co_return line;
  }
}

bool FakeNode::adopt_continue(const std::string& line) {
  if (!remembers_) {
    world_.fail(fmt::format("{}: +CONTINUE without a history", name_));
    return false;
  }
  const std::string id = line.size() == 50 ? line.substr(10) : std::string();
  if (!id.empty() && id != replid_) {
    chronicle_.continues(name_, replid_, id, offset_);
    replid2_ = replid_;
    second_offset_ = offset_ + 1;
    replid_ = id;
    kick_replicas();
  }
  if (!backlog_) backlog_.emplace();
  ++counters_.partial_taken;
  return true;
}

Task<Result<void>> FakeNode::take_snapshot(Downlink& link, std::string replid, int64_t offset) {
  link_ = Link::sync;
  std::string line;
  while (line.empty()) {
    auto answered = co_await ask(link, std::string());
    CO_RETURN_IF_ERROR(answered);
    const size_t end = link.buffer.find('\n');
    line = trim(std::string_view(link.buffer).substr(0, end));
    link.buffer.erase(0, end + 1);
  }
  if (line[0] == '-') co_return Error{Errc::refused, line};
  const bool marked = line.starts_with("$EOF:");
  const auto size = marked || line[0] != '$' ? std::nullopt : parse_int(std::string_view(line).substr(1));
  if ((marked && line.size() != 45) || (!marked && (!size || *size <= 0))) {
    world_.fail(fmt::format("{}: not the head of a payload: {}", name_, printable(line)));
    co_return Error{Errc::protocol, line};
  }
  std::string mark = marked ? line.substr(5) : std::string();
  auto payload = co_await read_payload(link, std::move(mark), static_cast<size_t>(size.value_or(0)));
  CO_RETURN_IF_ERROR(payload);
  std::string rdb = std::move(payload).value();
  co_return co_await load(link, std::move(rdb), std::move(replid), offset, marked);
}

/// The payload without its mark. What follows a sized payload stays in the buffer.
Task<Result<std::string>> FakeNode::read_payload(Downlink& link, std::string mark, size_t size) {
  std::string& bytes = link.buffer;
  for (;;) {
    if (mark.empty()) {
      if (bytes.size() >= size) {
        std::string payload = bytes.substr(0, size);
        bytes.erase(0, size);
        co_return payload;
      }
    } else if (bytes.ends_with(mark)) {
      bytes.resize(bytes.size() - mark.size());
      co_return std::exchange(bytes, std::string());
    } else if (bytes.size() > mark.size() && bytes.find(mark) != std::string::npos) {
      world_.fail(fmt::format("{}: bytes behind the EOF mark before the first ACK: '{}'", name_,
                              printable(std::string_view(bytes).substr(bytes.find(mark) + mark.size()), 40)));
      co_return Error{Errc::protocol, "bytes behind the mark"};
    }
    auto reading = read_some(*link.stream, bytes);
    auto n = co_await with_timeout(world_.clock(), options_.repl_timeout_ms, "snapshot", std::move(reading));
    CO_RETURN_IF_ERROR(n);
    while (frozen_) co_await changed_.wait();
  }
}

Task<Result<void>> FakeNode::load(Downlink& link, std::string payload, std::string replid, int64_t offset,
                                  bool marked) {
  FakeData loaded;
  RdbAux aux;
  size_t used = 0;
  if (!decode_rdb(payload, loaded, aux, used) || used != payload.size()) {
    world_.fail(fmt::format("{}: broken snapshot of {} bytes", name_, payload.size()));
    co_return Error{Errc::protocol, "broken snapshot"};
  }
  // From here on the old history is gone (7.0: not earlier).
  loading_ = true;
  remembers_ = false;
  backlog_.reset();
  kick_replicas();
  const int64_t ready_ms = now_ms() + world_.dice().between(0, options_.load_max_ms);
  while (now_ms() < ready_ms) {
    const int64_t step = std::min<int64_t>(1000, ready_ms - now_ms());
    if (marked && link.buffer.empty()) {  // silence is due until our first ACK: look whether it is kept
      auto reading = read_some(*link.stream, link.buffer);
      auto n = co_await with_timeout(world_.clock(), step, "load", std::move(reading));
      if (n.ok()) world_.fail(fmt::format("{}: bytes behind the EOF mark before the first ACK", name_));
      if (!n.ok() && n.error().code != Errc::timed_out) co_await world_.clock().sleep(ready_ms - now_ms());
    } else {
      co_await world_.clock().sleep(step);
    }
    link.stream->write("\n");
  }
  loading_ = false;
  data_ = std::move(loaded);
  replid_ = std::move(replid);
  replid2_ = kNoId;
  second_offset_ = -1;
  offset_ = offset;
  stream_db_ = aux.stream_db;
  backlog_.emplace();
  remembers_ = true;
  ++counters_.full_taken;
  chronicle_.holds(name_, replid_, offset_, data_.digest());
  if (marked) link.stream->write(resp::command({"REPLCONF", "ACK", std::to_string(offset_)}));
  co_return Result<void>();
}

Task<void> FakeNode::acknowledge(Downlink& link) {
  const int64_t first = world_.dice().between(1, 1000);
  co_await world_.clock().sleep(first);
  for (;;) {
    while (frozen_) co_await changed_.wait();
    link.stream->write(resp::command({"REPLCONF", "ACK", std::to_string(offset_)}));
    co_await world_.clock().sleep(1000);
  }
}

Task<Result<void>> FakeNode::take_stream(Downlink& link) {
  link_ = Link::connected;
  link.received = offset_;
  TaskSet background;
  background.add(acknowledge(link));
  size_t seen = 0;  // bytes of the buffer that were compared with the chronicle
  for (;;) {
    const std::string_view fresh = std::string_view(link.buffer).substr(seen);
    chronicle_.received(name_, replid_, link.received, fresh);
    link.received += static_cast<int64_t>(fresh.size());
    primary_io_ms_ = now_ms();
    co_await breathe(options_.apply_max_ms * 1000);
    if (!apply(link)) co_return Error{Errc::protocol, "the stream cannot be understood"};
    seen = link.buffer.size();
    auto reading = read_some(*link.stream, link.buffer);
    auto n = co_await with_timeout(world_.clock(), options_.repl_timeout_ms, "stream", std::move(reading));
    CO_RETURN_IF_ERROR(n);
  }
}

bool FakeNode::apply(Downlink& link) {
  size_t position = 0;
  resp::Request request;
  while (position < link.buffer.size() && !world_.failed()) {
    const std::string_view rest = std::string_view(link.buffer).substr(position);
    const auto state = link.parser.next(rest, request);
    if (state == resp::RequestParser::State::incomplete) break;
    if (state == resp::RequestParser::State::bad || (request.is_inline && !request.args.empty())) {
      world_.fail(fmt::format("{}: not a command of the stream: '{}'", name_, printable(rest, 60)));
      link.garbage = true;
      return false;
    }
    const Words args(request.args.begin(), request.args.end());
    apply_frame(link, args, rest.substr(0, link.parser.consumed()));
    position += link.parser.consumed();
  }
  link.buffer.erase(0, position);
  return true;
}

/// Offsets move only when something was really applied: a transaction counts as one.
void FakeNode::apply_frame(Downlink& link, const Words& args, std::string_view raw) {
  const std::string name = args.empty() ? std::string() : to_lower(args[0]);
  if (name == "multi") link.in_transaction = true;
  if (link.in_transaction) {
    link.held.append(raw);
    if (name != "exec") {
      if (name != "multi") link.transaction.push_back(args);
      return;
    }
    for (const Words& queued : std::exchange(link.transaction, {})) apply_command(link, queued);
    link.in_transaction = false;
    feed(std::exchange(link.held, std::string()));
  } else {
    if (!args.empty()) apply_command(link, args);
    feed(raw);
  }
  chronicle_.holds(name_, replid_, offset_, data_.digest());
}

void FakeNode::apply_command(Downlink& link, const Words& args) {
  const std::string name = to_lower(args[0]);
  if (name == "select" && args.size() == 2) {
    stream_db_ = static_cast<int>(parse_int(args[1]).value_or(0));
  } else if (name == "replconf" && args.size() == 3 && iequals(args[1], "getack")) {
    link.stream->write(resp::command({"REPLCONF", "ACK", std::to_string(offset_)}));
  } else if (name != "ping") {
    const FakeCommand* command = find_command(name);
    if (command == nullptr || command->run == nullptr) {
      return world_.fail(fmt::format("{}: unknown command in the stream: {}", name_, printable(args[0])));
    }
    std::string ignored;
    command->run(data_, std::max(stream_db_, 0), args, 2, ignored);
  }
}

}  // namespace sidestream::sim
