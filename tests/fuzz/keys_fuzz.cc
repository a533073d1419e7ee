// keys_fuzz.cc: where the keys of a request are, for any arguments of any command of a real server (its COMMAND reply
// is in tests/unit/data): each key is one of the arguments, and for commands whose keys first/last/step tell, they are
// those, read from the older half of the same reply.
//
//   input = command number (2 bytes), arguments separated by newlines
#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "common/text.h"
#include "proxy/resp/command_table.h"
#include "tests/fuzz/fuzz_input.h"

namespace sidestream::fuzz {
namespace {

using resp::CommandEntry;
using resp::CommandTable;
using resp::Keys;
using resp::Value;

struct OldSpec {
  std::vector<std::string> name;  // with its container in front
  int64_t first = 0, last = 0, step = 0;
  bool movable = false;
  bool keyless_read = false;
};

struct Known {
  CommandTable table;
  std::vector<OldSpec> specs;
};

void add_specs(const Value& reply, Known& known) {
  for (const Value& value : reply.elements) {
    const auto& fields = value.elements;
    OldSpec spec;
    spec.name = split(fields[0].text, '|');
    spec.first = fields[3].integer;
    spec.last = fields[4].integer;
    spec.step = fields[5].integer;
    for (const Value& flag : fields[2].elements) spec.movable |= flag.text == "movablekeys";
    known.specs.push_back(std::move(spec));
    add_specs(fields[9], known);
  }
}

const Known& known() {
  static const Known kKnown = [] {
    std::ifstream file(SIDESTREAM_TEST_DATA "/command-7.0.15.resp", std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    const Value reply = resp::parse_value(bytes);
    Known all{CommandTable::from_command_reply(reply), {}};
    add_specs(reply, all);
    CHECK(all.specs.size() > 300);
    return all;
  }();
  return kKnown;
}

/// getKeysUsingLegacyRangeSpec() of stock, for as many arguments as there are.
std::vector<std::string_view> plain_keys(const OldSpec& spec, const std::vector<std::string_view>& args) {
  std::vector<std::string_view> keys;
  if (spec.first <= 0) return keys;
  const auto count = static_cast<int64_t>(args.size());
  const int64_t last = spec.last < 0 ? count + spec.last : spec.last;
  for (int64_t i = spec.first; i <= last && i < count; i += std::max<int64_t>(spec.step, 1)) {
    keys.push_back(args[static_cast<size_t>(i)]);
  }
  return keys;
}

}  // namespace
}  // namespace sidestream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sidestream;
  fuzz::Input input(data, size);
  const fuzz::Known& known = fuzz::known();
  const size_t number = (input.take() << 8) + input.take();
  const fuzz::OldSpec& spec = known.specs[number % known.specs.size()];
  const std::vector<std::string> typed = split(input.rest(), '\n');
  std::vector<std::string_view> args(spec.name.begin(), spec.name.end());
  for (const auto& arg : typed) args.emplace_back(arg);

  const resp::CommandEntry* entry = known.table.find(args);
  CHECK(entry != nullptr);
  const resp::CommandClass cls = resp::effective_class(*entry, args);
  CHECK(!resp::class_name(cls).empty());
  known.table.arity_fits(*entry, args.size());
  std::vector<std::string_view> keys;
  const resp::Keys told = resp::CommandTable::for_each_key(*entry, args, [&](std::string_view key) {
    const auto same = [&](std::string_view arg) { return arg.data() == key.data() && arg.size() == key.size(); };
    CHECK(std::any_of(args.begin() + 1, args.end(), same));
    keys.push_back(key);
  });
  CHECK(told != resp::Keys::none || keys.empty());
  const bool right_count = known.table.arity_fits(*entry, args.size());
  const bool itself = entry->name == spec.name.back() || entry->name.ends_with("|" + spec.name.back());
  if (!spec.movable && right_count && itself && told == resp::Keys::known) {
    CHECK(keys == fuzz::plain_keys(spec, args));
  }
  return 0;
}
