// print.cc: three views of one table.
#include "config/print.h"

#include <fmt/format.h>

#include "common/text.h"
#include "config/values.h"

namespace sidestream {
namespace {

constexpr std::string_view kMask = "********";
constexpr size_t kCommentColumn = 44;
constexpr size_t kWidth = 118;

/// Plain where YAML and our own expansion take it as it is, else in double quotes.
std::string yaml_scalar(std::string_view text) {
  static constexpr std::string_view kSafe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/:+-";
  const bool plain = !text.empty() && text.find_first_not_of(kSafe) == std::string_view::npos && text[0] != '-' &&
                     text[0] != ':' && !text.ends_with(':') && !iequals(text, "null");
  if (plain) return std::string(text);
  std::string out = "\"";
  for (size_t i = 0; i < text.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (text.substr(i).starts_with("${")) out += '$';
    if (c == '"' || c == '\\') out += '\\';
    if (c < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", c);
    } else {
      out += text[i];
    }
  }
  return out + '"';
}

std::string scalar_of(const Type& type, const std::string& text) {
  if (type.kind == Kind::bytes) return size_text(parse_int(text).value_or(0));
  return yaml_scalar(text);
}

std::string list_of(const Type& type, const std::string& text) {
  if (text.empty()) return "[]";
  std::vector<std::string> parts;
  for (const std::string& part : split(text, type.separator)) parts.push_back(yaml_scalar(part));
  return parts.size() == 1 ? parts[0] : fmt::format("[{}]", fmt::join(parts, ", "));
}

std::string one_line(const Type& type, const std::string& text) {
  return is_list(type.kind) ? list_of(type, text) : scalar_of(type, text);
}

template <class Item>
std::vector<std::string> item_lines(const std::vector<Item>& items, std::span<const ItemField<Item>> fields) {
  std::vector<std::string> lines;
  for (const Item& item : items) {
    for (const auto& field : fields) {
      const std::string dash = &field == &fields[0] ? "- " : "  ";
      const std::string text = get(item, field);
      const bool masked = field.type.kind == Kind::sha256 && !text.empty();
      lines.push_back(
          fmt::format("{}{}: {}", dash, field.name, masked ? yaml_scalar(kMask) : one_line(field.type, text)));
    }
  }
  return lines;
}

/// The value as lines: the first behind "name: ", further ones below it.
std::vector<std::string> value_lines(const Config& config, const Option& option) {
  if (option.secret) return {get(config, option).empty() ? "\"\"" : yaml_scalar(kMask)};
  if (option.type.kind != Kind::items) return {one_line(option.type, get(config, option))};
  std::vector<std::string> lines;
  if (option.name == "nodes") lines = item_lines(config.nodes, node_fields());
  if (option.name == "routing.rules") lines = item_lines(config.routing.rules, rule_fields());
  if (option.name == "users") lines = item_lines(config.users, user_fields());
  if (lines.empty()) return {"[]"};
  lines.insert(lines.begin(), "");
  return lines;
}

std::string_view section_of(std::string_view name) {
  const size_t dot = name.find('.');
  return dot == std::string_view::npos ? std::string_view() : name.substr(0, dot);
}

/// Lines of a YAML file: knows in which section it is and indents.
class YamlText {
 public:
  void comment(std::string_view text) {
    std::string line;
    for (const std::string& word : split(text, ' ')) {
      if (indent_.size() + 2 + line.size() + 1 + word.size() > kWidth) flush_comment(line);
      line += (line.empty() ? "" : " ") + word;
    }
    flush_comment(line);
  }
  void blank() { out_ += '\n'; }
  /// To be called before the comment and the value of an option.
  void enter_section(std::string_view section) {
    if (section == section_) return;
    section_ = section;
    if (!section.empty()) out_ += fmt::format("{}:\n", section);
    indent_ = section.empty() ? "" : "  ";
  }
  void value(const Config& config, const Option& option, std::string_view remark) {
    const std::string_view name = section_.empty() ? option.name : option.name.substr(section_.size() + 1);
    const std::vector<std::string> lines = value_lines(config, option);
    std::string first = fmt::format("{}{}:{}{}", indent_, name, lines[0].empty() ? "" : " ", lines[0]);
    if (!remark.empty()) first = fmt::format("{:<{}}  # {}", first, kCommentColumn, remark);
    out_ += first + '\n';
    for (size_t i = 1; i < lines.size(); ++i) out_ += fmt::format("{}  {}\n", indent_, lines[i]);
  }
  std::string take() { return std::move(out_); }

