// ready_queue.h: what runs this turn. A callback of the event loop never calls protocol code: it stores its
// result and posts a node here; the loop drains the queue at the top of its stack. So nobody is destroyed or
// re-entered while one of their frames is below, and a simulation with the same posts makes the same moves.
//
// A turn: run posted nodes in order until there are none, then the nodes of the turn's end (flush what was
// gathered: one write per connection and turn), and again if those posted more. What gets cheaper by the batch and may
// wait a little is gathered over several turns, for as long as the loop finds more to do at once (uv_world.cc).
//
// A node unlinks itself when destroyed: a coroutine cancelled between post and drain leaves nothing behind.
#pragma once

#include <coroutine>
#include <cstddef>

#include "common/check.h"

namespace sidestream {

class ReadyQueue;

/// Something that can be queued once. Owned by whoever waits (an awaiter, a promise, a session), never by the queue.
class ReadyNode {
 public:
  using Run = void (*)(ReadyNode&);
  explicit ReadyNode(Run run) : run_(run) {}
  ReadyNode(const ReadyNode&) = delete;
  ReadyNode& operator=(const ReadyNode&) = delete;
  ~ReadyNode() { unlink(); }

  bool queued() const { return next_ != nullptr; }
  void unlink();

 private:
  friend class ReadyQueue;
  ReadyNode() = default;  // list heads
  Run run_ = nullptr;
  ReadyNode* prev_ = nullptr;
  ReadyNode* next_ = nullptr;
};

/// A node that calls a member function of its owner.
template <class T, void (T::*action)()>
class MemberNode : public ReadyNode {
 public:
  explicit MemberNode(T& owner)
      : ReadyNode([](ReadyNode& node) { (static_cast<MemberNode&>(node).owner_.*action)(); }), owner_(owner) {}

 private:
  T& owner_;
};

/// A node that resumes a coroutine.
class Resumption : public ReadyNode {
 public:
  Resumption() : ReadyNode([](ReadyNode& node) { static_cast<Resumption&>(node).handle_.resume(); }) {}
  void set(std::coroutine_handle<> handle) { handle_ = handle; }
  bool waiting() const { return handle_ != nullptr; }
  /// Resumes the coroutine later this turn. At most once per set().
  void post();

 private:
  std::coroutine_handle<> handle_;
};

class ReadyQueue {
 public:
  ReadyQueue();
  ~ReadyQueue();
  ReadyQueue(const ReadyQueue&) = delete;
  ReadyQueue& operator=(const ReadyQueue&) = delete;

  /// The queue of this thread; one must exist.
  static ReadyQueue& current() {
    CHECK(current_ != nullptr);
    return *current_;
  }

  /// Queues a node; no effect if it is queued already.
  void post(ReadyNode& node) { link(ready_, node); }
  void post_turn_end(ReadyNode& node) { link(turn_end_, node); }
  void post_gathered(ReadyNode& node) { link(gathered_, node); }
  bool has_gathered() const { return gathered_.next_ != &gathered_; }
  bool idle() const;
  /// Runs until nothing is queued. Never called from inside a node.
  void drain();
  /// The same, but what is gathered stays. How many nodes were run.
  size_t drain_turn();

 private:
  static void link(ReadyNode& head, ReadyNode& node) {
    if (node.queued()) return;
    node.prev_ = head.prev_;
    node.next_ = &head;
    head.prev_->next_ = &node;
    head.prev_ = &node;
  }
  static ReadyNode* pop(ReadyNode& head);

  static inline thread_local ReadyQueue* current_ = nullptr;

  ReadyNode ready_;
  ReadyNode turn_end_;
  ReadyNode gathered_;
  bool draining_ = false;
  ReadyQueue* outer_;  // of this thread, while this one is current
};

inline void ReadyNode::unlink() {
  if (next_ == nullptr) return;
  prev_->next_ = next_;
  next_->prev_ = prev_;
  prev_ = next_ = nullptr;
}

inline void Resumption::post() { ReadyQueue::current().post(*this); }

/// Waits until what is gathered runs.
struct Gathered {
  Resumption resumption;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) {
    resumption.set(handle);
    ReadyQueue::current().post_gathered(resumption);
  }
  void await_resume() const noexcept {}
};

}  // namespace sidestream
