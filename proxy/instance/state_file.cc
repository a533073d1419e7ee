// state_file.cc: read once at start with plain streams, written through the files seam.
#include "proxy/instance/state_file.h"

#include <cstdio>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

namespace sidestream::instance {
namespace {
std::string path_in(const std::string& dir) { return dir + "/state.json"; }
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
  const std::string text = json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  const std::string wanted = path_in(dir);
  const std::string fresh = wanted + ".new";
  auto made = co_await world.files.make_directory(dir);
  CO_RETURN_IF_ERROR(made);
  auto file = co_await world.files.open(fresh, Files::Mode::create);
  CO_RETURN_IF_ERROR(file);
  auto written = co_await file.value()->write_at(0, text);
  CO_RETURN_IF_ERROR(written);
  auto synced = co_await file.value()->sync();
  CO_RETURN_IF_ERROR(synced);
  co_return co_await world.files.rename(fresh, wanted);
}

}  // namespace sidestream::instance
