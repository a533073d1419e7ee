// acl_log.cc: see the header.
#include "proxy/routing/acl_log.h"

#include <algorithm>
#include <utility>

#include "proxy/routing/limits.h"

namespace sidestream::routing {
namespace {

constexpr int64_t kSameWithinMs = 60'000;
constexpr ptrdiff_t kLookedAt = 10;  // for the same, as in stock
constexpr size_t kObjectBytes = 1024;

}  // namespace

void AclLog::add(AclLogEntry entry) {
  if (entry.object.size() > kObjectBytes) entry.object.resize(kObjectBytes);
  const auto end = entries_.begin() + std::min(kLookedAt, std::ssize(entries_));
  const auto same = std::find_if(entries_.begin(), end, [&](const AclLogEntry& each) {
    return each.reason == entry.reason && each.context == entry.context && each.object == entry.object &&
           each.user == entry.user && entry.wall_ms - each.wall_ms <= kSameWithinMs;
  });
  if (same != end) {
    entry.count += same->count;
    entries_.erase(same);
  }
  entries_.push_front(std::move(entry));
  if (entries_.size() > limits::kAclLogMax) entries_.pop_back();
}

}  // namespace sidestream::routing
