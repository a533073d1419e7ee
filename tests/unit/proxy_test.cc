// proxy_test.cc: PROXY headers as texts, and as the beginning of connections: in pieces, late, malformed, from anybody.
#include <string>
#include <vector>

#include "common/proxy_header.h"
#include "common/proxy_network.h"
#include "tests/support/sim_world.h"
#include "tests/unit/unit_test.h"

namespace sidestream {
namespace {

using State = ProxyHeader::State;
using namespace std::string_literals;

std::string two(char command, char family, const std::string& body) {
  return "\r\n\r\n\0\r\nQUIT\n"s + command + family + static_cast<char>(body.size() >> 8) +
         static_cast<char>(body.size() & 0xff) + body;
}
const std::string kFour = "\x0a\x01\x02\x03\x0a\0\0\x01\x30\x39\x18\xeb"s;  // 10.1.2.3:12345 -> 10.0.0.1:6379

std::string problem(const std::string& bytes) {
  const ProxyHeader header = parse_proxy_header(bytes);
  return header.state == State::bad ? header.problem : "no problem";
}

}  // namespace

TEST_CASE("proxy header: what it says, whatever comes behind") {
  const std::vector<std::pair<std::string, std::string>> good = {
      {"PROXY TCP4 10.1.2.3 10.0.0.1 12345 6379\r\n", "10.1.2.3:12345"},
      {"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", "[2001:db8::1]:1"},
      {"PROXY UNKNOWN\r\n", ""},
      {"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", ""},
      {two(0x21, 0x11, kFour), "10.1.2.3:12345"},
      {two(0x21, 0x11, kFour + "\x04\0\x01x"s), "10.1.2.3:12345"},
      {two(0x21, 0x21, std::string(15, 0) + "\x01" + std::string(16, 0) + "\0\x07\0\x08"s), "[::1]:7"},
      {two(0x20, 0x11, kFour), ""},  // LOCAL: the balancer's own, to see whether we live
      {two(0x20, 0, ""), ""},
      {two(0x21, 0, "anything"), ""},
      {two(0x21, 0x31, std::string(216, 'x')), ""}};
  for (const auto& [bytes, source] : good) {
    CAPTURE(bytes);
    const ProxyHeader header = parse_proxy_header(bytes + "PING\r\n");
    CHECK(header.state == State::complete);
    CHECK(header.bytes == bytes.size());
    CHECK(header.source == source);
    for (size_t n = 0; n < bytes.size(); ++n) CHECK(parse_proxy_header(bytes.substr(0, n)).state == State::incomplete);
  }
}

TEST_CASE("proxy header: what is none, and what is malformed") {
  for (const std::string& bytes :
       {"PING\r\n"s, "*1\r\n"s, "\x16\x03\x01"s, "PROXYX"s, "\r\n\r\n\r\n"s, "\r\n\r\n\0\r\nQUIX"s}) {
    CHECK(parse_proxy_header(bytes).state == State::absent);
  }
  CHECK(problem("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n") == "the line does not end with CR LF");
  CHECK(problem("PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n") == "it is neither TCP4 nor TCP6 nor UNKNOWN");
  CHECK(problem("PROXY \r\n") == "it is neither TCP4 nor TCP6 nor UNKNOWN");
  CHECK(problem("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n") == "there are not two addresses and two ports");
  CHECK(problem("PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n") == "there are not two addresses and two ports");
  CHECK(problem("PROXY TCP4 ::1 ::1 1 2\r\n") == "an address is none of its family");
  CHECK(problem("PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n") == "an address is none of its family");
  for (const char* port : {"65536", "-1", "01", "", "+1", "x"}) {
    CHECK(problem("PROXY TCP4 1.2.3.4 1.2.3.4 "s + port + " 2\r\n") == "a port is not a number up to 65535");
  }
  CHECK(problem("PROXY UNKNOWN " + std::string(200, 'x')) == "the line is too long");
  CHECK(problem("PROXY UNKNOWN " + std::string(200, 'x') + "\r\n") == "the line is too long");
  CHECK(problem(two(0x11, 0x11, kFour)) == "its version is not 2");
  CHECK(problem(two(0x22, 0x11, kFour)) == "its command is neither LOCAL nor PROXY");
  CHECK(problem(two(0x21, 0x12, kFour)) == "its family is none that carries a stream");
  CHECK(problem(two(0x21, 0x11, "short")) == "it is too short for its addresses");
  CHECK(problem("\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"s) == "it is longer than 4 kB");
}

TEST_CASE("networks in numbers") {
  const auto contains = [](const char* network, const char* host) {
    const auto parsed = IpNetwork::parse(network);
    REQUIRE(parsed.ok());
    return parsed.value().contains(host);
  };
  CHECK(contains("10.0.0.0/8", "10.255.0.1"));
  CHECK_FALSE(contains("10.0.0.0/8", "11.0.0.1"));
  CHECK(contains("10.0.0.0/8", "::ffff:10.1.1.1"));
  CHECK(contains("192.168.1.128/25", "192.168.1.200"));
  CHECK_FALSE(contains("192.168.1.128/25", "192.168.1.100"));
  CHECK(contains("::1", "::1"));
  CHECK(contains("2001:DB8::/33", "2001:db8:7fff::1"));
  CHECK_FALSE(contains("2001:db8::/33", "2001:db8:8000::1"));
  CHECK(contains("0.0.0.0/0", "1.2.3.4"));
  CHECK_FALSE(contains("0.0.0.0/0", "2001:db8::1"));
  CHECK_FALSE(contains("0.0.0.0/0", "host.example"));
  for (const char* text : {"", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "name", "::1/129", "10.0.0.0/-1"}) {
    CHECK_FALSE(IpNetwork::parse(text).ok());
  }
  CHECK(is_loopback("127.0.0.2:1"));
  CHECK(is_loopback("[::1]:1"));
  CHECK(is_loopback("[::ffff:127.0.0.1]:1"));
  CHECK(is_loopback("unix"));
  CHECK_FALSE(is_loopback("10.0.0.1:1"));
  CHECK_FALSE(is_loopback("?"));
}

namespace {

/// What a server behind the listener has seen of one connection.
struct Seen {
  std::string peer, heard;
};

struct Scene {
  explicit Scene(Introductions::Mode mode, const char* from = "10.0.0.2") {
    introductions.mode = mode;
    introductions.from.push_back(IpNetwork::parse(from).value());
    Address address{"10.0.0.1", 7000, {}};
    address.introduced = true;
    auto opened = network->listen(address);
    REQUIRE(opened.ok());
    listener = std::move(opened).value();
    tasks.add(serve());
  }
  Task<void> serve() {
    for (;;) {
      auto stream = co_await listener->accept();
      REQUIRE(stream.ok());
      tasks.add(listen_to(std::move(stream).value()));
    }
  }
  Task<void> listen_to(std::unique_ptr<ByteStream> stream) {
    stream = network->adopt(network->release(std::move(stream)));  // as to another loop
    const size_t index = seen.size();
    seen.push_back({stream->peer(), {}});
    std::string room(5, '\0');
    for (;;) {
      auto n = co_await stream->read(room);
      if (!n.ok() || n.value() == 0) co_return;
      seen[index].heard.append(room, 0, n.value());
    }
  }
  /// Sends it and keeps the connection, so that nothing but time ends it.
  Task<void> send(std::string host, std::string bytes, std::string& answer) {
    Network& from = world.at(host).network;
    const Address to{"10.0.0.1", 7000, {}};
    auto stream = co_await from.connect(to);
    REQUIRE(stream.ok());
    stream.value()->write(bytes);
    std::string room(200, '\0');
    for (;;) {
      auto n = co_await stream.value()->read(room);
      if (!n.ok() || n.value() == 0) break;
      answer.append(room, 0, n.value());
    }
    answer += "(closed)";
  }
  std::string say(const std::string& host, const std::string& bytes, int64_t for_ms = 2000) {
    std::string answer;
    TaskSet sending;
    sending.add(send(host, bytes, answer));
    world.run_until([&] { return answer.ends_with("(closed)"); }, for_ms);
    return answer;
  }

