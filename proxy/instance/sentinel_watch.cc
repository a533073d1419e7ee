// sentinel_watch.cc: see sentinel_watch.h.
#include "proxy/instance/sentinel_watch.h"

#include <algorithm>

#include "common/log.h"
#include "common/text.h"

namespace sidestream::instance {
namespace {

constexpr int64_t kAskEveryMs = 1000;
constexpr int64_t kStepTimeoutMs = 1000;
constexpr int64_t kVoteMs = 3000;  // a vote that was not repeated for so long counts no more
constexpr int64_t kListenAgainMs = 1000;

std::string field(const resp::Value& flat, std::string_view name) {
  for (size_t i = 0; i + 1 < flat.elements.size(); i += 2) {
    if (flat.elements[i].text == name) return flat.elements[i + 1].text;
  }
  return "";
}

}  // namespace

SentinelWatch::SentinelWatch(World& world, const Config& config, Owner& owner)
    : world_(world), config_(config), owner_(owner) {
  for (const Address& address : config_.sentinel.addresses) {
    posts_.push_back(std::make_unique<Post>());
    posts_.back()->address = address;
  }
}

void SentinelWatch::start() {
  for (const auto& post : posts_) {
    tasks_.add(ask_forever(*post));
    tasks_.add(listen_forever(*post));
  }
}

replication::Credentials SentinelWatch::credentials() const {
  return {config_.sentinel.username, config_.sentinel.password};
}

size_t SentinelWatch::votes_needed() const {
  const auto wanted = static_cast<size_t>(config_.sentinel.quorum);
  return wanted > 0 ? wanted : posts_.size() / 2 + 1;
}

bool SentinelWatch::agreed_within(int64_t ms) const {
  return agreed_ms_ >= 0 && world_.clock.now_ms() - agreed_ms_ <= ms;
}

std::vector<admin::SentinelFacts> SentinelWatch::facts() const {
  std::vector<admin::SentinelFacts> facts;
  for (const auto& post : posts_) {
    const bool votes = post->asked_ms >= 0;
    facts.push_back({post->address.text(), votes ? post->vote.primary.text() : "", post->trouble, post->vote.epoch});
  }
  return facts;
}

std::string SentinelWatch::trouble() const {
  if (agreed_within(kVoteMs)) return "";
  std::string text = fmt::format("{} of {} Sentinels must name the same primary for {}", votes_needed(), posts_.size(),
                                 config_.sentinel.master_name);
  for (const admin::SentinelFacts& each : facts()) {
    text += "; " + each.address + (each.names.empty() ? ": " + each.trouble : " names " + each.names);
  }
  return text;
}

// --- asking --------------------------------------------------------------------------------------------------------

Task<void> SentinelWatch::ask_forever(Post& post) {
  for (;;) {
    auto opened = co_await replication::NodeConnection::open(world_, post.address, credentials(), kStepTimeoutMs);
    if (opened.ok()) {
      auto ended = co_await converse(post, *opened.value());
      lost(post, ended.error());
    } else {
      lost(post, opened.error());
    }
    co_await post.ask_now.wait_for(world_.clock, kAskEveryMs);
  }
}

Task<Result<void>> SentinelWatch::converse(Post& post, replication::NodeConnection& connection) {
  our_host_ = replication::host_of(connection.stream().local());
  for (;;) {
    const int64_t asked_ms = world_.clock.now_ms();
    auto named = co_await ask(connection);
    CO_RETURN_IF_ERROR(named);
    if (post.asked_ms < 0 || !(post.vote.primary == named.value().primary)) {
      log_notice("sentinel " + post.address.text(), "names {} as the primary of {}", named.value().primary.text(),
                 config_.sentinel.master_name);
    }
    post.vote = named.value();
    post.asked_ms = asked_ms;
    post.trouble.clear();
    count_votes();
    owner_.sentinels_changed();
    co_await post.ask_now.wait_for(world_.clock, kAskEveryMs);
  }
}

Task<Result<SentinelWatch::Named>> SentinelWatch::ask(replication::NodeConnection& connection) {
  std::vector<std::string> where = {"SENTINEL", "GET-MASTER-ADDR-BY-NAME", config_.sentinel.master_name};
  auto address = co_await connection.demand(std::move(where));
  CO_RETURN_IF_ERROR(address);
  const auto& pair = address.value().elements;
  if (pair.size() != 2) {
    co_return Error{Errc::refused, "knows no primary called '" + config_.sentinel.master_name + "'"};
  }
  Named named;
  named.primary = Address{pair[0].text, static_cast<int>(parse_int(pair[1].text).value_or(0)), ""};
  std::vector<std::string> details = {"SENTINEL", "MASTER", config_.sentinel.master_name};
  auto master = co_await connection.demand(std::move(details));
  CO_RETURN_IF_ERROR(master);
  const std::string port = field(master.value(), "port");
  named.epoch = parse_int(field(master.value(), "config-epoch")).value_or(0);
  // During a failover the address is the next primary's already, and the rest still the former's.
  const bool same = field(master.value(), "ip") == named.primary.host && port == std::to_string(named.primary.port);
  if (same) named.run_id = field(master.value(), "runid");
  co_return std::move(named);
}

void SentinelWatch::lost(Post& post, const Error& error) {
  if (post.trouble != error.detail) log_warning("sentinel " + post.address.text(), "{}", error.detail);
  post.trouble = error.detail;
  post.asked_ms = -1;
  owner_.sentinels_changed();
}

/// The newest agreement among votes that count. As old as the oldest of the votes that it needs.
void SentinelWatch::count_votes() {
  const int64_t now_ms = world_.clock.now_ms();
  for (const auto& candidate : posts_) {
    std::vector<int64_t> asked;
    int64_t epoch = 0;
    std::string run_id;
    for (const auto& post : posts_) {
      const bool votes = post->asked_ms >= asked_from_ms_ && now_ms - post->asked_ms <= kVoteMs;
      if (!votes || !(post->vote.primary == candidate->vote.primary)) continue;
      asked.push_back(post->asked_ms);
      epoch = std::max(epoch, post->vote.epoch);
      if (run_id.empty()) run_id = post->vote.run_id;
    }
    if (asked.size() < votes_needed()) continue;
    std::sort(asked.rbegin(), asked.rend());
    named_ = Named{candidate->vote.primary, epoch, std::move(run_id)};
    agreed_ms_ = asked[votes_needed() - 1];
    return;
  }
}

void SentinelWatch::ask_anew() {
  asked_from_ms_ = world_.clock.now_ms();
  agreed_ms_ = -1;
  for (const auto& post : posts_) post->ask_now.notify_all();
}

// --- listening -----------------------------------------------------------------------------------------------------

Task<void> SentinelWatch::listen_forever(Post& post) {
  for (;;) {
    auto ended = co_await listen(post);
    if (!ended.ok()) log_debug("sentinel " + post.address.text(), "announcements: {}", ended.error().detail);
    co_await world_.clock.sleep(kListenAgainMs);
  }
}

/// What it says is a hint only: the question that follows counts. So nothing depends on this connection being alive.
Task<Result<void>> SentinelWatch::listen(Post& post) {
  auto opened = co_await replication::NodeConnection::open(world_, post.address, credentials(), kStepTimeoutMs);
  CO_RETURN_IF_ERROR(opened);
  ByteStream& stream = opened.value()->stream();
  opened.value()->send("*2\r\n$9\r\nSUBSCRIBE\r\n$14\r\n+switch-master\r\n");
  std::string chunk(1024, '\0');
  for (;;) {
    auto n = co_await stream.read(chunk);
    CO_RETURN_IF_ERROR(n);
    if (n.value() == 0) co_return Error{Errc::closed, "closed by the Sentinel"};
    for (const auto& each : posts_) each->ask_now.notify_all();
  }
}

}  // namespace sidestream::instance
