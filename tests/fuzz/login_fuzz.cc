// login_fuzz.cc: strangers in front of a closed door. The fuzzer writes what they say, and how it is cut into pieces.
//
//   input = size of the pieces, then any bytes: AUTH, HELLO and what is none
//
// Nobody who does not say the password hears anything but refusals, and whoever says it is let in all the time.
#include <memory>
#include <string>
#include <vector>

#include "proxy/resp/reply.h"
#include "proxy/routing/plane.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/sim_world.h"

namespace sidestream::fuzz {
namespace {

constexpr std::string_view kPassword = "open-sesame";
constexpr std::string_view kUsers = "user default off\nuser app on >open-sesame ~* +get +ping +acl|whoami";

/// Nobody gets as far as to ask it anything.
struct NoHost final : routing::PlaneHost {
  Task<routing::Answer> answer_local(routing::Caller, std::vector<std::string>) override {
    CHECK(false);
    co_return routing::Answer();
  }
  std::optional<std::string> answer_at_once(const routing::Caller&, std::span<const std::string_view>) override {
    CHECK(false);
    return std::nullopt;
  }
  void adopt_replica(std::unique_ptr<ByteStream>, uint64_t, std::vector<std::string>, std::string) override {
    CHECK(false);
  }
  std::string ping_reply() override { return "+PONG\r\n"; }
  bool role_is_primary(routing::Face) override { return true; }
  void session_ended(uint64_t) override {}
};

Config closed_door() {
  Config config;
  std::vector<AclMistake> mistakes;
  config.aclfile = "users.acl";
  config.accounts = parse_acl_file(kUsers, mistakes);
  CHECK(mistakes.empty());
  return config;
}

struct Door {
  Door()
      : here(world.at("10.0.0.9")),
        config(closed_door()),
        plane(here, config, host),
        listener(here.network.listen(address)) {
    tasks.add(accept());
  }
  Task<void> accept() {
    for (;;) {
      auto stream = co_await listener.value()->accept();
      if (!stream.ok()) co_return;
      plane.adopt(std::move(stream).value(), routing::Face::node);
    }
  }
  /// Says `text` in pieces; all that is heard within the patience.
  Task<void> talk(std::string text, size_t piece, std::string& heard) {
    World there = world.at("10.0.0.8");
    auto stream = co_await there.network.connect(address);
    CHECK(stream.ok());
    for (size_t at = 0; at < text.size(); at += piece) {
      stream.value()->write(std::string_view(text).substr(at, piece));
      co_await there.clock.sleep(1);
    }
    std::string room(4096, '\0');
    for (;;) {
      auto n = co_await stream.value()->read(room);
      if (!n.ok() || n.value() == 0) co_return;
      heard.append(room, 0, n.value());
    }
  }
  std::string hear(std::string text, size_t piece) {
    std::string heard;
    TaskSet talking;
    talking.add(talk(std::move(text), piece, heard));
    world.run_for(60'000);
    return heard;
  }

  sim::SimWorld world{1};
  World here;
  Config config;
  NoHost host;
  Address address{"10.0.0.9", 6379, {}};
  routing::Plane plane;
  Result<std::unique_ptr<Listener>> listener;
  TaskSet tasks;
};

void check_refusals(std::string_view heard) {
  while (!heard.empty()) {
    resp::ReplyScanner scanner;
    CHECK(scanner.scan(heard) == resp::ReplyScanner::State::complete);
    const std::string_view frame = heard.substr(0, scanner.size());
    CHECK(frame.starts_with('-') || frame == "+OK\r\n" || frame == "+RESET\r\n");  // QUIT and RESET anybody may
    heard.remove_prefix(scanner.size());
  }
}

}  // namespace
}  // namespace sidestream::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sidestream;
  fuzz::Input input(data, size);
  const size_t piece = 1 + input.take();
  const std::string text(input.rest());
  fuzz::Door door;
  const std::string heard = door.hear(text, piece);
  if (text.find(fuzz::kPassword) == std::string::npos) fuzz::check_refusals(heard);
  CHECK(door.hear("AUTH app open-sesame\r\nACL WHOAMI\r\nSET a b\r\n", 4096).starts_with("+OK\r\n$3\r\napp\r\n-"));
  return 0;
}
