// read_need.cc: see the header.
#include "proxy/routing/read_need.h"

#include <algorithm>

#include "common/text.h"
#include "proxy/resp/plain_length.h"

namespace sidestream::routing {
namespace {

bool rule_fits(const Rule& rule, const resp::CommandEntry& entry, std::span<const std::string_view> args) {
  const auto& names = rule.commands;
  const bool named = names.empty() || std::any_of(names.begin(), names.end(),
                                                  [&](const std::string& name) { return iequals(name, args[0]); });
  if (!named || rule.keys.empty()) return named;
  bool all = true;
  bool any = false;
  const auto visit = [&](std::string_view key) {
    any = true;
    all = all && glob_match(rule.keys, key);
  };
  return resp::CommandTable::for_each_key(entry, args, visit) == resp::Keys::known && any && all;
}

std::optional<ReplOffset> needed_by_marks(const FreshnessMap& freshness, const KeyFacts& keys,
                                          std::span<const uint64_t> hashes) {
  const auto need = freshness.needed(hashes);
  if (!need || keys.keys != resp::Keys::unknown) return need;
  const auto any = freshness.needed_any();
  return any ? std::max(any, need) : any;
}

}  // namespace

KeyFacts look_at_keys(const resp::CommandEntry& entry, std::span<const std::string_view> args, bool about_node,
                      std::vector<uint64_t>& hashes) {
  KeyFacts facts;
  hashes.clear();
  const auto visit = [&](std::string_view key) {
    const uint64_t hash = hash_key(key);
    hashes.push_back(hash);
    facts.bits |= uint64_t{1} << (hash >> 58);  // the map uses the lower bits
  };
  facts.keys = resp::CommandTable::for_each_key(entry, args, visit);
  // A script that names no key may still read some; of one that names keys we believe that these are all.
  const bool any_key = about_node || entry.cls == resp::CommandClass::script;
  if (any_key && hashes.empty()) facts.keys = resp::Keys::unknown;
  if (facts.keys == resp::Keys::unknown) facts.bits = kAnyKey;
  return facts;
}

bool keys_are_known_from(const resp::CommandEntry& entry, size_t count) {
  if (entry.keys.empty() || entry.incomplete_keys || entry.pattern_keys) return false;
  return std::all_of(entry.keys.begin(), entry.keys.end(), [count](const resp::KeyRange& range) {
    return range.begin == resp::KeyRange::Begin::index && range.find == resp::KeyRange::Find::range &&
           range.index > 0 && range.last >= 0 && static_cast<size_t>(range.index + range.last) < count;
  });
}

ScriptCall look_at_script(const resp::CommandTable& commands, const ScriptCache& scripts,
                          const resp::CommandEntry& entry, std::span<const std::string_view> args) {
  if (!entry.writes) return {Effect::reads, &entry};
  ScriptCall call;
  const std::string reader = entry.name + "_ro";
  const std::string_view name = reader;
  call.reader = commands.find({&name, 1});
  if (call.reader == nullptr) return call;  // before 7.0
  if (entry.name == "eval") {
    call.effect = effect_of_script(args[1]);
  } else if (entry.name == "evalsha") {
    const auto body = scripts.body(args[1]);
    call.effect = body != nullptr ? effect_of_script(*body) : Effect::writes;
  } else {
    call.effect = scripts.effect_of_function(args[1]);
  }
  return call;
}

ReadPolicy policy_for(const Config& config, std::optional<ReadPolicy> chosen, const resp::CommandEntry& entry,
                      std::span<const std::string_view> args, bool about_node) {
  if (chosen) return about_node ? ReadPolicy::primary : *chosen;
  for (const Rule& rule : config.routing.rules) {
    if (rule_fits(rule, entry, args)) return rule.reads;
  }
  return about_node ? ReadPolicy::primary : config.routing.reads;
}

ReadNeed need_of(const Config& config, const FreshnessMap& freshness, const ReaderWish& wish,
                 const resp::CommandEntry& entry, std::span<const std::string_view> args, bool about_node,
                 const KeyFacts& keys, std::span<const uint64_t> hashes) {
  ReadNeed need;
  need.policy = policy_for(config, wish.policy, entry, args, about_node);
  need.keys_known = keys.keys != resp::Keys::unknown;
  need.at_least = wish.at_least;
  if (need.policy == ReadPolicy::fresh) need.offset = needed_offset(freshness, keys, hashes, wish.at_least);
  return need;
}

std::optional<ReplOffset> needed_offset(const FreshnessMap& freshness, const KeyFacts& keys,
                                        std::span<const uint64_t> hashes, ReplOffset at_least) {
  auto need = needed_by_marks(freshness, keys, hashes);
  if (freshness.primary_is_lost()) need = std::min(need.value_or(freshness.relayed()), freshness.relayed());
  if (need) need = std::max(*need, at_least);
  return need;
}

void prefetch_next(const FreshnessMap& freshness, std::string_view pipelined) {
  const char* const end = pipelined.data() + pipelined.size();
  int64_t length = 0;
  const char* at = resp::read_plain_length(pipelined.data(), end, '*', length);
  if (at == nullptr || length < 2) return;
  at = resp::read_plain_length(at, end, '$', length);
  if (at == nullptr || length + 2 > end - at) return;
  at = resp::read_plain_length(at + length + 2, end, '$', length);
  if (at != nullptr && length <= end - at) freshness.prefetch(hash_key({at, static_cast<size_t>(length)}));
}

}  // namespace sidestream::routing
