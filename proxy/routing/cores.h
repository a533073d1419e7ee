// cores.h: all cores of a plane. The first shares the loop of the instance; the others, `threads` minus one, have loops
// of their own.
//
// Happy path: clients are dealt out in turn; news go to everybody; a question that needs all cores goes from one to the
// next. With one core nothing travels. Failure modes: none of its own; the end waits for the threads.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proxy/routing/core_thread.h"

namespace sidestream::routing {

class Cores final : public CoreRing {
 public:
  /// All three outlive it. `config.threads` counts now, the rest of it is read live.
  Cores(World& world, const Config& config, PlaneHost& host);
  ~Cores();

  Core& first() { return *first_; }
  const Core& first() const { return *first_; }
  /// `news` is called with each core, on its loop: with the first one now.
  template <class News>
  void tell(const News& news) {
    for (const auto& other : others_) other->post(news);
    news(*first_);
  }
  /// To the next core. Its id is given out here.
  void adopt(std::unique_ptr<ByteStream> stream, Face face, bool reserved, AddressBook::Guest guest);
  void adopt_passed(std::unique_ptr<MovingStream> stream, PassedClient client);
  uint64_t last_client() const { return last_client_; }
  void begin_ids_behind(uint64_t id) { last_client_ = std::max(last_client_, id); }
  void config_changed();
  /// Sees that the other cores know what the host says.
  void share_host_facts();

  /// Sums; of the other cores as look_around() found them last. How many are connected is always exact.
  Counters counters() const;
  Timings times() const;
  std::vector<Latency> loop_lags() const;
  int64_t oldest_heartbeat_ms() const;
  ClientCounts clients() const;
  std::vector<TargetCounts> target_counts() const;
  std::optional<TargetCounts> primary_counts() const;
  Task<void> look_around();

  // For the other cores.
  /// From any thread: `letter` is called with this, on the first loop.
  template <class Function>
  void post(Function letter) {
    mailbox_->post([this, letter = std::move(letter)]() mutable { letter(*this); });
  }
  void ask_host(CoreThread& from, uint64_t question, Caller caller, std::vector<std::string> args);
  void drop_question(CoreThread& from, uint64_t question);
  void adopt_replica(std::unique_ptr<MovingStream> stream, uint64_t session_id, std::vector<std::string> args,
                     std::string leftover);
  void pass_client(std::unique_ptr<MovingStream> stream, PassedClient client) {
    host_.pass_client(std::move(stream), std::move(client));
  }
  void session_ended(uint64_t session_id) { host_.session_ended(session_id); }
  void primary_refuses() { host_.primary_refuses(); }
  void begin_visit(size_t asker, uint64_t visit_id, Visit visit) override;

  Commons commons;

 private:
  struct Journey {
    size_t asker;
    uint64_t visit_id;
    Visit visit;
    size_t next = 0;  // among the others
  };
  struct Reap : ReadyNode {
    explicit Reap(Cores& c) : ReadyNode([](ReadyNode& node) { static_cast<Reap&>(node).cores.reap(); }), cores(c) {}
    Cores& cores;
  };

  void pass_on(Journey journey);
  Task<void> answer(CoreThread& from, uint64_t question, Caller caller, std::vector<std::string> args);
  void reap();
  Task<void> tick_forever();

  World& world_;
  const Config& config_;
  PlaneHost& host_;
  std::unique_ptr<Mailbox> mailbox_;  // none with one core
  std::unique_ptr<Core> first_;
  std::vector<std::unique_ptr<CoreThread>> others_;
  HostFacts told_;
  size_t dealt_ = 0;
  uint64_t last_client_ = 0;
  std::map<std::pair<CoreThread*, uint64_t>, TaskSet> questions_;
  Reap reap_;
  TaskSet tasks_;
};

}  // namespace sidestream::routing
