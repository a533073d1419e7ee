// drift_compare.cc: see drift_compare.h; tests/unit/drift_compare_test.cc has the cases.
#include "proxy/instance/drift_compare.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "common/text.h"

namespace sidestream::instance {
namespace {

/// Servers may tell time differently by so much: whether a key this close to its end is still there proves nothing.
constexpr int64_t kClocksApartMs = 10'000;
constexpr int64_t kExpiriesApartMs = 1000;
/// The header of a HyperLogLog keeps the last count here, which PFCOUNT on a replica changes there alone.
constexpr std::string_view kHyperLogLog = "HYLL";
constexpr size_t kCountAt = 8, kCountBytes = 8;

struct Reader {
  std::string_view type;
  std::string_view command;  // with the key as KEY
};
constexpr std::array<Reader, 6> kReaders = {{{"string", "GET KEY"},
                                             {"list", "LRANGE KEY 0 -1"},
                                             {"set", "SMEMBERS KEY"},
                                             {"hash", "HGETALL KEY"},
                                             {"zset", "ZRANGE KEY 0 -1 WITHSCORES"},
                                             {"stream", "XRANGE KEY - +"}}};

const Reader* reader_of(std::string_view type) {
  const auto found =
      std::find_if(kReaders.begin(), kReaders.end(), [&](const auto& each) { return each.type == type; });
  return found == kReaders.end() ? nullptr : &*found;
}

/// So that no two lists of texts are the same bytes.
void append_text(std::string& out, std::string_view text) {
  out += std::to_string(text.size());
  out += ':';
  out += text;
}

void append_all(std::string& out, const resp::Value& value) {
  if (value.type != resp::Value::Type::array) return append_text(out, value.text);
  out += '[';
  for (const resp::Value& each : value.elements) append_all(out, each);
  out += ']';
}

/// Versions write the same number in different ways.
std::string plain_score(const std::string& text) {
  const double score = std::strtod(text.c_str(), nullptr) + 0.0;
  std::array<char, 64> room;
  const int size = std::snprintf(room.data(), room.size(), "%a", score);
  return std::string(room.data(), static_cast<size_t>(size));
}

/// Groups of `size` elements each, in an order of their own.
std::string sorted(const std::vector<resp::Value>& elements, size_t size) {
  std::vector<std::string> groups;
  for (size_t i = 0; i + size <= elements.size(); i += size) {
    std::string group;
    for (size_t j = 0; j < size; ++j) append_text(group, elements[i + j].text);
    groups.push_back(std::move(group));
  }
  std::sort(groups.begin(), groups.end());
  std::string out;
  for (const std::string& group : groups) append_text(out, group);
  return out;
}

std::string comparable(std::string_view type, const resp::Value& value) {
  if (type == "string") {
    std::string text = value.text;
    if (text.starts_with(kHyperLogLog) && text.size() > kCountAt + kCountBytes) {
      text.replace(kCountAt, kCountBytes, kCountBytes, '\0');
    }
    return text;
  }
  if (type == "set") return sorted(value.elements, 1);
  if (type == "hash") return sorted(value.elements, 2);
  std::string out;
  for (size_t i = 0; i < value.elements.size(); ++i) {
    const bool is_score = type == "zset" && i % 2 == 1;
    if (is_score) {
      append_text(out, plain_score(value.elements[i].text));
    } else {
      append_all(out, value.elements[i]);
    }
  }
  return out;
}

/// Only a stream exists without anything in it.
bool holds_nothing(std::string_view type, const resp::Value& value) {
  if (type == "string") return !value.is_text();
  return value.type != resp::Value::Type::array || (value.elements.empty() && type != "stream");
}

bool about_to_expire(const Reading& reading) {
  return reading.ttl_ms != Reading::kNone && reading.ttl_ms < kClocksApartMs;
}

bool expires(const Reading& reading) { return reading.ttl_ms != Reading::kNone; }

std::string what_differs(const Reading& primary, const Reading& replica) {
  if (!primary.exists()) return "missing at the primary, a " + replica.type + " at the replica";
  if (!replica.exists()) return "a " + primary.type + " at the primary, missing at the replica";
  if (primary.type != replica.type)
    return "a " + primary.type + " at the primary, a " + replica.type + " at the replica";
  if (primary.value != replica.value) return primary.type + " with another value";
  if (expires(primary) != expires(replica)) {
    return primary.type +
           (expires(primary) ? " that expires only at the primary" : " that expires only at the replica");
  }
  const bool both_tell = primary.expires_at_ms != Reading::kNotAsked && replica.expires_at_ms != Reading::kNotAsked;
  if (both_tell && std::abs(primary.expires_at_ms - replica.expires_at_ms) > kExpiriesApartMs) {
    return primary.type + " that expires at another time";
  }
  return "";
}

}  // namespace

bool can_read(std::string_view type) { return reader_of(type) != nullptr; }

std::vector<Words> questions_about(const std::string& key, std::string_view type, bool absolute_expiry) {
  std::vector<Words> questions = {{"TYPE", key}, {"PTTL", key}};
  if (absolute_expiry) questions.push_back({"PEXPIRETIME", key});
  const Reader* reader = reader_of(type);
  Words words = split(reader == nullptr ? kReaders[0].command : reader->command, ' ');
  words[1] = key;
  questions.push_back(std::move(words));
  return questions;
}

Reading reading_of(std::span<const resp::Value> answers, std::string_view type) {
  Reading reading;
  if (answers.size() < 3 || !answers[0].is_text() || answers[1].type != resp::Value::Type::integer) return reading;
  reading.type = answers[0].text;
  if (!reading.exists()) {
    reading.clear = true;
    return reading;
  }
  constexpr int64_t kGone = -2;
  if (answers[1].integer == kGone) return reading;  // it expired in between
  reading.ttl_ms = answers[1].integer;
  if (answers.size() > 3) {
    if (answers[2].type != resp::Value::Type::integer || answers[2].integer == kGone) return reading;
    reading.expires_at_ms = answers[2].integer;
  }
  reading.clear = true;
  if (reading.type != type) return reading;  // that alone tells enough
  const resp::Value& value = answers.back();
  reading.clear = !value.is_error() && !holds_nothing(type, value);
  if (reading.clear) reading.value = comparable(type, value);
  return reading;
}

Comparison compare(const Reading& primary, const Reading& replica) {
  if (!primary.clear || !replica.clear) return {};
  if (!primary.exists() && !replica.exists()) return {Verdict::equal, ""};
  if (primary.type == replica.type && (!primary.value || !replica.value)) return {};  // both changed their type
  std::string what = what_differs(primary, replica);
  if (what.empty()) return {Verdict::equal, ""};
  const bool one_missing = primary.exists() != replica.exists();
  if (one_missing && (about_to_expire(primary) || about_to_expire(replica))) return {};
  return {Verdict::differs, std::move(what)};
}

bool is_proof(const Bracket& bracket, ReplOffset last_write) {
  const bool in_order = bracket.seen_from <= bracket.primary_before &&
                        bracket.primary_before <= bracket.primary_after &&
                        bracket.primary_after <= bracket.replica_before &&
                        bracket.replica_before <= bracket.replica_after && bracket.replica_after <= bracket.seen_to;
  return in_order && last_write <= bracket.primary_before;
}

std::vector<int> databases_in_use(std::string_view info) {
  constexpr std::string_view kLine = "\ndb";
  std::vector<int> found;
  for (size_t at = info.find(kLine); at != std::string_view::npos; at = info.find(kLine, at + 1)) {
    const std::string_view line = info.substr(at + kLine.size(), info.find('\n', at + 1) - at - kLine.size());
    const size_t colon = line.find(":keys=");
    if (colon == std::string_view::npos) continue;
    if (const auto number = parse_int(line.substr(0, colon))) found.push_back(static_cast<int>(*number));
  }
  return found;
}

}  // namespace sidestream::instance
