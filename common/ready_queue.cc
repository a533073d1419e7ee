// ready_queue.cc: three intrusive lists and the loops over them.
#include "common/ready_queue.h"

namespace sidestream {

ReadyQueue::ReadyQueue() : outer_(current_) {
  ready_.prev_ = ready_.next_ = &ready_;
  turn_end_.prev_ = turn_end_.next_ = &turn_end_;
  gathered_.prev_ = gathered_.next_ = &gathered_;
  current_ = this;
}

ReadyQueue::~ReadyQueue() {
  CHECK(idle());
  current_ = outer_;
  ready_.next_ = turn_end_.next_ = gathered_.next_ = nullptr;  // heads: nothing to unlink
}

ReadyNode* ReadyQueue::pop(ReadyNode& head) {
  if (head.next_ == &head) return nullptr;
  ReadyNode* node = head.next_;
  node->unlink();
  return node;
}

bool ReadyQueue::idle() const {
  return ready_.next_ == &ready_ && turn_end_.next_ == &turn_end_ && gathered_.next_ == &gathered_;
}

size_t ReadyQueue::drain_turn() {
  CHECK(!draining_);
  draining_ = true;
  size_t ran = 0;
  for (;;) {
    ReadyNode* node = pop(ready_);
    if (node == nullptr) node = pop(turn_end_);
    if (node == nullptr) break;
    node->run_(*node);
    ++ran;
  }
  draining_ = false;
  return ran;
}

void ReadyQueue::drain() {
  for (;;) {
    drain_turn();
    ReadyNode* node = pop(gathered_);
    if (node == nullptr) return;
    draining_ = true;
    node->run_(*node);
    draining_ = false;
  }
}

}  // namespace sidestream
