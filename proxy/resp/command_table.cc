// command_table.cc: classes by rule where we know better, by flags otherwise; keys by the node's key specs.
//
//   reply    = array of entries
//   entry    = [name arity flags first last step]                                   5.0
//            | [... acl-categories]                                                 6.x
//            | [... acl-categories tips key-specs subcommands]                      7.0 and later
//   key-spec = ["flags" [...] "begin_search" search "find_keys" search]             may have more fields
//   search   = ["type" "index"|"keyword"|"range"|"keynum"|"unknown" "spec" [name number ...]]
//
// Failure modes: what does not look like this is skipped; a key spec that we cannot read makes the keys unknown.
#include "proxy/resp/command_table.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <initializer_list>
#include <mutex>
#include <set>

#include "common/text.h"
#include "proxy/resp/own_commands.h"

namespace sidestream::resp {
namespace {

struct ClassRule {
  CommandClass cls;
  std::string_view names;
};

// What we know better than the flags. "name|sub" goes before "name", which holds for all its subcommands.
constexpr ClassRule kClassRules[] = {
    {CommandClass::session, "auth hello select quit reset client ping echo"},
    {CommandClass::tracking, "client|tracking client|caching client|trackinginfo client|getredir"},
    {CommandClass::pin, "script|debug"},
    {CommandClass::local,
     "info role config replicaof slaveof failover wait waitaof replconf psync sync sidestream readonly readwrite "
     "asking cluster sentinel shutdown acl module|load module|loadex module|unload"},
    {CommandClass::transaction, "multi exec discard watch unwatch"},
    {CommandClass::subscribe, "subscribe unsubscribe psubscribe punsubscribe ssubscribe sunsubscribe"},
    {CommandClass::monitor, "monitor"},
    {CommandClass::scan, "scan hscan sscan zscan"},
    {CommandClass::scripts, "script|load script|flush script|kill function|kill"},
    {CommandClass::script, "eval evalsha eval_ro evalsha_ro fcall fcall_ro"},
    // Flagged read-only, but about the node that is asked, or (PFCOUNT) rewriting the value.
    {CommandClass::read_primary,
     "pfcount touch dump object memory|usage keys randomkey dbsize command pubsub lastsave lolwut module"},
    {CommandClass::private_primary,
     "script function slowlog latency memory commandlog hotkeys save bgsave bgrewriteaof debug migrate pfdebug "
     "pfselftest"},
    // TIME: one clock, which does not go back. PUBLISH: the stream carries it to the replicas' subscribers.
    {CommandClass::write, "publish spublish time xreadgroup xgroup flushall flushdb swapdb"},
    // XREAD and XREADGROUP are flagged blocking and rarely are: effective_class().
    {CommandClass::read, "xread xinfo"},
    // Before 7.0 no flag says so.
    {CommandClass::blocking, "blpop brpop blmove brpoplpush blmpop bzpopmin bzpopmax bzmpop"},
};

KeyRange keys_at(int first, int last = 0, int step = 1) {
  KeyRange range;
  range.index = first;
  range.last = last;
  range.step = step;
  return range;
}

KeyRange counted_at(int index) {
  KeyRange range = keys_at(index);
  range.find = KeyRange::Find::keynum;
  return range;
}

KeyRange behind(std::string_view keyword, int search_from, int last = 0, int limit = 0) {
  KeyRange range = keys_at(search_from, last);
  range.begin = KeyRange::Begin::keyword;
  range.keyword = keyword;
  range.limit = limit;
  return range;
}

/// Whose values are only told, or only changed.
KeyRange read(KeyRange range) {
  range.writes = false;
  return range;
}
KeyRange written(KeyRange range) {
  range.reads = false;
  return range;
}

struct KeyRule {
  std::string_view names;
  std::vector<KeyRange> keys;
};

/// Stock commands whose keys first/last/step cannot tell. Used before 7.0, which has no key specs, and where the specs
/// are marked incomplete (SORT, MIGRATE).
const std::vector<KeyRule>& key_rules() {
  static const std::vector<KeyRule> kRules = {
      {"eval evalsha fcall blmpop bzmpop", {counted_at(2)}},
      {"eval_ro evalsha_ro fcall_ro", {read(counted_at(2))}},
      {"zunionstore zinterstore zdiffstore", {written(keys_at(1)), read(counted_at(2))}},
      {"zunion zinter zdiff zintercard sintercard", {read(counted_at(1))}},
      {"lmpop zmpop", {counted_at(1)}},
      {"xread", {read(behind("streams", 1, -1, 2))}},
      {"xreadgroup", {behind("streams", 4, -1, 2)}},
      {"sort", {read(keys_at(1)), written(behind("store", 2))}},
      {"sort_ro", {read(keys_at(1))}},
      {"georadius", {read(keys_at(1)), written(behind("store", 6)), written(behind("storedist", 6))}},
      {"georadiusbymember", {read(keys_at(1)), written(behind("store", 5)), written(behind("storedist", 5))}},
      {"migrate", {keys_at(3), behind("keys", 6, -1)}},
      {"memory|usage", {read(keys_at(2))}},
  };
  return kRules;
}

/// Calls `visit(rule, name)` for each of the blank-separated names of the rules.
template <class Rules, class Visit>
void for_each_name(const Rules& rules, Visit visit) {
  for (const auto& rule : rules) {
    for (const std::string& name : split(rule.names, ' ')) visit(rule, name);
  }
}

const CommandClass* class_rule(std::string_view name) {
  static const auto kByName = [] {
    std::unordered_map<std::string, CommandClass> by_name;
    for_each_name(kClassRules, [&](const ClassRule& rule, const std::string& each) { by_name[each] = rule.cls; });
    return by_name;
  }();
  const auto found = kByName.find(std::string(name));
  return found == kByName.end() ? nullptr : &found->second;
}

const std::vector<KeyRange>* key_rule(std::string_view name) {
  const std::vector<KeyRange>* keys = nullptr;
  for_each_name(key_rules(), [&](const KeyRule& rule, const std::string& each) {
    if (each == name) keys = &rule.keys;
  });
  return keys;
}

bool has_flag(const CommandEntry& entry, std::string_view flag) {
  return std::find(entry.flags.begin(), entry.flags.end(), flag) != entry.flags.end();
}

CommandClass class_of(const CommandEntry& entry) {
  if (const CommandClass* rule = class_rule(entry.name)) return *rule;
  const std::string_view container = std::string_view(entry.name).substr(0, entry.name.find('|'));
  if (const CommandClass* rule = class_rule(container)) return *rule;
  if (entry.writes) return has_flag(entry, "blocking") ? CommandClass::blocking : CommandClass::write;
  if (!has_flag(entry, "readonly")) return CommandClass::pin;
  const bool about_keys = !entry.keys.empty() || entry.incomplete_keys;
  return about_keys ? CommandClass::read : CommandClass::read_primary;
}

/// The same text, for ever. Names are few, and those of a new table are those of the last one.
std::string_view keep(const std::string& name) {
  static std::mutex mutex;
  static std::set<std::string> names;
  const std::lock_guard lock(mutex);
  return *names.insert(name).first;
}

/// What the way of a request asks about its command, from what is known about it.
void derive(CommandEntry& entry) {
  const auto is_one_of = [&](std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), entry.name) != names.end();
  };
  const CommandClass cls = entry.cls;
  entry.kept_name = keep(entry.name);
  entry.publishes = is_one_of({"publish", "spublish"});
  entry.without_login = is_one_of({"auth", "hello", "quit", "reset"});
  entry.while_subscribed = cls == CommandClass::subscribe || is_one_of({"ping", "quit", "reset"});
  entry.may_write =
      entry.writes || cls == CommandClass::write || cls == CommandClass::pin || is_one_of({"exec", "pfcount"});
  entry.variable_use = is_one_of({"set", "bitfield"});
  const bool one_key = entry.keys.size() == 1 && !entry.incomplete_keys && !entry.pattern_keys;
  if (!one_key) return;
  const KeyRange& range = entry.keys[0];
  const bool fixed = range.begin == KeyRange::Begin::index && range.find == KeyRange::Find::range && range.last == 0;
  if (fixed && range.index > 0) entry.only_key = static_cast<size_t>(range.index);
}

