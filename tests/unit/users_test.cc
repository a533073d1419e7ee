// users_test.cc: the decision about a request: by command, category, subcommand, first argument, key, channel,
// selector. The differential test asks a stock server the same; here stand the corners it cannot show.
#include "proxy/routing/users.h"

#include <fstream>
#include <iterator>

#include "common/text.h"
#include "config/users.h"
#include "proxy/resp/reply.h"
#include "proxy/routing/acl_log.h"
#include "proxy/routing/login_brake.h"
#include "tests/unit/unit_test.h"

namespace sidestream::routing {
namespace {

resp::CommandTable stock_commands() {
  std::ifstream file(SIDESTREAM_TEST_DATA "/command-7.0.15.resp", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  return resp::CommandTable::from_command_reply(resp::parse_value(bytes));
}

class Door {
 public:
  explicit Door(const std::string& acl_file) : commands_(stock_commands()) {
    std::vector<AclMistake> mistakes;
    config_.aclfile = "users.acl";
    config_.accounts = parse_acl_file(acl_file, mistakes);
    REQUIRE(mistakes.empty());
    users_ = std::make_unique<Users>(config_, commands_);
  }
  /// "" or command, key NAME, channel NAME.
  std::string denied(const std::string& user, const std::string& request) const {
    const std::vector<std::string> words = split(request, ' ');
    const std::vector<std::string_view> args(words.begin(), words.end());
    const resp::CommandEntry* entry = commands_.find(args);
    REQUIRE(entry != nullptr);
    const Verdict verdict = users_->find(user)->check(*entry, args);
    switch (verdict.what) {
      case Denied::nothing:
        return "";
      case Denied::command:
        return "command";
      case Denied::key:
        return "key " + std::string(verdict.object);
      case Denied::channel:
        return "channel " + std::string(verdict.object);
      default:
        return "sort " + std::string(verdict.object);
    }
  }
  const Users& users() const { return *users_; }

 private:
  resp::CommandTable commands_;
  Config config_;
  std::unique_ptr<Users> users_;
};

}  // namespace

TEST_CASE("users: who may everything is not asked") {
  const Door door(
      "user a on nopass ~* &* +@all\nuser b on nopass ~* +@all\nuser c on nopass ~* &* +@all -get\n"
      "user d on nopass (~* &* +@all)");
  CHECK(door.users().find("a")->may_all());
  CHECK_FALSE(door.users().find("b")->may_all());
  CHECK_FALSE(door.users().find("c")->may_all());
  CHECK(door.users().find("d")->may_all());
  CHECK(door.users().anybody()->may_all());
  CHECK(door.users().open());
  CHECK(door.users().find("nobody") == nullptr);
}

TEST_CASE("users: commands, subcommands, first arguments, categories") {
  const Door door(
      "user a on nopass ~* &* +@read +config|get +select|0 -select|1 +client -client|kill +eval -@slow +lrange");
  CHECK(door.denied("a", "get k").empty());
  CHECK(door.denied("a", "set k v") == "command");
  CHECK(door.denied("a", "lrange k 0 1").empty());
  CHECK(door.denied("a", "select 0").empty());
  CHECK(door.denied("a", "select 1") == "command");
  CHECK(door.denied("a", "eval x 0") == "command");
  CHECK(door.denied("a", "auth x").empty());
  CHECK(door.denied("a", "sidestream drain") == "command");
  const Door other("user a on nopass ~* &* +@all -@admin\nuser b on nopass ~* +sidestream|status +@connection");
  CHECK(other.denied("a", "sidestream drain") == "command");
  CHECK(other.denied("a", "sidestream status").empty());
  CHECK(other.denied("a", "psync ? -1") == "command");
  CHECK(other.denied("a", "config set a b") == "command");
  CHECK(other.denied("b", "sidestream status").empty());
  CHECK(other.denied("b", "sidestream token").empty());
  CHECK(other.denied("b", "sidestream nodes") == "command");
}

TEST_CASE("users: keys that are read, keys that are written, and selectors") {
  const Door door("user a on nopass %R~r:* %W~w:* +@all (~s:* +get +set)");
  CHECK(door.denied("a", "get r:1").empty());
  CHECK(door.denied("a", "get w:1") == "key w:1");
  CHECK(door.denied("a", "copy r:1 w:1").empty());
  CHECK(door.denied("a", "copy w:1 r:1") == "key w:1");
  CHECK(door.denied("a", "set w:1 v").empty());
  CHECK(door.denied("a", "set w:1 v get") == "key w:1");
  CHECK(door.denied("a", "get s:1").empty());
  CHECK(door.denied("a", "mget s:1 r:1") == "key s:1");
  CHECK(door.denied("a", "mget r:1 x y") == "key x");
  CHECK(door.denied("a", "eval x 2 r:1 w:1") == "key r:1");
  CHECK(door.denied("a", "sort r:1 by x*") == "sort x*");
}

TEST_CASE("users: channels are named, patterns literally") {
  const Door door("user a on nopass &n.* &exact +@all");
  CHECK(door.denied("a", "publish n.1 x").empty());
  CHECK(door.denied("a", "publish x n.1") == "channel x");
  CHECK(door.denied("a", "subscribe n.1 x") == "channel x");
  CHECK(door.denied("a", "psubscribe n.*").empty());
  CHECK(door.denied("a", "psubscribe n.1") == "channel n.1");
  CHECK(door.denied("a", "unsubscribe x").empty());
  CHECK(door.users().find("a")->may_hear("n.5", false));
  CHECK_FALSE(door.users().find("a")->may_hear("n.5", true));
}

TEST_CASE("users: the default user, with and without others") {
  const resp::CommandTable commands;
  Config config;
  CHECK(Users(config, commands).open());
  CHECK_FALSE(Users(config, commands).configured());
  config.requirepass = "pw";
  const Users with_password(config, commands);
  CHECK_FALSE(with_password.open());
  CHECK(with_password.anybody()->admits("pw"));
  CHECK_FALSE(with_password.anybody()->admits("PW"));
  UserConfig entry;
  entry.name = "app";
  config.users = {entry};
  config.accounts = {to_acl(entry)};
  CHECK(Users(config, commands).anybody()->admits("pw"));
  config.requirepass.clear();
  const Users others_only(config, commands);
  CHECK_FALSE(others_only.open());  // who has listed users wants nobody else
  CHECK_FALSE(others_only.anybody()->admits(""));
  CHECK(others_only.configured());
}

TEST_CASE("users: rules about commands that nobody knows are named") {
  const Door door("user a on nopass +nosuch -@all +get|x +config|nosuch +module.command\nuser b on nopass +get");
  CHECK(door.users().unknown_rules() == std::vector<std::string>{"a: +config|nosuch", "a: +module.command"});
}

TEST_CASE("users: refused logins wait longer and longer, by address, and are forgiven") {
  LoginBrake brake;
  CHECK(brake.failed("10.0.0.1", 1000) == 100);
  CHECK(brake.failed("10.0.0.1", 1000) == 200);
  for (int i = 0; i < 10; ++i) brake.failed("10.0.0.1", 1000);
  CHECK(brake.failed("10.0.0.1", 1000) == LoginBrake::kLongestMs);
  CHECK(brake.failed("10.0.0.2", 1000) == 100);
  CHECK(brake.failed("10.0.0.1", 1000 + LoginBrake::kForgottenAfterMs) == 100);
}

TEST_CASE("users: the log of refusals counts what repeats, and is bounded") {
  AclLog log;
  for (int64_t i = 0; i < 3; ++i) log.add({"key", "toplevel", "k", "u", "", i});
  CHECK(log.all().size() == 1);
  CHECK(log.all().front().count == 3);
  log.add({"key", "toplevel", "k", "u", "", 100'000});
  CHECK(log.all().size() == 2);
  for (int64_t i = 0; i < 1000; ++i) log.add({"key", "toplevel", std::to_string(i), "u", "", 100'000});
  CHECK(log.all().size() == 128);
}

}  // namespace sidestream::routing