 private:
  void flush_comment(std::string& line) {
    out_ += fmt::format("{}# {}\n", indent_, line);
    line.clear();
  }

  std::string out_;
  std::string_view section_;
  std::string indent_;
};

std::string other_names(const Option& option) {
  std::vector<std::string_view> names;
  for (const std::string_view name : {option.redis_name, option.redis_alias, option.alias}) {
    if (!name.empty() && name != option.name) names.push_back(name);
  }
  return names.empty() ? "" : fmt::format(" Also: `{}`.", fmt::join(names, "`, `"));
}

template <class Item>
std::string fields_text(std::span<const ItemField<Item>> fields) {
  std::string out;
  for (const auto& field : fields) {
    out += fmt::format("{}`{}` ({}): {}", out.empty() ? "" : " ", field.name, wanted(field.type), field.help);
  }
  return out;
}

std::string help_of(const Option& option) {
  std::string help(option.help);
  if (option.name == "nodes") help += " " + fields_text(node_fields());
  if (option.name == "routing.rules") help += " " + fields_text(rule_fields());
  if (option.name == "users") help += " " + fields_text(user_fields());
  return help;
}

std::string table_row(const Option& option) {
  const Type& type = option.type;
  const std::string value = type.kind == Kind::items ? "[]" : one_line(type, default_text(option));
  return fmt::format("| `{}` | `{}` | {} | {} | {}{} |\n", option.name, value, wanted(type),
                     option.reload == Reload::live ? "live" : "restart", help_of(option), other_names(option));
}

}  // namespace

std::string print_config(const Loaded& loaded) {
  YamlText yaml;
  for (const Option& option : options()) {
    yaml.enter_section(section_of(option.name));
    yaml.value(loaded.config, option, loaded.origin(option).where);
  }
  return yaml.take();
}

std::string reference_yaml() {
  Config example;
  example.nodes = {{{"127.0.0.1", 6380, {}}, 100, ""}};
  YamlText yaml;
  yaml.comment(
      "Sidestream's configuration: every option with its default. Sizes: 64mb, 1gb. Times: 250ms, 5s, 2m; a "
      "bare number is seconds. ${NAME}, ${NAME:-default} and ${NAME:?message} take environment variables, "
      "$${ is a literal ${. An option can also be given as environment variable (SIDESTREAM_LOG_LEVEL for "
      "log.level) or with --set log.level=debug. Names of redis.conf such as slave-priority or loglevel are "
      "understood. `sidestream --check-config` checks, "
      "`sidestream --print-config` shows what is in force and why.");
  for (const Option& option : options()) {
    yaml.blank();
    if (!option.heading.empty()) {
      yaml.enter_section("");
      yaml.comment(fmt::format("---- {} ----", option.heading));
    }
    yaml.enter_section(section_of(option.name));
    yaml.comment(help_of(option));
    yaml.value(example, option, "");
  }
  return yaml.take();
}

std::string reference_markdown() {
  std::string out =
      "# Configuration\n\n"
      "Made by `sidestream --print-reference markdown` from the option table in [options.cc](options.cc); a test keeps "
      "it fresh.\n[sidestream.yaml](sidestream.yaml) is the same as a file to start from.\n\n"
      "Precedence: what was changed at run time and kept in `dir`, then flag, then environment, then file, then "
      "default.\nThe variable of `log.level` is `SIDESTREAM_LOG_LEVEL`: upper case, `-` and `.` become `_`; the flag "
      "is "
      "`--set log.level=debug`.\n\n"
      "Sizes take Redis' units (`64mb`, `1gb`; `1m` is a million), times `250ms`, `5s`, `2m`, `1h`; a bare number is "
      "seconds.\nIn the file, `${NAME}`, `${NAME:-default}` and `${NAME:?message}` take environment variables, after "
      "the YAML was parsed\nand in values only; `$${` is a literal `${`. Outside the file, lists are joined by commas: "
      "`--set nodes='10.0.0.1:6379;weight=50,10.0.0.2:6379'`,\n`--set routing.rules='keys=stock:*;reads=primary,"
      "commands=KEYS+SCAN;reads=eventual'`.\n";
  for (const Option& option : options()) {
    if (!option.heading.empty()) {
      out += fmt::format("\n## {}\n\n| option | default | wanted | change | meaning |\n|---|---|---|---|---|\n",
                         option.heading);
    }
    out += table_row(option);
  }
  return out;
}

}  // namespace sidestream
