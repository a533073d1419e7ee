// task.h: coroutines for conversations: a handshake, a transfer, a reconnect loop, a session.
//
// Lifetime rules (the whole project relies on them):
//  1. A Task owns its coroutine; destroying it cancels, wherever the coroutine waits. Awaiters unlink themselves.
//  2. A task starts when it is awaited or added to a TaskSet, and then runs at once up to its first real wait.
//  3. A finished child posts its parent to the ready queue; it never resumes it from inside itself.
//  4. A TaskSet owns tasks nobody awaits; it forgets finished ones, and cancels the rest in its destructor.
//  5. Parameters are taken by value, or refer to objects that outlive the task (its owner).
// g++ 12.2 miscompiles some forms, hence rule C1: `co_await` stands alone, as a statement, at the right of
// `auto name =`, or after co_return; never in a condition, an argument list or braces. tests/tidy.py checks it.
#pragma once

#include <coroutine>
#include <list>
#include <optional>
#include <utility>

#include "common/check.h"
#include "common/ready_queue.h"

namespace sidestream {

class TaskSet;

namespace detail {

/// Told when a detached task is done (see TaskSet).
struct Completion {
  virtual void completed() = 0;

 protected:
  ~Completion() = default;
};

struct PromiseBase {
  Resumption parent;
  Completion* completion = nullptr;
  bool inline_start = false;

  std::suspend_always initial_suspend() noexcept { return {}; }
  struct Final {
    bool await_ready() noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> self) noexcept {
      PromiseBase& promise = self.promise();
      if (promise.completion != nullptr) {
        promise.completion->completed();
      } else if (!promise.inline_start && promise.parent.waiting()) {
        promise.parent.post();
      }
    }
    void await_resume() noexcept {}
  };
  Final final_suspend() noexcept { return {}; }
  [[noreturn]] void unhandled_exception() { check_failed("an exception left a coroutine", __FILE__, __LINE__); }
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;
  template <class U>
  void return_value(U&& v) {
    value.emplace(std::forward<U>(v));
  }
  T take() { return std::move(*value); }
};

template <>
struct Promise<void> : PromiseBase {
  void return_void() {}
  void take() {}
};

}  // namespace detail

template <class T = void>
class [[nodiscard]] Task {
 public:
  struct promise_type : detail::Promise<T> {
    Task get_return_object() { return Task(std::coroutine_handle<promise_type>::from_promise(*this)); }
  };

  Task() = default;
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      cancel();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Task() { cancel(); }

  bool valid() const { return handle_ != nullptr; }
  void cancel() {
    if (auto handle = std::exchange(handle_, nullptr)) handle.destroy();
  }

  struct Awaiter {
    std::coroutine_handle<promise_type> child;
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> parent) {
      auto& promise = child.promise();
      promise.parent.set(parent);
      promise.inline_start = true;
      child.resume();
      promise.inline_start = false;
      return !child.done();
    }
    T await_resume() { return child.promise().take(); }
  };
  Awaiter operator co_await() const {
    CHECK(handle_ != nullptr);
    return Awaiter{handle_};
  }

 private:
  friend class TaskSet;
  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

/// Tasks that run on their own until they finish or their owner goes.
class TaskSet {
 public:
  TaskSet() : reap_(*this) {}
  TaskSet(const TaskSet&) = delete;
  TaskSet& operator=(const TaskSet&) = delete;
  ~TaskSet() { cancel_all(); }

  void add(Task<void> task) {
    entries_.emplace_back(*this);
    Entry& entry = entries_.back();
    entry.self = std::prev(entries_.end());
    entry.task = std::move(task);
    entry.task.handle_.promise().completion = &entry;
    entry.task.handle_.resume();
  }
  /// Cancels all. Not from inside one of the tasks.
  void cancel_all() {
    while (!entries_.empty()) entries_.pop_front();
    finished_.clear();
  }
  bool empty() const { return entries_.empty(); }

 private:
  struct Entry final : detail::Completion {
    explicit Entry(TaskSet& owner) : set(owner) {}
    void completed() override { set.finished(*this); }
    TaskSet& set;
    Task<void> task;
    std::list<Entry>::iterator self;
  };
  struct Reap : ReadyNode {
    explicit Reap(TaskSet& owner)
        : ReadyNode([](ReadyNode& node) { static_cast<Reap&>(node).set.finished_.clear(); }), set(owner) {}
    TaskSet& set;
  };

  void finished(Entry& entry) {
    finished_.splice(finished_.end(), entries_, entry.self);
    ReadyQueue::current().post(reap_);
  }

  std::list<Entry> entries_;
  std::list<Entry> finished_;
  Reap reap_;
};

}  // namespace sidestream
