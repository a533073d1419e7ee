// request_handover.cc: SLAVEOF NO ONE, as Sentinel promotes, begins with a question to the upstream. An instance that
// is well would take writes until Sentinel reaches it, and those would be lost; asked, it holds them until they are
// ours.
//
//   we                                    the upstream
//   PING, INFO                     ───►   is well, a primary, an instance
//   FAILOVER TO us TIMEOUT         ───►   holds writes, waits until we have every byte, demotes its node
//                                  ◄───   SIDESTREAM TAKEOVER, on a connection of its own: we are the primary
//
// Failure modes: an upstream that is no instance, does not answer, is unwell or does not know us for a second cannot be
// asked: the caller promotes as stock does. One that is well and did not finish in time, or while no node of ours could
// lead, goes on as the primary, or hands over to somebody else at this moment: the caller refuses, promoting beside it
// would lose what is acknowledged there.
#include "common/log.h"
#include "common/text.h"
#include "proxy/instance/steering.h"

namespace sidestream::instance {
namespace {

constexpr std::string_view kTag = "instance";
constexpr int64_t kAnswerMs = 500;     // a node that hangs is why Sentinel promotes us
constexpr int64_t kHandoverMs = 1000;  // TIMEOUT of the FAILOVER
constexpr int64_t kEndMs = 8000;       // until it says that it is over, either way
constexpr int64_t kStepMs = 5;
constexpr int64_t kKnownMs = 1000;  // for the upstream to know us as its replica again
constexpr int64_t kAgainMs = 20;

constexpr std::string_view kNotOnline = "replica is not online";

/// Not why it is no primary, or will not.
bool is_about_replicas(std::string_view refusal) {
  return refusal.find(kNotOnline) != std::string_view::npos ||
         refusal.find("is not a replica") != std::string_view::npos ||
         refusal.find("requires connected replicas") != std::string_view::npos;
}

}  // namespace

Task<Result<bool>> Steering::request_handover() {
  ordered_by_sentinel_ = master_.has_value();
  if (!master_ || upstream_ == nullptr || !upstream_->is_instance()) co_return false;
  const Address us{config_.announce_ip.empty() ? upstream_->our_host() : config_.announce_ip, follow_port(), ""};
  const Address asked = *master_;
  auto opened = co_await replication::NodeConnection::open(world_, asked, credentials(), kAnswerMs);
  if (!opened.ok()) co_return false;
  const auto connection = std::move(opened).value();
  auto health = co_await connection->ask(split("PING", ' '));
  if (!health.ok() || health.value().is_error()) co_return false;
  if (!master_) co_return true;
  const Node* node = lead();
  if (!can_be_promoted()) {
    if (node == upstream_.get() || !upstream_->view().is_master) co_return false;
    co_return Error{Errc::refused, "the upstream instance is well, and the node " + node->name() +
                                       " of this one could not take over now; try again, or REPLICAOF NO ONE promotes "
                                       "without asking it"};
  }
  // Its replicas are made anew with every new id, so for a moment it may not know us as one.
  for (const int64_t deadline_ms = world_.clock.now_ms() + kKnownMs;;) {
    std::vector<std::string> order = {
        "FAILOVER", "TO", us.host, std::to_string(us.port), "TIMEOUT", std::to_string(kHandoverMs)};
    auto begun = co_await connection->ask(std::move(order));
    if (!begun.ok()) co_return false;
    if (begun.value().text.find("already in progress") != std::string::npos) {
      co_return Error{Errc::refused,
                      "the upstream instance is changing its primary at this moment; try again, or REPLICAOF NO ONE "
                      "promotes without asking it"};
    }
    if (!begun.value().is_error()) break;
    if (!is_about_replicas(begun.value().text) || world_.clock.now_ms() >= deadline_ms) {
      if (begun.value().text.find(kNotOnline) != std::string::npos) {
        co_return Error{Errc::refused,
                        "the upstream instance is well, and this one is still being synced; try again, or REPLICAOF "
                        "NO ONE promotes without asking it"};
      }
      log_notice(kTag, "the upstream cannot hand over: {}", begun.value().text);
      co_return false;
    }
    co_await world_.clock.sleep(kAgainMs);
    if (!master_) co_return true;
    if (*master_ != asked) co_return Error{Errc::refused, "this instance was told to follow another one meanwhile"};
  }
  log_notice(kTag, "asked {} to hand over to {}", asked.text(), us.text());
  co_return co_await handed_over(*connection);
}

/// True: we are the primary. False: the upstream broke before it told us to take over.
Task<Result<bool>> Steering::handed_over(replication::NodeConnection& upstream) {
  const int64_t deadline_ms = world_.clock.now_ms() + kEndMs;
  std::string state = "failover";
  while (master_ || changing_role_) {
    if (world_.clock.now_ms() > deadline_ms || state == "no-failover") {
      co_return Error{Errc::refused,
                      "the upstream instance is well, but did not hand over in time; REPLICAOF NO ONE "
                      "promotes without asking it"};
    }
    auto info = co_await upstream.ask(split("INFO replication", ' '));
    if (!info.ok() && !changing_role_ && master_) co_return false;
    if (info.ok()) state = resp::info_field(info.value().text, "master_failover_state");
    if (master_ || changing_role_) co_await relay_.changed.wait_for(world_.clock, kStepMs);
  }
  co_return true;
}

}  // namespace sidestream::instance
