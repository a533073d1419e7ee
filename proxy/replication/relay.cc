// relay.cc: see relay.h. What the links decide for themselves is in their files; here is what concerns all of them.
#include "proxy/replication/relay.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "common/log.h"
#include "common/text.h"
#include "config/values.h"
#include "proxy/replication/node_connection.h"
#include "proxy/resp/reply.h"

namespace sidestream::replication {
namespace {

constexpr std::string_view kTag = "relay";
constexpr int64_t kTickMs = 1000;
constexpr int64_t kLossReadMax = 256 << 20;
constexpr size_t kHeldReadMax = 256 << 10;
constexpr int64_t kTicksPerReport = 10;  // of the progress of transfers that take long

}  // namespace

Relay::Relay(World& world, const Config& config, RelayObserver& observer, std::string run_id)
    : world_(world),
      config_(config),
      observer_(observer),
      run_id_(std::move(run_id)),
      spool_(world, config),
      stream_(world, config, *this),
      guard_(config),
      admission_(world),
      reaper_(*this) {
  tasks_.add(tick());
}

Relay::~Relay() = default;

Task<Result<void>> Relay::start() {
  auto prepared = co_await spool_.prepare();
  CO_RETURN_IF_ERROR(prepared);
  auto restored = co_await stream_.restore();
  CO_RETURN_IF_ERROR(restored);
  if (stream_.begun()) upstream_moved();
  co_return Result<void>();
}

void Relay::follow(Address upstream, Credentials credentials) {
  UpstreamLink::Owner& owner = *this;
  alone_ = false;
  // What is asked for and has not begun to come may never come: the former upstream may wait for a snapshot of ours
  // now.
  if (fetching_ && arriving_ == nullptr) call_off_fetch();
  upstream_ = std::make_unique<UpstreamLink>(world_, config_, announcement_, run_id_, spool_, stream_, owner,
                                             std::move(upstream), std::move(credentials));
  upstream_->throttle(throttles_.upstream);
  upstream_->start();
}

void Relay::set_credentials(Credentials credentials) {
  if (upstream_ != nullptr) upstream_->set_credentials(std::move(credentials));
}

void Relay::unfollow() {
  if (upstream_ == nullptr) return;
  upstream_.reset();
  upstream_moved();
}

void Relay::serve_alone() {
  alone_ = true;
  unfollow();
}

bool Relay::disconnect_upstream() { return upstream_ != nullptr && upstream_->disconnect("disconnected on request"); }

void Relay::set_snapshot_sources(std::vector<Address> sources) { snapshot_sources_ = std::move(sources); }

void Relay::set_announce(int listening_port, std::string ip) { announcement_ = {listening_port, std::move(ip)}; }

void Relay::resize_backlog() { stream_.resize_backlog(); }

Task<void> Relay::retire() {
  retired_ = true;
  kick_replicas("another process goes on with it");
  fetch_.cancel_all();
  fetching_ = false;
  arriving_.reset();
  co_await stream_.suspend_disk();
}

void Relay::resume() {
  retired_ = false;
  stream_.resume_disk();
}

void Relay::adopt(std::unique_ptr<ByteStream> stream, ReplicaHello hello, SyncRequest request, std::string leftover) {
  if (retired_) return;  // closed: it comes again, to the next process
  const uint64_t id = ++last_link_id_;
  DownstreamLink::Owner& owner = *this;
  auto link = std::make_unique<DownstreamLink>(world_, config_, stream_, owner, id, std::move(stream), std::move(hello),
                                               std::move(request));
  for (const auto& [other_id, other] : links_) {
    if (other->is_same_replica(*link)) other->replaced();
  }
  if (renewed_.contains(link->replica_name())) link->renew();
  link->throttle(throttles_.of(link->replica_name()));
  links_.emplace(id, std::move(link)).first->second->start(std::move(leftover));
}

size_t Relay::kick_replicas(std::string_view reason) {
  size_t closed = 0;
  for (const auto& [id, link] : links_) {
    if (link->ended()) continue;
    link->close(reason);
    ++closed;
  }
  return closed;
}

bool Relay::kick_replica(uint64_t link_id, std::string_view reason) {
  const auto link = links_.find(link_id);
  if (link == links_.end() || link->second->ended()) return false;
  link->second->close(reason);
  return true;
}

Result<void> Relay::resync(uint64_t link_id) {
  const auto link = links_.find(link_id);
  if (link == links_.end() || link->second->ended()) return Error{Errc::refused, "it is not attached now"};
  const std::string name = link->second->replica_name();
  if (name.empty()) return Error{Errc::refused, "it announces no port, so it would not be known again"};
  if (link->second->hello().instance) {
    return Error{Errc::refused, "it is an instance, which holds no data itself: ask it to resync its nodes"};
  }
  if (renewed_.contains(name)) return Error{Errc::refused, "its resync is under way"};
  renewed_.insert(name);
  link->second->close("it gets all data anew, on request");
  return {};
}

void Relay::set_throttles(Throttles throttles) {
  throttles_ = std::move(throttles);
  if (upstream_ != nullptr) upstream_->throttle(throttles_.upstream);
  for (const auto& [id, link] : links_) link->throttle(throttles_.of(link->replica_name()));
}

void Relay::truncate_to_safe_boundary() {
  unfollow();
  if (stream_.begun()) cut_to_safe_boundary();
}

void Relay::cut_to_safe_boundary() {
  const ReplOffset boundary = stream_.safe_boundary();
  if (boundary == stream_.offset()) return;
  stream_.truncate_to(boundary);
  for (const auto& [id, link] : links_) link->history_cut(boundary);
  upstream_moved();
}

BacklogRange Relay::info_backlog_range() const {
  const int64_t first_byte = stream_.first_byte();
  return {first_byte, std::max<int64_t>(stream_.safe_boundary().next_byte() - first_byte, 0)};
}

UpstreamStatus Relay::upstream() const {
  UpstreamStatus status;
  if (upstream_ == nullptr) return status;
  const auto state = upstream_->state();
  status.address = upstream_->address();
  status.state = guard_.quarantine() ? "held" : UpstreamLink::name(state);
  status.last_error = upstream_->last_error();
  if (guard_.quarantine()) status.last_error = guard_.quarantine()->reason;
  const bool streaming = state == UpstreamLink::State::connected;
  const int64_t last_io_us = streaming ? upstream_->last_io_us() : upstream_->progress().last_io_us;
  if (last_io_us != 0) status.last_io_ms = (world_.clock.now_us() - last_io_us) / 1000;
  status.lost_at_us = upstream_->lost_at_us();
  if (upstream_->lost_at_us() != 0)
    status.link_down_since_ms = (world_.clock.now_us() - upstream_->lost_at_us()) / 1000;
  status.was_up = upstream_->was_connected();
  status.snapshot = upstream_->progress().so_far(world_.clock.now_us());
  return status;
}

std::vector<ReplicaStatus> Relay::replicas() const {
  std::vector<ReplicaStatus> all;
  for (const auto& [id, link] : links_) {
    if (link->ended()) continue;
    all.push_back(link->status());
    all.back().waits_for = waits_for(*link);
    const Admission::Trouble* trouble = admission_.trouble(link->replica_name());
    if (trouble == nullptr) continue;
    all.back().failures = trouble->failures;
    all.back().trouble = trouble->words;
  }
  return all;
}

int64_t Relay::good_replicas(int64_t max_lag_s) const {
  return std::count_if(links_.begin(), links_.end(), [max_lag_s](const auto& entry) {
    if (entry.second->ended()) return false;
    const ReplicaStatus status = entry.second->status();
    return status.state == "online" && status.acks && !status.rdb_only && status.lag_seconds <= max_lag_s;
  });
}

// --- the upstream link tells ---

void Relay::upstream_moved() {
  stream_.changed.notify_all();
  observer_.upstream_changed();
  changed.notify_all();
}

void Relay::history_continues(const ReplId& replid, ReplOffset at) {
  ++counters_.upstream_partial_syncs;
  guard_.settled();
  if (at < stream_.offset()) {
    log_warning(kTag, "{} bytes behind offset {} were lost with the old primary", stream_.offset() - at, at.value);
    tell_loss(at);
    stream_.truncate_to(at);
    for (const auto& [id, link] : links_) link->history_cut(at);
  }
  if (replid == stream_.history().replid) return;
  stream_.shift(replid);
  for (const auto& [id, link] : links_) link->history_forked(at);
}

Task<void> Relay::read_loss(ReplOffset at) {
  loss_read_.clear();
  for (int64_t from = at.next_byte(); from < stream_.backlog().oldest() && std::ssize(loss_read_) < kLossReadMax;) {
    if (!stream_.has(from)) co_return;
    const auto most = static_cast<size_t>(stream_.backlog().oldest() - from);
    auto slice = co_await stream_.read_old(from, most);
    if (!slice.ok() || slice.value().bytes.empty()) co_return;
    loss_read_.append(slice.value().bytes);
    from += std::ssize(slice.value().bytes);
  }
}

void Relay::tell_loss(ReplOffset fork) {
  std::string bytes = std::exchange(loss_read_, {});
  const Backlog& backlog = stream_.backlog();
  int64_t from = fork.next_byte() + std::ssize(bytes);
  while (from >= backlog.oldest() && from < backlog.end()) {
    const Slice slice = backlog.slice(from, static_cast<size_t>(backlog.end() - from));
    bytes.append(slice.bytes);
    from += std::ssize(slice.bytes);
  }
  observer_.history_lost(stream_.history().replid, fork, stream_.offset() - fork, bytes);
}

Task<Result<std::string>> Relay::read_held(int64_t from) {
  CHECK(from < stream_.backlog().end());
  if (!stream_.has(from)) co_return Error{Errc::io, "the backlog begins behind it"};
  if (from >= stream_.backlog().oldest()) {
    co_return std::string(stream_.backlog().slice(from, kHeldReadMax).bytes);
  }
  auto slice = co_await stream_.read_old(from, kHeldReadMax);
  CO_RETURN_IF_ERROR(slice);
  if (slice.value().bytes.empty()) co_return Error{Errc::io, "the backlog begins behind it"};
  co_return std::string(slice.value().bytes);
}

Result<void> Relay::upstream_offers(const Dataset& offered, bool related) {
  if (stream_.begun()) guard_.hold(stream_.history().replid, stream_.offset());
  return guard_.judge(offered, related);
}

void Relay::history_begins(History history, ReplOffset offset, ReplOffset in_sync_from, bool full_resync) {
  ++(full_resync ? counters_.upstream_full_syncs : counters_.upstream_partial_syncs);
  guard_.settled();
  replicas_have_ = {};
  if (stream_.begun()) {
    log_warning(kTag, "the upstream has no continuation of {} behind offset {}: a new history {} begins at {}",
                stream_.history().replid.text(), stream_.offset().value, history.replid.text(), offset.value);
  }
  call_off_fetch();
  stream_.begin(std::move(history), offset, in_sync_from);
  for (const auto& [id, link] : links_) link->history_replaced();
}

void Relay::snapshot_received(std::shared_ptr<Snapshot> snapshot) {
  ++counters_.snapshots_fetched;
  spool_.keep(std::move(snapshot));
  stream_.changed.notify_all();
}

void Relay::stream_broken() { cut_to_safe_boundary(); }

// --- replica links ask and tell ---

bool Relay::upstream_is_connected() const {
  return alone_ || (upstream_ != nullptr && upstream_->state() == UpstreamLink::State::connected);
}

void Relay::downstream_moved(const DownstreamLink& link) {
  if (link.state() == DownstreamLink::State::online && !link.ended()) {
    Latency& took = link.was_sent_snapshot() ? counters_.full_sync_took : counters_.partial_sync_took;
    took.record(world_.clock.now_us() - link.asked_at_us());
    if (link.renews()) renewed_.erase(link.replica_name());
  }
  stream_.changed.notify_all();  // a transfer may have ended: the next one's turn
  observer_.replica_changed(link.id());
  changed.notify_all();
}

ReplOffset Relay::acknowledgeable() const {
  const ReplOffset received = stream_.safe_boundary();
  return quorum_of(config_.upstream_ack) == 0 ? received : std::min(received, replicas_have_);
}

/// The upstream's WAIT and min-replicas shall count what really stands behind us, and wait no longer than needed.
void Relay::count_replicas() {
  const size_t quorum = quorum_of(config_.upstream_ack);
  if (quorum == 0) return;
  std::vector<ReplOffset> acked;
  for (const auto& [id, link] : links_) {
    if (link->ended()) continue;
    const ReplicaStatus status = link->status();
    if (status.state == "online" && status.acks && !status.rdb_only) acked.push_back(status.acked);
  }
  if (acked.size() < quorum) return;
  std::sort(acked.begin(), acked.end(), std::greater<>());
  if (acked[quorum - 1] <= replicas_have_) return;
  replicas_have_ = acked[quorum - 1];
  if (upstream_ != nullptr) upstream_->acknowledge_at(acknowledgeable());
}

void Relay::downstream_acked(const DownstreamLink& link) {
  count_replicas();
  observer_.replica_changed(link.id());
  changed.notify_all();
}

void Relay::downstream_answered(const DownstreamLink& link, bool partial) {
  admission_.leave(link.id());
  if (partial) {
    ++counters_.partial_syncs;
    return;
  }
  ++counters_.full_syncs;
  if (link.snapshot() != nullptr && link.snapshot()->served++ > 0) ++counters_.snapshots_shared;
}

void Relay::downstream_refused(const DownstreamLink&) { ++counters_.partial_syncs_refused; }

void Relay::downstream_caught_up(const DownstreamLink& link) { admission_.recovered(link.replica_name()); }

void Relay::downstream_ended(const DownstreamLink& link) {
  if (link.fault() != SyncFault::none) sync_failed(link, link.fault(), link.reason());
  ReadyQueue::current().post(reaper_);
  downstream_moved(link);
}

void Relay::reap() {
  std::erase_if(links_, [this](const auto& entry) {
    if (!entry.second->ended()) return false;
    admission_.leave(entry.first);
    newest_formats_.erase(entry.first);
    return true;
  });
  if (fetching_ && !snapshot_is_wanted()) call_off_fetch();
}

// --- the stream ---

void Relay::stream_command(const StreamScanner::Command& command) {
  if (!command.args.empty()) guard_.saw(command.args[0], command.end);
  observer_.stream_command(command.args, command.truncated, command.end);
}

void Relay::stream_getack(ReplOffset offset) {
  // With a quorum the replicas, who are asked as well, answer first.
  if (upstream_ != nullptr) upstream_->acknowledge_at(std::min(offset, acknowledgeable()));
}

int64_t Relay::stream_wanted() const {
  int64_t wanted = INT64_MAX;
  for (const auto& [id, link] : links_) wanted = std::min(wanted, link->wanted());
  return wanted;
}

/// repl-backlog-ttl: what nobody has asked for in all that time is not kept any longer.
void Relay::release_if_alone() {
  const int64_t now_us = world_.clock.now_us();
  if (!links_.empty()) {
    alone_since_us_ = -1;
  } else if (alone_since_us_ < 0) {
    alone_since_us_ = now_us;
  }
  const int64_t ttl_us = config_.repl_backlog_ttl * 1'000'000;
  if (ttl_us == 0 || alone_since_us_ < 0 || now_us - alone_since_us_ < ttl_us || !stream_.in_sync()) return;
  if (stream_.safe_boundary() != stream_.offset()) return;  // in the middle of a command: a second later
  alone_since_us_ = now_us;
  if (stream_.held().histlen == 0) return;
  log_notice(kTag, "no replica for {} s (repl-backlog-ttl): {} of history are released", config_.repl_backlog_ttl,
             human_bytes(stream_.held().histlen));
  stream_.release();
  observer_.upstream_changed();
}

Task<void> Relay::tick() {
  for (int64_t ticks = 0;;) {
    co_await world_.clock.sleep(kTickMs);
    if (retired_) continue;
    for (const auto& [id, link] : links_) link->check_time();
    spool_.enforce_bounds();
    release_if_alone();
    admission_.forget();
    if (++ticks % kTicksPerReport == 0) report_arrivals();
  }
}

}  // namespace sidestream::replication
