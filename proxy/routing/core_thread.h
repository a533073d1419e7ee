// core_thread.h: a core on a loop of its own, and its ways to the first loop, where the instance is.
//
// Happy path: what the core asks its host travels to the first loop and the answer travels back; news from there are
// posted. Both directions keep their order. Failure modes: a client that leaves takes its question back.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/loops.h"
#include "proxy/routing/core.h"

namespace sidestream::routing {

class Cores;

/// What the host says without being asked.
struct HostFacts {
  std::string ping;
  std::array<bool, 3> is_primary{};  // by Face
  friend bool operator==(const HostFacts&, const HostFacts&) = default;
};

class CoreThread final : public PlaneHost, public CoreRing {
 public:
  /// On the first loop, like everything that is public here. `cores` outlives the thread.
  CoreThread(Cores& cores, Loops& loops, const Config& config, Commons& commons, size_t index);
  ~CoreThread() override;

  /// `news` is called with the core, on its loop.
  template <class News>
  void post(News news) {
    thread_->mailbox().post([this, news = std::move(news)]() mutable { news(*core_); });
  }
  void set_config(const Config& config);
  void set_host_facts(HostFacts facts);
  void answer(uint64_t question, Answer answer);

  CoreReport report;  // the last one

 private:
  /// One client that waits for an answer of the host; found by id, since it may go before that.
  struct Question {
    explicit Question(CoreThread& t) : thread(t), id(++t.last_question_) { thread.questions_[id] = this; }
    ~Question();
    CoreThread& thread;
    uint64_t id;
    Signal answered;
    std::optional<Answer> answer;
  };

  // PlaneHost and CoreRing, on the core's loop
  Task<Answer> answer_local(Caller caller, std::vector<std::string> args) override;
  std::optional<std::string> answer_at_once(const Caller&, std::span<const std::string_view>) override { return {}; }
  void adopt_replica(std::unique_ptr<ByteStream> stream, uint64_t session_id, std::vector<std::string> args,
                     std::string leftover) override;
  void pass_client(std::unique_ptr<MovingStream> stream, PassedClient client) override;
  std::string ping_reply() override { return facts_.ping; }
  bool role_is_primary(Face face) override { return facts_.is_primary[static_cast<size_t>(face)]; }
  void session_ended(uint64_t session_id) override;
  void primary_refuses() override;
  void begin_visit(size_t asker, uint64_t visit_id, Visit visit) override;

  void hear_answer(uint64_t question, Answer answer);

  Cores& cores_;  // of the first loop: letters to it are all that is sent from here
  const size_t index_;
  // What follows belongs to the core's loop.
  Config config_;
  HostFacts facts_;
  std::map<uint64_t, Question*> questions_;
  uint64_t last_question_ = 0;
  std::unique_ptr<Core> core_;

  std::unique_ptr<LoopThread> thread_;
};

}  // namespace sidestream::routing
