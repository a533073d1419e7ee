// replay.cc: runs a fuzz target over files, without a fuzzer: every input of its corpus, and what small damage makes of
// it (cut short, a byte changed). Part of the ordinary tests, with every compiler.
//
//   target_replay DIRECTORY|FILE...
//
// Happy path: one line with the number of runs. Failure modes: a property that does not hold aborts, with the input's
// name on standard error; no input at all is exit code 1.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_input.h"

namespace {

constexpr size_t kDamagedMax = 48;  // variants of each kind and input

void run(const std::string& bytes) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

size_t run_with_damage(const std::string& bytes) {
  run(bytes);
  size_t runs = 1;
  const size_t step = std::max<size_t>(1, bytes.size() / kDamagedMax);
  for (size_t at = 0; at < bytes.size(); at += step) {
    run(bytes.substr(0, at));
    std::string changed = bytes;
    changed[at] = static_cast<char>(changed[at] ^ (1 << (at % 7)));
    run(changed);
    runs += 2;
  }
  return runs;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> names;
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::is_directory(argv[i])) {
      names.emplace_back(argv[i]);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) names.push_back(entry.path().string());
  }
  std::sort(names.begin(), names.end());
  size_t runs = 0;
  for (const std::string& name : names) {
    std::ifstream file(name, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    std::fprintf(stderr, "%s\n", name.c_str());
    runs += run_with_damage(bytes);
  }
  std::printf("%zu inputs, %zu runs, nothing wrong\n", names.size(), runs);
  return names.empty() ? 1 : 0;
}
