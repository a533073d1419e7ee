// clock.cc: an ordered map of deadlines; whoever owns the real clock asks for the earliest.
#include "common/clock.h"

namespace sidestream {

void Timer::start_at(int64_t deadline_us) {
  cancel();
  place_ = clock_.timers_.emplace(deadline_us, this);
  active_ = true;
  if (place_ == clock_.timers_.begin()) clock_.deadline_changed();
}

void Timer::start_after(int64_t delay_ms) { start_at(clock_.now_us() + delay_ms * 1000); }

void Timer::cancel() {
  if (!active_) return;
  active_ = false;
  clock_.timers_.erase(place_);  // the loop may wake up once for nothing: cheaper than telling it
}

void Clock::fire_due() {
  const int64_t now = now_us();
  while (!timers_.empty() && timers_.begin()->first <= now) {
    Timer& timer = *timers_.begin()->second;
    timer.cancel();
    ReadyQueue::current().post(timer.node_);
  }
}

}  // namespace sidestream
