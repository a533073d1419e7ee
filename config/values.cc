// values.cc: one small reader and writer per type of slot; std::visit picks it.
#include "config/values.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/text.h"
#include "config/users.h"

namespace sidestream {
namespace {

constexpr std::string_view kPolicies = "fresh|bounded|eventual|primary";

Error refuse(const Type& type, std::string_view text) {
  return {Errc::config, fmt::format("wanted {}, not '{}'", wanted(type), printable(text))};
}

std::string number_text(Kind kind, int64_t number) {
  if (kind == Kind::permissions) return fmt::format("{:o}", number);
  if (kind != Kind::milliseconds) return std::to_string(number);
  return number % 1000 == 0 ? fmt::format("{}s", number / 1000) : fmt::format("{}ms", number);
}

std::optional<int64_t> parse_permissions(std::string_view text) {
  if (text.empty() || text.size() > 4 || text.find_first_not_of("01234567") != std::string_view::npos)
    return std::nullopt;
  int64_t bits = 0;
  for (const char c : text) bits = bits * 8 + (c - '0');
  return bits;
}

std::optional<int64_t> parse_number(Kind kind, std::string_view text) {
  if (kind == Kind::bytes) return parse_bytes(text);
  if (kind == Kind::permissions) return parse_permissions(text);
  if (kind == Kind::milliseconds) return parse_duration_ms(text, 1000);
  if (kind != Kind::seconds) return parse_int(text);
  const auto ms = parse_duration_ms(text, 1000);
  if (!ms || *ms % 1000 != 0) return std::nullopt;
  return *ms / 1000;
}

/// "any|local|zone:NAME" against "zone:a".
bool is_choice(std::string_view choices, std::string_view text) {
  for (const std::string& choice : split(choices, '|')) {
    const size_t colon = choice.find(':');
    if (colon == std::string::npos) {
      if (choice == text) return true;
    } else if (text.starts_with(choice.substr(0, colon + 1))) {
      const std::string_view rest = text.substr(colon + 1);
      return choice.ends_with('N') ? parse_int(rest).value_or(0) > 0 : !rest.empty();
    }
  }
  return false;
}

bool is_word(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return c > ' ' && c != 0x7f && std::string_view(",;=+").find(c) == std::string_view::npos;
  });
}

bool fits(const Type& type, std::string_view text) {
  if (static_cast<int64_t>(text.size()) < type.min) return false;
  if (type.kind == Kind::choice) return is_choice(type.choices, text);
  if (type.kind == Kind::word) return is_word(text);
  return type.kind != Kind::path || text.find('\0') == std::string_view::npos;
}

Result<Address> read_address(const Type& type, std::string_view text) {
  auto address = parse_address(text);
  if (address.ok() && address.value().path.empty() && address.value().port < type.min) {
    return Error{Errc::config, fmt::format("'{}' has no port to connect to", printable(text))};
  }
  return address;
}

std::string address_text(const Type& type, const Address& address) {
  if (address.empty()) return {};
  const bool plain_words = address.path.empty() && address.transport == Transport::unsaid;
  if (type.kind != Kind::peer || !plain_words) return address.url();
  return fmt::format("{} {}", address.host, address.port);
}

std::span<const ItemField<NodeConfig>> fields_of(const NodeConfig&) { return node_fields(); }
std::span<const ItemField<Rule>> fields_of(const Rule&) { return rule_fields(); }
std::span<const ItemField<UserConfig>> fields_of(const UserConfig&) { return user_fields(); }
Result<void> check(const NodeConfig&) { return {}; }
Result<void> check(const Rule&) { return {}; }
Result<void> check(const UserConfig& user) { return check_user(user); }

/// The ACL rule that a word of such a list stands for.
std::string acl_rule(Kind kind, std::string_view word) {
  if (kind == Kind::sha256) return fmt::format("#{}", word);
  const std::string_view begin = kind == Kind::acl_keys ? "~%" : kind == Kind::acl_channels ? "&" : "+-";
  const bool complete = begin.find(word.front()) != std::string_view::npos;
  if (complete) return std::string(word);
  return kind == Kind::acl_commands ? std::string() : fmt::format("{}{}", begin.front(), word);
}

/// Texts without blanks. ACL words are tried on a user who is thrown away.
Result<void> read_words(const Type& type, std::string_view text, std::vector<std::string>& into) {
  std::vector<std::string> read;
  for (const std::string& word : split(text, type.separator)) {
    if (word.empty()) continue;
    if (type.kind != Kind::words) {
      AclUser scratch;
      const std::string rule = acl_rule(type.kind, word);
      if (rule.empty()) return refuse(type, word);
      auto applied = apply_acl_rule(scratch, rule);
      if (!applied.ok() && type.kind == Kind::sha256) return Error{Errc::config, applied.error().detail};
      if (!applied.ok()) return Error{Errc::config, fmt::format("'{}': {}", printable(word), applied.error().detail)};
    }
    read.push_back(word);
  }
  into = std::move(read);
  return {};
}

