// fence.cc: tests/unit/fence_test.cc has the table of cases.
#include "proxy/instance/fence.h"

namespace sidestream::instance {
namespace {

constexpr int64_t kAskFirstMs = 5000;  // without fence-after, Sentinels that are all down stop nobody for longer

/// With Sentinels a promotion needs enough of them, or one of the replicas: while every replica is still ours it cannot
/// have happened. Without, any replica that is still there is the word of the others.
bool is_cut_off(const FenceFacts& facts) {
  if (facts.now_ms - facts.primary_since_ms <= facts.fence_after_ms) return false;
  if (facts.asks_sentinels) {
    if (facts.agreed_ms >= 0 && facts.now_ms - facts.agreed_ms <= facts.fence_after_ms) return false;
    return facts.replicas_known == 0 || facts.replicas_heard < facts.replicas_known;
  }
  return facts.replicas_known > 0 && facts.replicas_heard == 0;
}

}  // namespace

std::string fence_reason(const FenceFacts& facts) {
  if (!facts.successor.empty()) return "the history went on at " + facts.successor;
  const bool agreed = facts.agreed_ms >= 0;
  if (agreed && facts.is_news && !facts.names_us && !facts.names_our_replica) {
    return "the Sentinels name " + facts.named + " as the primary";
  }
  if (facts.asks_sentinels && !agreed && facts.began_as_primary) {
    const bool waits = facts.fence_after_ms > 0 || facts.now_ms - facts.unsure_since_ms <= kAskFirstMs;
    if (waits) return "the Sentinels have not said yet who is primary";
  }
  if (facts.fence_after_ms > 0 && is_cut_off(facts)) {
    return facts.asks_sentinels ? "cut off from the Sentinels and from replicas for longer than fence-after"
                                : "cut off from every replica for longer than fence-after";
  }
  return "";
}

}  // namespace sidestream::instance
