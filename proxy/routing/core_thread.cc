// core_thread.cc: see the header.
#include "proxy/routing/core_thread.h"

#include "proxy/routing/cores.h"

namespace sidestream::routing {

CoreThread::CoreThread(Cores& cores, Loops& loops, const Config& config, Commons& commons, size_t index)
    : cores_(cores), index_(index), config_(config), thread_(loops.start_thread()) {
  thread_->mailbox().post(
      [this, &commons] { core_ = std::make_unique<Core>(thread_->world(), config_, *this, commons, *this, index_); });
}

CoreThread::~CoreThread() {
  thread_->finish([this] { core_.reset(); });
}

// --- on the first loop ---------------------------------------------------------------------------------------------

void CoreThread::set_config(const Config& config) {
  thread_->mailbox().post([this, config] {
    config_ = config;
    core_->acks.option_changed();
  });
}

void CoreThread::set_host_facts(HostFacts facts) {
  thread_->mailbox().post([this, facts = std::move(facts)]() mutable { facts_ = std::move(facts); });
}

void CoreThread::answer(uint64_t question, Answer answer) {
  thread_->mailbox().post(
      [this, question, answer = std::move(answer)]() mutable { hear_answer(question, std::move(answer)); });
}

// --- on the core's loop --------------------------------------------------------------------------------------------

CoreThread::Question::~Question() {
  thread.questions_.erase(id);
  if (answer) return;
  thread.cores_.post([from = &thread, question = id](Cores& cores) { cores.drop_question(*from, question); });
}

Task<Answer> CoreThread::answer_local(Caller caller, std::vector<std::string> args) {
  Question question(*this);
  cores_.post([this, id = question.id, caller = std::move(caller), args = std::move(args)](Cores& cores) mutable {
    cores.ask_host(*this, id, std::move(caller), std::move(args));
  });
  while (!question.answer) co_await question.answered.wait();
  co_return std::move(*question.answer);
}

void CoreThread::hear_answer(uint64_t question, Answer answer) {
  const auto found = questions_.find(question);
  if (found == questions_.end()) return;
  found->second->answer = std::move(answer);
  found->second->answered.notify_all();
}

void CoreThread::adopt_replica(std::unique_ptr<ByteStream> stream, uint64_t session_id, std::vector<std::string> args,
                               std::string leftover) {
  auto moving = core_->world.network.release(std::move(stream));
  cores_.post([moving = std::move(moving), session_id, args = std::move(args),
               leftover = std::move(leftover)](Cores& cores) mutable {
    cores.adopt_replica(std::move(moving), session_id, std::move(args), std::move(leftover));
  });
}

void CoreThread::pass_client(std::unique_ptr<MovingStream> stream, PassedClient client) {
  cores_.post([stream = std::move(stream), client = std::move(client)](Cores& cores) mutable {
    cores.pass_client(std::move(stream), std::move(client));
  });
}

void CoreThread::session_ended(uint64_t session_id) {
  cores_.post([session_id](Cores& cores) { cores.session_ended(session_id); });
}

void CoreThread::primary_refuses() {
  cores_.post([](Cores& cores) { cores.primary_refuses(); });
}

void CoreThread::begin_visit(size_t asker, uint64_t visit_id, Visit visit) {
  cores_.post([asker, visit_id, visit = std::move(visit)](Cores& cores) mutable {
    cores.begin_visit(asker, visit_id, std::move(visit));
  });
}

}  // namespace sidestream::routing
