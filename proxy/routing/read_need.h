// read_need.h: from a request to what a server must know to answer it: its keys, the policy, the offset. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "proxy/resp/command_table.h"
#include "proxy/routing/freshness.h"
#include "proxy/routing/router.h"
#include "proxy/routing/script_cache.h"

namespace sidestream::routing {

inline constexpr uint64_t kAnyKey = ~uint64_t{0};

struct KeyFacts {
  resp::Keys keys = resp::Keys::none;
  uint64_t bits = 0;  // a Bloom filter of 64 bits; kAnyKey when the keys are unknown
};

/// Fills `hashes` with those of the request's keys. `about_node`: a command without keys looks at all of them.
KeyFacts look_at_keys(const resp::CommandEntry& entry, std::span<const std::string_view> args, bool about_node,
                      std::vector<uint64_t>& hashes);

/// Whether the first `count` arguments of a longer request hold all its keys.
bool keys_are_known_from(const resp::CommandEntry& entry, size_t count);

/// What EVAL, FCALL and their kin do, and the command that does the same and never writes (EVAL_RO ...); nullptr: the
/// server knows none.
struct ScriptCall {
  Effect effect = Effect::writes;
  const resp::CommandEntry* reader = nullptr;
};
ScriptCall look_at_script(const resp::CommandTable& commands, const ScriptCache& scripts,
                          const resp::CommandEntry& entry, std::span<const std::string_view> args);

/// The connection's own choice, else the first rule that fits, else routing.reads. Commands about the node itself stay
/// at the primary unless a rule says otherwise.
ReadPolicy policy_for(const Config& config, std::optional<ReadPolicy> chosen, const resp::CommandEntry& entry,
                      std::span<const std::string_view> args, bool about_node);

/// What one client wants of its reads.
struct ReaderWish {
  std::optional<ReadPolicy> policy;
  ReplOffset at_least;  // no read is older than this
};
/// All that the decision needs to know about a read of these keys.
ReadNeed need_of(const Config& config, const FreshnessMap& freshness, const ReaderWish& wish,
                 const resp::CommandEntry& entry, std::span<const std::string_view> args, bool about_node,
                 const KeyFacts& keys, std::span<const uint64_t> hashes);

/// What a fresh read of these keys needs; nullopt: only the primary knows.
std::optional<ReplOffset> needed_offset(const FreshnessMap& freshness, const KeyFacts& keys,
                                        std::span<const uint64_t> hashes, ReplOffset at_least);

/// Another request stands behind the one that is run now: what is known about its key is on its way meanwhile. A hint;
/// the key of nearly all commands is their first argument.
void prefetch_next(const FreshnessMap& freshness, std::string_view pipelined);

}  // namespace sidestream::routing
