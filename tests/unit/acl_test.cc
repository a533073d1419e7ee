// acl_test.cc: ACL rules and files of users, and what comes out of `users` in the configuration. Words are stock's.
#include "config/acl.h"

#include "common/secrets.h"
#include "config/users.h"
#include "tests/unit/unit_test.h"

namespace sidestream {
namespace {

AclUser user_of(const std::vector<std::string>& rules) {
  AclUser user;
  user.name = "u";
  for (const std::string& rule : rules) {
    CAPTURE(rule);
    CHECK(apply_acl_rule(user, rule).ok());
  }
  return user;
}

std::string text_of(const std::vector<std::string>& rules) { return acl_text(user_of(rules)); }

std::string refusal(const std::vector<std::string>& before, const std::string& rule) {
  AclUser user = user_of(before);
  const AclUser as_it_was = user;
  auto applied = apply_acl_rule(user, rule);
  CHECK(user == as_it_was);
  return applied.ok() ? "" : applied.error().detail;
}

std::string mistakes_in(const std::string& text) {
  std::vector<AclMistake> mistakes;
  parse_acl_file(text, mistakes);
  std::string all;
  for (const AclMistake& mistake : mistakes) {
    all += std::to_string(mistake.line) + ":" + std::to_string(mistake.column) + ": " + mistake.text + "\n";
  }
  return all;
}

}  // namespace

TEST_CASE("acl: secrets") {
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(is_sha256_hex(sha256_hex("")));
  CHECK_FALSE(is_sha256_hex("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"));
  CHECK(equal_in_constant_time("same", "same"));
  CHECK_FALSE(equal_in_constant_time("same", "sama"));
  CHECK_FALSE(equal_in_constant_time("same", "samet"));
  CHECK(random_hex(5).size() == 5);
  CHECK(random_hex(32) != random_hex(32));
}

TEST_CASE("acl: rules as ACL LIST shows them") {
  CHECK(text_of({}) == "u off resetchannels -@all");
  CHECK(text_of({"on", "nopass", "~*", "&*", "+@all"}) == "u on nopass ~* &* +@all");
  CHECK(text_of({"ON", "allkeys", "allchannels", "allcommands"}) == "u on ~* &* +@all");
  CHECK(text_of({"~a*", "%R~b", "%rw~c", "%W~b", "~a*"}) == "u off ~a* ~b ~c resetchannels -@all");
  CHECK(text_of({"&x", "&y", "&x"}) == "u off resetchannels &x &y -@all");
  CHECK(text_of({"+GET", "-@Dangerous", "+config|SET"}) == "u off resetchannels -@all +get -@dangerous +config|set");
  CHECK(text_of({"+get", "+@all", "-flushall"}) == "u off resetchannels +@all -flushall");
  CHECK(text_of({"+get", "nocommands", "+set"}) == "u off resetchannels -@all +set");
  CHECK(text_of({"+@read", "-get", "+@read"}) == "u off resetchannels -@all -get +@read");
  CHECK(text_of({"~a", "(~b +get)", "(+@all -set %R~c &d)"}) ==
        "u off ~a resetchannels -@all (~b resetchannels -@all +get) (%R~c resetchannels &d +@all -set)");
  CHECK(text_of({"(+get)", "clearselectors"}) == "u off resetchannels -@all");
  CHECK(text_of({"on", ">pw", "~*", "+@all", "(+get)", "reset"}) == "u off sanitize-payload resetchannels -@all");
  CHECK(text_of({"~*", "resetkeys", "~a", "&*", "resetchannels"}) == "u off ~a resetchannels -@all");
  CHECK(text_of({"", "skip-sanitize-payload"}) == "u off skip-sanitize-payload resetchannels -@all");
}

TEST_CASE("acl: passwords") {
  const std::string hash = sha256_hex("pw");
  CHECK(user_of({">pw", ">pw", "#" + hash}).passwords == std::vector<std::string>{hash});
  CHECK(user_of({"nopass", ">pw"}).no_password == false);
  CHECK(user_of({">pw", "nopass"}).passwords.empty());
  CHECK(user_of({">pw", "<pw"}).passwords.empty());
  CHECK(user_of({">pw", ">other", "!" + hash}).passwords.size() == 1);
  CHECK(user_of({">pw", "resetpass"}).passwords.empty());
}

TEST_CASE("acl: what is no rule is refused in stock's words, and changes nothing") {
  const std::string syntax = "Syntax error", unknown = "Unknown command or category name in ACL";
  for (const char* rule : {"foo", "%~a", "%X~a", "%RR~a", "%R", "~a b", "&a\tb", "+select|"}) {
    CAPTURE(rule);
    CHECK(refusal({}, rule) == syntax);
  }
  for (const char* rule : {"+", "-", "+@", "+@nosuch", "-@nosuch", "+|a", "+config|set|x", "-select|", "+a b"}) {
    CAPTURE(rule);
    CHECK(refusal({}, rule) == unknown);
  }
  CHECK(refusal({"~*"}, "~a").starts_with("Adding a pattern after the * pattern (or the 'allkeys' flag)"));
  CHECK(refusal({"&*"}, "&a").starts_with("Adding a pattern after the * pattern (or the 'allchannels' flag)"));
  CHECK(refusal({}, "(~* ~a)").starts_with("Adding a pattern"));
  CHECK(refusal({}, "(on)") == syntax);
  CHECK(refusal({}, "(+get") == syntax);
  CHECK(refusal({}, "#12").starts_with("The password hash must be exactly 64 characters"));
  CHECK(refusal({}, "!12").starts_with("The password hash must be exactly 64 characters"));
  CHECK(refusal({}, "<pw") == "The password you are trying to remove from the user does not exist");
}

TEST_CASE("acl: files") {
  std::vector<AclMistake> mistakes;
  const auto users =
      parse_acl_file("user a on >pw ~* +@all\r\n\n  user b on (+get ~x) (~y  +set) nopass\nuser c", mistakes);
  REQUIRE(mistakes.empty());
  REQUIRE(users.size() == 3);
  CHECK(users[0].enabled);
  CHECK(users[1].selectors.size() == 3);
  CHECK(users[1].no_password);
  CHECK(users[2].name == "c");
  CHECK(mistakes_in("user x on\nuser x on\nusr y\n# comment\nuser z +@nosuch #12 >secret ~a (+get ~b\nuser") ==
        "2:6: Duplicate user 'x' found\n"
        "3:1: should start with user keyword followed by the username: user NAME on >password +@read ~*\n"
        "4:1: should start with user keyword followed by the username: user NAME on >password +@read ~*\n"
        "5:8: '+@nosuch': Unknown command or category name in ACL\n"
        "5:17: '#...': The password hash must be exactly 64 characters and contain only lowercase hexadecimal "
        "characters\n"
        "5:32: Unmatched parenthesis in selector definition\n"
        "6:1: should start with user keyword followed by the username: user NAME on >password +@read ~*\n");
}

TEST_CASE("acl: entries of the configuration as rules") {
  UserConfig entry;
  entry.name = "u";
  entry.password_sha256 = {sha256_hex("pw")};
  CHECK(acl_text(to_acl(entry)) == "u on #" + sha256_hex("pw") + " ~* &* +@all");
  entry.password_sha256.clear();
  entry.keys = {"a*", "%R~b*", "~c"};
  entry.channels = {"n.*", "&m"};
  entry.commands = {"+get", "+@write", "-del"};
  CHECK(acl_text(to_acl(entry)) == "u on ~a* %R~b* ~c resetchannels &n.* &m -@all +get +@write -del");
  entry.commands = {"-@dangerous", "+info"};
  CHECK(acl_commands_text(to_acl(entry).selectors[0]) == "+@all -@dangerous +info");
  entry.commands.clear();
  entry.access = "replication";
  CHECK(acl_commands_text(to_acl(entry).selectors[0]).starts_with("-@all +psync +sync +replconf"));
  entry.keys = {"*", "a"};
  CHECK(acl_keys_text(to_acl(entry).selectors[0]) == "~*");
}

TEST_CASE("acl: an entry that cannot be meant is refused with what to do") {
  const auto wrong = [](auto change) {
    UserConfig entry;
    entry.name = "u";
    entry.password_files = {"p"};
    change(entry);
    auto checked = check_user(entry);
    return checked.ok() ? std::string() : checked.error().detail;
  };
  CHECK(wrong([](UserConfig&) {}).empty());
  CHECK(wrong([](UserConfig& u) { u.password_files.clear(); }).find("give password-sha256") != std::string::npos);
  CHECK(wrong([](UserConfig& u) { u.name = "default", u.password_files.clear(); }).empty());
  CHECK(wrong([](UserConfig& u) { u.auth = "pass-through", u.password_files.clear(); }).empty());
  CHECK(wrong([](UserConfig& u) { u.access = "read", u.commands = {"+set"}; }).find("use access: all") !=
        std::string::npos);
  CHECK(wrong([](UserConfig& u) { u.access = "read", u.commands = {"-get"}; }).empty());
  CHECK_FALSE(wrong([](UserConfig& u) { u.access = "replication", u.commands = {"-get"}; }).empty());
  CHECK_FALSE(wrong([](UserConfig& u) { u.name = kFollowUser; }).empty());
}

}  // namespace sidestream
