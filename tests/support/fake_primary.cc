// fake_primary.cc: a fake node as a primary, of a stream of its own or in the middle of a chain. What stock 7.0 does.
//
// Happy path: REPLCONF, PSYNC, +CONTINUE and the backlog's bytes; or +FULLRESYNC, a payload, silence until the first
// ACK if it ended with a mark, then the stream. Failure modes: refusals with stock's words, replicas that do not read
// or do not acknowledge are dropped.
#include <algorithm>

#include "common/text.h"
#include "proxy/resp/writer.h"
#include "tests/support/fake_node.h"

namespace sidestream::sim {

void FakeNode::on_replconf(Session& session, const Words& args) {
  if (args.size() % 2 == 0) return resp::append_error(session.out, "ERR syntax error");
  for (size_t i = 1; i + 1 < args.size(); i += 2) {
    const std::string option = to_lower(args[i]);
    const std::string& value = args[i + 1];
    if (option == "listening-port") {
      session.listening_port = static_cast<int>(parse_int(value).value_or(0));
    } else if (option == "ip-address") {
      session.ip = value;
    } else if (option == "capa") {
      session.eof |= value == "eof";
      session.psync2 |= value == "psync2";
    } else if (option == "rdb-only") {
      session.rdb_only = value == "1";
    } else if (option == "rdb-filter-only") {
      if (!value.empty()) {
        return resp::append_error(session.out, "ERR Unsupported rdb-filter-only option: " + value);
      }
      session.filtered = true;
    } else if (option == "ack") {
      if (session.stage == Stage::client) return;
      session.ack = std::max(session.ack, parse_int(value).value_or(0));
      if (session.ack > offset_ && !is_replica()) {
        world_.fail(
            fmt::format("{}: {} acknowledges {} of {} bytes", name_, session.stream->peer(), session.ack, offset_));
      }
      if (session.stage == Stage::online && session.stream_on_ack) go_online(session);
      return changed_.notify_all();
    } else if (option == "getack") {
      return;
    } else {
      return resp::append_error(session.out, "ERR Unrecognized REPLCONF option: " + args[i]);
    }
  }
  if (session.stage != Stage::client) {
    world_.fail(fmt::format("{}: {} sends REPLCONF {} on its attached link", name_, session.stream->peer(), args[1]));
  }
  resp::append_simple(session.out, "OK");
}

void FakeNode::on_psync(Session& session, const Words& args) {
  const bool psync = args.size() >= 3;
  if (is_replica() && !link_up()) {
    session.out += "-NOMASTERLINK Can't SYNC while not connected with my master\r\n";
    return;
  }
  if (!session.out.empty() || session.stream->unsent() > 0) {
    return resp::append_error(session.out, "ERR SYNC and PSYNC are invalid with pending output");
  }
  if (session.filtered && !session.eof) {
    return resp::append_error(session.out, "ERR Filtered replica requires EOF capability");
  }
  if (session.ip.empty()) session.ip = session.stream->peer().substr(0, session.stream->peer().rfind(':'));
  if (psync) {
    const auto next_byte = parse_int(args[2]);
    if (!next_byte) return resp::append_error(session.out, "ERR value is not an integer or out of range");
    if (continue_replica(session, args[1], *next_byte)) return;
    if (args[1] != "?") ++counters_.partial_refused;
  }
  ++counters_.full_served;
  if (!backlog_) {
    if (!is_replica()) change_replid();
    backlog_.emplace();
  }
  session.stage = Stage::waiting;
  session.ack_ms = now_ms();
  session.sender.add(send_snapshot(session, psync));
}

bool FakeNode::continue_replica(Session& session, const std::string& id, int64_t next_byte) {
  const bool id_fits = iequals(id, replid_) || (iequals(id, replid2_) && next_byte <= second_offset_);
  if (!id_fits || !backlog_) return false;
  const auto held = static_cast<int64_t>(backlog_->size());
  if (next_byte < offset_ - held + 1 || next_byte > offset_ + 1) return false;
  ++counters_.partial_served;
  session.stage = Stage::online;
  session.ack_ms = now_ms();
  session.ack = next_byte - 1;
  session.stream->write(session.psync2 ? "+CONTINUE " + replid_ + "\r\n" : std::string("+CONTINUE\r\n"));
  session.stream->write(std::string_view(*backlog_).substr(static_cast<size_t>(held - (offset_ - next_byte + 1))));
  return true;
}

Task<void> FakeNode::keep_alive_for(Session& session, int64_t ms, bool newlines) {
  const int64_t until = now_ms() + ms;
  while (now_ms() < until) {
    co_await world_.clock().sleep(std::min<int64_t>(1000, until - now_ms()));
    if (newlines) session.stream->write("\n");
  }
  while (frozen_) co_await changed_.wait();
}

Task<void> FakeNode::send_snapshot(Session& session, bool psync) {
  ByteStream& stream = *session.stream;
  const bool marked = session.eof && (options_.diskless_sync || session.filtered);
  const int64_t gather_ms = world_.dice().between(0, options_.snapshot_max_ms);
  co_await keep_alive_for(session, gather_ms, true);
  // The fork: from here on the stream is kept for this replica.
  if (!is_replica()) stream_db_ = -1;
  session.stage = Stage::sending;
  const RdbAux aux{std::max(stream_db_, 0), replid_, offset_};
  std::string rdb = encode_rdb(session.filtered ? FakeData() : data_, aux);
  if (psync) stream.write("+FULLRESYNC " + replid_ + " " + std::to_string(offset_) + "\r\n");
  const std::string mark = seams_.random.hex40();
  if (marked) {
    stream.write("$EOF:" + mark + "\r\n");
  } else {
    const int64_t save_ms = world_.dice().between(0, options_.snapshot_max_ms);
    co_await keep_alive_for(session, save_ms, true);
    stream.write("$" + std::to_string(rdb.size()) + "\r\n");
  }
  if (marked) rdb += mark;
  const size_t step = 1 + world_.dice().below(rdb.size());
  for (size_t at = 0; at < rdb.size(); at += step) {
    stream.write(std::string_view(rdb).substr(at, step));
    auto drained = co_await stream.drained();
    if (!drained.ok()) co_return doom(session);
  }
  const int64_t reap_ms = world_.dice().between(0, options_.snapshot_max_ms);
  co_await keep_alive_for(session, reap_ms, false);
  if (session.rdb_only) co_return doom(session);
  session.stage = Stage::online;
  session.ack_ms = now_ms();
  session.stream_on_ack = marked;
  if (!marked) go_online(session);
}

void FakeNode::go_online(Session& session) {
  session.stream_on_ack = false;
  session.stream->write(session.pending);
  session.pending.clear();
}

void FakeNode::propagate(std::vector<Effect> effects, uint64_t digest_before) {
  CHECK(!is_replica());
  if (!backlog_) return chronicle_.settled(replid_, offset_, data_.digest());  // nobody can have seen this history
  std::string bytes;
  const auto select = [&](int db) {
    if (stream_db_ == db) return;
    stream_db_ = db;
    const std::string number = std::to_string(db);
    resp::append_command(bytes, {"SELECT", number});
  };
  select(effects.front().db);
  if (!bytes.empty()) produce(std::exchange(bytes, std::string()), digest_before);
  const bool transaction = effects.size() > 1;
  if (transaction) resp::append_command(bytes, {"MULTI"});
  for (const Effect& effect : effects) {
    select(effect.db);
    const std::vector<std::string_view> words(effect.args.begin(), effect.args.end());
    resp::append_command(bytes, words);
  }
  if (transaction) resp::append_command(bytes, {"EXEC"});
  produce(bytes, data_.digest());
}

/// Bytes of our own stream; `digest` is that of the data behind them.
void FakeNode::produce(std::string_view bytes, uint64_t digest) {
  chronicle_.produced(replid_, offset_, bytes);
  feed(bytes);
  chronicle_.settled(replid_, offset_, digest);
}

void FakeNode::feed(std::string_view bytes) {
  offset_ += static_cast<int64_t>(bytes.size());
  if (backlog_) {
    backlog_->append(bytes);
    if (backlog_->size() > options_.backlog_bytes * 17 / 16) {
      backlog_->erase(0, backlog_->size() - options_.backlog_bytes);
    }
  }
  for (auto& [id, seat] : seats_) {
    Session& s = *seat.session;
    if (s.doomed || s.stage == Stage::client || s.stage == Stage::waiting || s.rdb_only) continue;
    if (s.stage == Stage::online && !s.stream_on_ack)
      s.stream->write(bytes);
    else
      s.pending.append(bytes);
    if (s.stream->unsent() + s.pending.size() > options_.output_limit) doom(s);
  }
}

/// A history without ancestors, at the offset we are at.
void FakeNode::change_replid() {
  replid_ = seams_.random.hex40();
  replid2_ = std::string(40, '0');
  second_offset_ = -1;
  chronicle_.begin(replid_, offset_, data_.digest());
  world_.trace("{}: new history {} at {}", name_, replid_, offset_);
}

void FakeNode::kick_replicas() {
  for (auto& [id, seat] : seats_) {
    if (seat.session->stage != Stage::client) doom(*seat.session);
  }
}

int64_t FakeNode::acknowledged_by(int64_t offset) const {
  return std::count_if(seats_.begin(), seats_.end(), [&](const auto& seat) {
    const Session& s = *seat.second.session;
    return s.stage == Stage::online && s.ack >= offset;
  });
}

size_t FakeNode::replicas() const {
  return static_cast<size_t>(std::count_if(
      seats_.begin(), seats_.end(), [](const auto& seat) { return seat.second.session->stage != Stage::client; }));
}

bool FakeNode::online(const std::string& replica_ip, int port) const {
  return std::any_of(seats_.begin(), seats_.end(), [&](const auto& seat) {
    const Session& s = *seat.second.session;
    return s.stage == Stage::online && !s.stream_on_ack && s.ip == replica_ip && s.listening_port == port;
  });
}

Task<void> FakeNode::cron() {
  for (;;) {
    co_await world_.clock().sleep(1000);
    while (frozen_) co_await changed_.wait();
    const int64_t now = now_ms();
    if (!is_replica() && replicas() > 0 && now - last_ping_ms_ >= options_.ping_period_ms) {
      last_ping_ms_ = now;
      produce("*1\r\n$4\r\nping\r\n", data_.digest());
    }
    for (auto& [id, seat] : seats_) {
      Session& s = *seat.session;
      if (s.stage == Stage::online && now - s.ack_ms > options_.repl_timeout_ms) doom(s);
    }
    if (!is_replica() && backlog_ && replicas() == 0 && now - lonely_since_ms_ > options_.backlog_ttl_ms) {
      backlog_.reset();
      change_replid();
    }
  }
}

}  // namespace sidestream::sim
