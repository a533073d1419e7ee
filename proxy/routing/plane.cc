// plane.cc: the instance's side of the core, and EXPLAIN. See the header.
#include "proxy/routing/plane.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/text.h"
#include "config/options.h"
#include "proxy/routing/cores.h"
#include "proxy/routing/front_door.h"
#include "proxy/routing/key_watch.h"
#include "proxy/routing/limits.h"
#include "proxy/routing/read_need.h"
#include "proxy/routing/special_commands.h"

namespace sidestream::routing {
namespace {

using resp::CommandClass;

constexpr int64_t kQuietStepMs = 2;
constexpr size_t kHeardMax = 64;  // as many as the nearest cache holds easily

}  // namespace

Plane::Plane(World& world, const Config& config, PlaneHost& host)
    : cores_(std::make_unique<Cores>(world, config, host)),
      core_(cores_->first()),
      door_(std::make_unique<FrontDoor>(core_)) {}
Plane::~Plane() = default;

// --- facts ---------------------------------------------------------------------------------------------------------

void Plane::config_changed() {
  cores_->config_changed();
  cores_->tell([users = users_for(*core_.commands)](Core& core) { core.set_users(users); });
}

std::shared_ptr<const Users> Plane::users_for(const resp::CommandTable& commands) {
  auto users = std::make_shared<const Users>(core_.config, commands);
  if (commands.empty() || users->unknown_rules() == unknown_rules_) return users;
  unknown_rules_ = users->unknown_rules();
  for (const std::string& rule : unknown_rules_) {
    log_warning("users", "{} is about no command that the nodes know: it has no effect", rule);
  }
  return users;
}

void Plane::set_primary(std::optional<PrimaryFacts> primary) {
  if (primary == primary_) return;
  primary_ = std::move(primary);
  cores_->tell([now = primary_](Core& core) { core.servers.set_primary(now); });
}

void Plane::set_primary_lost(bool lost) {
  if (std::exchange(primary_lost_, lost) == lost) return;
  cores_->tell([lost](Core& core) {
    core.freshness.primary_lost(lost);
    core.servers_changed();
  });
}

void Plane::set_targets(std::vector<TargetFacts> targets) {
  cores_->tell([targets = std::move(targets)](Core& core) { core.set_targets(targets); });
}

void Plane::set_commands(resp::CommandTable table, std::string server_version, int databases) {
  table.deny(special_commands(core_.config, table));
  auto shared = std::make_shared<const resp::CommandTable>(std::move(table));
  auto users = users_for(*shared);
  cores_->tell([shared = std::move(shared), users = std::move(users), server_version = std::move(server_version),
                databases](Core& core) {  // both at once: users are of these commands
    core.commands = shared;
    core.set_users(users);
    core.server_version = server_version;
    core.databases = databases;
    core.servers_changed();
  });
}

const resp::CommandTable& Plane::commands() const { return *core_.commands; }

void Plane::stream_command(std::span<const std::string_view> args, bool truncated, ReplOffset end) {
  const resp::CommandEntry* entry = core_.commands->find(args);
  if (entry == nullptr || truncated) return heard_anything(end);
  const auto visit = [&](std::string_view key) {
    if (heard_.size() == kHeardMax) apply_heard();
    heard_.push_back({hash_key(key), end});
    core_.freshness.prefetch(heard_.back().hash);
    for (KeyWatch* watch : watches_) watch->wrote(heard_.back().hash, end);
  };
  const resp::Keys keys = resp::CommandTable::for_each_key(*entry, args, visit);
  const bool anything = keys == resp::Keys::unknown || (keys == resp::Keys::none && entry->writes);
  if (!anything) return;
  heard_anything(end);
  if (entry->name.starts_with("function")) cores_->commons.scripts.forget_functions();
}

void Plane::heard_anything(ReplOffset end) {
  core_.freshness.stream_wrote_anything(end);
  for (KeyWatch* watch : watches_) watch->wrote_anything(end);
}

void Plane::apply_heard() {
  for (const Heard& each : heard_) core_.freshness.stream_wrote(each.hash, each.end);
  heard_.clear();
}

void Plane::relayed(ReplOffset offset) {
  apply_heard();
  core_.freshness.relayed(offset);
}

void Plane::new_history(ReplOffset offset) {
  core_.freshness.new_history(offset);
  cores_->tell([epoch = core_.freshness.epoch()](Core& core) { core.hear_of_history(epoch); });
}

void Plane::history_forked(ReplOffset fork) {
  cores_->tell([fork](Core& core) { core.acks.history_forked(fork); });
}

// --- clients -------------------------------------------------------------------------------------------------------

void Plane::adopt(std::unique_ptr<ByteStream> stream, Face face) {
  auto admission = door_->admit(stream->peer(), face);
  if (!admission.refusal.empty()) return door_->turn_away(std::move(stream), admission.refusal);
  cores_->adopt(std::move(stream), face, admission.reserved, std::move(admission.guest));
}

void Plane::adopt_passed(PassedStream stream, PassedClient client) {
  stream.unsent = std::move(client.unsent);
  cores_->adopt_passed(stream_of(std::move(stream)), std::move(client));
}

uint64_t Plane::last_client_id() const { return cores_->last_client(); }
void Plane::begin_ids_behind(uint64_t id) { cores_->begin_ids_behind(id); }

void Plane::pass_clients() {
  cores_->tell([](Core& core) { core.pass_clients(); });
}

void Plane::keep_clients() {
  cores_->tell([](Core& core) { core.keep_clients(); });
}

void Plane::others_wrote(ReplOffset offset) { core_.freshness.stream_wrote_anything(offset); }

Task<Result<ReplOffset>> Plane::fence(Caller caller) {
  if (!caller.has_written) co_return ReplOffset{0};
  if (caller.written) co_return *caller.written;
  co_return co_await core_.fence();
}

Task<Result<ReplOffset>> Plane::fence_all() { co_return co_await core_.fence(); }

Task<bool> Plane::hold_writes(int64_t patience_ms) {
  Clock& clock = core_.world.clock;
  const int64_t deadline_ms = clock.now_ms() + patience_ms;
  auto quiet = std::make_shared<bool>();
  for (;;) {
    *quiet = true;
    Visit visit = [quiet](Core& core) {
      core.hold_writes(true);
      *quiet = *quiet && core.quiet();
    };
    co_await core_.everywhere(std::move(visit));
    if (*quiet || clock.now_ms() >= deadline_ms) co_return *quiet;
    co_await clock.sleep(kQuietStepMs);
  }
}

void Plane::refuse_writes(std::string reason) {
  cores_->tell([reason = std::move(reason)](Core& core) { core.refuse_writes(reason); });
}

void Plane::lack_replicas(bool lacking) {
  if (std::exchange(lacks_replicas_, lacking) == lacking) return;
  cores_->tell([lacking](Core& core) { core.lack_replicas(lacking); });
}

void Plane::give_up(Address former) {
  cores_->tell([former = std::move(former)](Core& core) { core.servers.give_up(former); });
}

void Plane::release_writes() {
  cores_->tell([](Core& core) { core.hold_writes(false); });
}

Task<void> Plane::subscribers_moved(int64_t patience_ms) {
  Clock& clock = core_.world.clock;
  const int64_t deadline_ms = clock.now_ms() + patience_ms;
  auto moving = std::make_shared<bool>();
  for (;;) {
    *moving = false;
    Visit visit = [moving](Core& core) { *moving = *moving || core.feeds_move(); };
    co_await core_.everywhere(std::move(visit));
    if (!*moving || clock.now_ms() >= deadline_ms) co_return;
    co_await clock.sleep(kQuietStepMs);
  }
}

void Plane::close_idle() {
  cores_->tell([](Core& core) { core.close_idle(); });
}

void Plane::close_all(std::optional<Face> face) {
  cores_->tell([face](Core& core) { core.close_all(face); });
}

// --- for people ----------------------------------------------------------------------------------------------------

Task<void> Plane::look_around() { return cores_->look_around(); }
Counters Plane::counters() const { return cores_->counters(); }
Timings Plane::times() const { return cores_->times(); }
std::vector<Latency> Plane::loop_lags() const { return cores_->loop_lags(); }
int64_t Plane::oldest_heartbeat_ms() const { return cores_->oldest_heartbeat_ms(); }

Task<std::vector<SlowRequest>> Plane::slow_requests(bool forget) {
  auto found = std::make_shared<std::vector<SlowRequest>>();
  Visit visit = [found, forget](Core& core) {
    found->insert(found->end(), core.slow_log.all().begin(), core.slow_log.all().end());
    if (forget) core.slow_log.clear();
  };
  co_await core_.everywhere(std::move(visit));
  std::sort(found->begin(), found->end(), [](const auto& a, const auto& b) { return a.wall_ms > b.wall_ms; });
  co_return std::move(*found);
}
ClientCounts Plane::clients() const { return cores_->clients(); }
std::vector<TargetCounts> Plane::target_counts() const { return cores_->target_counts(); }
std::optional<TargetCounts> Plane::primary_counts() const { return cores_->primary_counts(); }

std::string Plane::explain(std::span<const std::string_view> args, const Caller& caller) const {
  const resp::CommandEntry* entry = core_.commands->find(args);
  if (entry == nullptr) return "unknown command: refused";
  if (!core_.commands->arity_fits(*entry, args.size())) return "wrong number of arguments: refused";
  if (is_denied(core_.config, *entry)) return entry->name + ": refused, deny-commands";
  CommandClass cls = resp::effective_class(*entry, args);
  const std::string what = fmt::format("{} ({})", entry->name, resp::class_name(cls));
  const bool of_nodes = entry->name.starts_with("acl") && !core_.users->configured();
  if (cls == CommandClass::session || (cls == CommandClass::local && !of_nodes)) return what + ": answered here";
  const Target* primary = core_.servers.primary();
  const std::string primary_text = primary != nullptr ? "the primary " + primary->name() : "held: no primary is known";
  if (cls == CommandClass::script) {
    const ScriptCall call = look_at_script(*core_.commands, cores_->commons.scripts, *entry, args);
    if (call.effect == Effect::writes) return what + ": " + primary_text + ", on a connection of its own: it may write";
    entry = call.reader;
    cls = CommandClass::read;
  }
  if (cls == CommandClass::scripts) {
    if (entry->name.ends_with("|kill")) return what + ": every server is asked";
    return what + ": " + primary_text + ", and every replica is told";
  }
  const bool reads = cls == CommandClass::read || cls == CommandClass::read_primary || cls == CommandClass::scan;
  if (!reads) {
    const bool shared = cls == CommandClass::write;
    return what + ": " + primary_text + (shared ? ": always the primary's" : ", on a connection of its own");
  }
  const bool about_node = cls == CommandClass::read_primary;
  std::vector<uint64_t> hashes;
  const KeyFacts keys = look_at_keys(*entry, args, about_node, hashes);
  ReadNeed need = need_of(core_.config, core_.freshness, {caller.read_policy, caller.read_floor}, *entry, args,
                          about_node, keys, hashes);
  if (cls == CommandClass::scan && need.policy == ReadPolicy::fresh) need.policy = ReadPolicy::primary;
  const Decision decision = core_.servers.peek(need);
  std::string text = fmt::format("{}: ", what);
  if (decision.target < 0) {
    text += fmt::format("{}: {}", primary_text, reason_text(about_node ? Reason::needs_primary : decision.reason));
  } else {
    const Target& target = core_.servers.target(decision.target);
    text += fmt::format("the replica {}: {}", target.name(), reason_text(decision.reason));
    text += fmt::format(" (has {})", target.view.known.value);
  }
  text += fmt::format("; policy {}", name_of(need.policy));
  if (need.policy == ReadPolicy::fresh && need.offset) text += fmt::format(", needs offset {}", need.offset->value);
  return text;
}

}  // namespace sidestream::routing
