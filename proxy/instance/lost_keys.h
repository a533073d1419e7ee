// lost_keys.h: the keys of one loss, and which of them the new history wrote since. Pure bookkeeping; bounded.
//
// Happy path: lost() for each command that was lost, then wrote() for each command of the new history behind the fork,
// in any order: a key that is named by one of them is overwritten. Failure modes: keys beyond the bounds, commands that
// do not say which keys they write, and a part of the new history that nobody showed us make the answer `unknown`,
// never `untouched`.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "proxy/resp/command_table.h"

namespace sidestream::instance {

class LostKeys {
 public:
  static constexpr size_t kKeysMax = 32'768;
  static constexpr size_t kKeyBytesMax = 256;  // of one key
  using Args = std::span<const std::string_view>;

  enum class Since : uint8_t { untouched, overwritten, unknown };
  static const char* name(Since since);

  struct Key {
    std::string name;
    int64_t db = -1;      // -1: not known, and any is meant
    uint64_t writes = 0;  // that were lost
    bool overwritten = false;
  };
  struct Counts {
    int64_t untouched = 0, overwritten = 0, unknown = 0;
  };

  /// A command of the former history, behind the fork. `truncated`: arguments are cut or missing.
  void lost(const resp::CommandTable& commands, int64_t db, Args args, bool truncated);
  /// A command of the new one, behind the fork.
  void wrote(const resp::CommandTable& commands, int64_t db, Args args, bool truncated);
  /// Commands of the new history pass by that nobody shows us, until seen_all().
  void missing() { seen_all_ = false; }
  void seen_all() { seen_all_ = !never_; }
  /// Some did, and nobody ever will.
  void missed() { seen_all_ = false, never_ = true; }

  /// What became of a key since; those that were not lost are `unknown`.
  Since since(int64_t db, std::string_view key) const;
  /// The worst of all keys of a command; one that names none is `unknown`: it is not told whom it concerns.
  Since since(const resp::CommandTable& commands, int64_t db, Args args, bool truncated) const;
  Since since(const Key& key) const {
    return key.overwritten ? Since::overwritten : seen_all_ ? Since::untouched : Since::unknown;
  }
  /// In the order in which they were lost.
  const std::vector<Key>& keys() const { return keys_; }
  Counts counts() const;
  /// Whether wrote() could still change something.
  bool is_open() const { return overwritten_ < keys_.size(); }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view key) const { return std::hash<std::string_view>()(key); }
  };

  void remember(int64_t db, std::string_view key);
  void overwrite(int64_t db, std::string_view key);
  void overwrite_all(int64_t db);
  void overwrite(Key& key);

  std::vector<Key> keys_;
  std::unordered_map<std::string, std::vector<size_t>, Hash, std::equal_to<>> places_;  // in keys_, one for each db
  size_t overwritten_ = 0;
  int64_t left_out_ = 0;  // beyond the bounds
  bool seen_all_ = true;
  bool never_ = false;
};

}  // namespace sidestream::instance
