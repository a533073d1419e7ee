// fake_data.h: the dataset of a fake node: strings and lists in sixteen databases, the commands on them, their RDB
// form.
//
//   rdb    = "REDIS0010" *aux *db 0xFF 8*0x00
//   aux    = 0xFA string string                    ; repl-stream-db, repl-id, repl-offset
//   db     = 0xFE length 0xFB length length *entry
//   entry  = 0x00 string string / 0x01 string length *string
//
// Two datasets are equal if and only if (nearly) their digests are: checkers compare those at each offset.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sidestream::sim {

using Words = std::vector<std::string>;

struct FakeValue {
  bool is_list = false;
  std::string text;
  std::deque<std::string> list;
};

class FakeData {
 public:
  static constexpr int kDatabases = 16;

  const FakeValue* find(int db, const std::string& key) const;
  void put(int db, const std::string& key, FakeValue value);
  bool erase(int db, const std::string& key);
  void clear();
  size_t size(int db) const { return dbs_[db].size(); }
  bool empty() const { return keys() == 0; }
  int64_t keys() const;
  const std::map<std::string, FakeValue>& keys(int db) const { return dbs_[db]; }
  uint64_t digest() const { return digest_; }
  /// Grows whenever the key is touched, for WATCH.
  uint64_t version(int db, const std::string& key) const;

 private:
  std::array<std::map<std::string, FakeValue>, kDatabases> dbs_;
  std::map<std::pair<int, std::string>, uint64_t> versions_;
  uint64_t clock_ = 0;
  uint64_t cleared_ = 0;
  uint64_t digest_ = 0;
};

/// A command of the fake, as COMMAND describes it and as it is run.
struct FakeCommand {
  /// Appends the reply; true when the data changed.
  using Run = bool (*)(FakeData& data, int db, const Words& args, int protocol, std::string& reply);
  const char* name;
  int arity;
  const char* flags;  // separated by blanks, as COMMAND names them
  int first_key, last_key, key_step;
  Run run;  // nullptr: the node itself answers
  bool has(std::string_view flag) const;
  bool writes() const { return has("write"); }
};

/// By lower-case name; nullptr if the fake does not know it.
const FakeCommand* find_command(const std::string& name);
std::span<const FakeCommand> all_commands();
/// The reply to COMMAND in the form of 7.0.
void append_command_reply(std::string& out);

struct RdbAux {
  int stream_db = 0;
  std::string replid;
  int64_t offset = -1;
};

std::string encode_rdb(const FakeData& data, const RdbAux& aux);
/// False when it is broken or not yet complete. `used` tells how many bytes it took.
bool decode_rdb(std::string_view bytes, FakeData& data, RdbAux& aux, size_t& used);

}  // namespace sidestream::sim
