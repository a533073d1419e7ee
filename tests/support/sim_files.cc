// sim_files.cc: each operation waits a moment of virtual time, then works on a string.
#include "tests/support/sim_files.h"

#include <algorithm>
#include <cstring>

#include "tests/support/sim_world.h"

namespace sidestream::sim {

class SimFile final : public File {
 public:
  SimFile(SimFiles& disk, std::string path, std::shared_ptr<SimFiles::Bytes> bytes)
      : disk_(disk), path_(std::move(path)), bytes_(std::move(bytes)) {
    ++disk_.open_;
  }
  ~SimFile() override { --disk_.open_; }

  Task<Result<void>> write_at(uint64_t offset, std::string_view bytes) override {
    std::string what = "write " + path_;
    auto possible = co_await disk_.operate(std::move(what));
    CO_RETURN_IF_ERROR(possible);
    const uint64_t end = offset + bytes.size();
    std::string& now = bytes_->now;
    if (end > now.size()) {
      auto room = disk_.grow(end - now.size());
      CO_RETURN_IF_ERROR(room);
      now.resize(end);
    }
    std::memcpy(now.data() + offset, bytes.data(), bytes.size());
    co_return Result<void>();
  }

  Task<Result<size_t>> read_at(uint64_t offset, std::span<char> into) override {
    std::string what = "read " + path_;
    auto possible = co_await disk_.operate(std::move(what));
    CO_RETURN_IF_ERROR(possible);
    const std::string& now = bytes_->now;
    if (offset >= now.size()) co_return size_t{0};
    const size_t n = std::min<size_t>(into.size(), now.size() - offset);
    std::memcpy(into.data(), now.data() + offset, n);
    co_return n;
  }

  Task<Result<void>> sync() override {
    std::string what = "sync " + path_;
    std::string written = bytes_->now;  // what comes while it syncs may be lost
    auto possible = co_await disk_.operate(std::move(what));
    CO_RETURN_IF_ERROR(possible);
    bytes_->synced = std::move(written);
    co_return Result<void>();
  }

 private:
  SimFiles& disk_;
  std::string path_;
  std::shared_ptr<SimFiles::Bytes> bytes_;
};

Task<Result<void>> SimFiles::operate(std::string what) {
  Signal moment;  // nobody notifies it: a pause in microseconds
  const int64_t until = world_.clock().now_us() + world_.dice().between(10, 400);
  co_await moment.wait_until(world_.clock(), until);
  world_.mix(what);
  const bool ordered = fail_next > 0;
  if (ordered) --fail_next;
  if (ordered || world_.dice().chance(world_.weather().disk_error)) {
    world_.trace("disk: {} fails", what);
    co_return Error{Errc::io, what + ": input/output error"};
  }
  co_return Result<void>();
}

Result<void> SimFiles::grow(uint64_t bytes) const {
  if (used() + bytes > capacity) return Error{Errc::io, "no space left on device"};
  return {};
}

uint64_t SimFiles::used() const {
  uint64_t sum = 0;
  for (const auto& [path, bytes] : files_) sum += bytes->now.size();
  return sum;
}

void SimFiles::lose_power() {
  for (auto& [path, bytes] : files_) {
    std::string& now = bytes->now;
    const size_t common = static_cast<size_t>(
        std::mismatch(now.begin(), now.end(), bytes->synced.begin(), bytes->synced.end()).first - now.begin());
    if (common == now.size()) continue;
    const size_t kept = common + world_.dice().below(now.size() - common + 1);
    world_.trace("disk: {} loses {} of {} bytes", path, now.size() - kept, now.size());
    if (world_.dice().chance(300)) {
      std::fill(now.begin() + static_cast<std::ptrdiff_t>(kept), now.end(), '\0');
    } else {
      now.resize(kept);
    }
  }
}

std::string* SimFiles::find(const std::string& path) {
  auto found = files_.find(path);
  return found == files_.end() ? nullptr : &found->second->now;
}

std::vector<std::string> SimFiles::paths() const {
  std::vector<std::string> all;
  for (const auto& [path, bytes] : files_) all.push_back(path);
  return all;
}

Task<Result<std::unique_ptr<File>>> SimFiles::open(std::string path, Mode mode) {
  std::string what = "open " + path;
  auto possible = co_await operate(std::move(what));
  CO_RETURN_IF_ERROR(possible);
  auto found = files_.find(path);
  if (mode == Mode::read) {
    if (found == files_.end()) co_return Error{Errc::io, path + ": no such file or directory"};
  } else if (found == files_.end()) {
    found = files_.emplace(path, std::make_shared<Bytes>()).first;
  } else {
    found->second = std::make_shared<Bytes>();
  }
  std::unique_ptr<File> file = std::make_unique<SimFile>(*this, path, found->second);
  co_return std::move(file);
}

Task<Result<void>> SimFiles::remove(std::string path) {
  std::string what = "remove " + path;
  auto possible = co_await operate(std::move(what));
  if (!possible.ok()) ++removals_failed;
  CO_RETURN_IF_ERROR(possible);
  if (files_.erase(path) == 0) co_return Error{Errc::io, path + ": no such file or directory"};
  co_return Result<void>();
}

Task<Result<void>> SimFiles::rename(std::string from, std::string to) {
  std::string what = "rename " + from;
  auto possible = co_await operate(std::move(what));
  CO_RETURN_IF_ERROR(possible);
  auto found = files_.find(from);
  if (found == files_.end()) co_return Error{Errc::io, from + ": no such file or directory"};
  auto bytes = std::move(found->second);
  files_.erase(found);
  files_[to] = std::move(bytes);
  co_return Result<void>();
}

Task<Result<std::vector<std::string>>> SimFiles::list(std::string directory) {
  std::string what = "list " + directory;
  auto possible = co_await operate(std::move(what));
  CO_RETURN_IF_ERROR(possible);
  const std::string prefix = directory + "/";
  std::vector<std::string> names;
  for (const auto& [path, bytes] : files_) {
    if (!path.starts_with(prefix)) continue;
    const std::string name = path.substr(prefix.size());
    if (name.find('/') == std::string::npos) names.push_back(name);
  }
  if (names.empty() && directories_.count(directory) == 0) {
    co_return Error{Errc::io, directory + ": no such file or directory"};
  }
  co_return names;
}

class SimFileLock final : public FileLock {
 public:
  SimFileLock(SimFiles& disk, std::string path) : disk_(disk), path_(std::move(path)) {}
  ~SimFileLock() override { disk_.locks_.erase(path_); }

 private:
  SimFiles& disk_;
  const std::string path_;
};

Result<std::unique_ptr<FileLock>> SimFiles::lock(const std::string& path) {
  if (!locks_.insert(path).second) return Error{Errc::refused, "process 1"};
  return std::unique_ptr<FileLock>(std::make_unique<SimFileLock>(*this, path));
}

Task<Result<void>> SimFiles::make_directory(std::string path) {
  std::string what = "mkdir " + path;
  auto possible = co_await operate(std::move(what));
  CO_RETURN_IF_ERROR(possible);
  directories_.insert(path);
  co_return Result<void>();
}

}  // namespace sidestream::sim
