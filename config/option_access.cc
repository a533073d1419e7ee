// option_access.cc: what needs nothing but the rows of the table: finding an option, reading, writing, comparing.
#include <fmt/format.h>

#include "common/text.h"
#include "config/options.h"
#include "config/values.h"

namespace sidestream {
namespace {

template <class Item>
Result<void> set_item(Item& item, const ItemField<Item>& field, std::string_view text) {
  return read_value(field.at(item), field.type, text);
}

}  // namespace

const Option* find_option(std::string_view name) {
  if (name.empty()) return nullptr;
  for (const Option& option : options()) {
    if (name == option.name || name == option.redis_name || name == option.redis_alias || name == option.alias) {
      return &option;
    }
  }
  return nullptr;
}

const Option* find_redis_option(std::string_view name) {
  if (name.empty()) return nullptr;
  for (const Option& option : options()) {
    if (iequals(name, option.redis_name) || iequals(name, option.redis_alias)) return &option;
  }
  return nullptr;
}

std::string did_you_mean(std::string_view name) {
  constexpr size_t kLongestTypo = 64;  // a longer word is no typo, and comparing costs its length
  if (name.size() > kLongestTypo) return {};
  std::vector<std::string> names;
  for (const Option& option : options()) {
    for (const std::string_view other : {option.name, option.redis_name, option.redis_alias, option.alias}) {
      if (!other.empty()) names.emplace_back(other);
    }
  }
  const std::string best = closest(name, names);
  return best.empty() ? std::string() : fmt::format(" (did you mean `{}`?)", best);
}

Result<void> set(Config& config, const Option& option, std::string_view text) {
  Config changed = config;
  auto done = read_value(option.at(changed), option.type, text);
  RETURN_IF_ERROR(done);
  config = std::move(changed);
  return {};
}

Result<void> set(Config& config, std::string_view name, std::string_view text) {
  const Option* option = find_option(name);
  if (option == nullptr) {
    return Error{Errc::config, fmt::format("unknown option '{}'{}", printable(name), did_you_mean(name))};
  }
  return set(config, *option, text);
}

Result<void> set(NodeConfig& node, const ItemField<NodeConfig>& field, std::string_view text) {
  return set_item(node, field, text);
}
Result<void> set(Rule& rule, const ItemField<Rule>& field, std::string_view text) {
  return set_item(rule, field, text);
}

Result<void> set(UserConfig& user, const ItemField<UserConfig>& field, std::string_view text) {
  return set_item(user, field, text);
}

// The slots of a row lead to mutable members, one lambda for reading and writing; get() only reads through them.
std::string get(const Config& config, const Option& option) {
  return write_value(option.at(const_cast<Config&>(config)), option.type);
}

std::string get_masked(const Config& config, const Option& option) {
  static constexpr const char* kHidden = "(hidden)";
  if (option.secret) return get(config, option).empty() ? "" : kHidden;
  Config masked = config;
  for (UserConfig& user : masked.users) {
    if (!user.password_sha256.empty()) user.password_sha256 = {kHidden};
  }
  return get(masked, option);
}

std::string get(const Config& config, std::string_view name) {
  const Option* option = find_option(name);
  CHECK(option != nullptr);
  return get(config, *option);
}

std::string get(const NodeConfig& node, const ItemField<NodeConfig>& field) {
  return write_value(field.at(const_cast<NodeConfig&>(node)), field.type);
}

std::string get(const Rule& rule, const ItemField<Rule>& field) {
  return write_value(field.at(const_cast<Rule&>(rule)), field.type);
}

void copy(const Option& option, const Config& from, Config& to) {
  const Slot source = option.at(const_cast<Config&>(from));
  const auto assign = [&]<class Place>(Place place) {
    if constexpr (std::is_pointer_v<Place>) *place = *std::get<Place>(source);
  };
  std::visit(assign, option.at(to));
}

std::string get(const UserConfig& user, const ItemField<UserConfig>& field) {
  return write_value(field.at(const_cast<UserConfig&>(user)), field.type);
}

std::string default_text(const Option& option) {
  static const Config plain;
  return get(plain, option);
}

std::vector<const Option*> differences(const Config& before, const Config& after) {
  std::vector<const Option*> different;
  for (const Option& option : options()) {
    if (get(before, option) != get(after, option)) different.push_back(&option);
  }
  return different;
}

}  // namespace sidestream
