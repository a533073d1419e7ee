// downstream_link.cc: see downstream_link.h. One coroutine talks (serve), one listens; both end with the link.
#include "proxy/replication/downstream_link.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "common/log.h"
#include "common/text.h"
#include "proxy/resp/request.h"

namespace sidestream::replication {
namespace {

constexpr int64_t kNewlineUs = 1'000'000;
constexpr int64_t kReportUs = 10'000'000;
constexpr size_t kUnsentMax = 1024 * 1024;  // per replica: beyond it the cursor waits
constexpr size_t kPayloadChunk = 256 * 1024;
constexpr size_t kListenBytesMax = 16 * 1024;  // the longest thing a replica may say

using State = DownstreamLink::State;

bool is_legal(State from, State to) {
  switch (from) {
    case State::waiting:
      return to == State::sending || to == State::online;
    case State::sending:
      return to == State::loading || to == State::online;
    case State::loading:
      return to == State::online;
    case State::online:
      return false;
  }
  return false;
}

const char* name(State state) {
  static constexpr std::array<const char*, 4> kNames{"waiting", "sending", "loading", "online"};
  return kNames[static_cast<size_t>(state)];
}

// A replica that loads has not been heard of: online would promise too much.
const char* info_name(State state) {
  static constexpr std::array<const char*, 4> kNames{"wait_bgsave", "send_bulk", "send_bulk", "online"};
  return kNames[static_cast<size_t>(state)];
}

SyncFault fault_of(const Error& error) {
  switch (error.code) {
    case Errc::over_limit:
      return SyncFault::slow;
    case Errc::closed:
    case Errc::timed_out:
      return SyncFault::left;
    case Errc::io:
      return SyncFault::disk;
    default:
      return SyncFault::none;  // we could not go on; it did nothing wrong
  }
}

std::string host_of(const std::string& peer) {
  const std::string host = peer.substr(0, peer.rfind(':'));
  return host.size() > 2 && host.front() == '[' ? host.substr(1, host.size() - 2) : host;
}

}  // namespace

DownstreamLink::DownstreamLink(World& world, const Config& config, Stream& stream, Owner& owner, uint64_t id,
                               std::unique_ptr<ByteStream> connection, ReplicaHello hello, SyncRequest request)
    : world_(world),
      config_(config),
      stream_(stream),
      owner_(owner),
      id_(id),
      connection_(std::move(connection)),
      hello_(std::move(hello)),
      request_(std::move(request)),
      host_(hello_.ip_address.empty() ? host_of(connection_->peer()) : hello_.ip_address),
      tag_("replica " + host_ + ":" + std::to_string(hello_.listening_port)),
      asked_at_us_(world.clock.now_us()),
      heard_at_us_(asked_at_us_) {}

void DownstreamLink::start(std::string leftover) {
  tasks_.add(serve());
  tasks_.add(listen(std::move(leftover)));
}

void DownstreamLink::enter(State next) {
  CHECK(is_legal(state_, next));
  log_verbose(tag_, "{} -> {}", name(state_), name(next));
  state_ = next;
  owner_.downstream_moved(*this);
}

void DownstreamLink::end(std::string_view reason, SyncFault fault) {
  if (ended_) return;
  ended_ = true;
  reason_ = reason;
  if (full_sync_ || fault == SyncFault::slow) fault_ = fault;
  if (fault_ == SyncFault::left && state_ == State::sending) {
    reason_ += " after " + progress(sent_, total_, began_us_, world_.clock.now_us()).text() + " of the snapshot";
  } else if (fault_ == SyncFault::left) {
    reason_ += " while it loaded the snapshot; its own log says why";
  }
  // Without an answer servers before 7.0 would forget their history; this one they take for "later".
  if (!answered_) connection_->write(kNoMasterLink);
  log_notice(tag_, "closed while {}: {}", name(state_), reason_);
  owner_.downstream_ended(*this);
}

Task<void> DownstreamLink::serve() {
  auto outcome = co_await converse();
  end(outcome.ok() ? "it has all it asked for" : outcome.error().detail,
      outcome.ok() ? SyncFault::none : fault_of(outcome.error()));
}

Task<Result<void>> DownstreamLink::converse() {
  auto admitted = gatekeep();
  CO_RETURN_IF_ERROR(admitted);
  Answer answer = Answer::partial;
  OpenFile file;
  do {  // opening takes a while; when somebody changed the history meanwhile, there is no file and all is decided anew
    auto decided = co_await decide();
    CO_RETURN_IF_ERROR(decided);
    answer = decided.value();
    if (answer != Answer::snapshot) break;
    auto opened = co_await open_snapshot();
    CO_RETURN_IF_ERROR(opened);
    file = std::move(opened).value();
  } while (file == nullptr);
  answered_ = true;
  owner_.downstream_answered(*this, answer == Answer::partial);
  if (answer == Answer::partial) {
    answer_partial();
  } else if (answer == Answer::empty) {
    send_empty();
  } else {
    auto sent = co_await send_snapshot(std::move(file));
    CO_RETURN_IF_ERROR(sent);
  }
  if (hello_.rdb_only) co_return co_await drain(0);
  if (!mark_.empty()) co_await first_ack();
  co_return co_await feed();
}

Result<void> DownstreamLink::gatekeep() {
  std::string words;
  if (request_.failover) {
    const bool ours = stream_.history().replid.matches(request_.replid);
    words = ours ? "PSYNC FAILOVER can't be sent to a master." : "PSYNC FAILOVER replid must match my replid.";
  } else if (hello_.rdb_filter && !hello_.eof) {
    words = "Filtered replica requires EOF capability";
  }
  if (words.empty()) return {};
  connection_->write("-ERR " + words + "\r\n");
  answered_ = true;
  return Error{Errc::refused, std::move(words)};
}

Task<Result<DownstreamLink::Answer>> DownstreamLink::decide() {
  for (int64_t newline_at_us = asked_at_us_ + kNewlineUs;;) {
    const auto answer = try_decide();
    if (answer.has_value()) co_return *answer;
    co_await stream_.changed.wait_until(world_.clock, newline_at_us);
    if (world_.clock.now_us() < newline_at_us) continue;
    connection_->write("\n");
    newline_at_us += kNewlineUs;
  }
}

std::optional<DownstreamLink::Answer> DownstreamLink::try_decide() {
  if (!stream_.in_sync()) return std::nullopt;
  const auto continuation = renews_ ? Continuation::no : can_continue(request_, stream_.history(), stream_.held());
  if (continuation == Continuation::yes) return Answer::partial;
  if (continuation == Continuation::ahead && should_hold()) return std::nullopt;
  const bool asks_for_history = request_.psync && request_.replid != "?" && !renews_;
  if (continuation == Continuation::no && asks_for_history && should_hold()) return std::nullopt;
  if (asks_for_history && !std::exchange(refusal_counted_, true)) owner_.downstream_refused(*this);
  if (hello_.rdb_filter) {
    const bool held = stream_.safe_boundary().next_byte() >= stream_.first_byte();
    return held ? std::optional(Answer::empty) : std::nullopt;
  }
  wants_snapshot_ = true;
  snapshot_ = owner_.snapshot_for(*this);
  return snapshot_ != nullptr ? std::optional(Answer::snapshot) : std::nullopt;
}

bool DownstreamLink::should_hold() const {
  const int64_t waited_us = world_.clock.now_us() - asked_at_us_;
  const bool connected = owner_.upstream_is_connected();
  if (stream_.history().replid.matches(request_.replid)) {
    // Ahead of us. Once we are connected its bytes are on their way, or they are lost for good.
    return request_.next_byte > stream_.backlog().end() && (!connected || waited_us < config_.repl_timeout * 1'000'000);
  }
  // Its history may be the one that ours went on as: after a promotion, or when our disk did not keep up before a
  // restart. Only the upstream knows; until then what we hold must not take the place of what may be newer.
  return !connected;
}

void DownstreamLink::answer_partial() {
  const std::string id = hello_.psync2 ? " " + stream_.history().replid.text() : "";
  connection_->write("+CONTINUE" + id + "\r\n");
  cursor_ = request_.next_byte;
  acked_ = ReplOffset::before(request_.next_byte);
  payload_sent_ = first_ack_ = true;
  heard();
  log_notice(tag_, "partial resync: continues at byte {}", cursor_);
  enter(State::online);
}

void DownstreamLink::write_sync_header(ReplOffset offset, const ReplId& replid, int64_t size) {
  cursor_ = offset.next_byte();
  std::string header;
  if (request_.psync) header = "+FULLRESYNC " + replid.text() + " " + std::to_string(offset.value) + "\r\n";
  if (size == 0) mark_ = world_.random.hex40();
  header += size == 0 ? "$EOF:" + mark_ : "$" + std::to_string(size);
  header += "\r\n";
  connection_->write(header);
}

void DownstreamLink::send_empty() {
  const ReplOffset offset = stream_.safe_boundary();
  const std::string rdb = empty_rdb(stream_.history().replid, offset);
  enter(State::sending);
  write_sync_header(offset, stream_.history().replid, 0);
  connection_->write(rdb);
  sent_ = total_ = static_cast<int64_t>(rdb.size());
  end_payload();
}

Task<Result<DownstreamLink::OpenFile>> DownstreamLink::open_snapshot() {
  auto file = co_await world_.files.open(snapshot_->path(), Files::Mode::read);
  CO_RETURN_IF_ERROR(file);
  const auto still = owner_.snapshot_for(*this);
  if (still != snapshot_) co_return OpenFile();
  co_return std::move(file);
}

Task<Result<void>> DownstreamLink::send_snapshot(OpenFile file) {
  const std::shared_ptr<Snapshot> snapshot = snapshot_;
  const ReplId& replid = stream_.history().replid;
  enter(State::sending);
  full_sync_ = true;
  began_us_ = world_.clock.now_us();
  total_ = snapshot->total();
  log_notice(tag_, "full resync: {} at offset {}, {}", replid.text(), snapshot->offset().value,
             total_ > 0 ? human_bytes(total_) : "size not known yet");
  write_sync_header(snapshot->offset(), replid, total_);
  auto sent = co_await send_file(snapshot, std::move(file));
  CO_RETURN_IF_ERROR(sent);
  end_payload();
  co_return Result<void>();
}

Task<Result<void>> DownstreamLink::send_file(std::shared_ptr<Snapshot> snapshot, std::unique_ptr<File> file) {
  for (;;) {
    if (snapshot->failed()) co_return Error{Errc::refused, "its snapshot failed: " + snapshot->failure().detail};
    if (cursor_ < stream_.first_byte() && !hello_.rdb_only) {
      co_return Error{Errc::over_limit, "its output is slower than the writes: the backlog of " +
                                            human_bytes(stream_.held().histlen) + " moved on after " +
                                            progress(sent_, total_, began_us_, world_.clock.now_us()).text() +
                                            " of the snapshot; a larger backlog, or one on disk, helps"};
    }
    total_ = snapshot->total();
    const int64_t available = snapshot->received() - sent_;
    if (available == 0 && snapshot->is_complete()) co_return Result<void>();
    if (available == 0) {
      co_await snapshot->changed.wait();
      continue;
    }
    const size_t size = std::min(static_cast<size_t>(available), Pace::piece(rate(), kPayloadChunk));
    BlockRef block = Block::make(size);
    const std::span<char> room(block->data(), size);
    auto read = co_await file->read_at(static_cast<uint64_t>(sent_), room);
    CO_RETURN_IF_ERROR(read);
    if (read.value() == 0) co_return Error{Errc::io, "the snapshot file is shorter than it was"};
    connection_->write(Slice{block, std::string_view(block->data(), read.value())});
    sent_ += static_cast<int64_t>(read.value());
    auto drained = co_await drain(kPayloadChunk);
    CO_RETURN_IF_ERROR(drained);
    co_await keep_rate(read.value(), rate());
  }
}

/// Of the payload: full-sync-rate, and what is throttled on purpose.
int64_t DownstreamLink::rate() const { return slower(config_.full_sync_rate, throttle_); }

Task<void> DownstreamLink::keep_rate(size_t bytes, int64_t rate) {
  const int64_t wait_ms = pace_.pause_ms(world_.clock.now_us(), bytes, rate);
  if (wait_ms > 0) co_await world_.clock.sleep(wait_ms);
}

void DownstreamLink::report_progress() {
  const int64_t now_us = world_.clock.now_us();
  if (now_us - std::max(reported_us_, began_us_) < kReportUs) return;
  reported_us_ = now_us;
  log_notice(tag_, "full resync: {}", progress(sent_, total_, began_us_, now_us).text());
}

void DownstreamLink::end_payload() {
  if (!mark_.empty()) connection_->write(mark_);
  snapshot_.reset();
  payload_sent_ = true;
  heard();
  // A sized payload may be followed by the stream at once; so must one for a client that never acknowledges. Others are
  // online when they say so: then the dataset is loaded.
  enter(request_.psync ? State::loading : State::online);
}

Task<void> DownstreamLink::first_ack() {
  // What follows the mark too early is lost in the replica, or makes it wait for ever.
  while (!first_ack_) co_await acknowledged_.wait();
}

Task<Result<void>> DownstreamLink::feed() {
  for (;;) {
    const int64_t end = stop_at_ ? std::min(stop_at_->next_byte(), stream_.backlog().end()) : stream_.backlog().end();
    if (stop_at_ && state_ == State::online && cursor_ >= stop_at_->next_byte()) {
      co_return Error{Errc::refused, "the history goes on under another id; it will continue there"};
    }
    if (!stream_.has(cursor_)) {
      co_return Error{Errc::over_limit, "its output is slower than the writes: it is " +
                                            human_bytes(stream_.backlog().end() - cursor_) +
                                            " behind, the backlog holds " + human_bytes(stream_.held().histlen)};
    }
    if (connection_->unsent() >= kUnsentMax) {
      auto drained = co_await connection_->drained(kUnsentMax / 2);
      CO_RETURN_IF_ERROR(drained);
    } else if (cursor_ < std::min(end, stream_.backlog().oldest())) {
      auto fed = co_await feed_old(end);
      CO_RETURN_IF_ERROR(fed);
    } else if (cursor_ < end) {
      const size_t most = Pace::piece(throttle_, static_cast<size_t>(end - cursor_));
      const Slice slice = stream_.backlog().slice(cursor_, most);
      cursor_ += static_cast<int64_t>(slice.bytes.size());
      connection_->write(slice);
      if (throttle_ != 0) co_await keep_rate(slice.bytes.size(), throttle_);
    } else {
      if (state_ == State::online && connection_->unsent() == 0 && !std::exchange(caught_up_, true)) {
        full_sync_ = false;
        owner_.downstream_caught_up(*this);
      }
      co_await stream_.changed.wait();
      co_await Gathered();
    }
  }
}

/// The next bytes before `end`, from disk.
Task<Result<void>> DownstreamLink::feed_old(int64_t end) {
  const uint64_t turns = stream_.turns();
  const size_t most = Pace::piece(throttle_, static_cast<size_t>(end - cursor_));
  auto slice = co_await stream_.read_old(cursor_, most);
  if (!slice.ok()) co_return Error{Errc::refused, slice.error().detail};  // no fault of the replica's
  if (turns != stream_.turns()) co_return Result<void>();  // it is decided anew what this replica may get
  cursor_ += static_cast<int64_t>(slice.value().bytes.size());
  connection_->write(slice.value());
  if (throttle_ != 0) co_await keep_rate(slice.value().bytes.size(), throttle_);
  co_return Result<void>();
}

Task<Result<void>> drain_stream(ByteStream& stream, size_t below) {
  auto drained = co_await stream.drained(below);
  co_return std::move(drained);
}

Task<Result<void>> DownstreamLink::drain(size_t below) {
  auto draining = drain_stream(*connection_, below);
  co_return co_await with_timeout(world_.clock, config_.repl_timeout * 1000, "sending the snapshot",
                                  std::move(draining));
}

Task<void> DownstreamLink::listen(std::string leftover) {
  std::string buffer = std::move(leftover);
  resp::RequestParser parser;
  resp::Request request;
  std::array<char, 4096> room;
  for (;;) {
    auto state = buffer.empty() ? resp::RequestParser::State::incomplete : parser.next(buffer, request);
    while (state == resp::RequestParser::State::ok) {
      auto taken = take_command(request.args);
      if (!taken.ok()) {
        end(taken.error().detail, SyncFault::protocol);
        co_return;
      }
      buffer.erase(0, parser.consumed());
      state = buffer.empty() ? resp::RequestParser::State::incomplete : parser.next(buffer, request);
    }
    if (state == resp::RequestParser::State::bad || buffer.size() > kListenBytesMax) {
      end("it sent " + printable(buffer, 64), SyncFault::protocol);
      co_return;
    }
    auto n = co_await connection_->read(room);
    if (!n.ok() || n.value() == 0) {
      end(n.ok() ? "it closed the connection" : n.error().detail, SyncFault::left);
      co_return;
    }
    buffer.append(room.data(), n.value());
  }
}

Result<void> DownstreamLink::take_command(std::span<const std::string_view> args) {
  heard();
  if (args.empty()) return {};  // a newline: it is alive, busy loading
  if (const auto offset = parse_ack(args)) {
    acked_ = std::max(acked_, *offset);
    fsynced_ = std::max(fsynced_, parse_fsync_ack(args).value_or(fsynced_));
    if (payload_sent_ && !std::exchange(first_ack_, true)) {
      acknowledged_.notify_all();
      stream_.changed.notify_all();
    }
    if (state_ == State::loading && first_ack_) enter(State::online);
    owner_.downstream_acked(*this);
    return {};
  }
  // Asking again is ignored, as by stock; and nothing that is said here gets a reply.
  if (iequals(args[0], "REPLCONF") || iequals(args[0], "PSYNC") || iequals(args[0], "SYNC")) return {};
  return Error{Errc::protocol, "a replica may only send REPLCONF, not " + printable(args[0], 32)};
}

void DownstreamLink::heard() { heard_at_us_ = world_.clock.now_us(); }

void DownstreamLink::check_time() {
  const bool expects_word = payload_sent_ && request_.psync && !hello_.rdb_only;
  if (state_ == State::sending) report_progress();
  if (!expects_word || world_.clock.now_us() - heard_at_us_ <= config_.repl_timeout * 1'000'000) return;
  end("silent for more than " + std::to_string(config_.repl_timeout) + " s", SyncFault::silent);
}

void DownstreamLink::history_forked(ReplOffset fork) {
  if (cursor_ == 0) return;  // still waiting: it is judged by the new ids
  if (cursor_ > fork.next_byte()) {
    history_cut(fork);
  } else if (state_ == State::online) {
    close("the history goes on under another id; it will continue there");
  } else if (!stop_at_) {
    stop_at_ = fork;
  }
}

void DownstreamLink::history_cut(ReplOffset end) {
  if (cursor_ > end.next_byte()) close("it got bytes that are no longer part of the history");
}

void DownstreamLink::history_replaced() {
  if (cursor_ != 0) close("the upstream began a new history");
}

std::string DownstreamLink::replica_name() const {
  if (hello_.listening_port == 0 || hello_.rdb_only) return "";
  return Address{host_, hello_.listening_port, ""}.text();
}

bool DownstreamLink::is_same_replica(const DownstreamLink& other) const {
  return hello_.listening_port != 0 && hello_.listening_port == other.hello_.listening_port && host_ == other.host_ &&
         !hello_.rdb_only && !other.hello_.rdb_only;
}

ReplicaStatus DownstreamLink::status() const {
  ReplicaStatus status;
  status.id = id_;
  status.host = host_;
  status.port = hello_.listening_port;
  status.state = info_name(state_);
  status.acked = acked_;
  status.fsynced = fsynced_;
  if (state_ == State::online && request_.psync)
    status.lag_seconds = (world_.clock.now_us() - heard_at_us_) / 1'000'000;
  status.sent = sent_;
  status.total = total_;
  status.progress = progress(sent_, total_, state_ == State::sending ? began_us_ : 0, world_.clock.now_us());
  status.rdb_only = hello_.rdb_only;
  status.acks = request_.psync;
  status.hello = hello_;
  return status;
}

}  // namespace sidestream::replication
