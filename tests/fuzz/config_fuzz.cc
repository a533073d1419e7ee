// config_fuzz.cc: any text as a configuration file: it is refused with a place, or what it says is printed and read
// back as the same.
#include <string>

#include "config/config_file.h"
#include "config/print.h"
#include "tests/fuzz/fuzz_input.h"

namespace sidestream::fuzz {
namespace {

Loaded read(const std::string& text) {
  Loaded loaded;
  load_yaml("fuzz.yaml", text, {{"NAME", "value"}, {"EMPTY", ""}}, loaded);
  return loaded;
}

void check_text(const std::string& text) {
  const Loaded loaded = read(text);
  for (const Problem& problem : loaded.problems) {
    CHECK(problem.line().starts_with("fuzz.yaml:"));
    CHECK(!problem.text.empty());
  }
  (void)conflicts(loaded.config);
  if (!loaded.problems.empty()) return;
  const Loaded again = read(print_config(loaded));
  CHECK(again.problems.empty());
  for (const Option* option : differences(loaded.config, again.config)) CHECK(option->secret);
}

}  // namespace
}  // namespace sidestream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  sidestream::fuzz::check_text(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
