// acl_file.cc: Redis' file of users, which ACL SAVE writes and ACL LOAD reads. Words are parted by single blanks, and
// a selector in parentheses may stretch over several of them. As in stock, a comment is a mistake.
#include <fmt/format.h>

#include <algorithm>

#include "common/text.h"
#include "config/acl.h"

namespace sidestream {
namespace {

struct Word {
  std::string_view text;
  size_t column;  // from 1
};

std::vector<Word> words_of(std::string_view line) {
  std::vector<Word> words;
  size_t at = 0;
  while (at < line.size()) {
    const size_t end = std::min(line.find(' ', at), line.size());
    const std::string_view word = trim(line.substr(at, end - at));
    if (!word.empty()) words.push_back({word, at + 1});
    at = end + 1;
  }
  return words;
}

/// The rule that begins at words[at]: that word, or all up to the closing parenthesis. nullptr: it does not close.
const Word* end_of_rule(const std::vector<Word>& words, size_t at) {
  if (!words[at].text.starts_with('(')) return &words[at];
  const auto begin = words.begin() + static_cast<ptrdiff_t>(at);
  const auto last = std::find_if(begin, words.end(), [](const Word& each) { return each.text.ends_with(')'); });
  return last == words.end() ? nullptr : &*last;
}

/// Never shows a password, nor what may be half of one with a blank in it.
std::string shown(std::string_view rule) {
  const bool is_rule = std::string_view("+-~%&(").find(rule.front()) != std::string_view::npos;
  if (is_rule) return fmt::format("'{}'", printable(rule));
  const bool is_password = std::string_view("><#!").find(rule.front()) != std::string_view::npos;
  return is_password ? fmt::format("'{}...'", rule.front()) : "this word";
}

class FileReader {
 public:
  explicit FileReader(std::vector<AclMistake>& mistakes) : mistakes_(mistakes) {}

  void read_line(std::string_view line, size_t number) {
    const std::vector<Word> words = words_of(line);
    if (words.empty()) return;
    line_ = number;
    if (words[0].text != "user" || words.size() < 2) {
      return blame(words[0],
                   "should start with user keyword followed by the username: user NAME on >password +@read ~*");
    }
    const std::string name(words[1].text);
    const auto same =
        std::find_if(users_.begin(), users_.end(), [&](const AclUser& each) { return each.name == name; });
    if (same != users_.end()) return blame(words[1], fmt::format("Duplicate user '{}' found", printable(name)));
    AclUser& user = users_.emplace_back();
    user.name = name;
    for (size_t i = 2; i < words.size();) i = read_rule(user, words, i);
  }

  std::vector<AclUser> take() { return std::move(users_); }

 private:
  /// Where the next rule begins.
  size_t read_rule(AclUser& user, const std::vector<Word>& words, size_t at) {
    const Word* last = end_of_rule(words, at);
    if (last == nullptr) {
      blame(words[at], "Unmatched parenthesis in selector definition");
      return words.size();
    }
    const char* const begin = words[at].text.data();
    const std::string_view rule(begin, static_cast<size_t>(last->text.data() + last->text.size() - begin));
    auto applied = apply_acl_rule(user, rule);
    if (!applied.ok()) blame(words[at], fmt::format("{}: {}", shown(rule), applied.error().detail));
    return static_cast<size_t>(last - words.data()) + 1;
  }

  void blame(const Word& word, std::string text) { mistakes_.push_back({line_, word.column, std::move(text)}); }

  std::vector<AclMistake>& mistakes_;
  std::vector<AclUser> users_;
  size_t line_ = 0;
};

}  // namespace

std::vector<AclUser> parse_acl_file(std::string_view text, std::vector<AclMistake>& mistakes) {
  constexpr size_t kMistakesMax = 100;  // a file of garbage needs no longer list
  FileReader reader(mistakes);
  size_t number = 0;
  while (!text.empty() && mistakes.size() < kMistakesMax) {
    const size_t end = std::min(text.find('\n'), text.size());
    reader.read_line(text.substr(0, end), ++number);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return reader.take();
}

}  // namespace sidestream
