// segment_log.h: the second tier of the backlog: what no longer fits into memory, in segment files (segment.h) under
// `dir`/backlog, up to repl-backlog-disk-size. It also outlives the process: at start the newest chain of segments is
// the history we go on with.
//
// Happy path: load() once; then one coroutine copies what the memory tier gets into the newest segment, a frame at a
// time, begins another segment when it is full, and drops the oldest ones beyond the size; another one syncs once a
// second; with repl-backlog-compress a third one packs segments that are full. Readers ask for bytes by number. The
// stream is never kept waiting: who is slow here is the disk alone. Failure modes: the disk is full or broken: the tier
// keeps what it has, says so (trouble()), and tries again; when the memory tier has moved on by then, the disk's
// history begins anew. A damaged segment costs itself and what is older: readers there get an Error. A crash at any
// moment leaves a chain whose last whole frame is the end; a loss of power may leave a hole before it, which is damage
// like any other.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/signal.h"
#include "common/world.h"
#include "config/config.h"
#include "proxy/replication/backlog.h"
#include "proxy/replication/segment.h"

namespace sidestream::replication {

class FramePacker;

class SegmentLog {
 public:
  static constexpr std::string_view kPackingSuffix = ".new";  // of a file that is not in its place yet

  /// All outlive the log. `memory` is the first tier; its bytes are copied.
  SegmentLog(World& world, const Config& config, const Backlog& memory);

  /// What an earlier run left: bytes first_byte ... offset of `history`. `boundary` as in SegmentHeader.
  struct Found {
    History history;
    int64_t first_byte = 1;
    ReplOffset offset;
    ReplOffset boundary;
  };
  /// Before anything else. Nothing found, or the tier is off: nullopt. Errc::io: the directory cannot be used.
  Task<Result<std::optional<Found>>> load();

  /// Another history, behind `offset`: nothing on disk is of use any more.
  void begin(const History& history, ReplOffset offset, ReplOffset boundary);
  /// The history goes on under these ids.
  void rename(const History& history);
  /// What is behind `offset` is no longer part of the history; a command ends there.
  void cut(ReplOffset offset);
  /// The memory tier got more; commands are known to end at `boundary`.
  void grew(ReplOffset boundary);

  /// Another process has the files until resume(): nothing is written. Returns when nothing is under way.
  Task<void> suspend();
  void resume();

  /// The bytes at hand: first_byte ... end - 1.
  int64_t first_byte() const { return segments_.empty() ? end_ : segments_.front()->first; }
  int64_t end() const { return end_; }
  /// What memory gets is on its way to the disk.
  bool works() const { return enabled() && trouble_.empty(); }
  /// Size of the files.
  int64_t bytes() const;
  /// What memory has and the disk has not yet; 0 when the tier is off.
  int64_t lag() const { return enabled() && begun_ ? memory_.end() - end_ : 0; }
  /// Why the tier does not work, in words; empty: it works, or is off.
  const std::string& trouble() const { return trouble_; }

  /// Segments that are compressed: how much of the history they hold, and the size of their files.
  struct Packing {
    int64_t segments = 0, history_bytes = 0, disk_bytes = 0;
    double ratio() const {
      return disk_bytes > 0 ? static_cast<double>(history_bytes) / static_cast<double>(disk_bytes) : 1.0;
    }
  };
  Packing packing() const;

  /// At most `most` bytes from `from` (first_byte <= from < end). An Error: they are lost, first_byte() moved.
  Task<Result<Slice>> read(int64_t from, size_t most);

 private:
  struct FrameAt {
    int64_t first;
    uint64_t at;  // in the file
  };
  struct Segment {
    uint64_t number = 0;
    int64_t first = 1;
    uint64_t bytes = 0;  // of the file, as far as it is good
    bool indexed = false;
    bool packed = false;
    bool being_replaced = false;  // by the packed form of it
    uint64_t replaced = 0;        // how often
    std::vector<FrameAt> frames;
  };
  using SegmentRef = std::shared_ptr<Segment>;
  using Headers = std::vector<SegmentHeader>;

  Task<Result<Headers>> read_headers();
  Task<Result<SegmentHeader>> read_header(uint64_t number);
  Task<Result<int64_t>> scan(SegmentRef segment);
  Task<void> write_out();
  Task<void> gather();
  Task<Result<void>> write_next();
  Task<Result<void>> open_next();
  Task<void> sync_every_second();
  Task<void> remove(uint64_t number), remove_file(std::string path);
  Task<Result<Slice>> read_frame(SegmentRef segment, int64_t from), try_read_frame(SegmentRef segment, int64_t from);

  // segment_packing.cc
  Task<void> pack_full_segments();
  SegmentRef next_to_pack() const;
  bool is_kept(const SegmentRef& segment) const;
  Task<Result<void>> pack(SegmentRef segment, FramePacker& packer);
  Task<Result<void>> put_in_place(SegmentRef segment, std::vector<FrameAt> frames, uint64_t bytes);

  void retire(size_t count);
  void begin_anew_if_outrun();
  void trim();
  void report(const Result<void>& outcome);
  bool enabled() const { return config_.repl_backlog_disk_size > 0; }
  bool has_work() const { return !suspended_ && enabled() && begun_ && (turned_ || memory_.end() > end_); }
  uint64_t segment_bytes_max() const;
  size_t index_of(int64_t from) const;
  int64_t end_of(size_t index) const;
  std::string path_of(uint64_t number) const { return directory_ + "/" + segment_name(number); }
  std::string packing_path(uint64_t number) const { return path_of(number) + std::string(kPackingSuffix); }

  World& world_;
  const Config& config_;
  const Backlog& memory_;
  const std::string directory_;

  std::deque<SegmentRef> segments_;  // oldest first; each ends where the next begins
  std::shared_ptr<File> file_;       // of the newest, while it is written
  std::vector<uint64_t> retired_;    // to be removed once the next segment stands
  uint64_t last_number_ = 0;
  int64_t end_ = 1;  // the next byte to write
  History history_;
  ReplOffset boundary_;
  bool begun_ = false;
  bool turned_ = false;  // the next byte begins a segment
  bool suspended_ = false;
  bool writing_ = false;
  uint64_t turns_ = 0;  // to notice turns during a wait
  std::vector<std::shared_ptr<File>> unsynced_;
  std::string trouble_;
  Signal work_;
  TaskSet tasks_;
};

}  // namespace sidestream::replication
