// uv_files.cc: files on libuv's thread pool, so that a slow disk never stops the loop.
//
// A job owns its bytes and shares the descriptor: cancelling a wait while the pool is still writing is harmless.
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/uv_parts.h"

namespace sidestream {
namespace {

Error io_error(const std::string& what, const std::string& path, int64_t negative_errno) {
  return Error{Errc::io, what + " " + path + ": " + std::strerror(static_cast<int>(-negative_errno))};
}

struct Descriptor {
  explicit Descriptor(int number) : fd(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { ::close(fd); }
  int fd;
};

int64_t write_all(int fd, uint64_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    bytes.remove_prefix(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return 0;
}

int64_t read_some(int fd, uint64_t offset, std::string& into) {
  size_t have = 0;
  while (have < into.size()) {
    const ssize_t n = ::pread(fd, into.data() + have, into.size() - have, static_cast<off_t>(offset + have));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    if (n == 0) break;
    have += static_cast<size_t>(n);
  }
  return static_cast<int64_t>(have);
}

class UvFile final : public File {
 public:
  UvFile(uv_loop_t& loop, std::string path, int fd)
      : loop_(loop), path_(std::move(path)), descriptor_(std::make_shared<Descriptor>(fd)) {}

  Task<Result<void>> write_at(uint64_t offset, std::string_view bytes) override {
    auto owned = std::make_shared<std::string>(bytes);
    std::function<int64_t()> job = [descriptor = descriptor_, offset, owned] {
      return write_all(descriptor->fd, offset, *owned);
    };
    const int64_t status = co_await UvJob(loop_, std::move(job));
    if (status < 0) co_return io_error("cannot write", path_, status);
    co_return Result<void>();
  }

  Task<Result<size_t>> read_at(uint64_t offset, std::span<char> into) override {
    auto owned = std::make_shared<std::string>(into.size(), '\0');
    std::function<int64_t()> job = [descriptor = descriptor_, offset, owned] {
      return read_some(descriptor->fd, offset, *owned);
    };
    const int64_t n = co_await UvJob(loop_, std::move(job));
    if (n < 0) co_return io_error("cannot read", path_, n);
    std::memcpy(into.data(), owned->data(), static_cast<size_t>(n));
    co_return static_cast<size_t>(n);
  }

  Task<Result<void>> sync() override {
    std::function<int64_t()> job = [descriptor = descriptor_]() -> int64_t {
      return ::fdatasync(descriptor->fd) == 0 ? 0 : -errno;
    };
    const int64_t status = co_await UvJob(loop_, std::move(job));
    if (status < 0) co_return io_error("cannot sync", path_, status);
    co_return Result<void>();
  }

 private:
  uv_loop_t& loop_;
  std::string path_;
  std::shared_ptr<Descriptor> descriptor_;
};

int64_t make_path(const std::string& path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    if (::mkdir(path.substr(0, end).c_str(), 0700) != 0 && errno != EEXIST) return -errno;
    if (end == std::string::npos) break;
  }
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return -errno;
  return S_ISDIR(status.st_mode) ? 0 : -ENOTDIR;
}

class UvFileLock final : public FileLock {
 public:
  explicit UvFileLock(std::unique_ptr<Descriptor> descriptor) : descriptor_(std::move(descriptor)) {}

 private:
  std::unique_ptr<Descriptor> descriptor_;
};

/// The file holds the number of the process that has the lock.
Result<std::unique_ptr<FileLock>> lock_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return io_error("cannot open", path, -errno);
  auto descriptor = std::make_unique<Descriptor>(fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return io_error("cannot lock", path, -errno);
    std::string owner(20, '\0');
    owner.resize(static_cast<size_t>(std::max<int64_t>(0, read_some(fd, 0, owner))));
    return Error{Errc::refused, owner.empty() ? "another process" : "process " + owner};
  }
  const std::string pid = std::to_string(::getpid());
  if (::ftruncate(fd, 0) != 0) return io_error("cannot write", path, -errno);
  if (const int64_t status = write_all(fd, 0, pid); status < 0) return io_error("cannot write", path, status);
  return std::unique_ptr<FileLock>(std::make_unique<UvFileLock>(std::move(descriptor)));
}

class UvFiles final : public Files {
 public:
  explicit UvFiles(uv_loop_t& loop) : loop_(loop) {}

  Task<Result<std::unique_ptr<File>>> open(std::string path, Mode mode) override {
    std::function<int64_t()> job = [path, mode]() -> int64_t {
      const int flags = mode == Mode::create ? O_RDWR | O_CREAT | O_TRUNC : O_RDONLY;
      const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
      return fd < 0 ? -errno : fd;
    };
    const int64_t fd = co_await UvJob(loop_, std::move(job));
    if (fd < 0) co_return io_error("cannot open", path, fd);
    co_return std::unique_ptr<File>(std::make_unique<UvFile>(loop_, std::move(path), static_cast<int>(fd)));
  }

  Task<Result<void>> remove(std::string path) override {
    std::function<int64_t()> job = [path]() -> int64_t { return ::unlink(path.c_str()) == 0 ? 0 : -errno; };
    const int64_t status = co_await UvJob(loop_, std::move(job));
    if (status < 0 && status != -ENOENT) co_return io_error("cannot remove", path, status);
    co_return Result<void>();
  }

  Task<Result<void>> rename(std::string from, std::string to) override {
    std::function<int64_t()> job = [from, to]() -> int64_t {
      return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : -errno;
    };
    const int64_t status = co_await UvJob(loop_, std::move(job));
    if (status < 0) co_return io_error("cannot rename", from, status);
    co_return Result<void>();
  }

  Task<Result<std::vector<std::string>>> list(std::string directory) override {
    auto names = std::make_shared<std::vector<std::string>>();
    std::function<int64_t()> job = [directory, names]() -> int64_t {
      DIR* opened = ::opendir(directory.c_str());
      if (opened == nullptr) return -errno;
      while (const dirent* entry = ::readdir(opened)) {
        const std::string name = entry->d_name;
        if (name != "." && name != "..") names->push_back(name);
      }
      ::closedir(opened);
      return 0;
    };
    const int64_t status = co_await UvJob(loop_, std::move(job));
    if (status < 0) co_return io_error("cannot list", directory, status);
    co_return std::move(*names);
  }

  Result<std::unique_ptr<FileLock>> lock(const std::string& path) override { return lock_file(path); }

  Task<Result<void>> make_directory(std::string path) override {
    std::function<int64_t()> job = [path] { return make_path(path); };
    const int64_t status = co_await UvJob(loop_, std::move(job));
    if (status < 0) co_return io_error("cannot create directory", path, status);
    co_return Result<void>();
  }

 private:
  uv_loop_t& loop_;
};

}  // namespace

std::unique_ptr<Files> make_uv_files(uv_loop_t& loop) { return std::make_unique<UvFiles>(loop); }

}  // namespace sidestream
