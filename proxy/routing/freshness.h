// freshness.h: which keys were written lately, and how far a replica must be to show it (proxy/README.md, "The
// freshness of reads"). Pure bookkeeping: no I/O, no clock, no allocation once the pools are warm.
//
// FreshnessTable is what all loops share; FreshnessMap is one loop's hold on it, with what belongs to that loop alone.
//
// A slot holds the offset of the last write to the keys that hash there, or the number of batches with a write to them
// that is still under way (pending). One more slot is the floor: writes that cannot be pinned to keys. While something
// is pending the offset is not needed: the last batch to settle sets it to the highest offset seen by then, which is
// at or past every write of all of them, whatever the order in which connections answered.
//
// Life of a batch on a shared connection: open, mark each key *before* its write is sent, settle with the offset of the
// ROLE behind the writes. A transaction notes its keys while it is queued, and applies them when EXEC is sent. When the
// connection breaks in between: orphan; the marks stay until a ROLE that was sent after the break settles them.
//
// Between loops everything is one atomic word, stores release and loads acquire (plain loads on x86): who sees a value
// sees all that was done before it. How each race is closed:
//  - A client is answered on loop A and reads through loop B. A marked before it sent the write; the write, the reply
//    and the read each pass through the kernel, which orders them: B sees the mark, or what settled it.
//  - Two loops settle one slot. Each raises the highest offset first and lowers the count then; the last one to lower
//    it looks at the highest offset after it saw the count, so it sees what the others raised.
//  - A mark comes and goes while the last one is settling: the count is as before, but the number of marks since the
//    slot became pending (kept beside the count) is not, and the settling starts over.
//  - The stream tells of a write while its slot is pending: relayed is raised first, then that number is moved on, so
//    that whoever is settling starts over and sees it.
//  - A new history empties the slots while loops read: the floor is made pending before, and readers look at the floor
//    last. Who sees an emptied slot sees the floor pending, or settled by a ROLE of the new history.
//  - A loop that has not heard of the new history must not believe replicas of the old one: the table's epoch is moved
//    on before anything is emptied, and a loop whose epoch is behind proves nothing (Target::check_role).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "common/ready_queue.h"
#include "proxy/resp/repl_offset.h"
#include "proxy/routing/key_hash.h"

namespace sidestream::routing {

/// The slots that one batch of writes has marked. Owned by whoever waits for the ROLE behind the batch.
class WriteBatch {
 public:
  bool empty() const { return slots_.empty(); }
  /// Which batch of its map this is; they count up from 1.
  uint64_t serial() const { return serial_; }

 private:
  friend class FreshnessMap;
  std::vector<uint32_t> slots_;
  bool applied_ = false;
  uint64_t orphaned_at_ = 0;
  uint64_t serial_ = 0;
};

/// Shared by all loops; every call may come from any of them, but for those that say otherwise.
class FreshnessTable {
 public:
  static constexpr size_t kSlots = size_t{1} << 18;  // 2 MiB; a power of two

  explicit FreshnessTable(size_t slots = kSlots);

  /// The slots are many and the caches small: the earlier a slot is on its way, the better.
  void prefetch(uint32_t slot) const { __builtin_prefetch(&slots_[slot]); }
  uint32_t slot_of(uint64_t hash) const { return static_cast<uint32_t>(hash & mask_); }
  uint32_t floor() const { return floor_; }
  static constexpr ReplOffset kPendingOffset{INT64_MAX};  // more than anybody has
  ReplOffset value_of(uint32_t slot) const {
    const uint64_t value = slots_[slot].load(std::memory_order_acquire);
    return (value & kPending) != 0 ? kPendingOffset : ReplOffset{static_cast<int64_t>(value)};
  }
  void add_mark(uint32_t slot);
  /// The last mark leaves the highest offset, at least `role`.
  void drop_mark(uint32_t slot, ReplOffset role);
  void batch_opened() { batches_.fetch_add(1, std::memory_order_release); }
  void batch_closed() { batches_.fetch_sub(1, std::memory_order_release); }
  bool any_batch() const { return batches_.load(std::memory_order_acquire) > 0; }
  void saw_role(ReplOffset role);
  ReplOffset highest() const;
  ReplOffset relayed() const { return ReplOffset{relayed_.load(std::memory_order_acquire)}; }
  uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }

  // Only from the loop that hears the stream.
  void stream_wrote(uint32_t slot, ReplOffset offset);
  void relayed(ReplOffset offset);
  /// Offsets count anew: settled slots become 0, what is pending stays. The floor is pending by then.
  void new_history(ReplOffset offset);

 private:
  // A slot: an offset (top bit clear), or kPending, the marks since then (kTurn each) and those still there.
  static constexpr uint64_t kPending = uint64_t{1} << 63;
  static constexpr uint64_t kTurn = uint64_t{1} << 31;
  static constexpr uint64_t kCount = kTurn - 1;

  /// A pending slot, one mark or one interruption later.
  static uint64_t next_turn(uint64_t value) { return kPending | (value + kTurn); }

  struct Free {
    void operator()(std::atomic<uint64_t>* slots) const;
  };

