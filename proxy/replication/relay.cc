// relay.cc: see relay.h. What the links decide for themselves is in their files; here is what concerns all of them.
#include "proxy/replication/relay.h"

#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/text.h"
#include "proxy/replication/node_connection.h"
#include "proxy/resp/reply.h"

namespace sidestream::replication {
namespace {

constexpr std::string_view kTag = "relay";
constexpr int64_t kTickMs = 1000;
constexpr int64_t kFetchAgainMs = 1000;

}  // namespace

Relay::Relay(World& world, const Config& config, RelayObserver& observer, std::string run_id)
    : world_(world),
      config_(config),
      observer_(observer),
      run_id_(std::move(run_id)),
      spool_(world, config),
      stream_(world, config, *this),
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
  upstream_ = std::make_unique<UpstreamLink>(world_, config_, announcement_, run_id_, spool_, stream_, owner,
                                             std::move(upstream), std::move(credentials));
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

bool Relay::disconnect_upstream() { return upstream_ != nullptr && upstream_->disconnect("disconnected on request"); }

void Relay::set_snapshot_sources(std::vector<Address> sources) { snapshot_sources_ = std::move(sources); }

void Relay::set_announce(int listening_port, std::string ip) { announcement_ = {listening_port, std::move(ip)}; }

void Relay::resize_backlog() { stream_.resize_backlog(); }

void Relay::adopt(std::unique_ptr<ByteStream> stream, ReplicaHello hello, SyncRequest request, std::string leftover) {
  const uint64_t id = ++last_link_id_;
  DownstreamLink::Owner& owner = *this;
  auto link = std::make_unique<DownstreamLink>(world_, config_, stream_, owner, id, std::move(stream), std::move(hello),
                                               std::move(request));
  for (const auto& [other_id, other] : links_) {
    if (other->is_same_replica(*link)) other->close("it connected anew");
  }
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
  status.state = UpstreamLink::name(state);
  status.last_error = upstream_->last_error();
  const bool streaming = state == UpstreamLink::State::connected;
  const int64_t last_io_us = streaming ? upstream_->last_io_us() : upstream_->progress().last_io_us;
  if (last_io_us != 0) status.last_io_ms = (world_.clock.now_us() - last_io_us) / 1000;
  if (upstream_->lost_at_us() != 0)
    status.link_down_since_ms = (world_.clock.now_us() - upstream_->lost_at_us()) / 1000;
  status.was_up = upstream_->was_connected();
  status.snapshot_received = upstream_->progress().received;
  status.snapshot_total = upstream_->progress().total;
  return status;
}

std::vector<ReplicaStatus> Relay::replicas() const {
  std::vector<ReplicaStatus> all;
  for (const auto& [id, link] : links_) {
    if (!link->ended()) all.push_back(link->status());
  }
  return all;
}

// --- the upstream link tells ---

void Relay::upstream_moved() {
  stream_.changed.notify_all();
  observer_.upstream_changed();
  changed.notify_all();
}

void Relay::history_continues(const ReplId& replid, ReplOffset at) {
  ++counters_.upstream_partial_syncs;
  if (at < stream_.offset()) {
    log_warning(kTag, "{} bytes behind offset {} were lost with the old primary", stream_.offset() - at, at.value);
    stream_.truncate_to(at);
    for (const auto& [id, link] : links_) link->history_cut(at);
  }
  if (replid == stream_.history().replid) return;
  stream_.shift(replid);
  for (const auto& [id, link] : links_) link->history_forked(at);
}

Result<void> Relay::history_may_begin(const ReplId& replid, ReplOffset offset) {
  // The place of the wipe guard: an Error here keeps our history and our replicas' data, and the link tries again.
  if (stream_.begun()) {
    log_warning(kTag, "the upstream has no continuation of {} behind offset {}: a new history {} begins at {}",
                stream_.history().replid.text(), stream_.offset().value, replid.text(), offset.value);
  }
  return {};
}

void Relay::history_begins(History history, ReplOffset offset, ReplOffset in_sync_from, bool full_resync) {
  ++(full_resync ? counters_.upstream_full_syncs : counters_.upstream_partial_syncs);
  fetch_.cancel_all();
  fetching_ = false;
  arriving_.reset();
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
  return upstream_ != nullptr && upstream_->state() == UpstreamLink::State::connected;
}

std::shared_ptr<Snapshot> Relay::snapshot_for(const DownstreamLink& link) {
  auto snapshot = usable_snapshot(link);
  if (snapshot == nullptr) {
    if (!std::exchange(fetching_, true)) fetch_.add(fetch_snapshots());
    return nullptr;
  }
  if (!snapshot->is_checked()) {
    if (!std::exchange(checking_, true)) tasks_.add(check_snapshot(std::move(snapshot)));
    return nullptr;
  }
  const bool can_start = snapshot->total() > 0 || link.hello().eof;
  const bool has_turn = link.snapshot() != nullptr || transfers() < config_.full_sync_max_concurrent;
  if (!can_start || !has_turn || stream_.offset() < snapshot->offset()) return nullptr;
  return snapshot;
}

/// The one it is being sent, else the newest.
std::shared_ptr<Snapshot> Relay::usable_snapshot(const DownstreamLink& link) const {
  std::vector<std::shared_ptr<Snapshot>> candidates(spool_.kept().begin(), spool_.kept().end());
  if (arriving_ != nullptr) candidates.push_back(arriving_);
  std::erase_if(candidates, [&](const auto& candidate) { return !is_usable(*candidate, link); });
  for (const auto& candidate : candidates) {
    if (candidate.get() == link.snapshot()) return candidate;
  }
  return candidates.empty() ? nullptr : candidates.back();
}

/// An earlier run left it.
Task<void> Relay::check_snapshot(std::shared_ptr<Snapshot> snapshot) {
  auto checked = co_await spool_.check(std::move(snapshot));  // one that is damaged is dropped: another one is fetched
  if (checked.ok()) log_notice(kTag, "the snapshot of the earlier run is whole");
  checking_ = false;
  stream_.changed.notify_all();
}

bool Relay::is_usable(const Snapshot& snapshot, const DownstreamLink& link) const {
  if (snapshot.failed() || !stream_.history().contains(snapshot.replid(), snapshot.offset())) return false;
  // Who wants nothing but a snapshot (a backup) is not given an old one.
  if (link.hello().rdb_only) return snapshot.asked_at_us >= link.asked_at_us();
  // One at the old end of a full backlog would be outrun by the stream while it is sent: the replica would come back
  // for ever.
  const bool is_outrun = stream_.offset() - snapshot.offset() > stream_.capacity() / 4 * 3;
  return snapshot.offset().next_byte() >= stream_.first_byte() && (link.snapshot() == &snapshot || !is_outrun);
}

int64_t Relay::transfers() const {
  return std::count_if(links_.begin(), links_.end(),
                       [](const auto& entry) { return entry.second->snapshot() != nullptr; });
}

void Relay::downstream_moved(const DownstreamLink& link) {
  stream_.changed.notify_all();  // a transfer may have ended: the next one's turn
  observer_.replica_changed(link.id());
  changed.notify_all();
}

void Relay::downstream_acked(const DownstreamLink& link) {
  observer_.replica_changed(link.id());
  changed.notify_all();
}

void Relay::downstream_answered(const DownstreamLink& link, bool partial) {
  if (partial) {
    ++counters_.partial_syncs;
    return;
  }
  ++counters_.full_syncs;
  if (link.snapshot() != nullptr && link.snapshot()->served++ > 0) ++counters_.snapshots_shared;
}

void Relay::downstream_refused(const DownstreamLink&) { ++counters_.partial_syncs_refused; }

void Relay::downstream_ended(const DownstreamLink& link) {
  ReadyQueue::current().post(reaper_);
  downstream_moved(link);
}

void Relay::reap() {
  std::erase_if(links_, [](const auto& entry) { return entry.second->ended(); });
  if (fetching_ && !snapshot_is_wanted()) {
    fetch_.cancel_all();
    fetching_ = false;
  }
}

// --- the stream ---

void Relay::stream_command(const StreamScanner::Command& command) {
  if (!command.behind.empty()) observer_.stream_follows(command.behind);
  observer_.stream_command(command.args, command.truncated, command.end);
}

void Relay::stream_getack(ReplOffset offset) {
  if (upstream_ != nullptr) upstream_->acknowledge_at(offset);
}

int64_t Relay::stream_wanted() const {
  int64_t wanted = INT64_MAX;
  for (const auto& [id, link] : links_) wanted = std::min(wanted, link->wanted());
  return wanted;
}

// --- snapshots ---

Result<void> Relay::snapshot_offered(const ReplId& replid, ReplOffset offset) {
  if (!stream_.history().contains(replid, offset))
    return Error{Errc::refused, "it has another history, " + replid.text()};
  if (offset.next_byte() < stream_.first_byte()) {
    return Error{Errc::refused, "it is at offset " + std::to_string(offset.value) + ", before our backlog"};
  }
  if (offset < wanted_offset_) {
    return Error{Errc::refused, "it is at offset " + std::to_string(offset.value) + ", behind what a backup must hold"};
  }
  return {};
}

void Relay::snapshot_arriving(std::shared_ptr<Snapshot> snapshot) {
  arriving_ = std::move(snapshot);
  stream_.changed.notify_all();
}

bool Relay::snapshot_is_wanted() const {
  return std::any_of(links_.begin(), links_.end(), [this](const auto& entry) {
    const DownstreamLink& link = *entry.second;
    return link.waits_for_snapshot() || (arriving_ != nullptr && link.snapshot() == arriving_.get());
  });
}

Task<void> Relay::fetch_snapshots() {
  for (;;) {
    auto outcome = co_await fetch_from_any();
    stream_.changed.notify_all();
    if (outcome.ok()) break;
    if (outcome.error().detail != fetch_error_) log_warning(kTag, "no snapshot: {}", outcome.error().detail);
    fetch_error_ = outcome.error().detail;
    co_await world_.clock.sleep(kFetchAgainMs);
    if (!snapshot_is_wanted()) {
      fetching_ = false;
      co_return;
    }
  }
  ++counters_.snapshots_fetched;
  fetch_error_.clear();
  fetching_ = false;
}

/// A backup holds every write that was answered before it was asked for; our own offset may lag behind these, and a
/// replica's even more.
Task<ReplOffset> Relay::offset_for_backups() {
  const bool backup = std::any_of(links_.begin(), links_.end(), [](const auto& entry) {
    return entry.second->waits_for_snapshot() && entry.second->hello().rdb_only;
  });
  if (!backup || upstream_ == nullptr) co_return ReplOffset{-1};
  auto opened = co_await NodeConnection::open(world_, upstream_->address(), upstream_->credentials(), kFetchAgainMs);
  if (!opened.ok()) co_return ReplOffset{-1};  // then what replicas have is the best there is
  const std::vector<std::string> question = {"INFO", "replication"};
  auto info = co_await opened.value()->demand(question);
  if (!info.ok()) co_return ReplOffset{-1};
  co_return ReplOffset{parse_int(resp::info_field(info.value().text, "master_repl_offset")).value_or(-1)};
}

Task<Result<void>> Relay::fetch_from_any() {
  const ReplOffset wanted = co_await offset_for_backups();
  Error reasons{Errc::refused, ""};
  for (const Address& source : sources()) {
    const bool is_upstream = upstream_ != nullptr && source == upstream_->address();
    wanted_offset_ = is_upstream ? ReplOffset{-1} : wanted;  // what the upstream gives cannot be behind it
    const Credentials credentials =
        is_upstream ? upstream_->credentials() : Credentials{config_.masteruser, config_.masterauth};
    const std::string version = is_upstream || upstream_ == nullptr ? "" : upstream_->server_version();
    auto fetched = co_await fetch_snapshot(world_, spool_, *this, source, credentials, announcement_, version,
                                           config_.repl_timeout * 1000);
    if (fetched.ok()) {
      log_notice(kTag, "snapshot fetched from {}, offset {}, {}", source.text(), arriving_->offset().value,
                 human_bytes(arriving_->total()));
      spool_.keep(std::exchange(arriving_, nullptr));
      co_return std::move(fetched);
    }
    reasons.detail += (reasons.detail.empty() ? "" : "; ") + source.text() + ": " + fetched.error().detail;
  }
  if (reasons.detail.empty()) reasons.detail = "there is no server to take it from";
  co_return std::move(reasons);
}

std::vector<Address> Relay::sources() const {
  std::vector<Address> all = snapshot_sources_;
  // Whoever follows us has the history: any of them can spare the upstream a fork.
  for (const ReplicaStatus& replica : replicas()) {
    const Address address{replica.host, replica.port, ""};
    const bool serves = replica.state == "online" && replica.port != 0 && !replica.rdb_only && !replica.hello.instance;
    if (serves && std::find(all.begin(), all.end(), address) == all.end()) all.push_back(address);
  }
  if (upstream_ != nullptr && std::find(all.begin(), all.end(), upstream_->address()) == all.end()) {
    all.push_back(upstream_->address());
  }
  return all;
}

Task<void> Relay::tick() {
  for (;;) {
    co_await world_.clock.sleep(kTickMs);
    for (const auto& [id, link] : links_) link->check_time();
    spool_.enforce_bounds();
  }
}

}  // namespace sidestream::replication
