// config_file.cc: walks the YAML tree along the option table. yaml-cpp keeps duplicate keys, reads 010 as eight and
// throws; here duplicates are found, scalars are taken as texts, and nothing is thrown further.
#include "config/config_file.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <yaml-cpp/yaml.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include "common/text.h"
#include "config/users.h"

namespace sidestream {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr size_t kMaxProblems = 100;  // a file of garbage needs no longer list

bool is_name_char(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// The inside of one ${...}.
Result<std::string> variable(std::string_view inside, const Texts& environment) {
  size_t end = 0;
  while (end < inside.size() && is_name_char(inside[end])) ++end;
  const std::string_view name = inside.substr(0, end);
  const std::string_view form = inside.substr(end, 2);
  const std::string_view rest = inside.substr(std::min(inside.size(), end + 2));
  if (name.empty() || (!form.empty() && form != ":-" && form != ":?")) {
    return Error{Errc::config, fmt::format("'${{{}}}' is not ${{NAME}}, ${{NAME:-default}} or ${{NAME:?message}}; "
                                           "write $${{ for a literal ${{",
                                           printable(inside))};
  }
  const auto found = environment.find(name);
  const bool usable = found != environment.end() && (form.empty() || !found->second.empty());
  if (usable) return found->second;
  if (form == ":-") return std::string(rest);
  const std::string why =
      rest.empty() ? "is not set in the environment; ${NAME:-default} gives a default" : printable(rest);
  return Error{Errc::config, fmt::format("variable {} {}{}", name, rest.empty() ? "" : "is missing: ", why)};
}

Result<std::string> expand(std::string_view text, const Texts& environment) {
  std::string out;
  while (!text.empty()) {
    const size_t dollar = text.find('$');
    out += text.substr(0, dollar);
    if (dollar == std::string_view::npos) break;
    text.remove_prefix(dollar);
    if (text.starts_with("$${")) {
      out += "${";
      text.remove_prefix(3);
    } else if (text.starts_with("${")) {
      const size_t close = text.find('}');
      if (close == std::string_view::npos) return Error{Errc::config, "'${' without a closing '}'"};
      auto value = variable(text.substr(2, close - 2), environment);
      RETURN_IF_ERROR(value);
      out += value.value();
      text.remove_prefix(close + 1);
    } else {
      out += '$';
      text.remove_prefix(1);
    }
  }
  return out;
}

bool is_section(std::string_view name) {
  for (const Option& option : options()) {
    if (option.name.size() > name.size() && option.name.starts_with(name) && option.name[name.size()] == '.')
      return true;
  }
  return false;
}

template <class Item>
std::string field_names(std::span<const ItemField<Item>> fields) {
  std::vector<std::string_view> names;
  for (const auto& field : fields) names.push_back(field.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string kind_of(const YAML::Node& node) {
  if (node.IsMap()) return "a mapping";
  if (node.IsSequence()) return "a list";
  return node.IsNull() ? "nothing" : "a single value";
}

class FileReader {
 public:
  FileReader(const std::string& name, const Texts& environment, Loaded& into)
      : name_(name), environment_(environment), into_(into) {}

  void read(const YAML::Node& root) {
    if (root.IsNull()) return;
    if (!root.IsMap()) return blame(root, fmt::format("the file must be a mapping of options, not {}", kind_of(root)));
    read_mapping(root, "");
  }

  void blame_at(const YAML::Mark& mark, std::string text) {
    if (into_.problems.size() < kMaxProblems) into_.blame(origin(mark), std::move(text));
  }

 private:
  Origin origin(const YAML::Mark& mark) const {
    const bool known = !mark.is_null();
    return {Source::file, fmt::format("{}:{}:{}", name_, known ? mark.line + 1 : 1, known ? mark.column + 1 : 1)};
  }
  void blame(const YAML::Node& node, std::string text) { blame_at(node.Mark(), std::move(text)); }

  /// The top level (prefix "") or a section (prefix "log.").
  void read_mapping(const YAML::Node& mapping, const std::string& prefix) {
    for (const auto& entry : mapping) {
      const YAML::Node& key = entry.first;
      if (!key.IsScalar()) {
        blame(key, "the name of an option must be a single word");
        continue;
      }
      const std::string name = prefix + key.Scalar();
      if (const Option* option = find_option(name)) {
        if (first_time(key, option->name)) read_option(*option, entry.second, key);
      } else if (prefix.empty() && is_section(name)) {
        if (first_time(key, name)) read_section(name, entry.second, key);
      } else {
        blame(key, fmt::format("unknown option '{}'{}", printable(name), did_you_mean(name)));
      }
    }
  }

  bool first_time(const YAML::Node& key, std::string_view canonical) {
    const auto [place, fresh] = seen_.emplace(canonical, origin(key.Mark()).where);
    if (!fresh) blame(key, fmt::format("{}: given twice, first at {}", printable(key.Scalar()), place->second));
    return fresh;
  }

  void read_section(const std::string& name, const YAML::Node& value, const YAML::Node& key) {
    if (value.IsNull()) return;  // all its lines are commented out
    if (value.IsMap()) return read_mapping(value, name + ".");
    blame_at(place(value, key), fmt::format("{}: wanted a mapping of options, not {}", name, kind_of(value)));
  }

  static YAML::Mark place(const YAML::Node& value, const YAML::Node& key) {
    return value.IsNull() || value.Mark().is_null() ? key.Mark() : value.Mark();
  }

  void read_option(const Option& option, const YAML::Node& value, const YAML::Node& key) {
    const bool list = option.type.kind == Kind::list;
    if (value.IsScalar()) {
      if (option.type.kind != Kind::items || value.Scalar().empty()) return read_scalar(option, value);
    } else if (value.IsSequence() && list) {
      return read_list(option, value);
    } else if (value.IsSequence() && option.type.kind == Kind::items) {
      return read_items(option, value);
    } else if (value.IsNull() && (list || option.type.kind == Kind::items)) {
      return;
    }
    blame_at(place(value, key), fmt::format("{}: wanted {}, not {}{}", key.Scalar(), wanted(option.type),
                                            kind_of(value), value.IsNull() ? "; write \"\" for an empty value" : ""));
  }

  void read_scalar(const Option& option, const YAML::Node& value) {
    const auto text = expand(value.Scalar(), environment_);
    if (!text.ok()) return blame(value, fmt::format("{}: {}", option.name, text.error().detail));
    into_.apply(option, text.value(), origin(value.Mark()));
  }

  /// Each part alone first, so that an error has its own place.
  void read_list(const Option& option, const YAML::Node& sequence) {
    std::vector<std::string> texts;
    Config scratch;
    for (const YAML::Node& part : sequence) {
      if (!part.IsScalar()) {
        blame(part, fmt::format("{}: wanted a single value, not {}", option.name, kind_of(part)));
        continue;
      }
      auto text = expand(part.Scalar(), environment_);
      auto checked = text.ok() ? set(scratch, option, text.value()) : Result<void>(text.error());
      if (!checked.ok()) {
        blame(part, fmt::format("{}: {}", option.name, checked.error().detail));
      } else {
        texts.push_back(std::move(text).value());
      }
    }
    const std::string separator(1, option.type.separator);
    if (texts.size() == sequence.size()) {
      into_.apply(option, fmt::format("{}", fmt::join(texts, separator)), origin(sequence.Mark()));
    }
  }

  void read_items(const Option& option, const YAML::Node& sequence) {
    Config& config = into_.config;
    const Slot slot = option.at(config);
    if (const auto* nodes = std::get_if<std::vector<NodeConfig>*>(&slot)) {
      read_each(option, sequence, node_fields(), **nodes);
    } else if (const auto* rules = std::get_if<std::vector<Rule>*>(&slot)) {
      read_each(option, sequence, rule_fields(), **rules);
    } else if (const auto* users = std::get_if<std::vector<UserConfig>*>(&slot)) {
      read_each(option, sequence, user_fields(), **users);
    }
  }

  template <class Item>
  void read_each(const Option& option, const YAML::Node& sequence, std::span<const ItemField<Item>> fields,
                 std::vector<Item>& items) {
    items.clear();
    for (const YAML::Node& node : sequence) {
      if (!node.IsMap()) {
        blame(node,
              fmt::format("{}: wanted a mapping with {}, not {}", option.name, field_names(fields), kind_of(node)));
        continue;
      }
      const size_t before = into_.problems.size();
      Item& item = items.emplace_back();
      read_fields(option, node, fields, item);
      if (into_.problems.size() == before) check_item(option, node, item);
    }
    into_.origins[&option] = origin(sequence.Mark());
  }

  void check_item(const Option& option, const YAML::Node& node, UserConfig& user) {
    user.where = origin(node.Mark()).where;
    auto checked = check_user(user);
    if (!checked.ok()) blame(node, fmt::format("{}: {}", option.name, checked.error().detail));
  }
  template <class Item>
  void check_item(const Option&, const YAML::Node&, const Item&) {}

  template <class Item>
  void read_fields(const Option& option, const YAML::Node& mapping, std::span<const ItemField<Item>> fields,
                   Item& item) {
    std::set<std::string> seen;
    for (const auto& entry : mapping) {
      const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
      const auto field = std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return f.name == name; });
      if (field == fields.end()) {
        blame(entry.first,
              fmt::format("{}: unknown field '{}'; there are {}", option.name, printable(name), field_names(fields)));
      } else if (!seen.insert(name).second) {
        blame(entry.first, fmt::format("{}.{}: given twice", option.name, name));
      } else {
        read_field(option, *field, entry.second, entry.first, item);
      }
    }
    if (const auto& first = fields[0]; first.type.min > 0 && !seen.contains(std::string(first.name))) {
      blame(mapping, fmt::format("{}: {} is missing", option.name, first.name));
    }
  }

  template <class Item>
  void read_field(const Option& option, const ItemField<Item>& field, const YAML::Node& value, const YAML::Node& key,
                  Item& item) {
    const std::string path = fmt::format("{}.{}", option.name, field.name);
    std::vector<std::string> texts;
    const bool list = value.IsSequence() && is_list(field.type.kind);
    if (!value.IsScalar() && !list) {
      return blame_at(place(value, key),
                      fmt::format("{}: wanted {}, not {}", path, wanted(field.type), kind_of(value)));
    }
    const auto one = [&](const YAML::Node& scalar) {
      auto text = scalar.IsScalar() ? expand(scalar.Scalar(), environment_)
                                    : Result<std::string>(Error{Errc::config, "wanted a name, not " + kind_of(scalar)});
      Item scratch;
      auto checked = text.ok() ? set(scratch, field, text.value()) : Result<void>(text.error());
      if (!checked.ok()) return blame(scalar, fmt::format("{}: {}", path, checked.error().detail));
      texts.push_back(std::move(text).value());
    };
    if (!list) one(value);
    if (list)
      for (const YAML::Node& part : value) one(part);
    if (list || !texts.empty()) {
      (void)set(item, field, fmt::format("{}", fmt::join(texts, std::string(1, field.type.separator))));
    }
  }

  const std::string& name_;
  const Texts& environment_;
  Loaded& into_;
  std::map<std::string, std::string, std::less<>> seen_;  // option or section -> where it first stood
};

}  // namespace

Result<std::string> read_whole_file(const std::string& path, size_t max_bytes) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) return Error{Errc::io, std::strerror(errno)};
  if (S_ISDIR(info.st_mode)) return Error{Errc::io, std::strerror(EISDIR)};
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return Error{Errc::io, std::strerror(errno)};
  std::string text(max_bytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (stream.bad()) return Error{Errc::io, std::strerror(EIO)};
  text.resize(static_cast<size_t>(stream.gcount()));
  if (text.size() > max_bytes)
    return Error{Errc::io, fmt::format("longer than {}", human_bytes(static_cast<int64_t>(max_bytes)))};
  return text;
}

void load_yaml(const std::string& name, const std::string& text, const Texts& environment, Loaded& into) {
  FileReader reader(name, environment, into);
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.size() > 1) reader.blame_at(documents[1].Mark(), "one file holds one document; take out the '---'");
    if (!documents.empty()) reader.read(documents[0]);
  } catch (const YAML::Exception& e) {
    reader.blame_at(e.mark, fmt::format("this is not valid YAML: {}", e.msg));
  } catch (const std::exception& e) {
    reader.blame_at(YAML::Mark::null_mark(), fmt::format("this is not valid YAML: {}", e.what()));
  }
}

void load_file(const std::string& path, const Texts& environment, Loaded& into) {
  const auto text = read_whole_file(path, kMaxFileBytes);
  if (text.ok()) return load_yaml(path, text.value(), environment, into);
  into.blame({Source::file, path + ":1:1"}, "cannot be read: " + text.error().detail);
}

}  // namespace sidestream
