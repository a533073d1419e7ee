// freshness.cc: counting marks. See the header for the rules.
#include "proxy/routing/freshness.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "common/check.h"

namespace sidestream::routing {
namespace {
constexpr size_t kPooledBatchesMax = 64;
}

uint64_t hash_key(std::string_view key) { return std::hash<std::string_view>{}(key); }

FreshnessMap::FreshnessMap(size_t slots)
    : mask_(slots - 1), floor_(static_cast<uint32_t>(slots)), slots_(slots + 1, 0) {
  CHECK(slots > 0 && (slots & (slots - 1)) == 0);
}

FreshnessMap::Batch FreshnessMap::open() {
  if (pool_.empty()) return std::make_unique<WriteBatch>();
  Batch batch = std::move(pool_.back());
  pool_.pop_back();
  return batch;
}

void FreshnessMap::set_pending(uint32_t slot) {
  slots_[slot] = (slots_[slot] & kPending) != 0 ? slots_[slot] + 1 : kPending + 1;
  ++pending_;
}

void FreshnessMap::mark_slot(WriteBatch& batch, uint32_t slot) {
  DCHECK(batch.applied_ || batch.slots_.empty());
  batch.applied_ = true;
  batch.slots_.push_back(slot);
  set_pending(slot);
}

void FreshnessMap::note(WriteBatch& batch, uint64_t hash) {
  CHECK(!batch.applied_);
  if (batch.slots_.size() < kNotedKeysMax) {
    batch.slots_.push_back(slot_of(hash));
  } else {
    note_floor(batch);
  }
}

void FreshnessMap::note_floor(WriteBatch& batch) {
  CHECK(!batch.applied_);
  if (batch.slots_.empty() || batch.slots_.back() != floor_) batch.slots_.push_back(floor_);
}

void FreshnessMap::apply(WriteBatch& batch) {
  CHECK(!batch.applied_);
  batch.applied_ = true;
  for (const uint32_t slot : batch.slots_) set_pending(slot);
}

void FreshnessMap::settle(Batch batch, ReplOffset role) {
  role_high_ = std::max(role_high_, role);
  release(std::move(batch));
}

void FreshnessMap::forget(Batch batch) { release(std::move(batch)); }

void FreshnessMap::release(Batch batch) {
  if (batch->applied_) {
    const auto offset = static_cast<uint64_t>(std::max(role_high_, relayed_).value);
    for (const uint32_t slot : batch->slots_) {
      CHECK(slots_[slot] > kPending);
      if (--slots_[slot] == kPending) slots_[slot] = offset;
    }
    pending_ -= batch->slots_.size();
  }
  batch->slots_.clear();
  batch->applied_ = false;
  if (pool_.size() < kPooledBatchesMax) pool_.push_back(std::move(batch));
}

void FreshnessMap::orphan(Batch batch) {
  if (!batch->applied_ || batch->empty()) return release(std::move(batch));
  batch->orphaned_at_ = ++clock_;
  orphans_.push_back(std::move(batch));
}

void FreshnessMap::role_answered(uint64_t ticket, ReplOffset role) {
  role_high_ = std::max(role_high_, role);
  for (size_t i = 0; i < orphans_.size();) {
    if (orphans_[i]->orphaned_at_ >= ticket) {
      ++i;
      continue;
    }
    std::swap(orphans_[i], orphans_.back());
    release(std::move(orphans_.back()));
    orphans_.pop_back();
  }
}

void FreshnessMap::raise(uint32_t slot, ReplOffset offset) {
  if ((slots_[slot] & kPending) != 0) return;  // the last batch to settle takes relayed() into account
  slots_[slot] = std::max(slots_[slot], static_cast<uint64_t>(offset.value));
}

void FreshnessMap::relayed(ReplOffset offset) { relayed_ = std::max(relayed_, offset); }

void FreshnessMap::new_history(ReplOffset offset) {
  for (uint64_t& slot : slots_) {
    if ((slot & kPending) == 0) slot = 0;
  }
  relayed_ = role_high_ = offset;
  raise(floor_, offset);
}

std::optional<ReplOffset> FreshnessMap::value_of(uint32_t slot) const {
  const uint64_t value = slots_[slot];
  if ((value & kPending) != 0) return std::nullopt;
  return ReplOffset{static_cast<int64_t>(value)};
}

std::optional<ReplOffset> FreshnessMap::needed(uint64_t hash) const {
  const uint64_t key = slots_[slot_of(hash)];
  const uint64_t floor = slots_[floor_];
  if (((key | floor) & kPending) != 0) return std::nullopt;
  return ReplOffset{static_cast<int64_t>(std::max(key, floor))};
}

std::optional<ReplOffset> FreshnessMap::needed_any() const {
  if (pending_ > 0) return std::nullopt;
  return std::max(role_high_, relayed_);
}

}  // namespace sidestream::routing
