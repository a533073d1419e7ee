// upstream_link.cc: see upstream_link.h. The conversation reads top to bottom: run, attempt, attach, stream_on.
#include "proxy/replication/upstream_link.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "common/log.h"
#include "common/text.h"
#include "proxy/resp/writer.h"

namespace sidestream::replication {
namespace {

constexpr int64_t kBackoffMinMs = 10;     // one that closes us because its role changes is there again at once
constexpr int64_t kBackoffMaxMs = 1000;   // stock tries once a second
constexpr int64_t kStableUs = 1'000'000;  // a link that lived this long may come back at once
constexpr int64_t kRepeatedLogUs = 60'000'000;
constexpr int64_t kAckMs = 1000;
// A diskless primary starts its stream with the first ACK after its child was reaped; an earlier one is lost.
constexpr int64_t kFirstAcksMs = 100;
constexpr int64_t kFirstAcksUs = 1'000'000;

constexpr int kHopsMax = 8;  // when looking for a loop
constexpr int64_t kHopMs = 300;

using State = UpstreamLink::State;

bool is_loopback(const std::string& host) { return host.starts_with("127.") || host == "::1" || host == "localhost"; }

bool is_legal(State from, State to) {
  switch (from) {
    case State::connect:
      return to == State::connecting;
    case State::connecting:
      return to == State::handshake || to == State::connect;
    case State::handshake:
      return to == State::sync || to == State::connected || to == State::connect;
    case State::sync:
      return to == State::connected || to == State::connect;
    case State::connected:
      return to == State::connect;
  }
  return false;
}

}  // namespace

UpstreamLink::UpstreamLink(World& world, const Config& config, const Announcement& announcement, std::string run_id,
                           Spool& spool, Stream& stream, Owner& owner, Address address, Credentials credentials)
    : world_(world),
      config_(config),
      announcement_(announcement),
      run_id_(std::move(run_id)),
      spool_(spool),
      stream_(stream),
      owner_(owner),
      address_(std::move(address)),
      credentials_(std::move(credentials)),
      tag_("upstream " + address_.text()) {}

const char* UpstreamLink::name(State state) {
  static constexpr std::array<const char*, 5> kNames{"connect", "connecting", "handshake", "sync", "connected"};
  return kNames[static_cast<size_t>(state)];
}

void UpstreamLink::enter(State next) {
  CHECK(is_legal(state_, next));
  log_verbose(tag_, "{} -> {}", name(state_), name(next));
  if (state_ == State::connected) lost_at_us_ = world_.clock.now_us();
  state_ = next;
  entered_at_us_ = world_.clock.now_us();
  if (next == State::connected) {
    was_connected_ = true;
    lost_at_us_ = 0;
    last_error_.clear();
  }
  owner_.upstream_moved();
}

void UpstreamLink::start() { task_.add(run()); }

Task<void> UpstreamLink::run() {
  for (;;) {
    enter(State::connecting);
    auto outcome = co_await attempt();
    connected_ = nullptr;
    const bool was_up = state_ == State::connected;
    last_error_ = outcome.error().detail;
    report(outcome.error());
    const int64_t delay_ms = backoff_ms(was_up && world_.clock.now_us() - entered_at_us_ > kStableUs);
    progress_ = {};
    enter(State::connect);
    co_await world_.clock.sleep(delay_ms);
  }
}

Task<Result<void>> UpstreamLink::attempt() {
  auto opened = co_await NodeConnection::open(world_, address_, credentials_, timeout_ms());
  CO_RETURN_IF_ERROR(opened);
  NodeConnection& server = *opened.value();
  after_payload_ = false;
  enter(State::handshake);
  auto attached = co_await attach(server);
  CO_RETURN_IF_ERROR(attached);
  co_return co_await stream_on(server);
}

Task<Result<void>> UpstreamLink::attach(NodeConnection& server) {
  auto introduced = co_await introduce(server, announcement_);
  CO_RETURN_IF_ERROR(introduced);
  auto facts = co_await look(server);
  CO_RETURN_IF_ERROR(facts);
  const AttachPlan plan = plan_attach(holdings(), facts.value(), config_.repl_backlog_size);
  if (plan.kind == AttachPlan::Kind::wait) {
    co_return Error{Errc::refused, "it is " + std::to_string(plan.behind_bytes) + " bytes behind us; waiting for it"};
  }
  auto allowed = offer(facts.value());
  CO_RETURN_IF_ERROR(allowed);
  // With an empty filter (7.0 and later) a refusal to continue costs an empty RDB instead of the dataset.
  auto filtered = co_await set_option(server, "rdb-filter-only", "");
  CO_RETURN_IF_ERROR(filtered);
  const std::string replid = plan.kind == AttachPlan::Kind::full ? "?" : plan.replid.text();
  auto reply = co_await request_sync(server, replid, plan.next_byte);
  CO_RETURN_IF_ERROR(reply);
  if (reply.value().kind == PsyncReply::Kind::partial_resync) {
    const ReplOffset at = ReplOffset::before(plan.next_byte);
    if (plan.kind != AttachPlan::Kind::fresh_backlog) co_await owner_.read_loss(at);
    co_return go_on(plan, reply.value(), facts.value());
  }
  const std::optional<int64_t> keys = facts.value() ? facts.value()->keys : std::nullopt;
  co_return co_await full_resync(server, reply.value(), filtered.value(), keys);
}

Task<Result<std::optional<UpstreamFacts>>> UpstreamLink::look(NodeConnection& server) {
  std::vector<std::string> info{"INFO"};
  auto reply = co_await server.ask(std::move(info));
  CO_RETURN_IF_ERROR(reply);
  // A user who may only replicate is refused INFO: then PSYNC alone must tell.
  if (!reply.value().is_text()) co_return std::optional<UpstreamFacts>();
  std::optional<UpstreamFacts> facts = parse_upstream_facts(reply.value().text);
  server_version_ = facts->version;
  auto sane = refuse_loop(server, *facts);
  CO_RETURN_IF_ERROR(sane);
  auto straight = co_await refuse_long_loop(*facts);
  CO_RETURN_IF_ERROR(straight);
  co_return std::move(facts);
}

Result<void> UpstreamLink::refuse_loop(const NodeConnection& server, const UpstreamFacts& facts) const {
  if (!run_id_.empty() && facts.run_id == run_id_) return Error{Errc::refused, "that is this instance itself"};
  if (facts.is_primary || announcement_.listening_port == 0) return {};
  const std::string& local = server.stream().local();
  const std::string us = announcement_.ip.empty() ? local.substr(0, local.rfind(':')) : announcement_.ip;
  if (facts.primary.port == announcement_.listening_port && iequals(facts.primary.host, us)) {
    return Error{Errc::refused, "it follows this instance: that would be a loop"};
  }
  return {};
}

/// Before PSYNC: a server that is held is spared the fork. One that tells nothing is judged by its reply.
Result<void> UpstreamLink::offer(const std::optional<UpstreamFacts>& facts) {
  if (!facts || facts->history.replid.empty() || !facts->keys) return {};
  const bool related = stream_.begun() && facts->history.replid2 == stream_.history().replid;
  return owner_.upstream_offers(Dataset{facts->history.replid, facts->offset, facts->keys}, related);
}

/// Whom does it follow, and whom does that one? A write of a client would go round for ever. Who cannot be asked is
/// believed to be no loop. A loopback address means something only to those who stand on that machine.
Task<Result<void>> UpstreamLink::refuse_long_loop(UpstreamFacts facts) const {
  for (int hop = 0; hop < kHopsMax && !facts.is_primary && !run_id_.empty(); ++hop) {
    if (facts.primary.empty() || is_loopback(facts.primary.host) != is_loopback(address_.host)) break;
    const Address next = facts.primary;
    auto opened = co_await NodeConnection::open(world_, next, credentials_, kHopMs);
    if (!opened.ok()) break;
    std::vector<std::string> info{"INFO"};
    auto reply = co_await opened.value()->ask(std::move(info));
    if (!reply.ok() || !reply.value().is_text()) break;
    facts = parse_upstream_facts(reply.value().text);
    if (facts.run_id == run_id_) {
      co_return Error{Errc::refused, "it follows this instance, by way of others: that would be a loop"};
    }
  }
  co_return Result<void>();
}

std::optional<Holdings> UpstreamLink::holdings() const {
  // One that was cut off before it came into step is of no use: nobody has it, and where its commands end is not known.
  if (!stream_.in_sync()) return std::nullopt;
  return Holdings{stream_.history(), stream_.held(), stream_.offset(), stream_.safe_boundary(), unusable_};
}

Result<void> UpstreamLink::go_on(const AttachPlan& plan, const PsyncReply& reply,
                                 const std::optional<UpstreamFacts>& facts) {
  const ReplOffset at = ReplOffset::before(plan.next_byte);
  if (plan.kind == AttachPlan::Kind::full) return Error{Errc::protocol, "asked for a full resync, got a partial one"};
  const ReplId replid = reply.replid.empty() ? plan.replid : reply.replid;
  if (plan.kind == AttachPlan::Kind::fresh_backlog) {
    const bool known = facts && facts->history.replid == replid;
    owner_.history_begins(known ? facts->history : History{replid, {}, -1}, at, plan.in_sync_from, false);
  } else {
    owner_.history_continues(replid, at);
  }
  log_notice(tag_, "partial resync: {} from byte {}", replid.text(), plan.next_byte);
  return {};
}

Task<Result<void>> UpstreamLink::full_resync(NodeConnection& server, const PsyncReply& reply, bool filtered,
                                             std::optional<int64_t> keys) {
  const ReplId replid = reply.replid;
  const ReplOffset offset = reply.offset;
  Dataset offered{replid, offset, keys};
  auto allowed = owner_.upstream_offers(offered, false);
  CO_RETURN_IF_ERROR(allowed);
  enter(State::sync);
  auto header = co_await read_payload_header(server);
  CO_RETURN_IF_ERROR(header);
  std::shared_ptr<Snapshot> snapshot;
  if (!filtered) {
    const int64_t asked_at_us = world_.clock.now_us();
    auto created = co_await spool_.create(replid, offset, header.value().size);
    if (created.ok()) {
      snapshot = std::move(created).value();
      snapshot->asked_at_us = asked_at_us;
      snapshot->source = address_.text();
    } else {
      log_warning(tag_, "the snapshot is not kept: {}", created.error().detail);
    }
  }
  auto received = co_await receive_payload(server, header.value(), snapshot, true, progress_);
  CO_RETURN_IF_ERROR(received);
  if (snapshot != nullptr && !offered.keys && snapshot->is_empty()) {
    offered.keys = 0;
    auto still = owner_.upstream_offers(offered, false);
    CO_RETURN_IF_ERROR(still);
  }
  owner_.history_begins(History{replid, {}, -1}, offset, offset, true);
  unusable_ = false;
  after_payload_ = true;
  if (snapshot != nullptr && snapshot->complete().ok()) owner_.snapshot_received(std::move(snapshot));
  log_notice(tag_, "full resync: {} from offset {}, {} of snapshot", replid.text(), offset.value,
             human_bytes(progress_.received));
  co_return Result<void>();
}

Task<Result<void>> UpstreamLink::stream_on(NodeConnection& server) {
  progress_ = {};
  end_.reset();
  connected_ = &server;
  last_io_us_ = world_.clock.now_us();
  enter(State::connected);
  TaskSet running;
  running.add(acknowledge());
  running.add(pump(server));
  while (!end_.has_value()) co_await ended_.wait();
  co_return std::move(*end_);
}

Task<void> UpstreamLink::pump(NodeConnection& server) {
  auto outcome = co_await read_stream(server);
  end(outcome.error());
}

Task<Result<void>> UpstreamLink::read_stream(NodeConnection& server) {
  const std::string leftover = server.take_leftover();
  for (size_t at = 0; at < leftover.size();) {
    const auto room = stream_.write_space();
    const size_t n = std::min(room.size(), leftover.size() - at);
    std::memcpy(room.data(), leftover.data() + at, n);
    auto taken = take(n);
    CO_RETURN_IF_ERROR(taken);
    at += n;
  }
  for (;;) {
    const auto space = stream_.write_space();
    const auto room = space.first(Pace::piece(throttle_, space.size()));
    auto n = co_await server.stream().read(room);
    CO_RETURN_IF_ERROR(n);
    if (n.value() == 0) co_return Error{Errc::closed, "the upstream closed the link"};
    last_io_us_ = world_.clock.now_us();
    auto taken = take(n.value());
    CO_RETURN_IF_ERROR(taken);
    const int64_t pause_ms = pace_.pause_ms(last_io_us_, n.value(), throttle_);
    if (pause_ms > 0) co_await world_.clock.sleep(pause_ms);
  }
}

Result<void> UpstreamLink::take(size_t n) {
  auto taken = stream_.received(n);
  if (!taken.ok()) {
    owner_.stream_broken();
    unusable_ = broken_at_ == stream_.offset();
    broken_at_ = stream_.offset();
  }
  return taken;
}

Task<void> UpstreamLink::acknowledge() {
  const ReplOffset began_at = stream_.offset();
  const int64_t began_us = world_.clock.now_us();
  for (;;) {
    acknowledge_at(owner_.acknowledgeable());
    const int64_t now_us = world_.clock.now_us();
    const bool first = after_payload_ && stream_.offset() == began_at && now_us - began_us < kFirstAcksUs;
    const int64_t pause_ms = first ? kFirstAcksMs : kAckMs;
    co_await world_.clock.sleep(pause_ms);
    if (world_.clock.now_us() - last_io_us_ > timeout_ms() * 1000) {
      end(Error{Errc::timed_out, "no byte for " + std::to_string(config_.repl_timeout) + " s"});
    }
  }
}

void UpstreamLink::acknowledge_at(ReplOffset offset) {
  if (connected_ == nullptr) return;
  const std::string number = std::to_string(offset.value);
  connected_->send(resp::command({"REPLCONF", "ACK", number}));
}

bool UpstreamLink::disconnect(std::string reason) {
  if (state_ != State::connected) return false;
  end(Error{Errc::closed, std::move(reason)});
  return true;
}

void UpstreamLink::end(Error error) {
  if (!end_.has_value()) end_ = std::move(error);
  ended_.notify_all();
}

void UpstreamLink::report(const Error& error) {
  const int64_t now_us = world_.clock.now_us();
  if (error.detail == logged_error_ && now_us - logged_at_us_ < kRepeatedLogUs) return;
  log_warning(tag_, "{} while in {}; trying again", error.detail, name(state_));
  logged_error_ = error.detail;
  logged_at_us_ = now_us;
}

int64_t UpstreamLink::backoff_ms(bool was_up) {
  failures_ = was_up ? 0 : std::min(failures_ + 1, 10);
  const int64_t bound = std::min(kBackoffMaxMs, kBackoffMinMs << failures_);
  return bound / 2 + static_cast<int64_t>(world_.random.below(static_cast<uint64_t>(bound / 2 + 1)));
}

}  // namespace sidestream::replication
