// ready_queue_test.cc: what runs in a turn, what at its end, and what waits for a quiet moment.
#include "common/ready_queue.h"

#include <string>

#include "common/task.h"
#include "tests/unit/unit_test.h"

namespace sidestream {
namespace {

struct Letter : ReadyNode {
  Letter(std::string& t, char l)
      : ReadyNode([](ReadyNode& node) {
          auto& self = static_cast<Letter&>(node);
          self.text += self.letter;
        }),
        text(t),
        letter(l) {}
  std::string& text;
  char letter;
};

Task<void> write_when_gathered(std::string& text) {
  text += '<';
  co_await Gathered();
  text += '>';
}

TEST_CASE("a turn: what is ready, then its end; what is gathered stays until everything is drained") {
  ReadyQueue queue;
  std::string ran;
  Letter ready(ran, 'r'), end(ran, 'e'), gathered(ran, 'g');
  queue.post_gathered(gathered);
  queue.post_turn_end(end);
  queue.post(ready);
  CHECK(queue.drain_turn() == 2);
  CHECK(ran == "re");
  CHECK(queue.has_gathered());
  CHECK_FALSE(queue.idle());
  CHECK(queue.drain_turn() == 0);
  queue.post_gathered(gathered);  // queued already: once is enough
  queue.post(ready);
  queue.drain();
  CHECK(ran == "rerg");
  CHECK(queue.idle());
}

TEST_CASE("a coroutine waits until what is gathered runs, and leaves nothing behind when it is cancelled") {
  ReadyQueue queue;
  std::string ran;
  TaskSet tasks;
  tasks.add(write_when_gathered(ran));
  queue.drain_turn();
  CHECK(ran == "<");
  queue.drain();
  CHECK(ran == "<>");
  tasks.add(write_when_gathered(ran));
  tasks.cancel_all();
  CHECK_FALSE(queue.has_gathered());
  queue.drain();
  CHECK(ran == "<><");
}

}  // namespace
}  // namespace sidestream
