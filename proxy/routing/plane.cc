// plane.cc: the instance's side of the core, and EXPLAIN. See the header.
#include "proxy/routing/plane.h"

#include <fmt/format.h>

#include <utility>

#include "common/text.h"
#include "proxy/routing/core.h"
#include "proxy/routing/limits.h"
#include "proxy/routing/read_need.h"

namespace sidestream::routing {
namespace {

using resp::CommandClass;

std::string_view policy_name(ReadPolicy policy) {
  switch (policy) {
    case ReadPolicy::fresh: return "fresh";
    case ReadPolicy::bounded: return "bounded";
    case ReadPolicy::eventual: return "eventual";
    case ReadPolicy::primary: return "primary";
  }
  return "?";
}

TargetCounts counts_of(const Target& target) {
  return {target.facts().address, target.reads,         target.writes,
          target.view.known,      target.pool().size(), target.pool().last_error()};
}

}  // namespace

Plane::Plane(World& world, const Config& config, PlaneHost& host)
    : core_(std::make_unique<Core>(world, config, host, table_)) {}
Plane::~Plane() = default;

// --- facts ---------------------------------------------------------------------------------------------------------

void Plane::set_primary(std::optional<PrimaryFacts> primary) { core_->servers.set_primary(std::move(primary)); }
void Plane::set_targets(std::vector<TargetFacts> targets) { core_->servers.set_targets(std::move(targets)); }

void Plane::set_commands(resp::CommandTable table, std::string server_version, int databases) {
  core_->commands = std::move(table);
  core_->server_version = std::move(server_version);
  core_->databases = databases;
  core_->servers_changed();
}

const resp::CommandTable& Plane::commands() const { return core_->commands; }

void Plane::stream_command(std::span<const std::string_view> args, bool truncated, ReplOffset end) {
  const resp::CommandEntry* entry = core_->commands.find(args);
  if (entry == nullptr || truncated) return core_->freshness.stream_wrote_anything(end);
  const auto visit = [&](std::string_view key) { core_->freshness.stream_wrote(hash_key(key), end); };
  const resp::Keys keys = resp::CommandTable::for_each_key(*entry, args, visit);
  const bool anything = keys == resp::Keys::unknown || (keys == resp::Keys::none && entry->writes);
  if (anything) core_->freshness.stream_wrote_anything(end);
}

void Plane::relayed(ReplOffset offset) { core_->freshness.relayed(offset); }

void Plane::new_history(ReplOffset offset) {
  core_->freshness.new_history(offset);
  core_->servers.new_history();
}

FreshnessMap& Plane::freshness() { return core_->freshness; }

// --- clients -------------------------------------------------------------------------------------------------------

void Plane::adopt(std::unique_ptr<ByteStream> stream, Face face) {
  const auto limit = static_cast<size_t>(core_->config.limits.maxclients);
  const size_t present = core_->sessions.size();
  const bool reserved = present >= limit;
  if (reserved && (face != Face::node || present >= limit + limits::kReservedClients)) {
    ++core_->rejected;
    stream->write("-ERR max number of clients reached\r\n");
    return;
  }
  ++core_->accepted;
  core_->sessions.add(*core_, std::move(stream), face, reserved).start();
}

Task<Result<ReplOffset>> Plane::fence(Caller caller) {
  if (!caller.has_written) co_return ReplOffset{0};
  co_return co_await core_->fence();
}

Task<Result<ReplOffset>> Plane::fence_all() { co_return co_await core_->fence(); }

void Plane::hold_writes(bool hold) {
  core_->writes_held = hold;
  if (!hold) core_->servers_changed();
}

bool Plane::quiet() const { return core_->quiet(); }
Signal& Plane::became_quiet() { return core_->became_quiet; }
void Plane::close_all(std::optional<Face> face) { core_->close_all(face); }

// --- for people ----------------------------------------------------------------------------------------------------

const Counters& Plane::counters() const { return core_->counters; }

ClientCounts Plane::clients() const {
  ClientCounts counts;
  counts.connected = core_->sessions.size();
  counts.accepted = core_->accepted;
  counts.rejected = core_->rejected;
  for (const ClientSession* session : core_->sessions.all()) {
    counts.blocked += session->blocked() ? 1 : 0;
    counts.pubsub += session->subscribed() ? 1 : 0;
  }
  return counts;
}

std::vector<TargetCounts> Plane::target_counts() const {
  std::vector<TargetCounts> counts;
  for (size_t i = 0; i < core_->servers.size(); ++i) {
    counts.push_back(counts_of(core_->servers.target(static_cast<int>(i))));
  }
  return counts;
}

std::optional<TargetCounts> Plane::primary_counts() const {
  const Target* primary = core_->servers.primary();
  if (primary == nullptr) return std::nullopt;
  return counts_of(*primary);
}

std::string Plane::client_list() const {
  std::string lines;
  const int64_t now_ms = core_->world.clock.now_ms();
  for (const ClientSession* session : core_->sessions.all()) lines += session->describe(now_ms) + "\n";
  return lines;
}

std::string Plane::explain(std::span<const std::string_view> args, const Caller& caller) const {
  const resp::CommandEntry* entry = core_->commands.find(args);
  if (entry == nullptr) return "unknown command: refused";
  if (!core_->commands.arity_fits(*entry, args.size())) return "wrong number of arguments: refused";
  const CommandClass cls = resp::effective_class(*entry, args);
  const std::string what = fmt::format("{} ({})", entry->name, resp::class_name(cls));
  if (cls == CommandClass::session || cls == CommandClass::local) return what + ": answered here";
  const Target* primary = core_->servers.primary();
  const std::string primary_text = primary != nullptr ? "the primary " + primary->name() : "held: no primary is known";
  const bool reads = cls == CommandClass::read || cls == CommandClass::read_primary || cls == CommandClass::scan;
  if (!reads) {
    const bool shared = cls == CommandClass::write;
    return what + ": " + primary_text + (shared ? ": always the primary's" : ", on a connection of its own");
  }
  const bool about_node = cls == CommandClass::read_primary;
  std::vector<uint64_t> hashes;
  const KeyFacts keys = look_at_keys(*entry, args, about_node, hashes);
  ReadNeed need;
  need.policy = policy_for(core_->config, caller.read_policy, *entry, args, about_node);
  need.keys_known = keys.keys != resp::Keys::unknown;
  need.offset = needed_offset(core_->freshness, keys, hashes, caller.read_floor);
  if (cls == CommandClass::scan && need.policy == ReadPolicy::fresh) need.policy = ReadPolicy::primary;
  const Decision decision = core_->servers.peek(need);
  std::string text = fmt::format("{}: ", what);
  if (decision.target < 0) {
    text += fmt::format("{}: {}", primary_text, reason_text(about_node ? Reason::needs_primary : decision.reason));
  } else {
    const Target& target = core_->servers.target(decision.target);
    text += fmt::format("the replica {}: {}", target.name(), reason_text(decision.reason));
    text += fmt::format(" (has {})", target.view.known.value);
  }
  text += fmt::format("; policy {}", policy_name(need.policy));
  if (need.policy == ReadPolicy::fresh && need.offset) text += fmt::format(", needs offset {}", need.offset->value);
  return text;
}

}  // namespace sidestream::routing
