// ready_queue.cc: two intrusive lists and the loop over them.
#include "common/ready_queue.h"

#include "common/check.h"

namespace sidestream {
namespace {
thread_local ReadyQueue* t_current = nullptr;
}

void ReadyNode::unlink() {
  if (next_ == nullptr) return;
  prev_->next_ = next_;
  next_->prev_ = prev_;
  prev_ = next_ = nullptr;
}

void Resumption::post() { ReadyQueue::current().post(*this); }

ReadyQueue::ReadyQueue() : outer_(t_current) {
  ready_.prev_ = ready_.next_ = &ready_;
  turn_end_.prev_ = turn_end_.next_ = &turn_end_;
  t_current = this;
}

ReadyQueue::~ReadyQueue() {
  CHECK(idle());
  t_current = outer_;
  ready_.next_ = turn_end_.next_ = nullptr;  // heads: nothing to unlink
}

ReadyQueue& ReadyQueue::current() {
  CHECK(t_current != nullptr);
  return *t_current;
}

void ReadyQueue::link(ReadyNode& head, ReadyNode& node) {
  if (node.queued()) return;
  node.prev_ = head.prev_;
  node.next_ = &head;
  head.prev_->next_ = &node;
  head.prev_ = &node;
}

ReadyNode* ReadyQueue::pop(ReadyNode& head) {
  if (head.next_ == &head) return nullptr;
  ReadyNode* node = head.next_;
  node->unlink();
  return node;
}

void ReadyQueue::post(ReadyNode& node) { link(ready_, node); }
void ReadyQueue::post_turn_end(ReadyNode& node) { link(turn_end_, node); }
bool ReadyQueue::idle() const { return ready_.next_ == &ready_ && turn_end_.next_ == &turn_end_; }

void ReadyQueue::drain() {
  CHECK(!draining_);
  draining_ = true;
  for (;;) {
    ReadyNode* node = pop(ready_);
    if (node == nullptr) node = pop(turn_end_);
    if (node == nullptr) break;
    node->run_(*node);
  }
  draining_ = false;
}

}  // namespace sidestream