/// All that follows from name, flags and keys.
void classify(CommandEntry& entry) {
  entry.admin = has_flag(entry, "admin");
  entry.writes = has_flag(entry, "write");
  if (const auto* keys = key_rule(entry.name); keys != nullptr && (entry.keys.empty() || entry.incomplete_keys)) {
    entry.keys = *keys;
    entry.incomplete_keys = false;
  }
  entry.hidden_keys = entry.incomplete_keys;
  entry.cls = class_of(entry);
  entry.pattern_keys = entry.name == "sort_ro";
  entry.block_option = entry.name == "xread" || entry.name == "xreadgroup";
  if (entry.cls == CommandClass::script) {
    entry.writes = !entry.name.ends_with("_ro");
    if (entry.writes) entry.incomplete_keys = true;  // nothing keeps a script to the keys it was given
  }
  if (entry.writes && entry.keys.empty()) entry.incomplete_keys = true;  // FLUSHALL and the like
  derive(entry);
}

/// The value behind `name` in [name value name value ...].
const Value* field(const Value& flat, std::string_view name) {
  for (size_t i = 0; i + 1 < flat.elements.size(); i += 2) {
    if (flat.elements[i].text == name) return &flat.elements[i + 1];
  }
  return nullptr;
}

int number(const Value& flat, std::string_view name, int otherwise) {
  const Value* value = field(flat, name);
  return value != nullptr && value->type == Value::Type::integer ? static_cast<int>(value->integer) : otherwise;
}

