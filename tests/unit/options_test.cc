// options_test.cc: the table as a whole: every option can be printed and read back, keeps its bounds, and is
// documented.
#include "config/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "common/text.h"
#include "config/sources.h"
#include "config/values.h"
#include "tests/unit/unit_test.h"

namespace sidestream {
namespace {

std::string failure(std::string_view name, std::string_view text) {
  Config config;
  const auto done = set(config, name, text);
  return done.ok() ? "accepted" : done.error().detail;
}

NodeConfig node(int port) { return {{"127.0.0.1", port, {}}, 100, ""}; }

/// A value that is not the default and that the row accepts; nothing if it has only one.
std::string other_value(const Option& option) {
  const std::string preset = default_text(option);
  switch (option.type.kind) {
    case Kind::flag:
      return preset == "yes" ? "no" : "yes";
    case Kind::integer:
    case Kind::bytes:
    case Kind::seconds:
      return preset == std::to_string(option.type.min + 7) ? "11" : std::to_string(option.type.min + 7);
    case Kind::permissions:
      return "640";
    case Kind::milliseconds:
      return fmt::format("{}ms", option.type.min + 1234);
    case Kind::text:
      return "a text with, everything = \"in it\"; ${x}";
    case Kind::word:
      return "eu-west-1a";
    case Kind::choice: {
      const std::string last = split(option.type.choices, '|').back();
      return last.ends_with(":N")      ? last.substr(0, last.size() - 1) + "3"
             : last.ends_with(":NAME") ? last.substr(0, last.size() - 4) + "b"
                                       : last;
    }
    case Kind::path:
      return "/tmp/x y";
    case Kind::address:
      return "[::1]:7000";
    case Kind::peer:
      return "10.0.0.1 7000";
    case Kind::list:
      if (option.name == "faults") return "commands=GET+SET;delay=5ms,share=0.5;error=ERR on purpose";
      return option.name == "deny-commands"         ? "KEYS,FLUSHALL"
             : option.name == "proxy-protocol-from" ? "10.0.0.0/8,::1"
                                                    : "10.0.0.1:7000,unix:/run/s";
    case Kind::words:
    case Kind::acl_keys:
    case Kind::acl_channels:
    case Kind::acl_commands:
    case Kind::sha256:
      return {};  // of fields only
    case Kind::items:
      if (option.name == "users") {
        return "name=default;access=read;keys=a:* %R~b:*;commands=-keys,name=b;password-file=/p /q;auth=pass-through";
      }
      return option.name == "nodes" ? "address=10.0.0.1:7000;weight=60,address=10.0.0.2:7000;zone=b"
                                    : "keys=stock:*;reads=primary,commands=KEYS+SCAN;reads=eventual";
  }
  return {};
}

TEST_CASE("every option prints what it reads, and reads what it prints") {
  for (const Option& option : options()) {
    CAPTURE(option.name);
    Config config;
    const std::string preset = get(config, option);
    REQUIRE(set(config, option, preset).ok());
    CHECK(get(config, option) == preset);
    const std::string other = other_value(option);
    CAPTURE(other);
    const auto done = set(config, option, other);
    CHECK(done.ok());
    CHECK(get(config, option) == other);
    // One option moves one value.
    const auto moved = differences(Config{}, config);
    REQUIRE(moved.size() == 1);
    CHECK(moved[0] == &option);
  }
}

TEST_CASE("numbers keep their bounds") {
  for (const Option& option : options()) {
    const Kind kind = option.type.kind;
    if (kind != Kind::integer && kind != Kind::bytes && kind != Kind::seconds) continue;
    CAPTURE(option.name);
    Config config;
    CHECK(set(config, option, std::to_string(option.type.min)).ok());
    CHECK_FALSE(set(config, option, std::to_string(option.type.min - 1)).ok());
    CHECK(set(config, option, std::to_string(option.type.max)).ok());
    if (option.type.max < INT64_MAX) CHECK_FALSE(set(config, option, std::to_string(option.type.max + 1)).ok());
    for (const char* wrong : {"", " ", "x", "1 ", "0x10", "010", "1e3", "99999999999999999999", "-1"}) {
      CAPTURE(wrong);
      CHECK_FALSE(set(config, option, wrong).ok());
    }
    CHECK(get(config, option) == std::to_string(option.type.max));
  }
}

TEST_CASE("names are unique, found, and do not shadow each other") {
  std::map<std::string, std::string_view> owners;
  std::set<std::string> variables;
  for (const Option& option : options()) {
    CAPTURE(option.name);
    CHECK(find_option(option.name) == &option);
    CHECK(option.help.ends_with('.'));
    CHECK(variables.insert(variable_of(option)).second);
    for (const std::string_view name : {option.name, option.redis_name, option.redis_alias, option.alias}) {
      if (name.empty()) continue;
      const auto [place, fresh] = owners.emplace(name, option.name);
      CHECK(place->second == option.name);
      CHECK(find_option(name) == &option);
    }
    if (!option.redis_name.empty()) CHECK(find_redis_option(to_upper(option.redis_name)) == &option);
    if (!option.redis_alias.empty()) CHECK(find_redis_option(option.redis_alias) == &option);
  }
  CHECK(find_option("") == nullptr);
  CHECK(find_redis_option("") == nullptr);
  CHECK(find_redis_option("maxmemory") == nullptr);  // the lead node's
  CHECK(find_redis_option("dir") == nullptr);        // where its RDB is, not our spool
}

TEST_CASE("options of a section stand together") {
  std::set<std::string_view> closed;
  std::string_view current;
  for (const Option& option : options()) {
    const size_t dot = option.name.find('.');
    const std::string_view section = dot == std::string_view::npos ? "" : option.name.substr(0, dot);
    if (section == current) continue;
    if (!current.empty()) closed.insert(current);
    CHECK_FALSE(closed.contains(section));
    current = section;
  }
}

TEST_CASE("values") {
  Config config;
  SUBCASE("units") {
    CHECK(set(config, "repl-backlog-size", "1gb").ok());
    CHECK(get(config, "repl-backlog-size") == "1073741824");
    CHECK(set(config, "repl-timeout", "2m").ok());
    CHECK(config.repl_timeout == 120);
    CHECK(set(config, "hold.timeout", "250ms").ok());
    CHECK(config.hold.timeout_ms == 250);
    CHECK(set(config, "hold.timeout", "3").ok());
    CHECK(get(config, "hold.timeout") == "3s");
    CHECK(failure("repl-timeout", "1500ms") ==
          "wanted whole seconds such as 60, 60s or 2m of at least 1, not '1500ms'");
  }
  SUBCASE("words of redis.conf") {
    CHECK(set(config, "slaveof", "10.0.0.1 6379").ok());
    CHECK(config.replicaof == Address{"10.0.0.1", 6379, {}});
    CHECK(get(config, "replicaof") == "10.0.0.1 6379");
    CHECK(set(config, "replicaof", "NO ONE").ok());
    CHECK(config.replicaof.empty());
    CHECK(set(config, "slave-serve-stale-data", "no").ok());
    CHECK_FALSE(config.replica_serve_stale_data);
    CHECK(set(config, "primaryauth", "s3cret").ok());
    CHECK(config.masterauth == "s3cret");
  }
  SUBCASE("choices") {
    CHECK(set(config, "routing.prefer", "zone:eu-1").ok());
    CHECK_FALSE(set(config, "routing.prefer", "zone:").ok());
    CHECK(failure("routing.reads", "stale") == "wanted one of fresh, bounded, eventual, primary, not 'stale'");
    CHECK(failure("write-ack", "quorum:0") == "wanted one of primary, quorum:N, not 'quorum:0'");
  }
  SUBCASE("addresses") {
    CHECK(failure("listen", "tls://127.0.0.1").find("the port is missing") != std::string::npos);
    CHECK(failure("replicaof", "h:0") == "'h:0' has no port to connect to");
    CHECK(set(config, "listen", "127.0.0.1:0, unix:/tmp/s").ok());
    CHECK(config.listen.size() == 2);
    CHECK(set(config, "admin", "").ok());
    CHECK(config.admin.empty());
  }
  SUBCASE("an unknown name helps") {
    CHECK(failure("repl-backlog-sise", "1") ==
          "unknown option 'repl-backlog-sise' (did you mean `repl-backlog-size`?)");
    CHECK(failure(std::string(100'000, 'x'), "1").starts_with("unknown option"));
  }
}

TEST_CASE("nodes and rules as texts") {
  Config config;
  REQUIRE(set(config, "nodes", "127.0.0.1:6380, 127.0.0.1:6381;weight=50;zone=b").ok());
  REQUIRE(config.nodes.size() == 2);
  CHECK(config.nodes[1] == NodeConfig{{"127.0.0.1", 6381, {}}, 50, "b"});
  CHECK(failure("nodes", "h:1;weigth=5") == "'weigth' is no field here");
  CHECK(failure("nodes", "h:1;weight=x") == "weight: wanted a number from 0 to 10000, not 'x'");
  REQUIRE(set(config, "routing.rules", "keys=a:*;reads=primary,commands=keys+scan;reads=eventual").ok());
  REQUIRE(config.routing.rules.size() == 2);
  CHECK(config.routing.rules[1].commands == std::vector<std::string>{"KEYS", "SCAN"});
  CHECK(config.routing.rules[1].reads == ReadPolicy::eventual);
  const auto before = config.routing.rules;
  CHECK_FALSE(set(config, "routing.rules", "keys=a,reads=maybe").ok());
  CHECK(config.routing.rules == before);
}

TEST_CASE("conflicts between right values") {
  const auto texts = [](const Config& config) {
    std::string all;
    for (const Conflict& conflict : conflicts(config)) all += fmt::format("{}: {}\n", conflict.option, conflict.text);
    return all;
  };
  Config config;
  CHECK(texts(config).starts_with("nodes: there is no server to stand in front of"));
  config.nodes = {node(6380)};
  CHECK(texts(config).empty());
  config.nodes.push_back(config.nodes[0]);
  CHECK(texts(config) == "nodes: 127.0.0.1:6380 is named twice\n");
  config.nodes = {node(6379)};
  CHECK(texts(config) == "nodes: 127.0.0.1:6379 is our own address; a node is another server\n");
  config.nodes = {node(6380)};
  config.replicaof = {"127.0.0.1", 6380, {}};
  CHECK(texts(config).starts_with("replicaof: 127.0.0.1:6380 is one of our nodes"));
  config.replicaof = {};
  config.service_listen = config.listen[0];
  CHECK(texts(config).starts_with("service-listen: 127.0.0.1:6379 is used twice"));
  config.service_listen = {};
  config.routing.rules = {Rule{}};
  CHECK(texts(config).starts_with("routing.rules: a rule without keys and commands"));
}

}  // namespace
}  // namespace sidestream
