// users_fuzz.cc: files of users, and what those users may do.
//
//   input = the text of an ACL file
//
// A file that is understood says the same when it is written and read again; a mistake has a place in the text. What a
// user is allowed follows from the rules as people read them: nothing without a rule that gives, everything with +@all
// ~* &* alone, and a key only if a pattern fits.
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "common/text.h"
#include "proxy/resp/reply.h"
#include "proxy/routing/users.h"
#include "tests/fuzz/fuzz_input.h"

namespace sidestream::fuzz {
namespace {

using resp::CommandTable;
using routing::Denied;

const CommandTable& commands() {
  static const CommandTable kTable = [] {
    std::ifstream file(SIDESTREAM_TEST_DATA "/command-7.0.15.resp", std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    return CommandTable::from_command_reply(resp::parse_value(bytes));
  }();
  return kTable;
}

void check_places(const std::vector<AclMistake>& mistakes, std::string_view text) {
  const std::vector<std::string> lines = split(text, '\n');
  for (const AclMistake& mistake : mistakes) {
    CHECK(mistake.line >= 1 && mistake.line <= lines.size());
    CHECK(mistake.column >= 1 && mistake.column <= lines[mistake.line - 1].size());
    CHECK(!mistake.text.empty());
  }
}

void check_round_trip(const AclUser& user) {
  std::vector<AclMistake> mistakes;
  const auto again = parse_acl_file("user " + acl_text(user), mistakes);
  CHECK(mistakes.empty());
  CHECK(again.size() == 1);
  CHECK(acl_text(again[0]) == acl_text(user));
}

bool gives_something(const AclUser& user) {
  for (const AclSelector& selector : user.selectors) {
    for (const std::string& rule : selector.commands) {
      if (rule.front() == '+') return true;
    }
  }
  return false;
}

bool any_pattern_fits(const AclUser& user, std::string_view key) {
  for (const AclSelector& selector : user.selectors) {
    if (selector.all_keys) return true;
    for (const AclKeys& keys : selector.keys) {
      if (glob_match(keys.glob, key)) return true;
    }
  }
  return false;
}

void check_decisions(const routing::User& user) {
  static const std::vector<std::vector<std::string_view>> kRequests = {{"GET", "a"},
                                                                       {"SET", "a", "v"},
                                                                       {"MGET", "a", "b"},
                                                                       {"CONFIG", "SET", "a", "b"},
                                                                       {"SIDESTREAM", "DRAIN"},
                                                                       {"EVAL", "x", "1", "a"},
                                                                       {"PUBLISH", "a", "v"},
                                                                       {"FLUSHALL"},
                                                                       {"PSYNC", "?", "-1"},
                                                                       {"SORT", "a", "BY", "x*"}};
  for (const auto& request : kRequests) {
    const resp::CommandEntry* entry = commands().find(request);
    CHECK(entry != nullptr);
    const bool allowed = user.check(*entry, request).what == Denied::nothing;
    if (user.may_all()) CHECK(allowed);
    if (!gives_something(user.account())) CHECK(!allowed);
    if (allowed && !entry->keys.empty()) CHECK(any_pattern_fits(user.account(), "a"));
  }
  const std::vector<std::string_view> login = {"AUTH", "x"};
  CHECK(user.check(*commands().find(login), login).what == Denied::nothing);
  if (user.account().passwords.empty() && !user.account().no_password) CHECK(!user.admits(""));
  if (!user.account().enabled) CHECK(!user.admits("pw"));
}

}  // namespace
}  // namespace sidestream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sidestream;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<AclMistake> mistakes;
  Config config;
  config.aclfile = "users.acl";
  config.accounts = parse_acl_file(text, mistakes);
  fuzz::check_places(mistakes, text);
  if (!mistakes.empty()) return 0;
  for (const AclUser& user : config.accounts) fuzz::check_round_trip(user);
  const routing::Users users(config, fuzz::commands());
  for (const auto& [name, user] : users.all()) fuzz::check_decisions(*user);
  return 0;
}