template <class Item>
Result<void> read_field(Item& item, std::string_view text) {
  const auto fields = fields_of(item);
  const size_t equals = text.find('=');
  // The first field is what an item is about: its name may be left out.
  const std::string_view name = equals == std::string_view::npos ? fields[0].name : trim(text.substr(0, equals));
  for (const auto& field : fields) {
    if (field.name != name) continue;
    auto done = set(item, field, equals == std::string_view::npos ? text : text.substr(equals + 1));
    if (done.ok() || equals == std::string_view::npos) return done;
    return Error{Errc::config, fmt::format("{}: {}", name, done.error().detail)};
  }
  return Error{Errc::config, fmt::format("'{}' is no field here", printable(name))};
}

/// Texts that are not there at all make no items: an empty text is an empty list.
std::vector<std::string> parts(std::string_view text, char separator) {
  if (trim(text).empty()) return {};
  std::vector<std::string> out = split(text, separator);
  for (std::string& part : out) part = trim(part);
  return out;
}

template <class Item>
Result<void> read_items(std::vector<Item>& items, std::string_view text) {
  std::vector<Item> read;
  for (const std::string& part : parts(text, ',')) {
    Item& item = read.emplace_back();
    for (const std::string& field : split(part, ';')) {
      auto done = read_field(item, trim(field));
      RETURN_IF_ERROR(done);
    }
    auto checked = check(item);
    RETURN_IF_ERROR(checked);
  }
  items = std::move(read);
  return {};
}

template <class Item>
std::string items_text(const std::vector<Item>& items) {
  std::string out;
  const Item plain{};
  for (const Item& item : items) {
    if (!out.empty()) out += ',';
    std::string line;
    for (const auto& field : fields_of(item)) {
      const std::string text = get(item, field);
      if (text != get(plain, field)) line += fmt::format("{}{}={}", line.empty() ? "" : ";", field.name, text);
    }
    out += line.empty() ? fmt::format("{}=", fields_of(item)[0].name) : line;
  }
  return out;
}

struct Reader {
  const Type& type;
  std::string_view text;

  Result<void> operator()(std::monostate) const {
    if (trim(text).empty()) return {};
    return refuse(type, text);
  }
  Result<void> operator()(bool* value) const {
    if (text != "yes" && text != "no" && text != "true" && text != "false") return refuse(type, text);
    *value = text == "yes" || text == "true";
    return {};
  }
  Result<void> operator()(int64_t* value) const {
    const auto number = parse_number(type.kind, text);
    if (!number || *number < type.min || *number > type.max) return refuse(type, text);
    *value = *number;
    return {};
  }
  Result<void> operator()(std::string* value) const {
    if (!fits(type, text)) return refuse(type, text);
    *value = text;
    return {};
  }
  Result<void> operator()(ReadPolicy* value) const {
    const auto policy = parse_read_policy(text);
    RETURN_IF_ERROR(policy);
    *value = policy.value();
    return {};
  }
  Result<void> operator()(Address* value) const {
    if (trim(text).empty() || (type.kind == Kind::peer && iequals(trim(text), "no one"))) {
      *value = {};
      return {};
    }
    auto address = read_address(type, text);
    RETURN_IF_ERROR(address);
    *value = std::move(address).value();
    return {};
  }
  Result<void> operator()(std::vector<Address>* value) const {
    std::vector<Address> read;
    for (const std::string& part : parts(text, type.separator)) {
      auto address = read_address(type, part);
      RETURN_IF_ERROR(address);
      read.push_back(std::move(address).value());
    }
    *value = std::move(read);
    return {};
  }
  Result<void> operator()(std::vector<std::string>* value) const {
    if (type.kind != Kind::list) return read_words(type, text, *value);
    std::vector<std::string> read;
    for (const std::string& part : parts(text, type.separator)) {
      const bool texts = type.choices == kAnyText;
      if (part.empty() || (!texts && !is_word(part))) return refuse(type, text);
      read.push_back(texts ? part : to_upper(part));
    }
    *value = std::move(read);
    return {};
  }
  template <class Item>
  Result<void> operator()(std::vector<Item>* value) const {
    return read_items(*value, text);
  }
};

struct Writer {
  const Type& type;

