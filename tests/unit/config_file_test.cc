// config_file_test.cc: the YAML file, the layers over it and the printed views: every mistake with its exact place.
#include "config/config_file.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>

#include "common/text.h"
#include "config/print.h"
#include "config/sources.h"
#include "tests/unit/unit_test.h"

namespace sidestream {
namespace {

std::string repository_file(const std::string& path) {
  auto text = read_whole_file(std::string(SIDESTREAM_TEST_DATA) + "/" + path, 1 << 20);
  REQUIRE_MESSAGE(text.ok(), path);
  return text.value();
}

Loaded yaml(const std::string& text, const Texts& environment = {}) {
  Loaded loaded;
  load_yaml("f", text, environment, loaded);
  return loaded;
}

std::string problems(const Loaded& loaded) {
  std::string all;
  for (const Problem& problem : loaded.problems) all += problem.line() + "\n";
  return all;
}

std::string problems(const std::string& text, const Texts& environment = {}) {
  return problems(yaml(text, environment));
}

/// A file that is gone at the end of the test.
class TempFile {
 public:
  explicit TempFile(const std::string& text) {
    const int fd = mkstemp(path_);
    REQUIRE(fd >= 0);
    close(fd);
    std::ofstream(path_, std::ios::binary) << text;
  }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  ~TempFile() { std::remove(path_); }
  std::string path() const { return path_; }

