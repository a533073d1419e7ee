// admission.cc: see admission.h.
#include "proxy/replication/admission.h"

#include <algorithm>
#include <utility>

#include "common/text.h"
#include "proxy/resp/reply.h"

namespace sidestream::replication {
namespace {

constexpr size_t kTroublesMax = 1000;  // replicas remembered; the one that failed longest ago is forgotten first
constexpr int64_t kPauseMinMs = 1'000;
constexpr int64_t kPauseMaxMs = 60'000;
constexpr int64_t kForgetUs = int64_t{3600} * 1'000'000;
// Valkey numbers its own formats from here on; what lies between is Redis' alone.
constexpr int kValkeyFormats = 80;
constexpr int kSharedFormats = 11;

}  // namespace

std::string_view name(SyncFault fault) {
  static constexpr std::array<std::string_view, kSyncFaults> kNames{"none",   "version", "slow",    "left",
                                                                    "silent", "disk",    "protocol"};
  return kNames[static_cast<size_t>(fault)];
}

int newest_rdb(std::string_view info) {
  const std::string_view valkey = resp::info_field(info, "valkey_version");
  const std::vector<std::string> numbers =
      split(valkey.empty() ? resp::info_field(info, "redis_version") : valkey, '.');
  if (numbers.size() < 2) return 0;
  const int64_t version = parse_int(numbers[0]).value_or(0) * 100 + parse_int(numbers[1]).value_or(0);
  if (!valkey.empty()) return version < 900 ? kSharedFormats : kValkeyFormats;
  if (version >= 500 && version < 700) return 9;
  if (version >= 700 && version < 702) return 10;
  if (version >= 702 && version < 704) return 11;
  return version >= 704 && version < 800 ? 12 : 0;
}

bool can_load(int newest, int version) {
  if (newest == 0 || version == 0) return true;
  if (newest >= kValkeyFormats && version > kSharedFormats && version < kValkeyFormats) return false;
  return version <= newest;
}

int64_t Admission::failed(const std::string& replica, SyncFault fault, std::string words) {
  ++counts_[static_cast<size_t>(fault)];
  if (troubles_.size() >= kTroublesMax && !troubles_.contains(replica)) {
    troubles_.erase(std::min_element(troubles_.begin(), troubles_.end(),
                                     [](const auto& a, const auto& b) { return a.second.at_us < b.second.at_us; }));
  }
  Trouble& trouble = troubles_[replica];
  const int64_t bound = std::min(kPauseMaxMs, kPauseMinMs << std::min(trouble.failures, 10));
  const int64_t pause_ms = bound / 2 + static_cast<int64_t>(world_.random.below(static_cast<uint64_t>(bound / 2 + 1)));
  ++trouble.failures;
  trouble.fault = fault;
  trouble.words = std::move(words);
  trouble.at_us = world_.clock.now_us();
  trouble.not_before_us = trouble.at_us + pause_ms * 1000;
  return pause_ms;
}

const Admission::Trouble* Admission::trouble(const std::string& replica) const {
  const auto found = troubles_.find(replica);
  return found == troubles_.end() ? nullptr : &found->second;
}

int64_t Admission::pause_ms(const std::string& replica) const {
  const Trouble* known = trouble(replica);
  if (known == nullptr) return 0;
  return std::max<int64_t>(0, (known->not_before_us - world_.clock.now_us() + 999) / 1000);
}

void Admission::forget() {
  const int64_t now_us = world_.clock.now_us();
  std::erase_if(troubles_, [&](const auto& entry) { return now_us - entry.second.at_us > kForgetUs; });
}

bool Admission::has_turn(uint64_t id, int64_t sending, int64_t most) {
  queue_.insert(id);
  return sending + place(id) < most;
}

int64_t Admission::place(uint64_t id) const {
  const auto found = queue_.find(id);
  return found == queue_.end() ? -1 : std::distance(queue_.begin(), found);
}

}  // namespace sidestream::replication