bool contains(const Value* list, std::string_view text) {
  return list != nullptr && std::any_of(list->elements.begin(), list->elements.end(),
                                        [&](const Value& each) { return each.text == text; });
}

/// Reads "begin_search" or "find_keys": its type, empty if there is none, and its numbers.
std::string_view search_type(const Value& spec, std::string_view name, const Value*& numbers) {
  const Value* search = field(spec, name);
  const Value* type = search != nullptr ? field(*search, "type") : nullptr;
  numbers = search != nullptr ? field(*search, "spec") : nullptr;
  return type != nullptr && numbers != nullptr ? std::string_view(type->text) : std::string_view{};
}

void add_key_spec(CommandEntry& entry, const Value& spec) {
  const Value* flags = field(spec, "flags");
  if (contains(flags, "not_key")) return;  // a shard channel
  if (contains(flags, "incomplete")) entry.incomplete_keys = true;
  KeyRange range;
  range.reads = contains(flags, "access");
  range.writes = contains(flags, "insert") || contains(flags, "delete") || contains(flags, "update");
  const Value* numbers = nullptr;
  const std::string_view begin = search_type(spec, "begin_search", numbers);
  if (begin == "index") {
    range.index = number(*numbers, "index", 0);
  } else if (begin == "keyword") {
    const Value* keyword = field(*numbers, "keyword");
    range.begin = KeyRange::Begin::keyword;
    range.keyword = keyword != nullptr ? keyword->text : "";
    range.index = number(*numbers, "startfrom", 1);
  } else {
    entry.incomplete_keys = true;
    return;
  }
  const std::string_view find = search_type(spec, "find_keys", numbers);
  if (find == "range") {
    range.last = number(*numbers, "lastkey", 0);
    range.limit = number(*numbers, "limit", 0);
  } else if (find == "keynum") {
    range.find = KeyRange::Find::keynum;
    range.keynum_index = number(*numbers, "keynumidx", 0);
    range.first_key = number(*numbers, "firstkey", 1);
  } else {
    entry.incomplete_keys = true;
    return;
  }
  range.step = number(*numbers, "keystep", 1);
  entry.keys.push_back(std::move(range));
}

/// Before 7.0 key positions are first/last/step, and a flag says when they are not the truth.
void add_old_keys(CommandEntry& entry, int first, int last, int step) {
  entry.incomplete_keys = has_flag(entry, "movablekeys");
  if (first == 0) return;
  entry.keys.push_back(keys_at(first, last < 0 ? last : last - first, step));
  entry.keys.back().writes = !has_flag(entry, "readonly");
}

