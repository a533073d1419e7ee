// cores.cc: see the header.
#include "proxy/routing/cores.h"

#include <algorithm>

#include "proxy/routing/limits.h"

namespace sidestream::routing {

Cores::Cores(World& world, const Config& config, PlaneHost& host)
    : world_(world), config_(config), host_(host), reap_(*this) {
  first_ = std::make_unique<Core>(world, config, host, commons, *this, 0);
  if (config.threads <= 1) return;
  mailbox_ = world.loops.open_mailbox();
  for (size_t index = 1; index < static_cast<size_t>(config.threads); ++index) {
    others_.push_back(std::make_unique<CoreThread>(*this, world.loops, config, commons, index));
  }
  tasks_.add(tick_forever());
}

Cores::~Cores() {
  tasks_.cancel_all();
  others_.clear();  // they may still have something to say until they are gone
  mailbox_.reset();
  questions_.clear();
}

// --- clients -------------------------------------------------------------------------------------------------------

void Cores::adopt(std::unique_ptr<ByteStream> stream, Face face, bool reserved, AddressBook::Guest guest) {
  commons.clients.fetch_add(1, std::memory_order_relaxed);
  const uint64_t id = ++last_client_;
  const size_t which = dealt_++ % (others_.size() + 1);
  if (which == 0) return first_->adopt(std::move(stream), face, reserved, id, std::move(guest));
  share_host_facts();
  auto moving = world_.network.release(std::move(stream));
  others_[which - 1]->post(
      [moving = std::move(moving), face, reserved, id, guest = std::move(guest)](Core& core) mutable {
        core.adopt(core.world.network.adopt(std::move(moving)), face, reserved, id, std::move(guest));
      });
}

void Cores::adopt_passed(std::unique_ptr<MovingStream> stream, PassedClient client) {
  commons.clients.fetch_add(1, std::memory_order_relaxed);
  const size_t which = dealt_++ % (others_.size() + 1);
  if (which == 0) return first_->adopt(std::move(stream), std::move(client));
  share_host_facts();
  others_[which - 1]->post([stream = std::move(stream), client = std::move(client)](Core& core) mutable {
    core.adopt(std::move(stream), std::move(client));
  });
}

void Cores::adopt_replica(std::unique_ptr<MovingStream> stream, uint64_t session_id, std::vector<std::string> args,
                          std::string leftover) {
  host_.adopt_replica(world_.network.adopt(std::move(stream)), session_id, std::move(args), std::move(leftover));
}

// --- news ----------------------------------------------------------------------------------------------------------

void Cores::config_changed() {
  first_->acks.option_changed();
  for (const auto& other : others_) other->set_config(config_);
}

void Cores::share_host_facts() {
  if (others_.empty()) return;
  HostFacts facts;
  facts.ping = host_.ping_reply();
  for (const Face face : {Face::node, Face::service, Face::read_only}) {
    facts.is_primary[static_cast<size_t>(face)] = host_.role_is_primary(face);
  }
  if (facts == told_) return;
  told_ = facts;
  for (const auto& other : others_) other->set_host_facts(facts);
}

Task<void> Cores::tick_forever() {
  for (;;) {
    co_await world_.clock.sleep(limits::kTickMs);
    share_host_facts();
  }
}

// --- questions to the host -----------------------------------------------------------------------------------------

void Cores::ask_host(CoreThread& from, uint64_t question, Caller caller, std::vector<std::string> args) {
  questions_[{&from, question}].add(answer(from, question, std::move(caller), std::move(args)));
}

Task<void> Cores::answer(CoreThread& from, uint64_t question, Caller caller, std::vector<std::string> args) {
  const std::vector<std::string_view> views(args.begin(), args.end());
  Answer answer;
  if (auto frame = host_.answer_at_once(caller, views)) {
    answer.frame = std::move(*frame);
  } else {
    auto later = co_await host_.answer_local(std::move(caller), std::move(args));
    answer = std::move(later);
  }
  share_host_facts();  // what the answer says is true there when it arrives
  from.answer(question, std::move(answer));
  ReadyQueue::current().post(reap_);
}

void Cores::drop_question(CoreThread& from, uint64_t question) { questions_.erase({&from, question}); }

void Cores::reap() {
  std::erase_if(questions_, [](const auto& each) { return each.second.empty(); });
}

// --- all cores -----------------------------------------------------------------------------------------------------

void Cores::begin_visit(size_t asker, uint64_t visit_id, Visit visit) {
  visit(*first_);
  pass_on({asker, visit_id, std::move(visit)});
}

void Cores::pass_on(Journey journey) {
  if (journey.next < others_.size()) {
    CoreThread& there = *others_[journey.next++];
    there.post([this, journey = std::move(journey)](Core& core) mutable {
      journey.visit(core);
      post([journey = std::move(journey)](Cores& cores) mutable { cores.pass_on(std::move(journey)); });
    });
    return;
  }
  if (journey.asker == 0) return first_->visit_done(journey.visit_id);
  others_[journey.asker - 1]->post([id = journey.visit_id](Core& core) { core.visit_done(id); });
}

Task<void> Cores::look_around() {
  if (others_.empty()) co_return;
  auto reports = std::make_shared<std::vector<CoreReport>>(others_.size() + 1);
  Visit visit = [reports](Core& core) { (*reports)[core.index] = core.report(); };
  co_await first_->everywhere(std::move(visit));
  for (size_t i = 0; i < others_.size(); ++i) others_[i]->report = std::move((*reports)[i + 1]);
}

Counters Cores::counters() const {
  Counters sum = first_->counters;
  for (const auto& other : others_) sum += other->report.counters;
  return sum;
}

Timings Cores::times() const {
  Timings sum = first_->times;
  for (const auto& other : others_) sum += other->report.times;
  return sum;
}

std::vector<Latency> Cores::loop_lags() const {
  std::vector<Latency> lags = {first_->times.loop_lag};
  for (const auto& other : others_) lags.push_back(other->report.times.loop_lag);
  return lags;
}

int64_t Cores::oldest_heartbeat_ms() const {
  int64_t oldest = world_.clock.now_ms();
  for (size_t i = 0; i <= others_.size(); ++i) {
    const int64_t heard = commons.heartbeats[i].load(std::memory_order_relaxed);
    if (heard != 0) oldest = std::min(oldest, heard);
  }
  return oldest;
}

ClientCounts Cores::clients() const {
  ClientCounts sum = first_->report().clients;
  for (const auto& other : others_) sum += other->report.clients;
  sum.connected = commons.clients.load(std::memory_order_relaxed);
  return sum;
}

std::vector<TargetCounts> Cores::target_counts() const {
  std::vector<TargetCounts> sums = first_->report().targets;
  for (const auto& other : others_) {
    for (const TargetCounts& counts : other->report.targets) {
      const auto found = std::find_if(sums.begin(), sums.end(),
                                      [&](const TargetCounts& each) { return each.address == counts.address; });
      if (found != sums.end()) *found += counts;
    }
  }
  return sums;
}

std::optional<TargetCounts> Cores::primary_counts() const {
  auto sum = first_->report().primary;
  for (const auto& other : others_) {
    const auto& theirs = other->report.primary;
    if (sum && theirs && theirs->address == sum->address) *sum += *theirs;
  }
  return sum;
}

}  // namespace sidestream::routing
