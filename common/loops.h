// loops.h: the seam to other event loops of the process: the way into a loop from any thread, and loops on threads of
// their own. libuv implements it (uv_loops), the simulation does (tests/support).
//
// Happy path: post() takes a function; it runs in a turn of the loop that the mailbox belongs to, in the order of
// posting. Failure modes: none; what was posted and has not run when the mailbox goes is dropped unrun.
#pragma once

#include <memory>
#include <utility>

namespace sidestream {

struct World;

/// A function that is called once, on another loop, and may own what cannot be copied.
class Letter {
 public:
  template <class Function>
  Letter(Function function) : call_(std::make_unique<Call<Function>>(std::move(function))) {}  // NOLINT: from a lambda
  void operator()() { call_->run(); }

 private:
  struct Base {
    virtual ~Base() = default;
    virtual void run() = 0;
  };
  template <class Function>
  struct Call final : Base {
    explicit Call(Function f) : function(std::move(f)) {}
    void run() override { function(); }
    Function function;
  };
  std::unique_ptr<Base> call_;
};

/// Unbounded in itself: whoever posts sees that it does not post without end (one question per client, one piece of
/// news per turn).
class Mailbox {
 public:
  virtual ~Mailbox() = default;
  /// From any thread, while the mailbox is there.
  virtual void post(Letter letter) = 0;
};

/// A loop on a thread of its own. Owned by the loop that started it, which must call finish().
class LoopThread {
 public:
  virtual ~LoopThread() = default;
  /// What code on that thread may touch; of no use to others.
  virtual World& world() = 0;
  virtual Mailbox& mailbox() = 0;
  /// Runs `last` there, after what was posted before; then the loop ends. Returns when the thread has ended.
  virtual void finish(Letter last) = 0;
};

class Loops {
 public:
  virtual ~Loops() = default;
  /// A way into the loop that this is called on. It must go before the loop does.
  virtual std::unique_ptr<Mailbox> open_mailbox() = 0;
  virtual std::unique_ptr<LoopThread> start_thread() = 0;
};

}  // namespace sidestream