/// Before 7.0 containers are one entry; where we treat subcommands apart they get entries of their own.
void add_old_subcommands(CommandEntry& container) {
  const std::string prefix = container.name + "|";
  for_each_name(kClassRules, [&](const ClassRule&, const std::string& name) {
    if (!name.starts_with(prefix)) return;
    auto sub = std::make_unique<CommandEntry>();
    sub->name = name;
    sub->arity = -2;  // all we know; the node checks
    sub->flags = container.flags;
    sub->categories = container.categories;
    classify(*sub);
    container.subcommands[name.substr(prefix.size())] = std::move(sub);
  });
}

/// Before 6.0 a node knows no ACLs: then what follows from the flags.
void add_categories(CommandEntry& entry, const Value* told) {
  if (told != nullptr) {
    for (const Value& each : told->elements) entry.categories.push_back(each.text.substr(each.text.starts_with('@')));
    return;
  }
  const auto add = [&](const char* name) { entry.categories.emplace_back(name); };
  if (has_flag(entry, "readonly")) add("read");
  if (has_flag(entry, "write")) add("write");
  if (has_flag(entry, "pubsub")) add("pubsub");
  add(has_flag(entry, "fast") ? "fast" : "slow");
  if (has_flag(entry, "admin")) {
    add("admin");
    add("dangerous");
  }
}

/// nullptr for what is no entry.
std::unique_ptr<CommandEntry> entry_from(const Value& value) {
  const std::vector<Value>& fields = value.elements;
  if (fields.size() < 6 || !fields[0].is_text() || fields[0].text.empty()) return nullptr;
  auto entry = std::make_unique<CommandEntry>();
  entry->name = to_lower(fields[0].text);
  entry->arity = static_cast<int>(fields[1].integer);
  for (const Value& flag : fields[2].elements) entry->flags.push_back(flag.text);
  add_categories(*entry, fields.size() > 6 ? &fields[6] : nullptr);
  const bool has_specs = fields.size() >= 10;
  if (has_specs) {
    for (const Value& spec : fields[8].elements) add_key_spec(*entry, spec);
    for (const Value& sub : fields[9].elements) {
      auto sub_entry = entry_from(sub);
      if (!sub_entry) continue;
      const std::string name = sub_entry->name.substr(sub_entry->name.find('|') + 1);
      entry->subcommands[name] = std::move(sub_entry);
    }
  } else {
    add_old_keys(*entry, static_cast<int>(fields[3].integer), static_cast<int>(fields[4].integer),
                 static_cast<int>(fields[5].integer));
  }
  classify(*entry);
  if (!has_specs) add_old_subcommands(*entry);
  entry->is_container = entry->subcommands.find(std::string_view("help")) != entry->subcommands.end();
  return entry;
}

using Args = std::span<const std::string_view>;

/// Keys that start at `begin`. False: they cannot be told.
bool visit_keys_from(const KeyRange& range, Args args, int64_t begin, KeyVisitor visit) {
  const auto count = static_cast<int64_t>(args.size());
  const int64_t step = std::max(range.step, 1);
  int64_t first = begin;
  int64_t last = begin + range.last;
  if (range.find == KeyRange::Find::keynum) {
    const int64_t at = begin + range.keynum_index;
    if (at < 0 || at >= count) return false;
    const auto keys = parse_int(args[static_cast<size_t>(at)]);
    if (!keys || *keys < 0 || *keys > count) return false;
    first = begin + range.first_key;
    last = first + (*keys - 1) * step;
  } else if (range.last < 0) {
    last = range.limit > 1 ? begin + (count - begin) / range.limit + range.last : count + range.last;
  }
  if (first < 0) return false;
  for (int64_t i = first; i <= last && i < count; i += step) visit(args[static_cast<size_t>(i)]);
  return true;
}

/// SORT_RO with BY or GET and a '*' behind it reads keys that are made from the elements. No other argument has a '*'.
bool uses_patterns(Args args) {
  for (size_t i = 2; i < args.size(); ++i) {
    if (args[i].find('*') != std::string_view::npos) return true;
  }
  return false;
}

