// lost_keys.cc: see lost_keys.h.
#include "proxy/instance/lost_keys.h"

#include <algorithm>

namespace sidestream::instance {
namespace {

constexpr int64_t kAnyDb = -1;

bool same(int64_t a, int64_t b) { return a == b || a == kAnyDb || b == kAnyDb; }

/// Of a large command the end is missing: that is the value, where there is one key at a fixed place.
bool all_keys_there(const resp::CommandEntry& entry, LostKeys::Args args, bool truncated) {
  return !truncated || (entry.only_key != 0 && entry.only_key < args.size());
}

}  // namespace

const char* LostKeys::name(Since since) {
  switch (since) {
    case Since::untouched:
      return "untouched";
    case Since::overwritten:
      return "overwritten";
    case Since::unknown:
      break;
  }
  return "unknown";
}

void LostKeys::lost(const resp::CommandTable& commands, int64_t db, Args args, bool truncated) {
  const resp::CommandEntry* entry = commands.find(args);
  if (entry == nullptr || !all_keys_there(*entry, args, truncated)) ++left_out_;
  if (entry == nullptr) return;
  resp::CommandTable::for_each_key(*entry, args, [&](std::string_view key) { remember(db, key); });
}

void LostKeys::remember(int64_t db, std::string_view key) {
  const auto found = places_.find(key);
  if (found != places_.end()) {
    for (const size_t place : found->second) {
      if (keys_[place].db != db) continue;
      ++keys_[place].writes;
      return;
    }
  }
  if (keys_.size() == kKeysMax || key.size() > kKeyBytesMax) {
    ++left_out_;
    return;
  }
  std::vector<size_t>& places = found != places_.end() ? found->second : places_[std::string(key)];
  places.push_back(keys_.size());
  keys_.push_back({std::string(key), db, 1, false});
}

void LostKeys::wrote(const resp::CommandTable& commands, int64_t db, Args args, bool truncated) {
  const resp::CommandEntry* entry = commands.find(args);
  if (entry == nullptr || !all_keys_there(*entry, args, truncated)) return missed();
  const std::string_view command = entry->name;
  if (command == "flushall" || command == "swapdb") return overwrite_all(kAnyDb);
  if (command == "flushdb") return overwrite_all(db);
  // These write in a second database too. (What a command only reads counts as well: it is of the same names anyway.)
  const int64_t where = command == "move" || command == "copy" ? kAnyDb : db;
  const auto visit = [&](std::string_view key) { overwrite(where, key); };
  const resp::Keys told = resp::CommandTable::for_each_key(*entry, args, visit);
  if (told == resp::Keys::unknown) missed();
}

void LostKeys::overwrite(int64_t db, std::string_view key) {
  const auto found = places_.find(key);
  if (found == places_.end()) return;
  for (const size_t place : found->second) {
    if (same(keys_[place].db, db)) overwrite(keys_[place]);
  }
}

void LostKeys::overwrite_all(int64_t db) {
  for (Key& key : keys_) {
    if (same(key.db, db)) overwrite(key);
  }
}

void LostKeys::overwrite(Key& key) {
  if (!key.overwritten) ++overwritten_;
  key.overwritten = true;
}

LostKeys::Since LostKeys::since(int64_t db, std::string_view key) const {
  const auto found = places_.find(key);
  if (found == places_.end()) return Since::unknown;
  for (const size_t place : found->second) {
    if (keys_[place].db == db) return since(keys_[place]);
  }
  return Since::unknown;
}

LostKeys::Since LostKeys::since(const resp::CommandTable& commands, int64_t db, Args args, bool truncated) const {
  const resp::CommandEntry* entry = commands.find(args);
  if (entry == nullptr || !all_keys_there(*entry, args, truncated)) return Since::unknown;
  Since worst = Since::untouched;
  bool any = false;
  const resp::Keys told = resp::CommandTable::for_each_key(*entry, args, [&](std::string_view key) {
    worst = std::max(worst, since(db, key));
    any = true;
  });
  return any && told == resp::Keys::known ? worst : Since::unknown;
}

LostKeys::Counts LostKeys::counts() const {
  const auto overwritten = static_cast<int64_t>(overwritten_);
  const int64_t others = std::ssize(keys_) - overwritten;
  return {seen_all_ ? others : 0, overwritten, left_out_ + (seen_all_ ? 0 : others)};
}

}  // namespace sidestream::instance
