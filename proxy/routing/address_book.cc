// address_book.cc: see the header.
#include "proxy/routing/address_book.h"

#include <algorithm>

#include "common/ip_network.h"

namespace sidestream::routing {

AddressBook::Guest AddressBook::enter(std::string_view peer, int64_t now_us) {
  const std::string_view host = host_of(peer);
  if (host == peer) return {};
  const std::lock_guard lock(mutex_);
  if (entries_.size() >= look_at_) forget_paid(now_us);
  Entry& entry = entries_.try_emplace(std::string(host), *this).first->second;
  ++entry.clients;
  return Guest(entry);
}

void AddressBook::leave(Entry& entry) {
  const std::lock_guard lock(mutex_);
  --entry.clients;
}

/// Each look pays for itself: the next comes when there are twice as many as are left.
void AddressBook::forget_paid(int64_t now_us) {
  std::erase_if(entries_, [&](const auto& each) { return each.second.clients == 0 && each.second.due_us <= now_us; });
  look_at_ = std::max<size_t>(64, 2 * entries_.size());
}

size_t AddressBook::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

int64_t AddressBook::Guest::spend(int64_t commands, int64_t per_second, int64_t now_us) {
  if (entry_ == nullptr) return 0;
  const int64_t cost_us = commands * 1'000'000 / per_second;
  int64_t before = entry_->due_us.load(std::memory_order_relaxed), due = 0;
  do {
    due = std::max(before, now_us) + cost_us;
  } while (!entry_->due_us.compare_exchange_weak(before, due, std::memory_order_relaxed));
  return std::max<int64_t>(0, due - now_us - kBurstUs);
}

}  // namespace sidestream::routing