char fold(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// Eight bytes at once: ASCII capitals become small letters, all else stays.
uint64_t fold_eight(uint64_t bytes) {
  constexpr uint64_t kEach = 0x0101010101010101;
  const uint64_t low_bits = bytes & (kEach * 0x7f);
  const uint64_t from_a = low_bits + kEach * (0x80 - 'A');  // the top bit of each byte: at least 'A'
  const uint64_t past_z = low_bits + kEach * (0x7f - 'Z');  // beyond 'Z'
  const uint64_t capitals = (from_a ^ past_z) & ~bytes & (kEach * 0x80);
  return bytes | capitals >> 2;
}

constexpr size_t kPackedBytesMax = 16;

template <class Word>
uint64_t load(const char* from) {
  Word word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

}  // namespace

/// False: the keys cannot be told. A keyword that is missing is an option that was not used.
bool CommandTable::visit_range(const KeyRange& range, Args args, KeyVisitor visit) {
  if (range.begin == KeyRange::Begin::index) return visit_keys_from(range, args, range.index, visit);
  const auto count = static_cast<int64_t>(args.size());
  const int64_t direction = range.index < 0 ? -1 : 1;
  // Of an option that is given twice (STORE a STORE b) the servers take the last: both are visited.
  const bool one_key_option = range.find == KeyRange::Find::range && range.last == 0;
  bool told = true;
  for (int64_t i = range.index < 0 ? count + range.index : range.index; i > 0 && i < count; i += direction) {
    if (!iequals(args[static_cast<size_t>(i)], range.keyword)) continue;
    told &= visit_keys_from(range, args, i + 1, visit);
    if (!one_key_option) break;
  }
  return told;
}

/// BITFIELD that only gets.
bool CommandTable::told_to_read(const CommandEntry& entry, Args args) {
  if (entry.name != "bitfield") return false;
  for (size_t i = 2; i < args.size();) {
    if (!iequals(args[i], "get")) return false;
    i += 3;
  }
  return true;
}

/// SET without GET does not tell the former value.
bool CommandTable::told_to_write(const CommandEntry& entry, Args args) {
  if (entry.name != "set") return false;
  return std::none_of(args.begin() + std::min<ptrdiff_t>(3, std::ssize(args)), args.end(),
                      [](std::string_view arg) { return iequals(arg, "get"); });
}

size_t NameHash::operator()(std::string_view name) const {
  uint64_t hash = 14695981039346656037U;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(fold(c))) * 1099511628211U;
  return hash;
}

bool NameEqual::operator()(std::string_view a, std::string_view b) const {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return fold(x) == fold(y); });
}

std::string_view class_name(CommandClass cls) {
  static constexpr std::array<std::string_view, 15> kNames{
      "read",    "read_primary", "write",   "scripts", "script", "blocking",        "transaction", "subscribe",
      "monitor", "tracking",     "session", "local",   "scan",   "private_primary", "pin"};
  return kNames[static_cast<size_t>(cls)];
}

CommandClass effective_class(const CommandEntry& entry, Args args) {
  if (!entry.block_option) return entry.cls;
  // Option by option, as the server reads them: a group may be called "block".
  for (size_t i = 1; i < args.size() && !iequals(args[i], "streams"); ++i) {
    if (iequals(args[i], "block")) return CommandClass::blocking;
    if (iequals(args[i], "count")) {
      i += 1;
    } else if (iequals(args[i], "group")) {
      i += 2;
    }
  }
  return entry.cls;
}

CommandTable::CommandTable() {
  add_own();
  make_index();
}

CommandTable CommandTable::from_command_reply(const Value& reply) {
  CommandTable table;
  for (const Value& value : reply.elements) {
    auto entry = entry_from(value);
    if (!entry || entry->name == "sidestream") continue;  // another instance's: ours are here already
    ++table.from_node_;
    std::string name = entry->name;
    table.commands_[std::move(name)] = std::move(entry);
  }
  table.make_index();
  return table;
}

