// front_door.cc: see the header.
#include "proxy/routing/front_door.h"

#include <array>

#include "common/ip_network.h"
#include "common/log.h"
#include "common/signal.h"
#include "proxy/routing/core.h"
#include "proxy/routing/limits.h"

namespace sidestream::routing {
namespace {

constexpr const char* kDenied =
    "-DENIED Sidestream is running in protected mode because neither a password nor users are set. In this mode "
    "connections are only accepted from the machine itself: the loopback interface and unix sockets. To let others in, "
    "do one of these: 1) Best: set requirepass-file, or users, in the configuration. 2) If only those can reach this "
    "address who may do everything, set protected-mode: no in the configuration; 'CONFIG SET protected-mode no' from "
    "this machine does it at once, CONFIG REWRITE keeps it.\r\n";

constexpr const char* kAddressFull =
    "-ERR max number of clients reached for your address (limits.clients-per-address); close some or try again "
    "later\r\n";

Task<Result<void>> read_to_the_end(ByteStream& stream) {
  std::array<char, 4096> chunk;
  for (;;) {
    auto n = co_await stream.read(chunk);
    CO_RETURN_IF_ERROR(n);
    if (n.value() == 0) co_return Result<void>();
  }
}

}  // namespace

FrontDoor::Admission FrontDoor::admit(const std::string& peer, Face face) {
  const Config& config = core_.config;
  Admission admission{{}, false, core_.commons.addresses.enter(peer, core_.world.clock.now_us())};
  if (config.protected_mode && core_.users->open() && !is_loopback(peer)) {
    ++core_.rejected;
    ++core_.denied;
    log_warning(peer, "refused: protected mode, and neither a password nor users are set");
    admission.refusal = kDenied;
    return admission;
  }
  const auto limit = static_cast<size_t>(config.limits.maxclients);
  const size_t present = core_.commons.clients.load(std::memory_order_relaxed);
  admission.reserved = present >= limit;
  if (admission.reserved && (face != Face::node || present >= limit + limits::kReservedClients)) {
    ++core_.rejected;
    admission.refusal = "-ERR max number of clients reached\r\n";
    return admission;
  }
  const int64_t most = config.limits.clients_per_address;
  if (most > 0 && admission.guest.clients() > static_cast<size_t>(most)) {
    ++core_.rejected;
    ++core_.over_address;
    log_warning(peer, "refused: its address has {} clients here already (limits.clients-per-address)", most);
    admission.refusal = kAddressFull;
  }
  return admission;
}

void FrontDoor::turn_away(std::unique_ptr<ByteStream> stream, const std::string& words) {
  stream->write(words);
  if (seen_off_ < kSeenOffMax) tasks_.add(see_off(std::move(stream)));
}

Task<void> FrontDoor::see_off(std::unique_ptr<ByteStream> stream) {
  ++seen_off_;
  stream->close_write();
  auto reading = read_to_the_end(*stream);
  auto ended = co_await with_timeout(core_.world.clock, kLastWordsMs, "front door", std::move(reading));
  if (!ended.ok()) log_debug(stream->peer(), "turned away: {}", ended.error().detail);
  --seen_off_;
}

}  // namespace sidestream::routing
