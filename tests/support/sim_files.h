// sim_files.h: a disk in memory. Files keep their bytes while anybody has them open, also when removed.
//
// Failure modes, on demand: a full disk (`capacity`), operations that fail (`fail_next`, Weather::disk_error), a loss
// of power.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "common/files.h"

namespace sidestream::sim {

class SimWorld;

class SimFiles final : public Files {
 public:
  explicit SimFiles(SimWorld& world) : world_(world) {}
  Task<Result<std::unique_ptr<File>>> open(std::string path, Mode mode) override;
  Task<Result<void>> remove(std::string path) override;
  Task<Result<void>> rename(std::string from, std::string to) override;
  Task<Result<std::vector<std::string>>> list(std::string directory) override;
  Result<std::unique_ptr<FileLock>> lock(const std::string& path) override;
  Task<Result<void>> make_directory(std::string path) override;

  uint64_t capacity = UINT64_MAX;  ///< bytes of all files together; more gives ENOSPC
  int fail_next = 0;               ///< that many operations fail with EIO
  int removals_failed = 0;         ///< a file that could not be removed may stay
  size_t open_count() const { return open_; }
  uint64_t used() const;
  /// The machine loses its power: of what was not synced, any beginning stays, or a page of zeros in its place.
  void lose_power();
  /// The bytes of a file, or nullptr. For tests that look at the disk or spoil it.
  std::string* find(const std::string& path);
  std::vector<std::string> paths() const;

 private:
  friend class SimFile;
  friend class SimFileLock;
  /// One operation takes a moment and may fail.
  Task<Result<void>> operate(std::string what);
  Result<void> grow(uint64_t bytes) const;

  SimWorld& world_;
  struct Bytes {
    std::string now;
    std::string synced;
  };
  std::map<std::string, std::shared_ptr<Bytes>> files_;
  std::set<std::string> directories_;
  std::set<std::string> locks_;
  size_t open_ = 0;
};

}  // namespace sidestream::sim
