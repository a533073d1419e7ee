// signal.h: "something changed, look again" between coroutines, and a bound on the time a step may take.
//
// A Signal carries no value: the waiter looks at the state it cares about in a loop,
//   while (!link.online()) co_await link.changed.wait();
// Waiters are intrusive and unlink themselves when cancelled.
#pragma once

#include <coroutine>
#include <cstdint>
#include <optional>

#include "common/clock.h"
#include "common/result.h"
#include "common/task.h"

namespace sidestream {

class Signal {
 public:
  Signal() { head_.prev = head_.next = &head_; }
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;
  ~Signal() { CHECK(head_.next == &head_); }

  void notify_all() {
    while (head_.next != &head_) {
      Link* link = head_.next;
      link->unlink();
      static_cast<Waiter*>(link)->notified = true;
      static_cast<Waiter*>(link)->resumption.post();
    }
  }
  bool has_waiters() const { return head_.next != &head_; }

 private:
  struct Link {
    Link* prev = nullptr;
    Link* next = nullptr;
    void unlink() {
      if (next == nullptr) return;
      prev->next = next;
      next->prev = prev;
      prev = next = nullptr;
    }
  };
  struct Waiter : Link {
    explicit Waiter(Signal& owner) : signal(owner) {}
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;
    ~Waiter() { unlink(); }
    void enlist(std::coroutine_handle<> handle) {
      resumption.set(handle);
      prev = signal.head_.prev;
      next = &signal.head_;
      signal.head_.prev->next = this;
      signal.head_.prev = this;
    }
    Signal& signal;
    Resumption resumption;
    bool notified = false;
  };

 public:
  struct Wait : Waiter {
    explicit Wait(Signal& owner) : Waiter(owner) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) { enlist(handle); }
    void await_resume() const noexcept {}
  };
  struct TimedWait : Waiter {
    TimedWait(Signal& owner, Clock& clock, int64_t deadline)
        : Waiter(owner), timer(clock, resumption), deadline_us(deadline) {}
    Timer timer;
    int64_t deadline_us;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
      enlist(handle);
      timer.start_at(deadline_us);
    }
    /// True when notified, false when the time was over first.
    bool await_resume() noexcept {
      unlink();
      return notified;
    }
  };

  /// Until the next notify_all().
  Wait wait() { return Wait(*this); }
  TimedWait wait_until(Clock& clock, int64_t deadline_us) { return TimedWait(*this, clock, deadline_us); }
  TimedWait wait_for(Clock& clock, int64_t ms) { return TimedWait(*this, clock, clock.now_us() + ms * 1000); }

 private:
  Link head_;
};

namespace detail {
template <class T>
Task<void> keep_result(Task<Result<T>> step, std::optional<Result<T>>& result, Signal& done) {
  auto outcome = co_await step;
  result.emplace(std::move(outcome));
  done.notify_all();
}
}  // namespace detail

/// Runs a step; when it takes longer it is cancelled and the result is Errc::timed_out with `what` in the text.
template <class T>
Task<Result<T>> with_timeout(Clock& clock, int64_t ms, const char* what, Task<Result<T>> step) {
  std::optional<Result<T>> result;
  Signal done;
  TaskSet running;
  running.add(detail::keep_result<T>(std::move(step), result, done));
  if (!result.has_value()) {
    co_await done.wait_for(clock, ms);
  }
  if (!result.has_value()) {
    co_return Error{Errc::timed_out, std::string(what) + ": no answer within " + std::to_string(ms) + " ms"};
  }
  co_return std::move(*result);
}

}  // namespace sidestream
