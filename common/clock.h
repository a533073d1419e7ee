// clock.h: time as a seam. The libuv loop and the simulation each provide a Clock; protocol code sees only this.
//
// Deadlines are microseconds of a monotonic clock whose zero means nothing. Timers are intrusive: they belong to
// the awaiter or object that waits, and unlink themselves.
#pragma once

#include <coroutine>
#include <cstdint>
#include <map>

#include "common/ready_queue.h"

namespace sidestream {

class Clock;

/// One deadline. When it is reached the node is posted.
class Timer {
 public:
  /// `node` is posted when the time has come; it must live as long as the timer.
  Timer(Clock& clock, ReadyNode& node) : clock_(clock), node_(node) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { cancel(); }
  /// (Re)starts. A deadline that has passed fires in the next turn.
  void start_at(int64_t deadline_us);
  void start_after(int64_t delay_ms);
  void cancel();
  bool active() const { return active_; }

 private:
  friend class Clock;
  Clock& clock_;
  ReadyNode& node_;
  std::multimap<int64_t, Timer*>::iterator place_;
  bool active_ = false;
};

class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t now_us() const = 0;
  int64_t now_ms() const { return now_us() / 1000; }
  /// Milliseconds since 1970, for people and for state that outlives the process.
  virtual int64_t wall_ms() const = 0;

  struct Sleep;
  /// Waits; at least one turn passes.
  Sleep sleep(int64_t delay_ms);

 protected:
  /// The earliest deadline, or -1.
  int64_t next_deadline_us() const { return timers_.empty() ? -1 : timers_.begin()->first; }
  /// Posts all that is due.
  void fire_due();
  /// The earliest deadline became another one.
  virtual void deadline_changed() = 0;

 private:
  friend class Timer;
  std::multimap<int64_t, Timer*> timers_;
};

struct Clock::Sleep {
  Sleep(Clock& clock, int64_t delay_ms) : timer(clock, resumption), delay_ms(delay_ms) {}
  Resumption resumption;
  Timer timer;
  int64_t delay_ms;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) {
    resumption.set(handle);
    timer.start_after(delay_ms);
  }
  void await_resume() const noexcept {}
};

inline Clock::Sleep Clock::sleep(int64_t delay_ms) { return Sleep(*this, delay_ms); }

}  // namespace sidestream
