// sim_operator.cc: see sim_operator.h.
#include "tests/sim/sim_operator.h"

#include "proxy/resp/writer.h"

namespace sidestream::sim {

bool SimOperator::obeyed(const Address& server, const Words& words, int64_t patience_ms) {
  bool done = false;
  TaskSet typing;
  typing.add(type(server, words, done));
  return world_.run_until([&] { return done; }, patience_ms);
}

Task<void> SimOperator::type(Address server, Words words, bool& done) {
  World seams = world_.at(host_);
  std::string request;
  if (!password_.empty()) resp::append_command(request, {"AUTH", password_});
  resp::append_command(request, std::vector<std::string_view>(words.begin(), words.end()));
  const std::string wanted = password_.empty() ? "+OK" : "+OK\r\n+OK";
  for (;;) {
    auto connecting = seams.network.connect(server);
    auto stream = co_await with_timeout(world_.clock(), 5000, "connect", std::move(connecting));
    if (stream.ok()) {
      stream.value()->write(request);
      auto reading = read_until(*stream.value(), wanted);
      auto answered = co_await with_timeout(world_.clock(), 15'000, "order", std::move(reading));
      done = answered.ok();
      if (done) co_return;
    }
    co_await world_.clock().sleep(500);
  }
}

Task<Result<void>> SimOperator::read_until(ByteStream& stream, std::string wanted) {
  std::string text;
  char chunk[256];
  while (!text.starts_with(wanted) || !text.ends_with("\n")) {
    auto n = co_await stream.read(chunk);
    CO_RETURN_IF_ERROR(n);
    if (n.value() == 0 || text.find("-") != std::string::npos) co_return Error{Errc::refused, text};
    text.append(chunk, n.value());
  }
  co_return Result<void>();
}

}  // namespace sidestream::sim
