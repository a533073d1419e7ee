// state_file.cc: read once at start with plain streams, written through the files seam.
#include "proxy/instance/state_file.h"

#include <cstdio>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "common/replace_file.h"

namespace sidestream::instance {
namespace {
constexpr std::string_view kName = "state.json";
std::string path_in(const std::string& dir) { return dir + "/" + std::string(kName); }
}  // namespace

Result<Texts> read_state(const std::string& dir) {
  std::ifstream file(path_in(dir));
  if (!file) return Texts{};
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto damaged = [&](const std::string& why) {
    return Error{Errc::config, path_in(dir) + " is damaged (" + why +
                                   "): repair it, or start with --forget-state to go by the configuration alone"};
  };
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("options") || !json["options"].is_object()) {
    return damaged("not a JSON object with options");
  }
  Texts options;
  for (const auto& [name, value] : json["options"].items()) {
    if (!value.is_string()) return damaged("option " + name + " is not a text");
    options[name] = value.get<std::string>();
  }
  return options;
}

void forget_state(const std::string& dir) { std::remove(path_in(dir).c_str()); }

Task<Result<void>> write_state(World& world, std::string dir, Texts options) {
  const nlohmann::json json = {{"options", options}};
  std::string text = json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  std::string name(kName);
  co_return co_await replace_file(world.files, std::move(dir), std::move(name), std::move(text));
}

}  // namespace sidestream::instance