  const uint64_t mask_;
  const uint32_t floor_;  // index of the last slot
  const std::unique_ptr<std::atomic<uint64_t>[], Free> slots_;
  // Loops that write one of these do not slow down those that read another.
  static constexpr size_t kCacheLine = 64;
  alignas(kCacheLine) std::atomic<int64_t> relayed_{0};
  alignas(kCacheLine) std::atomic<int64_t> role_high_{0};  // the highest ROLE offset of this history
  alignas(kCacheLine) std::atomic<int64_t> batches_{0};    // under way
  alignas(kCacheLine) std::atomic<uint64_t> epoch_{0};     // which history
};

/// One loop's part: its pool of batches, and the batches whose connection broke.
class FreshnessMap {
 public:
  static constexpr size_t kSettledKept = 1024;   // batches whose offset is still known
  static constexpr size_t kNotedKeysMax = 1024;  // more keys in one private batch raise the floor instead
  using Batch = std::unique_ptr<WriteBatch>;

  /// `table` outlives the map.
  explicit FreshnessMap(FreshnessTable& table) : table_(table), epoch_(table.epoch()) {}

  Batch open();
  /// Pending from now on.
  void mark(WriteBatch& batch, uint64_t hash) { mark_slot(batch, table_.slot_of(hash)); }
  void mark_floor(WriteBatch& batch) { mark_slot(batch, table_.floor()); }
  /// Remembered only, until apply().
  void note(WriteBatch& batch, uint64_t hash);
  void note_floor(WriteBatch& batch);
  void apply(WriteBatch& batch);
  /// The primary has executed all writes of the batch; `role` is its offset after them.
  void settle(Batch batch, ReplOffset role);
  /// `node` is posted when a batch is settled; nullptr: nobody cares.
  void tell_settled(ReadyNode* node) { settled_node_ = node; }
  /// With which offset that batch was settled; nullopt: not yet, or too long ago.
  std::optional<ReplOffset> settled_at(uint64_t serial) const;
  /// The connection broke before the ROLE came; nobody knows whether the writes were executed.
  void orphan(Batch batch);
  /// Nothing of the batch was sent, or no write in it was acknowledged and none will be.
  void forget(Batch batch) { release(std::move(batch), {}); }

  /// A number for a ROLE that is sent to the primary now; its answer settles what was orphaned before.
  uint64_t role_sent() { return ++clock_; }
  void role_answered(uint64_t ticket, ReplOffset role);
  bool has_orphans() const { return !orphans_.empty(); }

  // From the relayed stream, on the loop that hears it.
  /// A write to this key ends at `offset`.
  void stream_wrote(uint64_t hash, ReplOffset offset) { table_.stream_wrote(table_.slot_of(hash), offset); }
  void stream_wrote_anything(ReplOffset offset) { table_.stream_wrote(table_.floor(), offset); }
  void relayed(ReplOffset offset) { table_.relayed(offset); }
  ReplOffset relayed() const { return table_.relayed(); }
  /// Another history begins here: settled marks are void. What the stream's beginning does not tell is unknown until
  /// the next ROLE of the primary: writes that it has executed by now, and that we may have acknowledged.
  void new_history(ReplOffset offset);

  /// The primary has lost our history, and with it what only it knew: whatever the marks say, nobody can show more than
  /// what was relayed. Until it is found again.
  void primary_lost(bool lost) { primary_lost_ = lost; }
  bool primary_is_lost() const { return primary_lost_; }

  /// This loop has forgotten what it knew about replicas of histories before this one.
  void heard_of(uint64_t epoch);
  uint64_t epoch() const { return epoch_; }
  /// False: there is a newer history than this loop knows of.
  bool is_current() const { return epoch_ == table_.epoch(); }

  /// What a replica must have applied to be read for these keys. nullopt: only the primary knows.
  std::optional<ReplOffset> needed(std::span<const uint64_t> hashes) const {
    ReplOffset need{0};
    for (const uint64_t hash : hashes) need = std::max(need, table_.value_of(table_.slot_of(hash)));
    need = std::max(need, table_.value_of(table_.floor()));  // after the keys
    return need == FreshnessTable::kPendingOffset ? std::nullopt : std::optional(need);
  }
  std::optional<ReplOffset> needed(uint64_t hash) const { return needed(std::span(&hash, 1)); }
  /// needed() or mark() of this hash will be called soon.
  void prefetch(uint64_t hash) const { table_.prefetch(table_.slot_of(hash)); }
  /// For reads whose keys are not known: past everything.
  std::optional<ReplOffset> needed_any() const;

 private:
  void mark_slot(WriteBatch& batch, uint32_t slot);
  void release(Batch batch, ReplOffset role);

  FreshnessTable& table_;
  uint64_t epoch_;  // the history this loop knows of
  bool primary_lost_ = false;
  uint64_t clock_ = 0;  // orders losses and ROLEs
  std::vector<Batch> orphans_;
  std::vector<Batch> pool_;
  struct Settled {
    uint64_t serial = 0;
    ReplOffset offset;
  };
  uint64_t last_serial_ = 0;
  ReadyNode* settled_node_ = nullptr;
  std::vector<Settled> settled_ = std::vector<Settled>(kSettledKept);  // by serial, the latest
};

}  // namespace sidestream::routing
