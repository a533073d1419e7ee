// freshness.cc: counting marks. See the header for the rules, and for what may happen at the same time.
#include "proxy/routing/freshness.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>

#include "common/check.h"

namespace sidestream::routing {
namespace {

constexpr size_t kPooledBatchesMax = 64;
constexpr size_t kLargePageBytes = size_t{2} << 20;

void raise(std::atomic<int64_t>& high, int64_t value) {
  int64_t seen = high.load(std::memory_order_relaxed);
  while (seen < value && !high.compare_exchange_weak(seen, value, std::memory_order_acq_rel)) {}
}

/// Slots are looked up at random: with pages of 4 KiB, finding the page cost more than reading the slot. One large page
/// holds all but the floor, where the system has one to give.
std::atomic<uint64_t>* allocate_slots(size_t count) {
  const size_t bytes = (count * sizeof(uint64_t) + kLargePageBytes - 1) / kLargePageBytes * kLargePageBytes;
  void* const memory = std::aligned_alloc(kLargePageBytes, bytes);
  CHECK(memory != nullptr);
  ::madvise(memory, (count - 1) * sizeof(uint64_t), MADV_HUGEPAGE);
  auto* const slots = static_cast<std::atomic<uint64_t>*>(memory);
  std::uninitialized_value_construct_n(slots, count);
  return slots;
}

}  // namespace

// --- shared --------------------------------------------------------------------------------------------------------

FreshnessTable::FreshnessTable(size_t slots)
    : mask_(slots - 1), floor_(static_cast<uint32_t>(slots)), slots_(allocate_slots(slots + 1)) {
  CHECK(slots > 0 && (slots & (slots - 1)) == 0);
}

void FreshnessTable::Free::operator()(std::atomic<uint64_t>* slots) const { std::free(slots); }

void FreshnessTable::add_mark(uint32_t slot) {
  std::atomic<uint64_t>& word = slots_[slot];
  uint64_t seen = word.load(std::memory_order_relaxed);
  uint64_t next = 0;
  do {
    next = (seen & kPending) != 0 ? next_turn(seen) + 1 : kPending + 1;
  } while (!word.compare_exchange_weak(seen, next, std::memory_order_acq_rel, std::memory_order_relaxed));
}

void FreshnessTable::drop_mark(uint32_t slot, ReplOffset role) {
  std::atomic<uint64_t>& word = slots_[slot];
  uint64_t seen = word.load(std::memory_order_acquire);
  uint64_t next = 0;
  do {
    CHECK((seen & kPending) != 0 && (seen & kCount) > 0);
    const bool last = (seen & kCount) == 1;
    next = last ? static_cast<uint64_t>(std::max(highest(), role).value) : seen - 1;
  } while (!word.compare_exchange_weak(seen, next, std::memory_order_acq_rel, std::memory_order_acquire));
}

void FreshnessTable::saw_role(ReplOffset role) { raise(role_high_, role.value); }

ReplOffset FreshnessTable::highest() const {
  return ReplOffset{std::max(role_high_.load(std::memory_order_acquire), relayed_.load(std::memory_order_acquire))};
}

void FreshnessTable::stream_wrote(uint32_t slot, ReplOffset offset) {
  relayed(offset);
  std::atomic<uint64_t>& word = slots_[slot];
  uint64_t seen = word.load(std::memory_order_acquire);
  for (;;) {
    const bool pending = (seen & kPending) != 0;
    if (!pending && seen >= static_cast<uint64_t>(offset.value)) return;
    const uint64_t next = pending ? next_turn(seen) : static_cast<uint64_t>(offset.value);
    if (word.compare_exchange_weak(seen, next, std::memory_order_acq_rel, std::memory_order_acquire)) return;
  }
}

/// One loop writes it: no competition.
void FreshnessTable::relayed(ReplOffset offset) {
  if (relayed_.load(std::memory_order_relaxed) < offset.value) {
    relayed_.store(offset.value, std::memory_order_release);
  }
}

void FreshnessTable::new_history(ReplOffset offset) {
  epoch_.fetch_add(1, std::memory_order_acq_rel);
  relayed_.store(offset.value, std::memory_order_release);
  role_high_.store(offset.value, std::memory_order_release);
  for (uint32_t slot = 0; slot < floor_; ++slot) {
    uint64_t seen = slots_[slot].load(std::memory_order_relaxed);
    while (seen != 0 && (seen & kPending) == 0 &&
           !slots_[slot].compare_exchange_weak(seen, 0, std::memory_order_acq_rel, std::memory_order_relaxed)) {}
  }
}

// --- of one loop ---------------------------------------------------------------------------------------------------

FreshnessMap::Batch FreshnessMap::open() {
  Batch batch;
  if (pool_.empty()) {
    batch = std::make_unique<WriteBatch>();
  } else {
    batch = std::move(pool_.back());
    pool_.pop_back();
  }
  batch->serial_ = ++last_serial_;
  return batch;
}

void FreshnessMap::mark_slot(WriteBatch& batch, uint32_t slot) {
  DCHECK(batch.applied_ || batch.slots_.empty());
  if (!std::exchange(batch.applied_, true)) table_.batch_opened();
  batch.slots_.push_back(slot);
  table_.add_mark(slot);
}

void FreshnessMap::note(WriteBatch& batch, uint64_t hash) {
  CHECK(!batch.applied_);
  if (batch.slots_.size() < kNotedKeysMax) {
    batch.slots_.push_back(table_.slot_of(hash));
  } else {
    note_floor(batch);
  }
}

void FreshnessMap::note_floor(WriteBatch& batch) {
  CHECK(!batch.applied_);
  if (batch.slots_.empty() || batch.slots_.back() != table_.floor()) batch.slots_.push_back(table_.floor());
}

void FreshnessMap::apply(WriteBatch& batch) {
  CHECK(!batch.applied_);
  batch.applied_ = true;
  table_.batch_opened();
  for (const uint32_t slot : batch.slots_) table_.add_mark(slot);
}

void FreshnessMap::settle(Batch batch, ReplOffset role) {
  settled_[batch->serial_ % kSettledKept] = {batch->serial_, role};
  table_.saw_role(role);
  release(std::move(batch), role);
  if (settled_node_ != nullptr) ReadyQueue::current().post_turn_end(*settled_node_);
}

void FreshnessMap::release(Batch batch, ReplOffset role) {
  if (std::exchange(batch->applied_, false)) {
    for (const uint32_t slot : batch->slots_) table_.prefetch(slot);
    for (const uint32_t slot : batch->slots_) table_.drop_mark(slot, role);
    table_.batch_closed();
  }
  batch->slots_.clear();
  if (pool_.size() < kPooledBatchesMax) pool_.push_back(std::move(batch));
}

std::optional<ReplOffset> FreshnessMap::settled_at(uint64_t serial) const {
  const Settled& kept = settled_[serial % kSettledKept];
  return kept.serial == serial ? std::optional(kept.offset) : std::nullopt;
}

void FreshnessMap::orphan(Batch batch) {
  if (!batch->applied_ || batch->empty()) return forget(std::move(batch));
  batch->orphaned_at_ = ++clock_;
  orphans_.push_back(std::move(batch));
}

void FreshnessMap::role_answered(uint64_t ticket, ReplOffset role) {
  table_.saw_role(role);
  for (size_t i = 0; i < orphans_.size();) {
    if (orphans_[i]->orphaned_at_ >= ticket) {
      ++i;
      continue;
    }
    std::swap(orphans_[i], orphans_.back());
    release(std::move(orphans_.back()), role);
    orphans_.pop_back();
  }
}

void FreshnessMap::new_history(ReplOffset offset) {
  Batch unknown = open();
  mark_floor(*unknown);
  table_.new_history(offset);
  orphan(std::move(unknown));
  heard_of(table_.epoch());
}

void FreshnessMap::heard_of(uint64_t epoch) {
  if (std::exchange(epoch_, epoch) != epoch) settled_.assign(kSettledKept, {});
}

std::optional<ReplOffset> FreshnessMap::needed_any() const {
  if (table_.any_batch()) return std::nullopt;
  return table_.highest();
}

}  // namespace sidestream::routing