  std::string operator()(std::monostate) const { return {}; }
  std::string operator()(const bool* value) const { return *value ? "yes" : "no"; }
  std::string operator()(const int64_t* value) const { return number_text(type.kind, *value); }
  std::string operator()(const std::string* value) const { return *value; }
  std::string operator()(const ReadPolicy* value) const { return std::string(name_of(*value)); }
  std::string operator()(const Address* value) const { return address_text(type, *value); }
  std::string operator()(const std::vector<Address>* value) const {
    std::vector<std::string> texts;
    for (const Address& address : *value) texts.push_back(address.url());
    return fmt::format("{}", fmt::join(texts, std::string(1, type.separator)));
  }
  std::string operator()(const std::vector<std::string>* value) const {
    return fmt::format("{}", fmt::join(*value, std::string(1, type.separator)));
  }
  template <class Item>
  std::string operator()(const std::vector<Item>* value) const {
    return items_text(*value);
  }
};

std::string bound_text(Kind kind, int64_t bound) {
  return kind == Kind::bytes ? size_text(bound) : number_text(kind, bound);
}

/// " from 1 to 64", " of at least 1": the bounds that are worth saying.
std::string range_text(const Type& type) {
  const std::string low = bound_text(type.kind, type.min);
  if (type.max < INT32_MAX) return fmt::format(" from {} to {}", low, bound_text(type.kind, type.max));
  return type.min == 0 ? "" : fmt::format(" of at least {}", low);
}

}  // namespace

Result<void> read_value(const Slot& slot, const Type& type, std::string_view text) {
  return std::visit(Reader{type, text}, slot);
}

std::string write_value(const Slot& slot, const Type& type) { return std::visit(Writer{type}, slot); }

std::string wanted(const Type& type) {
  switch (type.kind) {
    case Kind::flag:
      return "yes or no";
    case Kind::integer:
      return "a number" + range_text(type);
    case Kind::permissions:
      return "permissions such as 770";
    case Kind::bytes:
      return "a size such as 64mb" + range_text(type);
    case Kind::seconds:
      return "whole seconds such as 60, 60s or 2m" + range_text(type);
    case Kind::milliseconds:
      return "a time such as 250ms, 5s or 2m" + range_text(type);
    case Kind::text:
      return "a text";
    case Kind::word:
      return "a name without blanks and , ; = +";
    case Kind::choice:
      return fmt::format("one of {}", fmt::join(split(type.choices, '|'), ", "));
    case Kind::path:
      return "a path";
    case Kind::address:
      return "HOST:PORT, [IPV6]:PORT, tls://HOST:PORT or unix:/PATH";
    case Kind::peer:
      return "HOST:PORT, 'HOST PORT' or tls://HOST:PORT";
    case Kind::list:
      return "one value or a list";
    case Kind::words:
      return "one value or a list";
    case Kind::acl_keys:
      return "key patterns such as app:* or %R~app:*";
    case Kind::acl_channels:
      return "channel patterns such as news.*";
    case Kind::acl_commands:
      return "ACL rules such as +get, +@read, -@dangerous or -config|set";
    case Kind::sha256:
      return "64 lower-case hexadecimal digits each, as `printf %s PASSWORD | sha256sum` prints";
    case Kind::items:
      return "a list of mappings";
  }
  return {};
}

std::string size_text(int64_t bytes) {
  for (const auto& [name, unit] : {std::pair{"gb", int64_t{1} << 30}, {"mb", 1 << 20}, {"kb", 1 << 10}}) {
    if (bytes != 0 && bytes % unit == 0) return fmt::format("{}{}", bytes / unit, name);
  }
  return std::to_string(bytes);
}

std::string_view name_of(ReadPolicy policy) {
  switch (policy) {
    case ReadPolicy::fresh:
      return "fresh";
    case ReadPolicy::bounded:
      return "bounded";
    case ReadPolicy::eventual:
      return "eventual";
    case ReadPolicy::primary:
      return "primary";
  }
  return {};
}

Result<ReadPolicy> parse_read_policy(std::string_view name) {
  for (const ReadPolicy policy : {ReadPolicy::fresh, ReadPolicy::bounded, ReadPolicy::eventual, ReadPolicy::primary}) {
    if (iequals(name, name_of(policy))) return policy;
  }
  return refuse({.kind = Kind::choice, .choices = kPolicies}, name);
}

size_t quorum_of(std::string_view text) {
  constexpr std::string_view kQuorum = "quorum:";
  if (!text.starts_with(kQuorum)) return 0;
  return static_cast<size_t>(std::max<int64_t>(parse_int(text.substr(kQuorum.size())).value_or(0), 0));
}

}  // namespace sidestream
