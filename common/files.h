// files.h: the seam to the disk: enough for a spool file, segments and a small state file. libuv's thread pool
// implements it, the simulation keeps files in memory and breaks them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "common/task.h"

namespace sidestream {

/// An open file. Destroying it closes it. One operation of a kind at a time; buffers stay valid until the end.
class File {
 public:
  virtual ~File() = default;
  /// Writes all bytes at `offset`. Errc::io with the system's words ("no space left on device").
  virtual Task<Result<void>> write_at(uint64_t offset, std::string_view bytes) = 0;
  /// Bytes read; fewer than asked only at the end of the file.
  virtual Task<Result<size_t>> read_at(uint64_t offset, std::span<char> into) = 0;
  virtual Task<Result<void>> sync() = 0;
};

/// Held until it is destroyed, or the process ends, however it ends.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

class Files {
 public:
  virtual ~Files() = default;
  enum class Mode { create, read };
  virtual Task<Result<std::unique_ptr<File>>> open(std::string path, Mode mode) = 0;
  virtual Task<Result<void>> remove(std::string path) = 0;
  virtual Task<Result<void>> rename(std::string from, std::string to) = 0;
  /// Names in a directory, without the path, in no order.
  virtual Task<Result<std::vector<std::string>>> list(std::string directory) = 0;
  /// At once. Creates the file if it is missing. Errc::refused: somebody else has it; the detail names the process.
  virtual Result<std::unique_ptr<FileLock>> lock(const std::string& path) = 0;
  /// Creates a directory with its parents; fine if it exists.
  virtual Task<Result<void>> make_directory(std::string path) = 0;
};

}  // namespace sidestream
