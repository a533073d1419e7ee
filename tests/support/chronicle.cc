// chronicle.cc: histories as strings; all comparisons are plain.
#include "tests/support/chronicle.h"

#include <algorithm>

#include "common/text.h"

namespace sidestream::sim {

void Chronicle::begin(const std::string& replid, int64_t offset, uint64_t digest) {
  History& history = histories_[replid];
  history = History{offset, {}, {}};
  history.digests[offset] = digest;
}

void Chronicle::fork(const std::string& replid, const std::string& parent, int64_t offset) {
  History child;
  child.before = offset;
  auto found = histories_.find(parent);
  if (found != histories_.end()) {
    const History& old = found->second;
    CHECK(offset >= old.before && offset <= old.end());
    child.before = old.before;
    child.bytes = old.bytes.substr(0, static_cast<size_t>(offset - old.before));
    child.digests.insert(old.digests.begin(), old.digests.upper_bound(offset));
  }
  histories_[replid] = std::move(child);
}

void Chronicle::produced(const std::string& replid, int64_t offset, std::string_view bytes) {
  History& history = histories_[replid];
  CHECK(offset == history.end());
  history.bytes.append(bytes);
}

void Chronicle::settled(const std::string& replid, int64_t offset, uint64_t digest) {
  histories_[replid].digests[offset] = digest;
}

const Chronicle::History* Chronicle::look_up(const std::string& who, const std::string& replid) {
  ++checks_;
  auto found = histories_.find(replid);
  if (found != histories_.end()) return &found->second;
  world_.fail(fmt::format("{}: follows a history that no primary ever had: {}", who, printable(replid)));
  return nullptr;
}

void Chronicle::received(const std::string& who, const std::string& replid, int64_t offset, std::string_view bytes) {
  const History* history = look_up(who, replid);
  if (history == nullptr || bytes.empty()) return;
  const int64_t end = offset + static_cast<int64_t>(bytes.size());
  if (offset < history->before || end > history->end()) {
    return world_.fail(fmt::format("{}: bytes {} to {} do not exist in {} ({} to {})", who, offset + 1, end, replid,
                                   history->before + 1, history->end()));
  }
  const std::string_view truth = std::string_view(history->bytes).substr(static_cast<size_t>(offset - history->before));
  const auto differs = std::mismatch(bytes.begin(), bytes.end(), truth.begin()).first;
  if (differs == bytes.end()) return;
  const auto at = static_cast<size_t>(differs - bytes.begin());
  world_.fail(fmt::format("{}: byte {} of {} is wrong: got '{}', the primary wrote '{}'", who,
                          offset + 1 + static_cast<int64_t>(at), replid, printable(bytes.substr(at), 40),
                          printable(truth.substr(at), 40)));
}

void Chronicle::holds(const std::string& who, const std::string& replid, int64_t offset, uint64_t digest) {
  const History* history = look_up(who, replid);
  if (history == nullptr) return;
  auto found = history->digests.find(offset);
  if (found == history->digests.end()) {
    world_.fail(fmt::format("{}: offset {} of {} is not between two commands", who, offset, replid));
  } else if (found->second != digest) {
    world_.fail(fmt::format("{}: the data at offset {} of {} is not the primary's", who, offset, replid));
  }
}

void Chronicle::continues(const std::string& who, const std::string& from, const std::string& to, int64_t offset) {
  const History* old = look_up(who, from);
  const History* now = look_up(who, to);
  if (old == nullptr || now == nullptr) return;
  bool same = offset <= old->end() && offset <= now->end() && offset >= now->before;
  if (same) {
    const int64_t start = std::max(old->before, now->before);
    const auto n = static_cast<size_t>(std::max<int64_t>(0, offset - start));
    same = old->bytes.compare(static_cast<size_t>(start - old->before), n, now->bytes,
                              static_cast<size_t>(start - now->before), n) == 0;
  }
  if (!same) world_.fail(fmt::format("{}: +CONTINUE {} at {} leads over a fork or gap of {}", who, to, offset, from));
}

int64_t Chronicle::end(const std::string& replid) const {
  auto found = histories_.find(replid);
  return found == histories_.end() ? -1 : found->second.end();
}

std::vector<std::string> Chronicle::replids() const {
  std::vector<std::string> all;
  for (const auto& [replid, history] : histories_) all.push_back(replid);
  return all;
}

std::string_view Chronicle::bytes_after(const std::string& replid, int64_t offset) const {
  auto found = histories_.find(replid);
  if (found == histories_.end() || offset < found->second.before || offset > found->second.end()) return {};
  return std::string_view(found->second.bytes).substr(static_cast<size_t>(offset - found->second.before));
}

}  // namespace sidestream::sim
