// command_table_test.cc: classes and key positions, from what real servers answer to COMMAND (tests/unit/data).
// The expected keys are those of COMMAND GETKEYS of redis-server 7.0.15.
#include "proxy/resp/command_table.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "common/text.h"
#include "proxy/resp/request.h"
#include "tests/unit/unit_test.h"

namespace sidestream::resp {
namespace {

CommandTable table_of(const std::string& server) {
  std::ifstream file(SIDESTREAM_TEST_DATA "/command-" + server + ".resp", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  ReplyScanner scanner;
  REQUIRE(scanner.scan(bytes) == ReplyScanner::State::complete);
  REQUIRE(scanner.size() == bytes.size());
  return CommandTable::from_command_reply(parse_value(bytes));
}

/// The servers whose COMMAND replies we have: one with key specs and one without.
struct Tables {
  CommandTable v7 = table_of("7.0.15");
  CommandTable v6 = table_of("6.0.16");
};

/// A request as people type it.
struct Typed {
  explicit Typed(const std::string& line) : line_(line + "\n") {
    RequestParser parser;
    REQUIRE(parser.next(line_, request_) == RequestParser::State::ok);
  }
  std::span<const std::string_view> args() const { return request_.args; }

 private:
  std::string line_;
  Request request_;
};

struct Found {
  Keys keys = Keys::none;
  std::vector<std::string> names;
};

Found keys_of(const CommandEntry& entry, const std::string& line) {
  Found found;
  const Typed request(line);
  found.keys =
      CommandTable::for_each_key(entry, request.args(), [&](std::string_view key) { found.names.emplace_back(key); });
  return found;
}

Found keys_of(const CommandTable& table, const std::string& line) {
  const CommandEntry* entry = table.find(Typed(line).args());
  REQUIRE(entry != nullptr);
  return keys_of(*entry, line);
}

CommandClass class_of(const CommandTable& table, const std::string& line) {
  const Typed request(line);
  const CommandEntry* entry = table.find(request.args());
  REQUIRE(entry != nullptr);
  return effective_class(*entry, request.args());
}

bool writes(const CommandTable& table, const std::string& line) { return table.find(Typed(line).args())->writes; }

void for_each_entry(const CommandMap& commands, const std::function<void(const CommandEntry&)>& visit) {
  for (const auto& [name, entry] : commands) {
    visit(*entry);
    for_each_entry(entry->subcommands, visit);
  }
}

struct KeyRow {
  std::string request;
  std::vector<std::string> keys;
};

const std::vector<KeyRow> kKeyRows = {
    {"get k", {"k"}},
    {"GET k", {"k"}},
    {"set k v", {"k"}},
    {"set k v get ex 10", {"k"}},
    {"mget a b c", {"a", "b", "c"}},
    {"mset a 1 b 2", {"a", "b"}},
    {"msetnx a 1 b 2", {"a", "b"}},
    {"del a b", {"a", "b"}},
    {"rename a b", {"a", "b"}},
    {"copy a b replace", {"a", "b"}},
    {"append k v", {"k"}},
    {"bitop and dest a b", {"dest", "a", "b"}},
    {"bitfield k get u8 0", {"k"}},
    {"bitfield_ro k get u8 0", {"k"}},
    {"lpush k 1 2 3", {"k"}},
    {"lmove a b left right", {"a", "b"}},
    {"rpoplpush a b", {"a", "b"}},
    {"linsert k before x y", {"k"}},
    {"lmpop 2 a b left", {"a", "b"}},
    {"blmpop 0 2 a b left count 3", {"a", "b"}},
    {"blpop a b 0", {"a", "b"}},
    {"brpoplpush a b 0", {"a", "b"}},
    {"blmove a b left right 0", {"a", "b"}},
    {"sadd k a b", {"k"}},
    {"smove a b m", {"a", "b"}},
    {"sinter a b c", {"a", "b", "c"}},
    {"sinterstore d a b", {"d", "a", "b"}},
    {"sintercard 2 a b limit 3", {"a", "b"}},
    {"zadd k 1 a", {"k"}},
    {"zrange k 0 -1", {"k"}},
    {"zrangestore d s 0 -1", {"d", "s"}},
    {"zunion 2 a b weights 1 2", {"a", "b"}},
    {"zinter 1 a", {"a"}},
    {"zdiff 2 a b withscores", {"a", "b"}},
    {"zintercard 2 a b", {"a", "b"}},
    {"zunionstore d 2 a b weights 1 2", {"d", "a", "b"}},
    {"zinterstore d 1 a", {"d", "a"}},
    {"zdiffstore d 2 a b", {"d", "a", "b"}},
    {"zmpop 1 a min", {"a"}},
    {"bzmpop 0 1 a min", {"a"}},
    {"bzpopmin a b 0", {"a", "b"}},
    {"hset h f v f2 v2", {"h"}},
    {"pfcount a b", {"a", "b"}},
    {"pfmerge d a b", {"d", "a", "b"}},
    {"geoadd k 1 2 m", {"k"}},
    {"georadius k 1 2 3 km", {"k"}},
    {"georadius k 1 2 3 km store d", {"k", "d"}},
    {"georadius k 1 2 3 km withdist STOREDIST d", {"k", "d"}},
    {"georadiusbymember k m 3 km store d", {"k", "d"}},
    {"georadius_ro k 1 2 3 km", {"k"}},
    {"geosearchstore d s fromlonlat 1 2 byradius 1 km asc", {"d", "s"}},
    {"sort k", {"k"}},
    {"sort k by w_* get x_* store d", {"k", "d"}},
    {"sort k limit 0 5 alpha STORE d", {"k", "d"}},
    {"sort_ro k alpha", {"k"}},
    {"xadd k * f v", {"k"}},
    {"xread streams a b 0 0", {"a", "b"}},
    {"xread count 1 block 0 STREAMS a 0", {"a"}},
    {"xreadgroup group g c streams a b > >", {"a", "b"}},
    {"xreadgroup GROUP streams c block 0 streams a >", {"a"}},
    {"xgroup create k g $", {"k"}},
    {"xgroup delconsumer k g c", {"k"}},
    {"xinfo stream k", {"k"}},
    {"xinfo groups k", {"k"}},
    {"xclaim k g c 0 1-1", {"k"}},
    {"object encoding k", {"k"}},
    {"memory usage k samples 3", {"k"}},
    {"dump k", {"k"}},
    {"restore k 0 x", {"k"}},
    {"migrate h 1 k 0 100", {"k"}},
    {"migrate h 1 k 0 100 copy auth p", {"k"}},
    {"eval s 2 a b x", {"a", "b"}},
    {"evalsha h 1 a x", {"a"}},
    {"eval_ro s 1 a", {"a"}},
    {"fcall f 2 a b x", {"a", "b"}},
    {"fcall_ro f 1 a", {"a"}},
    {"watch a b", {"a", "b"}},
    {"touch a b", {"a", "b"}},
    {"exists a a", {"a", "a"}},
    {"unlink a b", {"a", "b"}},
    {"lcs a b", {"a", "b"}},
    {"hscan h 0", {"h"}},
    {"sscan s 0 match x", {"s"}},
    {"pfdebug getreg k", {"k"}},
    {"move k 1", {"k"}},
    {"getex k ex 1", {"k"}},
    {"substr k 0 1", {"k"}},
    {"xautoclaim k g c 0 0", {"k"}},
    {"xsetid k 1-1", {"k"}},
    {"restore-asking k 0 x", {"k"}},
    {"hrandfield h 1", {"h"}},
    {"expiretime k", {"k"}},
    // Stock names only a and b here; the empty key is one more than needed.
    {"migrate h 1 \"\" 0 100 keys a b", {"", "a", "b"}},
    {"migrate h 1 \"\" 0 100 copy replace auth2 u p keys a b", {"", "a", "b"}},
};

TEST_CASE_FIXTURE(Tables, "keys: as COMMAND GETKEYS tells them") {
  for (const KeyRow& row : kKeyRows) {
    CAPTURE(row.request);
    const Found found = keys_of(v7, row.request);
    CHECK(found.names == row.keys);
    const bool script = class_of(v7, row.request) == CommandClass::script && writes(v7, row.request);
    CHECK(found.keys == (script ? Keys::unknown : Keys::known));
  }
}

TEST_CASE_FIXTURE(Tables, "keys: the same without key specs") {
  int compared = 0;
  for (const KeyRow& row : kKeyRows) {
    if (v6.find(Typed(row.request).args()) == nullptr || row.request.starts_with("pfdebug")) continue;
    CAPTURE(row.request);
    const Found found = keys_of(v6, row.request);
    CHECK(found.names == row.keys);
    const bool script = class_of(v6, row.request) == CommandClass::script;
    CHECK(found.keys == (script ? Keys::unknown : Keys::known));
    ++compared;
  }
  CHECK(compared > 55);
}

TEST_CASE_FIXTURE(Tables, "keys: none, or nobody knows which") {
  for (const char* request : {"ping", "publish c m", "spublish c m", "ssubscribe a b", "subscribe a", "dbsize",
                              "scan 0", "info", "multi", "script load x", "function list", "time", "keys *"}) {
    CAPTURE(request);
    const Found found = keys_of(v7, request);
    CHECK(found.keys == Keys::none);
    CHECK(found.names.empty());
  }
  for (const char* request : {"flushall", "flushdb async", "swapdb 0 1", "eval s 0", "fcall f 0", "function flush",
                              "eval s nonsense a", "zunion 5 a b", "sort_ro k by w_*", "sort_ro k get # get w_*"}) {
    CAPTURE(request);
    CHECK(keys_of(v7, request).keys == Keys::unknown);
  }
  CHECK(keys_of(v7, "sort_ro k by nosort get #").keys == Keys::known);
  CHECK(keys_of(v7, "sort_ro a*b alpha").keys == Keys::known);
  CHECK(keys_of(v7, "sort k by w_* get x_*").keys == Keys::known);  // it writes none of these
}

TEST_CASE_FIXTURE(Tables, "keys: an option given twice counts twice, a request cut short not at all") {
  CHECK(keys_of(v7, "sort k store a store b").names == std::vector<std::string>{"k", "a", "b"});
  CHECK(keys_of(v7, "sort k store").names == std::vector<std::string>{"k"});
  CHECK(keys_of(v7, "set").names.empty());
  CHECK(keys_of(v7, "xread streams").names.empty());
  CHECK(keys_of(v7, "zunionstore d").keys == Keys::unknown);
}

TEST_CASE("every name is found in any case, and nothing that only resembles it") {
  const CommandTable table = table_of("7.0.15");
  const auto find = [&](const std::string& name) {
    const std::string_view args[] = {name};
    return table.find(args);
  };
  for (const auto& [name, entry] : table.commands()) {
    CHECK(find(name) == entry.get());
    CHECK(find(to_upper(name)) == entry.get());
    for (size_t i = 0; i < name.size(); ++i) {
      for (const char other : {'\0', '[', '@', '`', '{', '\xc1', static_cast<char>(name[i] ^ 0x80)}) {
        std::string near = name;
        near[i] = other;
        if (near != name) CHECK(find(near) == nullptr);
      }
    }
    CHECK(find(name + '\0') == nullptr);
    CHECK((name.size() < 2 || find(name.substr(1)) == nullptr || table.commands().contains(name.substr(1))));
  }
  CHECK(find("") == nullptr);
}

TEST_CASE("keys: specs that no stock command of 7.0 has") {
  CommandEntry entry;
  KeyRange backwards;
  backwards.begin = KeyRange::Begin::keyword;
  backwards.keyword = "keys";
  backwards.index = -2;
  backwards.last = -1;
  entry.keys = {backwards};
  CHECK(keys_of(entry, "cmd keys x KEYS a b c").names == std::vector<std::string>{"a", "b", "c"});
  CHECK(keys_of(entry, "cmd x y z").names.empty());
  KeyRange counted;
  counted.find = KeyRange::Find::keynum;
  counted.index = 1;
  counted.first_key = 2;
  counted.step = 2;
  entry.keys = {counted};
  CHECK(keys_of(entry, "cmd 2 x a 1 b 2").names == std::vector<std::string>{"a", "b"});
  CHECK(keys_of(entry, "cmd -1 x a").keys == Keys::unknown);
  CHECK(keys_of(entry, "cmd 9223372036854775807 x a").keys == Keys::unknown);
}

TEST_CASE("denied commands: by name, in containers, one by one") {
  CommandTable table;
  const std::vector<std::string> names = {"MULTI", "CLIENT|TRACKING", "Config", "nosuch", "script|nosuch"};
  table.deny(names);
  const auto denied = [&](std::string_view request) { return table.find(Typed(std::string(request)).args())->denied; };
  CHECK(denied("multi"));
  CHECK_FALSE(denied("exec"));
  CHECK(denied("config"));
  CHECK(denied("client tracking on"));
  CHECK_FALSE(denied("client caching yes"));
  CHECK_FALSE(denied("client"));
}

TEST_CASE_FIXTURE(Tables, "classes: only what holds state on its connection pins a client") {
  for (const CommandTable* table : {&v7, &v6}) {
    std::set<std::string> pinned;
    for_each_entry(table->commands(), [&](const CommandEntry& entry) {
      if (entry.cls == CommandClass::pin) pinned.insert(entry.name);
    });
    CHECK(pinned == std::set<std::string>{"script|debug"});
  }
  CHECK(v7.size() >= 240);
}

TEST_CASE_FIXTURE(Tables, "classes: a read may go to a replica, so it must be one") {
  const std::set<std::string> not_for_replicas = {"pfcount",     "touch",           "dump",
                                                  "keys",        "randomkey",       "dbsize",
                                                  "lolwut",      "memory|usage",    "object|encoding",
                                                  "object|freq", "object|idletime", "object|refcount"};
  for_each_entry(v7.commands(), [&](const CommandEntry& entry) {
    CAPTURE(entry.name);
    const auto has = [&](const char* flag) {
      return std::find(entry.flags.begin(), entry.flags.end(), flag) != entry.flags.end();
    };
    if (entry.cls == CommandClass::read && !entry.name.starts_with("xinfo")) {
      CHECK(has("readonly"));
      CHECK_FALSE(entry.keys.empty());
    }
    if (has("readonly") && entry.cls != CommandClass::script && entry.cls != CommandClass::scan) {
      CHECK(entry.cls == (not_for_replicas.contains(entry.name) ? CommandClass::read_primary : CommandClass::read));
    }
    if (has("write")) CHECK(entry.writes);
    if (entry.writes) CHECK((!entry.keys.empty() || entry.incomplete_keys));
  });
}

struct ClassRow {
  const char* request;
  CommandClass cls;
  bool writes;
};

const std::vector<ClassRow> kClassRows = {
    {"GET k", CommandClass::read, false},
    {"set k v", CommandClass::write, true},
    {"getex k", CommandClass::write, true},
    {"sort k", CommandClass::write, true},
    {"georadius k 1 2 3 m", CommandClass::write, true},
    {"bitfield k get u8 0", CommandClass::write, true},
    {"pfcount k", CommandClass::read_primary, false},
    {"touch k", CommandClass::read_primary, false},
    {"object encoding k", CommandClass::read_primary, false},
    {"memory usage k", CommandClass::read_primary, false},
    {"memory doctor", CommandClass::private_primary, false},
    {"publish c m", CommandClass::write, false},
    {"time", CommandClass::write, false},
    {"flushall", CommandClass::write, true},
    {"eval s 0", CommandClass::script, true},
    {"blpop k 0", CommandClass::blocking, true},
    {"bzpopmin k 0", CommandClass::blocking, true},
    {"xread streams k 0", CommandClass::read, false},
    {"xread count 2 BLOCK 0 streams k 0", CommandClass::blocking, false},
    {"xread streams block 0", CommandClass::read, false},
    {"xreadgroup group g c streams k >", CommandClass::write, true},
    {"xreadgroup group block c streams k >", CommandClass::write, true},
    {"xreadgroup group streams c block 0 streams k >", CommandClass::blocking, true},
    {"xgroup create k g $", CommandClass::write, true},
    {"xinfo stream k", CommandClass::read, false},
    {"scan 0", CommandClass::scan, false},
    {"multi", CommandClass::transaction, false},
    {"watch k", CommandClass::transaction, false},
    {"subscribe c", CommandClass::subscribe, false},
    {"monitor", CommandClass::monitor, false},
    {"client setname x", CommandClass::session, false},
    {"CLIENT TRACKING on", CommandClass::tracking, false},
    {"ping", CommandClass::session, false},
    {"info", CommandClass::local, false},
    {"config get x", CommandClass::local, false},
    {"wait 1 0", CommandClass::local, false},
    {"replicaof no one", CommandClass::local, false},
    {"SIDESTREAM status", CommandClass::local, false},
    {"command count", CommandClass::read_primary, false},
    {"module list", CommandClass::read_primary, false},
    {"MODULE LOAD x", CommandClass::local, false},
    {"script load x", CommandClass::scripts, false},
    {"script exists x", CommandClass::private_primary, false},
    {"script debug yes", CommandClass::pin, false},
    {"acl whoami", CommandClass::local, false},
    {"slowlog get", CommandClass::private_primary, false},
    {"debug sleep 0", CommandClass::private_primary, false},
    {"save", CommandClass::private_primary, false},
    {"migrate h 1 k 0 1", CommandClass::private_primary, true},
    {"lastsave", CommandClass::read_primary, false},
    {"dbsize", CommandClass::read_primary, false},
};

TEST_CASE_FIXTURE(Tables, "classes: where the flags mislead") {
  for (const ClassRow& row : kClassRows) {
    CAPTURE(row.request);
    for (const CommandTable* table : {&v7, &v6}) {
      if (table->find(Typed(row.request).args()) == nullptr) continue;  // GETEX came with 6.2
      CHECK(class_name(class_of(*table, row.request)) == class_name(row.cls));
      CHECK(writes(*table, row.request) == row.writes);
    }
  }
  CHECK(class_of(v7, "eval_ro s 0") == CommandClass::script);
  CHECK_FALSE(writes(v7, "eval_ro s 0"));
  CHECK(class_of(v7, "function load x") == CommandClass::private_primary);
  CHECK(writes(v7, "function load x"));
  CHECK_FALSE(writes(v7, "function list"));
}

Value entry_of(const std::string& bytes) {
  Value reply;
  reply.type = Value::Type::array;
  reply.elements.push_back(parse_value(bytes));
  return reply;
}

TEST_CASE("classes: commands of modules and of the future, by their flags") {
  const auto class_with = [](const std::string& flags, const std::string& positions) {
    const auto table = CommandTable::from_command_reply(entry_of("*6\r\n$6\r\nMy.Cmd\r\n:-2\r\n" + flags + positions));
    CHECK_FALSE(table.empty());
    return class_of(table, "my.cmd x");
  };
  const std::string one_key = ":1\r\n:1\r\n:1\r\n";
  const std::string no_keys = ":0\r\n:0\r\n:0\r\n";
  CHECK(class_with("*1\r\n+readonly\r\n", one_key) == CommandClass::read);
  CHECK(class_with("*1\r\n+readonly\r\n", no_keys) == CommandClass::read_primary);
  CHECK(class_with("*2\r\n+readonly\r\n+movablekeys\r\n", no_keys) == CommandClass::read);
  CHECK(class_with("*1\r\n+write\r\n", no_keys) == CommandClass::write);
  CHECK(class_with("*2\r\n+write\r\n+blocking\r\n", one_key) == CommandClass::blocking);
  CHECK(class_with("*1\r\n+fast\r\n", one_key) == CommandClass::pin);
  CHECK(class_with("*0\r\n", no_keys) == CommandClass::pin);
}

TEST_CASE("table: before any node has answered our own commands are there") {
  const CommandTable table;
  CHECK(table.empty());
  for (const char* request :
       {"ping", "INFO replication", "SlaveOf no one", "sidestream status", "client kill type normal", "config rewrite",
        "multi", "exec", "psync ? -1", "replconf ack 0", "publish c m"}) {
    CAPTURE(request);
    const Typed typed(request);
    const CommandEntry* entry = table.find(typed.args());
    REQUIRE(entry != nullptr);
    CHECK(table.arity_fits(*entry, typed.args().size()));
    CHECK(entry->cls != CommandClass::pin);
  }
  CHECK(class_of(table, "client tracking on") == CommandClass::tracking);
  CHECK(table.find(Typed("get k").args()) == nullptr);
  CHECK(table.find({}) == nullptr);
}

TEST_CASE_FIXTURE(Tables, "table: names, subcommands and arities") {
  CHECK(v7.find(Typed("nosuch x").args()) == nullptr);
  CHECK(v7.find(Typed("xgroup").args())->name == "xgroup");
  CHECK(v7.find(Typed("XGroup CREATE k g $").args())->name == "xgroup|create");
  CHECK(v7.find(Typed("xgroup nosuch").args())->name == "xgroup");
  CHECK(v7.find(Typed("get create").args())->name == "get");
  CHECK(v7.find(Typed("sidestream status").args()) != nullptr);
  CHECK(v7.find(Typed("acl setuser x").args())->admin);
  const CommandEntry& get = *v7.find(Typed("get k").args());
  CHECK(v7.arity_fits(get, 2));
  CHECK_FALSE(v7.arity_fits(get, 1));
  CHECK_FALSE(v7.arity_fits(get, 3));
  const CommandEntry& set = *v7.find(Typed("set k v").args());
  CHECK_FALSE(v7.arity_fits(set, 2));
  CHECK(v7.arity_fits(set, 3));
  CHECK(v7.arity_fits(set, 9));
}

TEST_CASE("table: a reply that is no table leaves our own commands") {
  for (const char* bytes : {"-NOAUTH Authentication required.\r\n", "*0\r\n",
                            "*3\r\n*-1\r\n:1\r\n*6\r\n*0\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n",
                            "*1\r\n*2\r\n+get\r\n:2\r\n", "not even that"}) {
    CAPTURE(bytes);
    const CommandTable table = CommandTable::from_command_reply(parse_value(bytes));
    CHECK(table.empty());
    CHECK(table.size() == CommandTable().size());
  }
}

}  // namespace
}  // namespace sidestream::resp
