// freshness.h: which keys were written lately, and how far a replica must be to show it (proxy/README.md, "The
// freshness of reads"). Pure bookkeeping: no I/O, no clock, no allocation once the pools are warm.
//
// A slot holds the offset of the last write to the keys that hash there, or the number of batches with a write to them
// that is still under way (pending). One more slot is the floor: writes that cannot be pinned to keys. While something
// is pending the offset is not needed: the last batch to settle sets it to the highest offset seen by then, which is
// at or past every write of all of them, whatever the order in which connections answered.
//
// Life of a batch on a shared connection: open, mark each key *before* its write is sent, settle with the offset of the
// ROLE behind the writes. On a private connection: open, note the keys, apply when the reply arrives, settle. When the
// connection breaks in between: orphan; the marks stay until a ROLE that was sent after the break settles them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "proxy/resp/repl_offset.h"

namespace sidestream::routing {

uint64_t hash_key(std::string_view key);

/// The slots that one batch of writes has marked. Owned by whoever waits for the ROLE behind the batch.
class WriteBatch {
 public:
  bool empty() const { return slots_.empty(); }

 private:
  friend class FreshnessMap;
  std::vector<uint32_t> slots_;
  bool applied_ = false;
  uint64_t orphaned_at_ = 0;
};

class FreshnessMap {
 public:
  static constexpr size_t kSlots = size_t{1} << 18;  // 2 MiB; a power of two
  static constexpr size_t kNotedKeysMax = 1024;      // more keys in one private batch raise the floor instead
  using Batch = std::unique_ptr<WriteBatch>;

  explicit FreshnessMap(size_t slots = kSlots);

  Batch open();
  /// Pending from now on.
  void mark(WriteBatch& batch, uint64_t hash) { mark_slot(batch, slot_of(hash)); }
  void mark_floor(WriteBatch& batch) { mark_slot(batch, floor_); }
  /// Remembered only, until apply().
  void note(WriteBatch& batch, uint64_t hash);
  void note_floor(WriteBatch& batch);
  void apply(WriteBatch& batch);
  /// The primary has executed all writes of the batch; `role` is its offset after them.
  void settle(Batch batch, ReplOffset role);
  /// The connection broke before the ROLE came; nobody knows whether the writes were executed.
  void orphan(Batch batch);
  /// Nothing of the batch was sent, or no write in it was acknowledged and none will be.
  void forget(Batch batch);

  /// A number for a ROLE that is sent to the primary now; its answer settles what was orphaned before.
  uint64_t role_sent() { return ++clock_; }
  void role_answered(uint64_t ticket, ReplOffset role);
  bool has_orphans() const { return !orphans_.empty(); }

  /// From the relayed stream: a write to this key ends at `offset`.
  void stream_wrote(uint64_t hash, ReplOffset offset) { raise(slot_of(hash), offset); }
  void stream_wrote_anything(ReplOffset offset) { raise(floor_, offset); }
  void relayed(ReplOffset offset);
  ReplOffset relayed() const { return relayed_; }
  /// Offsets count anew: settled marks are replaced by a floor of `offset`.
  void new_history(ReplOffset offset);

  /// What a replica must have applied to be read for this key. nullopt: only the primary knows.
  std::optional<ReplOffset> needed(uint64_t hash) const;
  std::optional<ReplOffset> needed_floor() const { return value_of(floor_); }
  /// For reads whose keys are not known: past everything.
  std::optional<ReplOffset> needed_any() const;

 private:
  // A slot: an offset (top bit clear), or kPending and the number of batches under way.
  static constexpr uint64_t kPending = uint64_t{1} << 63;

  uint32_t slot_of(uint64_t hash) const { return static_cast<uint32_t>(hash & mask_); }
  std::optional<ReplOffset> value_of(uint32_t slot) const;
  void mark_slot(WriteBatch& batch, uint32_t slot);
  void raise(uint32_t slot, ReplOffset offset);
  void set_pending(uint32_t slot);
  void release(Batch batch);

  uint64_t mask_;
  uint32_t floor_;                // index of the last slot
  std::vector<uint64_t> slots_;
  size_t pending_ = 0;            // marks under way, in all slots
  ReplOffset relayed_;
  ReplOffset role_high_;          // the highest ROLE offset of this history
  uint64_t clock_ = 0;            // orders losses and ROLEs
  std::vector<Batch> orphans_;
  std::vector<Batch> pool_;
};

}  // namespace sidestream::routing