 private:
  char path_[32] = "/tmp/sidestream-test-XXXXXX";
};

TEST_CASE("the file that the documentation shows") {
  Loaded loaded = yaml(repository_file("contract_sample.yaml"));
  CHECK(problems(loaded) == "");
  CHECK(loaded.config.nodes == std::vector<NodeConfig>{{{"127.0.0.1", 6380, {}}, 100, ""}});
  REQUIRE(loaded.config.routing.rules.size() == 2);
  CHECK(loaded.config.routing.rules[0] == Rule{"stock:*", {}, ReadPolicy::primary});
  CHECK(loaded.config.routing.rules[1] == Rule{"", {"KEYS", "SCAN"}, ReadPolicy::eventual});
  loaded.config.nodes.clear();
  loaded.config.routing.rules.clear();
  CHECK(differences(Config{}, loaded.config).empty());  // everything else in it is the default
}

TEST_CASE("every mistake is found, each at its place") {
  const std::string text =
      "listen: [127.0.0.1:1, nowhere]\n"
      "repl-backlog-sise: 1mb\n"
      "repl-timeout: 010\n"
      "hold: { timeout: 5x }\n"
      "nodes:\n"
      "  - address: h:1\n"
      "    weight: -1\n"
      "  - weight: 5\n"
      "  - h:2\n"
      "routing:\n"
      "  reads: sometimes\n"
      "  rules:\n"
      "    - key: a\n"
      "    - { keys: a, keys: b, commands: [GET, {}], reads: never }\n"
      "  prefers: any\n"
      "dir:\n"
      "replica-priority: [1]\n"
      "hold: {}\n"
      "slave-priority: 7\n"
      "log: loud\n"
      "threads: 65\n"
      "users: [{name: a}]\n"
      "[a]: b\n";
  CHECK(problems(text) ==
        "f:1:23: listen: 'nowhere' is not an address: the port is missing (wanted HOST:PORT, [IPV6]:PORT, "
        "tls://HOST:PORT or unix:/PATH)\n"
        "f:2:1: unknown option 'repl-backlog-sise' (did you mean `repl-backlog-size`?)\n"
        "f:3:15: repl-timeout: wanted whole seconds such as 60, 60s or 2m of at least 1, not '010'\n"
        "f:4:18: hold.timeout: wanted a time such as 250ms, 5s or 2m, not '5x'\n"
        "f:7:13: nodes.weight: wanted a number from 0 to 10000, not '-1'\n"
        "f:8:5: nodes: address is missing\n"
        "f:9:5: nodes: wanted a mapping with address, weight, zone, not a single value\n"
        "f:11:10: routing.reads: wanted one of fresh, bounded, eventual, primary, not 'sometimes'\n"
        "f:13:7: routing.rules: unknown field 'key'; there are keys, commands, reads\n"
        "f:14:18: routing.rules.keys: given twice\n"
        "f:14:43: routing.rules.commands: wanted a name, not a mapping\n"
        "f:14:55: routing.rules.reads: wanted one of fresh, bounded, eventual, primary, not 'never'\n"
        "f:15:3: unknown option 'routing.prefers' (did you mean `routing.prefer`?)\n"
        "f:16:1: dir: wanted a path, not nothing; write \"\" for an empty value\n"
        "f:17:19: replica-priority: wanted a number, not a list\n"
        "f:18:1: hold: given twice, first at f:4:1\n"
        "f:19:1: slave-priority: given twice, first at f:17:1\n"
        "f:20:6: log: wanted a mapping of options, not a single value\n"
        "f:21:10: threads: wanted a number from 1 to 64, not '65'\n"
        "f:22:9: users: a: has no password; give password-sha256 or password-file (auth: pass-through leaves it to the "
        "nodes)\n"
        "f:23:1: the name of an option must be a single word\n");
}

TEST_CASE("numbers are read by us, not by YAML") {
  for (const char* wrong : {"0x10", "010", "0o10", "1_000", "1e2", "+5", "5.0", "~", ".inf", "true"}) {
    CAPTURE(wrong);
    CHECK(problems(std::string("replica-priority: ") + wrong).starts_with("f:1:"));
  }
  CHECK(yaml("replica-priority: \"17\"").config.replica_priority == 17);
}

TEST_CASE("sections and lists may be empty") {
  CHECK(problems("log:\ntls: {}\nnodes:\nrouting: { rules: [] }\nusers: []\ndeny-commands: []\n") == "");
  CHECK(problems("") == "");
  CHECK(problems("# only a comment\n") == "");
}

TEST_CASE("variables") {
  const Texts environment{{"HOST", "10.0.0.7"}, {"EMPTY", ""}, {"N", "12"}, {"SNEAKY", "x\nrequirepass: y"}};
  CHECK(yaml("replicaof: ${HOST}:6379", environment).config.replicaof.host == "10.0.0.7");
  CHECK(yaml("replica-priority: ${N}", environment).config.replica_priority == 12);
  CHECK(yaml("replica-priority: ${NOPE:-34}", environment).config.replica_priority == 34);
  CHECK(yaml("replica-priority: ${EMPTY:-56}", environment).config.replica_priority == 56);
  CHECK(yaml("nodes: [{address: \"${HOST}:1\", weight: \"${W:-5}\"}]", environment).config.nodes[0].weight == 5);
  CHECK(yaml("requirepass: a$b$${HOST}$$", environment).config.requirepass == "a$b${HOST}$$");
  // Expanded after parsing: a value cannot become structure.
  CHECK(yaml("masterauth: \"${SNEAKY}\"", environment).config.masterauth == "x\nrequirepass: y");
  CHECK(problems("replicaof: ${NOPE}:1") ==
        "f:1:12: replicaof: variable NOPE is not set in the environment; ${NAME:-default} gives a default\n");
  CHECK(problems("\n  dir: ${NOPE:?say where}") == "f:2:8: dir: variable NOPE is missing: say where\n");
  CHECK(problems("dir: ${NOPE") == "f:1:6: dir: '${' without a closing '}'\n");
  CHECK(problems("dir: ${a b}").starts_with("f:1:6: dir: '${a b}' is not ${NAME}"));
  CHECK(problems("${HOST}: 1", environment).find("unknown option '${HOST}'") != std::string::npos);
}

TEST_CASE("what is no YAML gives one problem with its place") {
  CHECK(problems("listen: [a\nb: }").starts_with("f:2:"));
  CHECK(problems("- a\n- b\n") == "f:1:1: the file must be a mapping of options, not a list\n");
  CHECK(problems("hello") == "f:1:1: the file must be a mapping of options, not a single value\n");
  CHECK(problems("dir: a\n---\ndir: b\n").find("one file holds one document") != std::string::npos);
  CHECK(problems("dir: *nobody\n").starts_with("f:1:"));
  CHECK_FALSE(problems(std::string(20'000, '[')).empty());
  CHECK_FALSE(problems(std::string(20'000, '{')).empty());
  CHECK_FALSE(problems(std::string("\0\0\xff\xfe", 4)).empty());
}

TEST_CASE("damaged files never crash, and a wall of mistakes ends") {
  const std::string good = repository_file("contract_sample.yaml");
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string bad = good;
    for (int i = 0; i < 4; ++i) bad[random() % bad.size()] = "\0:{}[]&*!|>'\"%@`-#\n\t "[random() % 22];
    if (random() % 2 == 0) bad.resize(random() % bad.size());
    (void)yaml(bad);
  }
  std::string wall;
  for (int i = 0; i < 1000; ++i) wall += "nonsense" + std::to_string(i) + ": 1\n";
  CHECK(yaml(wall).problems.size() <= 100);
}

TEST_CASE("flag before environment before file before default, and what changed at run time before all") {
  TempFile file(
      "nodes: [{address: 127.0.0.1:6380}]\nreplica-priority: 1\nrepl-timeout: 61\ndir: /from/file\nannounce-ip: f\n");
  Inputs inputs;
  inputs.file = file.path();
  inputs.environment = {
      {"SIDESTREAM_REPLICA_PRIORITY", "2"}, {"SIDESTREAM_REPL_TIMEOUT", "62"}, {"SIDESTREAM_DIR", "/from/env"}};
  inputs.flags = {{"repl-timeout", "63", "--set"}, {"dir", "/from/flag", "--dir"}};
  inputs.state = {{"repl-timeout", "64"}};
  const Loaded loaded = load(inputs);
  REQUIRE(problems(loaded) == "");
  CHECK(loaded.config.announce_ip == "f");
  CHECK(loaded.config.replica_priority == 2);
  CHECK(loaded.config.dir == "/from/flag");
  CHECK(loaded.config.repl_timeout == 64);
  CHECK(loaded.origin(*find_option("announce-ip")).where == file.path() + ":5:14");
  CHECK(loaded.origin(*find_option("replica-priority")).where == "SIDESTREAM_REPLICA_PRIORITY");
  CHECK(loaded.origin(*find_option("dir")).where == "--dir");
  CHECK(loaded.origin(*find_option("repl-timeout")).source == Source::state);
  CHECK(loaded.origin(*find_option("requirepass")).source == Source::preset);
}

TEST_CASE("mistakes of all sources come together; foreign variables are left alone") {
  TempFile file("thread: 1\n");
  Inputs inputs;
  inputs.file = file.path();
  inputs.environment = {{"SIDESTREAM_REPL_TIMEOUT", "soon"},
                        {"SIDESTREAM_SERVICE_HOST", "10.0.0.1"},
                        {"SIDESTREAM_PORT_6379_TCP", "tcp://10.0.0.1:6379"},
                        {"SIDESTREAM_REPLICA_OF", "h:1"}};
  inputs.flags = {{"nonsense", "1", "--set"}};
  inputs.state = {{"gone", "1"}, {"replica-priority", "x"}};
  const Loaded loaded = load(inputs);
  CHECK(problems(loaded) ==
        file.path() +
            ":1:1: unknown option 'thread' (did you mean `threads`?)\n"
            "SIDESTREAM_REPL_TIMEOUT: repl-timeout: wanted whole seconds such as 60, 60s or 2m of at "
            "least 1, not 'soon'\n--set: unknown option 'nonsense'\n");
  REQUIRE(loaded.warnings.size() == 3);
  CHECK(loaded.warnings[0] == "SIDESTREAM_REPLICA_OF is no option and ignored; SIDESTREAM_REPLICAOF is one");
}

TEST_CASE("conflicts are reported where the value came from") {
  TempFile file("replica-priority: 1\nnodes:\n  - address: h:1\n  - address: h:1\n");
  Inputs inputs;
  inputs.file = file.path();
  CHECK(problems(load(inputs)) == file.path() + ":3:3: nodes: h:1 is named twice\n");
  CHECK(problems(load({})).starts_with("configuration: nodes: there is no server"));
  inputs.file = "/does/not/exist.yaml";
  CHECK(problems(load(inputs)) == "/does/not/exist.yaml:1:1: cannot be read: No such file or directory\n");
  inputs.file = "/tmp";
  CHECK(problems(load(inputs)) == "/tmp:1:1: cannot be read: Is a directory\n");
}

TEST_CASE("passwords from files") {
  TempFile secret("s3cret\n");
  TempFile two_lines("a\n\n");
  TempFile empty("\n");
  Inputs inputs;
  inputs.flags = {{"nodes", "h:1", "--node"}, {"requirepass-file", secret.path(), "--set"}};
  CHECK(load(inputs).config.requirepass == "s3cret");
  inputs.flags[1] = {"masterauth-file", two_lines.path(), "--set"};
  CHECK(load(inputs).config.masterauth == "a\n");
  inputs.flags[1] = {"masterauth-file", empty.path(), "--set"};
  CHECK(problems(load(inputs)) == "--set: masterauth-file: '" + empty.path() + "' is empty\n");
  inputs.flags[1] = {"masterauth-file", "/does/not/exist", "--set"};
  CHECK(problems(load(inputs)) ==
        "--set: masterauth-file: '/does/not/exist' cannot be read: No such file or directory\n");
  inputs.flags[1] = {"requirepass-file", secret.path(), "--set"};
  inputs.environment = {{"SIDESTREAM_REQUIREPASS", "weaker"}};
  CHECK(load(inputs).config.requirepass == "s3cret");
  inputs.state = {{"requirepass", "newest"}};
  CHECK(load(inputs).config.requirepass == "newest");
  inputs.state = {};
  inputs.flags.pop_back();
  inputs.environment = {{"SIDESTREAM_REQUIREPASS", "both"}, {"SIDESTREAM_REQUIREPASS_FILE", secret.path()}};
  CHECK(problems(load(inputs)) ==
        "SIDESTREAM_REQUIREPASS_FILE: requirepass-file: requirepass is given as well; leave one of them out\n");
}

TEST_CASE("a secret on the command line is refused, and not repeated") {
  Inputs inputs;
  inputs.flags = {{"nodes", "h:1", "--node"}};
  for (const Option& option : options()) {
    if (!option.secret) continue;
    CAPTURE(option.name);
    inputs.flags.resize(1);
    inputs.flags.push_back({std::string(option.name), "topsecret", "--set"});
    const std::string found = problems(load(inputs));
    CHECK(found.find(std::string(option.name) + " on a command line can be read by everybody") != std::string::npos);
    CHECK(found.find("topsecret") == std::string::npos);
  }
}

TEST_CASE("PROXY headers need somebody to believe") {
  CHECK(problems(yaml("nodes: [{address: 'h:1'}]\nproxy-protocol: accept\n")) == "");
  const auto conflict = [](const std::string& text) {
    const auto found = conflicts(yaml("nodes: [{address: 'h:1'}]\n" + text).config);
    return found.empty() ? std::string() : found[0].text;
  };
  CHECK(conflict("proxy-protocol: accept\n") == "whose header is to be believed? Set proxy-protocol-from");
  CHECK(conflict("proxy-protocol: require\nproxy-protocol-from: [10.0.0.0/8, '::1']\n") == "");
  CHECK(conflict("proxy-protocol-from: [balancer]\n").starts_with("wanted an address or a network in numbers"));
  CHECK(conflict("proxy-protocol-from: [10.0.0.0/33]\n") == "behind the / of '10.0.0.0/33' there must be 0 to 32");
}

TEST_CASE("what is printed is read back as the same, without the secrets") {
  Inputs inputs;
  inputs.flags = {{"nodes", "127.0.0.1:6380;zone=b,[::1]:6381;weight=7", "--node"},
                  {"listen", "127.0.0.1:1,unix:/tmp/a b", "--listen"},
                  {"replicaof", "10.0.0.1 6379", "--replicaof"},
                  {"masteruser", "null", "--set"},
                  {"dir", "/tmp/${x} \"q\" \\ : # '", "--dir"},
                  {"announce-ip", "10.1.1.1", "--set"},
                  {"routing.rules", "keys=a: #*;reads=primary,commands=KEYS+SCAN;reads=eventual", "--set"},
                  {"repl-backlog-size", "96mb", "--set"},
                  {"hold.timeout", "1500ms", "--set"}};
  const Loaded first = load(inputs);
  REQUIRE(problems(first) == "");
  const std::string text = print_config(first);
  const Loaded second = yaml(text);
  CAPTURE(text);
  CHECK(problems(second) == "");
  CHECK(differences(first.config, second.config).empty());
  CHECK(text.find("repl-backlog-size: 96mb") != std::string::npos);
  inputs.environment = {{"SIDESTREAM_MASTERAUTH", "topsecret"}, {"SIDESTREAM_REQUIREPASS", "topsecret"}};
  const std::string masked = print_config(load(inputs));
  CHECK(masked.find("topsecret") == std::string::npos);
  CHECK(masked.find("requirepass: \"********\"") != std::string::npos);
}

TEST_CASE("the reference files are fresh, and the sample in them is right") {
  CHECK_MESSAGE(repository_file("../../../config/sidestream.yaml") == reference_yaml(),
                "run: sidestream --print-reference yaml > config/sidestream.yaml");
  CHECK_MESSAGE(repository_file("../../../config/README.md") == reference_markdown(),
                "run: sidestream --print-reference markdown > config/README.md");
  const Loaded loaded = yaml(reference_yaml());
  CHECK(problems(loaded) == "");
  CHECK(conflicts(loaded.config).empty());
  const auto moved = differences(Config{}, loaded.config);
  REQUIRE(moved.size() == 1);
  CHECK(moved[0]->name == "nodes");
  for (const Option& option : options()) {
    CAPTURE(option.name);
    CHECK(loaded.origins.contains(&option));
  }
}

}  // namespace
}  // namespace sidestream