inline CommandTable::PackedName CommandTable::PackedName::of(std::string_view name) {
  const char* const first = name.data();
  const size_t size = name.size();
  if (size >= 8) return {fold_eight(load<uint64_t>(first)), fold_eight(load<uint64_t>(first + size - 8)), size};
  if (size >= 4) return {fold_eight(load<uint32_t>(first) | load<uint32_t>(first + size - 4) << 32), 0, size};
  if (size == 0) return {};
  const uint64_t bytes =
      load<uint8_t>(first) | load<uint8_t>(first + size / 2) << 8 | load<uint8_t>(first + size - 1) << 16;
  return {fold_eight(bytes), 0, size};
}

inline size_t CommandTable::PackedName::place(size_t slots) const {
  const uint64_t mixed = (head ^ tail * 31 ^ size) * 0x9e3779b97f4a7c15;
  return (mixed ^ mixed >> 32) & (slots - 1);
}

void CommandTable::make_index() {
  size_t slots = 64;
  while (slots < commands_.size() * 4) slots *= 2;
  index_.assign(slots, {});
  ids_ = 0;
  for (const auto& [name, entry] : commands_) {
    entry->id = ids_++;
    for (const auto& [word, sub] : entry->subcommands) sub->id = ids_++;
    if (name.size() > kPackedBytesMax) continue;
    const PackedName packed = PackedName::of(name);
    size_t at = packed.place(slots);
    while (index_[at].entry != nullptr) at = (at + 1) & (slots - 1);
    index_[at] = {packed, entry.get()};
  }
}

inline const CommandEntry* CommandTable::find_command(std::string_view name) const {
  if (name.size() > kPackedBytesMax) {
    const auto found = commands_.find(name);
    return found == commands_.end() ? nullptr : found->second.get();
  }
  const PackedName packed = PackedName::of(name);
  const size_t slots = index_.size();
  size_t at = packed.place(slots);
  while (index_[at].entry != nullptr && index_[at].name != packed) at = (at + 1) & (slots - 1);
  return index_[at].entry;
}

void CommandTable::add_own() {
  for_each_name(own_commands(), [&](const OwnCommand& own, const std::string& name) {
    auto entry = std::make_unique<CommandEntry>();
    entry->name = name;
    entry->arity = own.arity;
    entry->categories = split(own.categories, ' ');
    classify(*entry);
    const size_t bar = name.find('|');
    if (bar == std::string::npos) {
      add_old_subcommands(*entry);
      commands_[name] = std::move(entry);
    } else {
      commands_.find(name.substr(0, bar))->second->subcommands[name.substr(bar + 1)] = std::move(entry);
    }
  });
}

const CommandEntry* CommandTable::find(Args args) const {
  if (args.empty()) return nullptr;
  const CommandEntry* command = find_command(args[0]);
  if (command == nullptr || command->subcommands.empty() || args.size() < 2) return command;
  const auto sub = command->subcommands.find(args[1]);
  return sub == command->subcommands.end() ? command : sub->second.get();
}

void CommandTable::deny(std::span<const std::string> names) {
  for (const std::string& name : names) {
    const auto found = commands_.find(std::string_view(name).substr(0, name.find('|')));
    if (found == commands_.end()) continue;
    CommandEntry& command = *found->second;
    const bool whole = name.find('|') == std::string::npos;
    if (whole) command.denied = true;
    for (auto& [sub_name, sub] : command.subcommands) {
      if (whole || iequals(sub->name, name)) sub->denied = true;
    }
  }
}

bool CommandTable::arity_fits(const CommandEntry& entry, size_t count) const {
  const auto args = static_cast<int64_t>(count);
  return entry.arity > 0 ? args == entry.arity : args >= -static_cast<int64_t>(entry.arity);
}

Keys CommandTable::search_keys(const CommandEntry& entry, Args args, KeyVisitor visit) {
  if (entry.keys.empty()) return entry.incomplete_keys ? Keys::unknown : Keys::none;
  bool told = !entry.incomplete_keys;
  for (const KeyRange& range : entry.keys) told &= visit_range(range, args, visit);
  if (entry.pattern_keys && uses_patterns(args)) told = false;
  return told ? Keys::known : Keys::unknown;
}

}  // namespace sidestream::resp
