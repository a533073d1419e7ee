// relay_snapshots.cc: the part of the relay that has snapshots for replicas: who gets one when, and where it comes
// from.
#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/text.h"
#include "proxy/replication/node_connection.h"
#include "proxy/replication/relay.h"
#include "proxy/replication/snapshot_choice.h"
#include "proxy/resp/reply.h"

namespace sidestream::replication {
namespace {

constexpr std::string_view kTag = "relay";
constexpr int64_t kFetchAgainMs = 1000;
constexpr int64_t kLookMs = 500;
constexpr int kLooking = -1;  // a replica was asked for its version, and has not answered yet

}  // namespace

// --- who gets one, when --------------------------------------------------------------------------------------------

/// Asked again and again until it gives one; what it waits for meanwhile is what waits_for() says.
std::shared_ptr<Snapshot> Relay::snapshot_for(const DownstreamLink& link) {
  auto snapshot = usable_snapshot(link);
  if (link.snapshot() != nullptr && snapshot.get() == link.snapshot()) return snapshot;
  if (admission_.pause_ms(link.replica_name()) > 0) {
    admission_.leave(link.id());
    return nullptr;
  }
  const int newest = newest_format(link);
  if (!admission_.has_turn(link.id(), transfers(), config_.full_sync_max_concurrent) || newest == kLooking) {
    return nullptr;
  }
  if (snapshot == nullptr) {
    if (!std::exchange(fetching_, true)) fetch_.add(fetch_snapshots());
    return nullptr;
  }
  if (!snapshot->is_checked()) {
    if (!std::exchange(checking_, true)) tasks_.add(check_snapshot(std::move(snapshot)));
    return nullptr;
  }
  const bool can_start = (snapshot->total() > 0 || link.hello().eof) && snapshot->rdb_version() != 0;
  if (!can_start || stream_.offset() < snapshot->offset()) return nullptr;
  admission_.leave(link.id());
  if (!can_load(newest, snapshot->rdb_version())) {
    sync_failed(link, SyncFault::version,
                fmt::format("its RDB version {} is too old for this snapshot, which is of version {}", newest,
                            snapshot->rdb_version()));
    return nullptr;
  }
  return snapshot;
}

/// The newest RDB format that the replica can load; 0: unknown. A diskless loader empties itself before it looks.
int Relay::newest_format(const DownstreamLink& link) {
  if (link.hello().listening_port == 0 || link.hello().rdb_only || link.hello().instance) return 0;
  const auto [known, is_new] = newest_formats_.try_emplace(link.id(), kLooking);
  if (is_new) tasks_.add(look_at_replica(link.id(), Address{link.host(), link.hello().listening_port, ""}));
  return known->second;
}

Task<void> Relay::look_at_replica(uint64_t link_id, Address address) {
  const Credentials credentials{config_.masteruser, config_.masterauth};
  int newest = 0;
  auto opened = co_await NodeConnection::open(world_, std::move(address), credentials, kLookMs);
  if (opened.ok()) {
    std::vector<std::string> question{"INFO", "server"};
    auto info = co_await opened.value()->demand(std::move(question));
    if (info.ok()) newest = newest_rdb(info.value().text);
  }
  const auto known = newest_formats_.find(link_id);
  if (known != newest_formats_.end()) known->second = newest;
  stream_.changed.notify_all();
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

bool Relay::is_usable(const Snapshot& snapshot, const DownstreamLink& link) const {
  if (snapshot.failed() || !stream_.history().contains(snapshot.replid(), snapshot.offset())) return false;
  // Who wants nothing but a snapshot (a backup) is not given an old one.
  const bool from_upstream = upstream_ != nullptr && snapshot.source == upstream_->address().text();
  if (link.renews() && !from_upstream) return false;  // another replica's may have errors as well
  if (link.hello().rdb_only || link.renews()) return snapshot.asked_at_us >= link.asked_at_us();
  // One at the old end of a full backlog would be outrun by the stream while it is sent: the replica would come back
  // for ever.
  const bool is_outrun = stream_.offset() - snapshot.offset() > stream_.capacity() / 4 * 3;
  return snapshot.offset().next_byte() >= stream_.first_byte() && (link.snapshot() == &snapshot || !is_outrun);
}

/// An earlier run left it.
Task<void> Relay::check_snapshot(std::shared_ptr<Snapshot> snapshot) {
  auto checked = co_await spool_.check(std::move(snapshot));  // one that is damaged is dropped: another one is fetched
  if (checked.ok()) log_notice(kTag, "the snapshot of the earlier run is whole");
  checking_ = false;
  stream_.changed.notify_all();
}

int64_t Relay::transfers() const {
  return std::count_if(links_.begin(), links_.end(),
                       [](const auto& entry) { return entry.second->snapshot() != nullptr; });
}

void Relay::sync_failed(const DownstreamLink& link, SyncFault fault, std::string words) {
  const std::string replica = link.replica_name();
  if (replica.empty()) return;
  const int64_t pause_ms = admission_.failed(replica, fault, words);
  const int failures = admission_.trouble(replica)->failures;
  log_warning(kTag, "full sync of {} failed{}: {}; the next one in {:.1f} s", replica,
              failures > 1 ? fmt::format(", {} times in a row", failures) : "", words,
              static_cast<double>(pause_ms) / 1000);
}

std::string Relay::waits_for(const DownstreamLink& link) const {
  if (!link.waits_for_snapshot()) return "";
  if (const int64_t pause_ms = admission_.pause_ms(link.replica_name()); pause_ms > 0) {
    return fmt::format("waits {} s after {} failed full syncs", (pause_ms + 999) / 1000,
                       admission_.trouble(link.replica_name())->failures);
  }
  const int64_t before = admission_.place(link.id());
  if (before >= 0 && transfers() + before >= config_.full_sync_max_concurrent) {
    return fmt::format("waits for its turn: {} before it, {} of full-sync-max-concurrent {} under way", before,
                       transfers(), config_.full_sync_max_concurrent);
  }
  return fetching_ ? "waits for a snapshot to arrive" + (fetch_error_.empty() ? "" : ": " + fetch_error_)
                   : "waits for a snapshot";
}

SnapshotStatus Relay::snapshot() const {
  SnapshotStatus status;
  status.state = fetching_ ? "fetching" : spool_.kept().empty() ? "none" : "ready";
  status.last_error = fetch_error_;
  status.disk_bytes = spool_.bytes();
  status.kept = std::ssize(spool_.kept());
  const Snapshot* shown = arriving_ != nullptr    ? arriving_.get()
                          : spool_.kept().empty() ? nullptr
                                                  : spool_.kept().back().get();
  if (shown == nullptr) return status;
  status.source = shown->source;
  status.offset = shown->offset();
  status.rdb_version = shown->rdb_version();
  status.age_ms = std::max<int64_t>(0, world_.clock.wall_ms() - shown->taken_ms());
  status.served = shown->served;
  status.progress =
      progress(shown->received(), shown->total(), shown->is_complete() ? 0 : shown->asked_at_us, world_.clock.now_us());
  return status;
}

void Relay::report_arrivals() const {
  const int64_t now_us = world_.clock.now_us();
  if (arriving_ != nullptr) {
    log_notice(kTag, "snapshot from {}: {}", arriving_->source,
               progress(arriving_->received(), arriving_->total(), arriving_->asked_at_us, now_us).text());
  }
  if (upstream_ == nullptr || upstream_->state() != UpstreamLink::State::sync) return;
  log_notice(kTag, "full resync from {}: {}", upstream_->address().text(), upstream_->progress().so_far(now_us).text());
}

// --- where it comes from -------------------------------------------------------------------------------------------

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
  tell_.cancel_all();
  tell_.add(tell_when_it_is_known(snapshot));
  arriving_ = std::move(snapshot);
}

/// Nobody is served from it before its first bytes say what format it is.
Task<void> Relay::tell_when_it_is_known(std::shared_ptr<Snapshot> snapshot) {
  while (snapshot->rdb_version() == 0 && !snapshot->failed()) co_await snapshot->changed.wait();
  stream_.changed.notify_all();
}

bool Relay::snapshot_is_wanted() const {
  return std::any_of(links_.begin(), links_.end(), [this](const auto& entry) {
    const DownstreamLink& link = *entry.second;
    return link.waits_for_snapshot() || (arriving_ != nullptr && link.snapshot() == arriving_.get());
  });
}

/// What has arrived of it goes, with its file.
void Relay::call_off_fetch() {
  fetch_.cancel_all();
  fetching_ = false;
  arriving_.reset();
}

Task<void> Relay::fetch_snapshots() {
  // As on a stock primary: who comes within this time gets the same snapshot.
  if (config_.repl_diskless_sync_delay > 0) co_await world_.clock.sleep(config_.repl_diskless_sync_delay * 1000);
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
  const ReplOffset for_backups = co_await offset_for_backups();
  wanted_offset_ = for_backups;
  std::string reasons;
  const Credentials credentials{config_.masteruser, config_.masterauth};
  auto candidates = co_await survey(world_, replica_sources(), credentials);
  const SourceWish wish{stream_.history(), upstream_ == nullptr ? "" : upstream_->server_version(), wanted_offset_};
  for (const Address& source : rank(std::move(candidates), wish, reasons)) {
    auto fetched = co_await fetch_from(source, credentials, reasons);
    if (fetched) co_return Result<void>();
  }
  if (upstream_ != nullptr && !guard_.quarantine()) {  // else its snapshot is not of our history, and costs it a fork
    wanted_offset_ = ReplOffset{-1};                   // what the upstream gives cannot be behind it
    const Address source = upstream_->address();
    auto fetched = co_await fetch_from(source, upstream_->credentials(), reasons);
    if (fetched) co_return Result<void>();
  }
  if (reasons.empty()) reasons = "there is no server to take it from";
  co_return Error{Errc::refused, std::move(reasons)};
}

Task<bool> Relay::fetch_from(Address source, Credentials credentials, std::string& reasons) {
  const std::string name = source.text();
  auto fetched = co_await fetch_snapshot(world_, spool_, *this, std::move(source), std::move(credentials),
                                         announcement_, config_.repl_timeout * 1000);
  if (fetched.ok()) {
    log_notice(kTag, "snapshot fetched from {}, offset {}, {}", name, arriving_->offset().value,
               human_bytes(arriving_->total()));
    spool_.keep(std::exchange(arriving_, nullptr));
    co_return true;
  }
  arriving_.reset();  // its file goes, unless a replica is still being told
  reasons += (reasons.empty() ? "" : "; ") + name + ": " + fetched.error().detail;
  co_return false;
}

/// Whoever follows us has the history: any of them can spare the upstream a fork.
std::vector<Address> Relay::replica_sources() const {
  if (wants_upstream_snapshot()) return {};
  std::vector<Address> all = snapshot_sources_;
  for (const ReplicaStatus& replica : replicas()) {
    const Address address{replica.host, replica.port, ""};
    const bool serves = replica.state == "online" && replica.port != 0 && !replica.rdb_only && !replica.hello.instance;
    if (serves && std::find(all.begin(), all.end(), address) == all.end()) all.push_back(address);
  }
  if (upstream_ != nullptr) std::erase(all, upstream_->address());
  std::erase_if(all, [this](const Address& source) { return is_distrusted(source.text()); });
  return all;
}

/// A replica gets all data anew: whoever else has errors in its data must not be the one who gives it.
bool Relay::wants_upstream_snapshot() const {
  return std::any_of(links_.begin(), links_.end(),
                     [](const auto& entry) { return entry.second->waits_for_snapshot() && entry.second->renews(); });
}

bool Relay::is_distrusted(std::string_view source) const {
  return std::any_of(distrusted_.begin(), distrusted_.end(),
                     [&](const Address& server) { return server.text() == source; });
}

void Relay::distrust(std::vector<Address> servers) {
  if (servers == distrusted_) return;
  distrusted_ = std::move(servers);
  if (distrusted_.empty()) return;
  // Nobody knows where one of an earlier run came from.
  spool_.drop_if([this](const Snapshot& kept) { return kept.source.empty() || is_distrusted(kept.source); });
  if (arriving_ != nullptr && is_distrusted(arriving_->source)) call_off_fetch();
  stream_.changed.notify_all();
}

}  // namespace sidestream::replication
