// fake_data.cc: the dataset and the commands on it. RDB: fake_rdb.cc.
#include "tests/support/fake_data.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "common/text.h"
#include "proxy/resp/writer.h"

namespace sidestream::sim {
namespace {

using resp::append_bulk;
using resp::append_error;
using resp::append_integer;
using resp::append_simple;

uint64_t hash_bytes(uint64_t hash, std::string_view bytes) {
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash ^ bytes.size();
}

uint64_t hash_entry(int db, const std::string& key, const FakeValue& value) {
  uint64_t hash = hash_bytes(0xcbf29ce484222325ULL + static_cast<uint64_t>(db), key);
  hash = hash_bytes(hash * 31 + (value.is_list ? 1 : 0), value.text);
  for (const std::string& element : value.list) hash = hash_bytes(hash * 31, element);
  return hash;
}

constexpr const char* kWrongType = "WRONGTYPE Operation against a key holding the wrong kind of value";

bool wrong_type(const FakeValue* value, bool list, std::string& reply) {
  if (value == nullptr || value->is_list == list) return false;
  append_error(reply, kWrongType);
  return true;
}

FakeValue text_value(std::string text) { return FakeValue{false, std::move(text), {}}; }

bool run_get(FakeData& data, int db, const Words& args, int protocol, std::string& reply) {
  const FakeValue* value = data.find(db, args[1]);
  if (wrong_type(value, false, reply)) return false;
  if (value == nullptr)
    resp::append_null(reply, protocol);
  else
    append_bulk(reply, value->text);
  return false;
}

bool run_set(FakeData& data, int db, const Words& args, int protocol, std::string& reply) {
  bool fits = true;
  for (size_t i = 3; i < args.size(); ++i) {
    const std::string option = to_lower(args[i]);
    if (option == "nx")
      fits = data.find(db, args[1]) == nullptr;
    else if (option == "xx")
      fits = data.find(db, args[1]) != nullptr;
    else
      return append_error(reply, "ERR syntax error"), false;
  }
  if (!fits) return resp::append_null(reply, protocol), false;
  data.put(db, args[1], text_value(args[2]));
  append_simple(reply, "OK");
  return true;
}

bool add_to(FakeData& data, int db, const std::string& key, int64_t amount, std::string& reply) {
  const FakeValue* value = data.find(db, key);
  if (wrong_type(value, false, reply)) return false;
  const auto number = parse_int(value == nullptr ? "0" : std::string_view(value->text));
  if (!number) return append_error(reply, "ERR value is not an integer or out of range"), false;
  data.put(db, key, text_value(std::to_string(*number + amount)));
  append_integer(reply, *number + amount);
  return true;
}

bool run_incr(FakeData& data, int db, const Words& args, int, std::string& reply) {
  return add_to(data, db, args[1], 1, reply);
}

bool run_incrby(FakeData& data, int db, const Words& args, int, std::string& reply) {
  const auto amount = parse_int(args[2]);
  if (!amount) return append_error(reply, "ERR value is not an integer or out of range"), false;
  return add_to(data, db, args[1], *amount, reply);
}

bool run_append(FakeData& data, int db, const Words& args, int, std::string& reply) {
  const FakeValue* value = data.find(db, args[1]);
  if (wrong_type(value, false, reply)) return false;
  std::string text = (value == nullptr ? std::string() : value->text) + args[2];
  append_integer(reply, static_cast<int64_t>(text.size()));
  data.put(db, args[1], text_value(std::move(text)));
  return true;
}

bool run_strlen(FakeData& data, int db, const Words& args, int, std::string& reply) {
  const FakeValue* value = data.find(db, args[1]);
  if (wrong_type(value, false, reply)) return false;
  append_integer(reply, value == nullptr ? 0 : static_cast<int64_t>(value->text.size()));
  return false;
}

bool run_del(FakeData& data, int db, const Words& args, int, std::string& reply) {
  int64_t gone = 0;
  for (size_t i = 1; i < args.size(); ++i) gone += data.erase(db, args[i]) ? 1 : 0;
  append_integer(reply, gone);
  return gone > 0;
}

bool run_exists(FakeData& data, int db, const Words& args, int, std::string& reply) {
  int64_t there = 0;
  for (size_t i = 1; i < args.size(); ++i) there += data.find(db, args[i]) != nullptr ? 1 : 0;
  append_integer(reply, there);
  return false;
}

bool run_type(FakeData& data, int db, const Words& args, int, std::string& reply) {
  const FakeValue* value = data.find(db, args[1]);
  append_simple(reply, value == nullptr ? "none" : value->is_list ? "list" : "string");
  return false;
}

bool run_mget(FakeData& data, int db, const Words& args, int protocol, std::string& reply) {
  resp::append_array(reply, static_cast<int64_t>(args.size()) - 1);
  for (size_t i = 1; i < args.size(); ++i) {
    const FakeValue* value = data.find(db, args[i]);
    if (value == nullptr || value->is_list)
      resp::append_null(reply, protocol);
    else
      append_bulk(reply, value->text);
  }
  return false;
}

bool run_mset(FakeData& data, int db, const Words& args, int, std::string& reply) {
  if (args.size() % 2 == 0) {
    append_error(reply, "ERR wrong number of arguments for 'mset' command");
    return false;
  }
  for (size_t i = 1; i + 1 < args.size(); i += 2) data.put(db, args[i], text_value(args[i + 1]));
  append_simple(reply, "OK");
  return true;
}

bool run_rpush(FakeData& data, int db, const Words& args, int, std::string& reply) {
  const FakeValue* value = data.find(db, args[1]);
  if (wrong_type(value, true, reply)) return false;
  FakeValue list = value == nullptr ? FakeValue{true, {}, {}} : *value;
  list.list.insert(list.list.end(), args.begin() + 2, args.end());
  append_integer(reply, static_cast<int64_t>(list.list.size()));
  data.put(db, args[1], std::move(list));
  return true;
}

bool run_llen(FakeData& data, int db, const Words& args, int, std::string& reply) {
  const FakeValue* value = data.find(db, args[1]);
  if (wrong_type(value, true, reply)) return false;
  append_integer(reply, value == nullptr ? 0 : static_cast<int64_t>(value->list.size()));
  return false;
}

bool run_lrange(FakeData& data, int db, const Words& args, int, std::string& reply) {
  const auto from = parse_int(args[2]);
  const auto to = parse_int(args[3]);
  if (!from || !to) return append_error(reply, "ERR value is not an integer or out of range"), false;
  const FakeValue* value = data.find(db, args[1]);
  if (wrong_type(value, true, reply)) return false;
  const int64_t size = value == nullptr ? 0 : static_cast<int64_t>(value->list.size());
  const int64_t first = std::max<int64_t>(0, *from < 0 ? *from + size : *from);
  const int64_t last = std::min(size - 1, *to < 0 ? *to + size : *to);
  resp::append_array(reply, std::max<int64_t>(0, last - first + 1));
  for (int64_t i = first; i <= last; ++i) append_bulk(reply, value->list[static_cast<size_t>(i)]);
  return false;
}

bool run_flushall(FakeData& data, int, const Words&, int, std::string& reply) {
  data.clear();
  append_simple(reply, "OK");
  return true;  // replicated even when there was nothing
}

bool run_dbsize(FakeData& data, int db, const Words&, int, std::string& reply) {
  append_integer(reply, static_cast<int64_t>(data.size(db)));
  return false;
}

bool run_echo(FakeData&, int, const Words& args, int, std::string& reply) {
  append_bulk(reply, args[1]);
  return false;
}

constexpr FakeCommand kCommands[] = {
    {"append", 3, "write denyoom fast", 1, 1, 1, run_append},
    {"auth", -2, "noscript loading stale fast no_auth allow_busy", 0, 0, 0, nullptr},
    {"client", -2, "noscript loading stale", 0, 0, 0, nullptr},
    {"command", -1, "loading stale", 0, 0, 0, nullptr},
    {"config", -2, "admin noscript loading stale", 0, 0, 0, nullptr},
    {"dbsize", 1, "readonly fast", 0, 0, 0, run_dbsize},
    {"debug", -2, "admin noscript loading stale", 0, 0, 0, nullptr},
    {"del", -2, "write", 1, -1, 1, run_del},
    {"discard", 1, "noscript loading stale fast allow_busy", 0, 0, 0, nullptr},
    {"echo", 2, "loading stale fast", 0, 0, 0, run_echo},
    {"exec", 1, "noscript loading stale skip_slowlog", 0, 0, 0, nullptr},
    {"exists", -2, "readonly fast", 1, -1, 1, run_exists},
    {"flushall", -1, "write", 0, 0, 0, run_flushall},
    {"get", 2, "readonly fast", 1, 1, 1, run_get},
    {"hello", -1, "noscript loading stale fast no_auth allow_busy", 0, 0, 0, nullptr},
    {"incr", 2, "write denyoom fast", 1, 1, 1, run_incr},
    {"incrby", 3, "write denyoom fast", 1, 1, 1, run_incrby},
    {"info", -1, "loading stale", 0, 0, 0, nullptr},
    {"llen", 2, "readonly fast", 1, 1, 1, run_llen},
    {"lrange", 4, "readonly", 1, 1, 1, run_lrange},
    {"mget", -2, "readonly fast", 1, -1, 1, run_mget},
    {"mset", -3, "write denyoom", 1, -1, 2, run_mset},
    {"multi", 1, "noscript loading stale fast allow_busy", 0, 0, 0, nullptr},
    {"ping", -1, "fast", 0, 0, 0, nullptr},
    {"psync", -3, "admin noscript no_async_loading no_multi", 0, 0, 0, nullptr},
    {"quit", -1, "noscript loading stale fast no_auth allow_busy", 0, 0, 0, nullptr},
    {"replconf", -1, "admin noscript loading stale allow_busy", 0, 0, 0, nullptr},
    {"replicaof", 3, "admin noscript stale no_async_loading", 0, 0, 0, nullptr},
    {"reset", 1, "noscript loading stale fast no_auth allow_busy", 0, 0, 0, nullptr},
    {"role", 1, "noscript loading stale fast", 0, 0, 0, nullptr},
    {"rpush", -3, "write denyoom fast", 1, 1, 1, run_rpush},
    {"select", 2, "loading stale fast", 0, 0, 0, nullptr},
    {"set", -3, "write denyoom", 1, 1, 1, run_set},
    {"slaveof", 3, "admin noscript stale no_async_loading", 0, 0, 0, nullptr},
    {"strlen", 2, "readonly fast", 1, 1, 1, run_strlen},
    {"sync", 1, "admin noscript no_async_loading no_multi", 0, 0, 0, nullptr},
    {"type", 2, "readonly fast", 1, 1, 1, run_type},
    {"unwatch", 1, "noscript loading stale fast allow_busy", 0, 0, 0, nullptr},
    {"wait", 3, "noscript", 0, 0, 0, nullptr},
    {"watch", -2, "noscript loading stale fast allow_busy", 1, -1, 1, nullptr},
};

void append_key_spec(const FakeCommand& command, std::string& out) {
  resp::append_array(out, 1);
  resp::append_array(out, 6);
  append_bulk(out, "flags");
  resp::append_array(out, 1);
  append_simple(out, command.writes() ? "RW" : "RO");
  append_bulk(out, "begin_search");
  resp::append_array(out, 4);
  append_bulk(out, "type");
  append_bulk(out, "index");
  append_bulk(out, "spec");
  resp::append_array(out, 2);
  append_bulk(out, "index");
  append_integer(out, command.first_key);
  append_bulk(out, "find_keys");
  resp::append_array(out, 4);
  append_bulk(out, "type");
  append_bulk(out, "range");
  append_bulk(out, "spec");
  resp::append_array(out, 6);
  append_bulk(out, "lastkey");
  append_integer(out, command.last_key < 0 ? command.last_key : command.last_key - command.first_key);
  append_bulk(out, "keystep");
  append_integer(out, command.key_step);
  append_bulk(out, "limit");
  append_integer(out, 0);
}

}  // namespace

const FakeValue* FakeData::find(int db, const std::string& key) const {
  auto found = dbs_[db].find(key);
  return found == dbs_[db].end() ? nullptr : &found->second;
}

void FakeData::put(int db, const std::string& key, FakeValue value) {
  erase(db, key);
  digest_ ^= hash_entry(db, key, value);
  dbs_[db].emplace(key, std::move(value));
  versions_[{db, key}] = ++clock_;
}

bool FakeData::erase(int db, const std::string& key) {
  auto found = dbs_[db].find(key);
  if (found == dbs_[db].end()) return false;
  digest_ ^= hash_entry(db, key, found->second);
  dbs_[db].erase(found);
  versions_[{db, key}] = ++clock_;
  return true;
}

void FakeData::clear() {
  for (auto& db : dbs_) db.clear();
  versions_.clear();
  cleared_ = ++clock_;
  digest_ = 0;
}

int64_t FakeData::keys() const {
  return std::accumulate(dbs_.begin(), dbs_.end(), int64_t{0},
                         [](int64_t sum, const auto& db) { return sum + std::ssize(db); });
}

uint64_t FakeData::version(int db, const std::string& key) const {
  auto found = versions_.find({db, key});
  return found == versions_.end() ? cleared_ : found->second;
}

bool FakeCommand::has(std::string_view flag) const {
  const auto words = split(flags, ' ');
  return std::find(words.begin(), words.end(), flag) != words.end();
}

std::span<const FakeCommand> all_commands() { return kCommands; }

const FakeCommand* find_command(const std::string& name) {
  auto found =
      std::lower_bound(std::begin(kCommands), std::end(kCommands), name,
                       [](const FakeCommand& command, const std::string& word) { return command.name < word; });
  return found != std::end(kCommands) && found->name == name ? found : nullptr;
}

void append_command_reply(std::string& out) {
  resp::append_array(out, std::ssize(kCommands));
  for (const FakeCommand& command : kCommands) {
    resp::append_array(out, 10);
    append_bulk(out, command.name);
    append_integer(out, command.arity);
    const auto flags = split(command.flags, ' ');
    resp::append_array(out, std::ssize(flags));
    for (const auto& flag : flags) append_simple(out, flag);
    append_integer(out, command.first_key);
    append_integer(out, command.last_key);
    append_integer(out, command.key_step);
    resp::append_array(out, 0);
    resp::append_array(out, 0);
    if (command.first_key > 0)
      append_key_spec(command, out);
    else
      resp::append_array(out, 0);
    resp::append_array(out, 0);
  }
}

}  // namespace sidestream::sim