  sim::SimWorld world{5};
  World here = world.at("10.0.0.1");
  Introductions introductions;
  std::unique_ptr<Network> network = make_proxy_network(here.network, here.clock, introductions);
  std::unique_ptr<Listener> listener;
  std::vector<Seen> seen;
  TaskSet tasks;
};

}  // namespace

TEST_CASE("introduced connections have their client as peer and begin behind the header, in any pieces") {
  for (const size_t piece : {size_t{1}, size_t{3}, size_t{0}}) {
    Scene scene(Introductions::Mode::required);
    scene.world.weather().pieces = piece > 0 ? 1000 : 0;
    scene.world.weather().piece_max = piece;
    scene.say("10.0.0.2", two(0x21, 0x11, kFour) + "PING\r\n");
    scene.say("10.0.0.2", "PROXY TCP4 10.9.9.9 10.0.0.1 77 6379\r\nECHO\r\n");
    REQUIRE(scene.seen.size() == 2);
    CHECK(scene.seen[0].peer == "10.1.2.3:12345");
    CHECK(scene.seen[0].heard == "PING\r\n");
    CHECK(scene.seen[1].peer == "10.9.9.9:77");
    CHECK(scene.seen[1].heard == "ECHO\r\n");
    CHECK(scene.introductions.heard == 2);
  }
}

TEST_CASE("only trusted hosts introduce; the header of others stays what it is: noise") {
  Scene scene(Introductions::Mode::accepted);
  scene.say("10.0.0.3", "PROXY TCP4 1.1.1.1 10.0.0.1 77 6379\r\n");
  scene.say("10.0.0.2", "PING\r\n");
  REQUIRE(scene.seen.size() == 2);
  CHECK(scene.seen[0].peer.starts_with("10.0.0.3:"));
  CHECK(scene.seen[0].heard.starts_with("PROXY TCP4"));
  CHECK(scene.seen[1].peer.starts_with("10.0.0.2:"));
  CHECK(scene.seen[1].heard == "PING\r\n");
  CHECK(scene.introductions.heard == 0);
}

TEST_CASE("a header that is malformed, missing or never comes costs its own connection only") {
  Scene scene(Introductions::Mode::required);
  CHECK(scene.say("10.0.0.2", "PROXY TCP9 x\r\n").starts_with("-ERR the PROXY header is malformed: "));
  CHECK(scene.say("10.0.0.2", "PING\r\n").starts_with("-ERR this address expects a PROXY header"));
  CHECK(scene.introductions.failed == 2);
  std::vector<std::string> answers(1500);
  TaskSet stalled;
  for (std::string& answer : answers) {
    stalled.add(scene.send("10.0.0.2", "PROXY T", answer));
    scene.world.run_for(1);  // a listener holds some hundreds that it has not accepted
  }
  scene.world.run_until([&] { return scene.introductions.failed >= 2 + 1500 - kIntroducedMax; }, 5000);
  CHECK(scene.introductions.failed == 2 + 1500 - kIntroducedMax);  // more are not waited for
  CHECK(scene.say("10.0.0.3", "PING\r\n").empty());
  REQUIRE(scene.seen.size() == 1);
  CHECK(scene.seen[0].heard == "PING\r\n");
  scene.world.run_until([&] { return scene.introductions.failed >= 1502; }, 20'000);
  CHECK(scene.introductions.failed == 1502);
}

TEST_CASE("where a header is optional, who says nothing for long is let in as he is") {
  Scene scene(Introductions::Mode::accepted);
  scene.say("10.0.0.2", "", 12'000);
  REQUIRE(scene.seen.size() == 1);
  CHECK(scene.seen[0].peer.starts_with("10.0.0.2:"));
}

}  // namespace sidestream
