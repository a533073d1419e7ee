// dataset_file.cc: see dataset_file.h.
#include "proxy/instance/dataset_file.h"

#include <array>
#include <cstdlib>
#include <span>
#include <vector>

#include "common/log.h"
#include "common/replace_file.h"
#include "common/text.h"

namespace sidestream::instance {
namespace {

constexpr size_t kLineMax = 256;

constexpr std::string_view kName = "dataset";

}  // namespace

std::string dataset_line(const KeptDataset& kept) {
  const std::string keys = kept.ours.keys ? std::to_string(*kept.ours.keys) : "?";
  const char* word = kept.rejected ? "rejected" : kept.held ? "held" : "trusted";
  return kept.ours.replid.text() + " " + std::to_string(kept.ours.offset.value) + " " + keys + " " + word + "\n";
}

std::optional<KeptDataset> parse_dataset(std::string_view line) {
  if (!line.ends_with('\n')) return std::nullopt;
  const std::vector<std::string> words = split(line.substr(0, line.size() - 1), ' ');
  if (words.size() != 4) return std::nullopt;
  const auto replid = replication::ReplId::parse(words[0]);
  const auto offset = parse_int(words[1]);
  const auto keys = parse_int(words[2]);
  KeptDataset kept;
  kept.rejected = words[3] == "rejected";
  kept.held = kept.rejected || words[3] == "held";
  if (!replid || !offset || (!keys && words[2] != "?") || (!kept.held && words[3] != "trusted")) return std::nullopt;
  kept.ours = {*replid, ReplOffset{*offset}, keys};
  return kept;
}

bool is_news(const KeptDataset& kept, const KeptDataset& now) {
  if (!(kept.ours.replid == now.ours.replid) || kept.held != now.held || kept.rejected != now.rejected) return true;
  if (kept.ours.keys.has_value() != now.ours.keys.has_value()) return true;
  if (!now.ours.keys) return false;
  const int64_t change = std::abs(*kept.ours.keys - *now.ours.keys);
  return change > *kept.ours.keys / 10;  // also from none to one
}

Task<std::optional<KeptDataset>> read_dataset(World& world, std::string dir) {
  const std::string path = dir + "/" + std::string(kName);
  auto file = co_await world.files.open(path, Files::Mode::read);
  if (!file.ok()) co_return std::nullopt;
  std::array<char, kLineMax> room;
  const std::span<char> into(room);
  auto size = co_await file.value()->read_at(0, into);
  if (!size.ok()) co_return std::nullopt;
  auto kept = parse_dataset(std::string_view(room.data(), size.value()));
  if (!kept) log_warning("instance", "{} is damaged: what was held before the restart is not known from it", path);
  co_return kept;
}

Task<Result<void>> write_dataset(World& world, std::string dir, KeptDataset kept) {
  std::string line = dataset_line(kept);
  std::string name(kName);
  co_return co_await replace_file(world.files, std::move(dir), std::move(name), std::move(line));
}

}  // namespace sidestream::instance
