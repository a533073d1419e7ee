// command_line_test.cc: what users type and what they get: actions, exit codes, words; and the subcommands against a
// socket that plays the admin address.
#include "proxy/main/command_line.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "proxy/main/admin_client.h"
#include "proxy/main/status_view.h"
#include "proxy/main/subcommands.h"
#include "tests/unit/unit_test.h"

namespace sidestream {
namespace {

using Action = CommandLine::Action;

CommandLine typed(std::vector<std::string> arguments, const Texts& environment = {}) {
  return parse_command_line(std::move(arguments), environment);
}

bool says(const std::string& text, const std::string& words) { return text.find(words) != std::string::npos; }

/// One connection after another, each answered by `reply(request)`.
class FakeAdmin {
 public:
  explicit FakeAdmin(std::function<std::string(const std::string&)> reply) : reply_(std::move(reply)) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    REQUIRE(bind(listener_, reinterpret_cast<sockaddr*>(&address), length) == 0);
    REQUIRE(listen(listener_, 8) == 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    address_ = {"127.0.0.1", ntohs(address.sin_port), {}};
    thread_ = std::thread([this] { serve(); });
  }
  FakeAdmin(const FakeAdmin&) = delete;
  FakeAdmin& operator=(const FakeAdmin&) = delete;
  ~FakeAdmin() { stop(); }
  void stop() {
    if (!thread_.joinable()) return;
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  const Address& address() const { return address_; }

 private:
  void serve() {
    for (;;) {
      const int fd = accept(listener_, nullptr, nullptr);
      if (fd < 0) return;
      std::string request;
      char chunk[4096];
      while (!says(request, "\r\n\r\n")) {
        const ssize_t got = recv(fd, chunk, sizeof chunk, 0);
        if (got <= 0) break;
        request.append(chunk, static_cast<size_t>(got));
      }
      const std::string reply = reply_(request);
      for (const char c : reply.substr(0, 20)) (void)!send(fd, &c, 1, MSG_NOSIGNAL);  // in small pieces first
      if (reply.size() > 20) (void)!send(fd, reply.data() + 20, reply.size() - 20, MSG_NOSIGNAL);
      close(fd);
    }
  }
  std::function<std::string(const std::string&)> reply_;
  int listener_ = -1;
  Address address_;
  std::thread thread_;
};

std::string http(int status, const std::string& body) {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Type: text/plain\r\n\r\n" + body;
}

constexpr const char* kReplicaStatus = R"({"version":"0.1.0","role":"replica","state":"sync","ready":true,
  "replid":"8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb","offset":1000,
  "backlog":{"first":1,"histlen":2048,"memory_bytes":67108864,"disk_bytes":0},
  "upstream":{"address":"10.0.0.1:6379","state":"sync","offset":990,"last_io_ms":12,
              "snapshot":{"received":512,"total":1024}},
  "nodes":[{"address":"127.0.0.1:6380","role":"replica","state":"online","offset":900,"lag_bytes":100,"lag_ms":3,
            "reads":75,"writes":0},
           {"address":"127.0.0.1:6381","role":"replica","state":"down","offset":0,"lag_bytes":0,"lag_ms":0,
            "reads":25,"writes":0}],
  "replicas":[{"address":"10.0.0.9:6379","state":"send_bulk","offset":0,"lag_bytes":0,"sent":25,"total":100}],
  "counters":{"reads_replica":90,"reads_primary":10,"writes":5},"clients":{"connected":3,"accepted":4,"rejected":1}})";

TEST_CASE("one node is enough") {
  const CommandLine line = typed({"--node", "127.0.0.1:6380"});
  REQUIRE(line.action == Action::run);
  CHECK(line.config.nodes == std::vector<NodeConfig>{{{"127.0.0.1", 6380, {}}, 100, ""}});
  CHECK_FALSE(line.forget_state);
}

TEST_CASE("all flags") {
  const CommandLine line = typed({"--listen", "127.0.0.1:1", "--listen", "unix:/tmp/s", "--admin", "127.0.0.1:2",
                                  "--node", "h:3", "--node", "h:4", "--replicaof", "u:5", "--dir", "/d",
                                  "--forget-state", "--set", "log.level=debug", "--set=masteruser=a=b"});
  CHECK(line.err == "");
  REQUIRE(line.action == Action::run);
  CHECK(line.config.listen.size() == 2);
  CHECK(line.config.admin.port == 2);
  CHECK(line.config.nodes.size() == 2);
  CHECK(line.config.replicaof == Address{"u", 5, {}});
  CHECK(line.config.dir == "/d");
  CHECK(line.config.log.level == "debug");
  CHECK(line.config.masteruser == "a=b");
  CHECK(line.forget_state);
  // A reload, or a start with kept state, goes through the same inputs.
  CHECK(differences(load(line.inputs).config, line.config).empty());
}

TEST_CASE("mistakes on the command line are usage, others configuration") {
  CHECK(typed({"--bogus"}).exit_code == kExitUsage);
  CHECK(typed({"--node"}).exit_code == kExitUsage);
  CHECK(typed({"--set", "novalue"}).exit_code == kExitUsage);
  CHECK(typed({"status", "wait"}).exit_code == kExitUsage);
  const CommandLine wrong = typed({"--node", "abc", "--set", "thread=2"});
  CHECK(wrong.exit_code == kExitUsage);
  CHECK(says(wrong.err, "--node: nodes: 'abc' is not an address"));
  CHECK(says(wrong.err, "--set: unknown option 'thread' (did you mean `threads`?)"));
  const CommandLine none = typed({});
  CHECK(none.action == Action::leave);
  CHECK(none.exit_code == kExitConfig);
  CHECK(says(none.err, "name at least one (--node HOST:PORT)"));
  CHECK(typed({"--node", "h:1"}, {{"SIDESTREAM_REPL_TIMEOUT", "x"}}).exit_code == kExitConfig);
  CHECK(typed({"--config", "/does/not/exist", "--node", "h:1"}).exit_code == kExitConfig);
}

TEST_CASE("answers about itself") {
  const std::string sample = std::string(SIDESTREAM_TEST_DATA) + "/contract_sample.yaml";
  const CommandLine ok = typed({"--config", sample, "--check-config"});
  CHECK(ok.exit_code == kExitOk);
  CHECK(ok.out == "configuration OK\n");
  const CommandLine bad = typed({"--config", "/does/not/exist", "--check-config"});
  CHECK(bad.exit_code == kExitConfig);
  CHECK(bad.err == "/does/not/exist:1:1: cannot be read: No such file or directory\n");
  CHECK(says(typed({"--node", "h:1", "--print-config"}).out, "- address: h:1"));
  CHECK(says(typed({"--version"}).out, "sidestream " SIDESTREAM_VERSION " ("));
  const CommandLine help = typed({"--help"});
  CHECK(help.exit_code == kExitOk);
  for (const char* word : {"--config", "--node", "--replicaof", "--forget-state", "status", "wait", "drain", "upgrade"})
    CHECK(says(help.out, word));
  CHECK_FALSE(says(help.out, "print-reference"));
  CHECK(says(typed({"--print-reference", "yaml"}).out, "repl-backlog-size: 64mb"));
  CHECK(typed({"--print-reference", "pdf"}).exit_code == kExitUsage);
}

TEST_CASE("subcommands and where they ask") {
  CHECK(typed({"status"}).admin == Address{"127.0.0.1", 9180, {}});
  CHECK(typed({"status"}, {{"SIDESTREAM_ADMIN", "h:1"}}).admin == Address{"h", 1, {}});
  const CommandLine status = typed({"status", "--admin", "h:2", "--json", "--watch"}, {{"SIDESTREAM_ADMIN", "h:1"}});
  CHECK(status.action == Action::status);
  CHECK(status.admin.port == 2);
  CHECK((status.json && status.watch));
  const CommandLine wait = typed({"wait", "--synced", "--timeout", "2m"});
  CHECK(wait.action == Action::wait);
  CHECK((wait.synced && wait.timeout_ms == 120'000));
  CHECK(typed({"wait", "--ready"}).timeout_ms == 60'000);
  CHECK(typed({"wait"}).exit_code == kExitUsage);
  CHECK(typed({"wait", "--ready", "--synced"}).exit_code == kExitUsage);
  CHECK(typed({"wait", "--ready", "--timeout", "soon"}).exit_code == kExitUsage);
  CHECK(typed({"drain"}).timeout_ms == 25'000);
  CHECK(typed({"upgrade", "--timeout", "2s"}).action == Action::upgrade);
  CHECK(typed({"upgrade"}).timeout_ms == 60'000);
  CHECK(typed({"status", "--admin", "nowhere"}).exit_code == kExitUsage);
}

TEST_CASE("the admin client") {
  FakeAdmin admin([](const std::string& request) {
    if (says(request, "GET /big")) return http(200, std::string(3'000'000, 'x'));
    if (says(request, "GET /junk")) return std::string("-ERR unknown command\r\n");
    if (says(request, "GET /nothing")) return std::string();
    return http(says(request, "POST /x HTTP/1.") ? 202 : 404, "body");
  });
  const auto posted = ask_admin(admin.address(), "POST", "/x", 2000);
  REQUIRE(posted.ok());
  CHECK(posted.value().status == 202);
  CHECK(posted.value().body == "body");
  const auto big = ask_admin(admin.address(), "GET", "/big", 5000);
  REQUIRE(big.ok());
  CHECK(big.value().body.size() == 3'000'000);
  for (const char* path : {"/junk", "/nothing"}) {
    const auto junk = ask_admin(admin.address(), "GET", path, 2000);
    REQUIRE_FALSE(junk.ok());
    CHECK(says(junk.error().detail, "does not speak HTTP"));
  }
  admin.stop();
  const auto gone = ask_admin(admin.address(), "GET", "/", 2000);
  REQUIRE_FALSE(gone.ok());
  CHECK(gone.error().code == Errc::closed);
  CHECK(says(gone.error().detail, "no instance answers at 127.0.0.1:"));
  CHECK(says(gone.error().detail, "--admin ADDR chooses another address"));
  CHECK_FALSE(ask_admin({{}, 0, "/does/not/exist.sock"}, "GET", "/", 1000).ok());
}

TEST_CASE("a silent listener does not hold us longer than asked") {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  REQUIRE(bind(listener, reinterpret_cast<sockaddr*>(&address), length) == 0);
  REQUIRE(listen(listener, 8) == 0);
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
  const auto answer = ask_admin({"127.0.0.1", ntohs(address.sin_port), {}}, "GET", "/", 50);
  REQUIRE_FALSE(answer.ok());
  CHECK(answer.error().code == Errc::timed_out);
  close(listener);
}

TEST_CASE("the picture of a status") {
  const auto drawn = draw_status(kReplicaStatus, false);
  REQUIRE(drawn.ok());
  const std::string& text = drawn.value();
  CHECK(says(text, "upstream 10.0.0.1:6379  sync  offset 990"));
  CHECK(says(text, "snapshot [############............] 512 B of 1.0 KiB (50%)"));
  CHECK(says(text, "instance  replica  ready  offset 1000"));
  CHECK(says(text,
             "├─ node 127.0.0.1:6380  replica  online  offset 900, behind 100 B and 3 ms  reads 75 (75%), writes 0"));
  CHECK(says(text, "├─ node 127.0.0.1:6381  replica  down"));
  CHECK(says(text, "└─ replica 10.0.0.9:6379  send_bulk"));
  CHECK(says(text, "[######..................] 25 B of 100 B (25%)"));
  CHECK(says(text, "clients 3 connected, 4 accepted, 1 rejected"));
  CHECK(says(text, "reads 100, 90% of them by replicas; writes 5"));
  CHECK_FALSE(says(text, "\x1b"));
  CHECK(says(draw_status(kReplicaStatus, true).value(), "\x1b[32monline\x1b[0m"));
  for (const char* wrong : {"", "[]", "{}", "{\"role\"", "null", "\xff"}) CHECK_FALSE(draw_status(wrong, false).ok());
  // Fields of a wrong type, or missing, are no reason to fail.
  CHECK(draw_status(R"({"role":5,"nodes":{"a":1},"replicas":[7],"upstream":[],"clients":null})", false).ok());
}

TEST_CASE("the picture tells what happened lately, why reads went where, and who waits") {
  const auto drawn = draw_status(R"({"role":"replica","ready":true,
      "upstream":{"address":"10.0.0.1:6379","state":"held"},
      "nodes":[{"address":"a:1","state":"online","reads_per_s":12.7,"writes_per_s":0,"p50_us":90,"p99_us":400}],
      "routing":{"write":25,"policy primary":75,"odd":"x"},"clients":{"held":3}})",
                                 false);
  REQUIRE(drawn.ok());
  const std::string& text = drawn.value();
  CHECK(says(text, "reads 12/s, writes 0/s, half of them within 90 us, 99% within 400 us"));
  CHECK(says(text, "75%  [##################......]  policy primary\n   25%  [######..................]  write"));
  CHECK(says(text, "! the upstream is held: decide with redis-cli SIDESTREAM REVIVE, ACCEPT or REJECT"));
  CHECK(says(text, "! 3 clients wait for a server"));
}

TEST_CASE("synced") {
  CHECK(is_synced(R"({"role":"primary","ready":true,"nodes":[{"state":"online"}],"upstream":{"state":"connect"}})"));
  CHECK(is_synced(R"({"role":"replica","ready":true,"nodes":[{"state":"online"}],"upstream":{"state":"connected"}})"));
  CHECK_FALSE(is_synced(R"({"role":"replica","ready":true,"nodes":[{"state":"online"}],"upstream":{"state":"sync"}})"));
  CHECK_FALSE(is_synced(R"({"role":"primary","ready":false,"nodes":[{"state":"online"}]})"));
  CHECK_FALSE(is_synced(R"({"role":"primary","ready":true,"nodes":[{"state":"online"},{"state":"syncing"}]})"));
  CHECK_FALSE(is_synced(""));
}

TEST_CASE("wait and drain end by what the instance says") {
  std::atomic<int> asked = 0;
  std::string seen;
  FakeAdmin admin([&](const std::string& request) {
    if (says(request, "GET /readyz")) return ++asked < 3 ? http(503, "no node is online") : http(200, "ready");
    if (says(request, "POST /api/v1/drain")) return http(202, "{}");
    return http(200, ++asked < 3 ? R"({"clients":{"connected":2}})" : R"({"clients":{"connected":0}})");
  });
  CommandLine line;
  line.action = Action::wait;
  line.admin = admin.address();
  line.timeout_ms = 5000;
  CHECK(subcommand(line) == 0);
  CHECK(asked == 3);
  asked = 0;
  line.timeout_ms = 100;
  CHECK(subcommand(line) == 1);
  asked = 0;
  line.action = Action::drain;
  line.timeout_ms = 5000;
  CHECK(subcommand(line) == 0);
  CHECK(asked == 3);
  admin.stop();
  CHECK(subcommand(line) == 1);  // nobody there to drain
}

}  // namespace
}  // namespace sidestream
