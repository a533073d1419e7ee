// uv_loops.cc: letters between libuv loops, and loops on threads. See loops.h.
//
// Happy path: post() puts the letter into a vector under a mutex and wakes the loop once; the loop takes all of them in
// a turn of its own. Failure modes: a thread or handle that cannot be made is a CHECK (out of memory or descriptors at
// start).
#include <pthread.h>
#include <uv.h>

#include <future>
#include <mutex>
#include <thread>
#include <vector>

#include "common/check.h"
#include "common/uv_parts.h"
#include "common/uv_world.h"

namespace sidestream {
namespace {

class UvMailbox final : public Mailbox, private ReadyNode {
 public:
  explicit UvMailbox(uv_loop_t& loop)
      : ReadyNode([](ReadyNode& node) { static_cast<UvMailbox&>(node).deliver(); }), handle_(new uv_async_t) {
    CHECK(uv_async_init(&loop, handle_, [](uv_async_t* handle) {
            if (handle->data != nullptr) ReadyQueue::current().post(*static_cast<UvMailbox*>(handle->data));
          }) == 0);
    handle_->data = this;
  }
  ~UvMailbox() override {
    handle_->data = nullptr;
    uv_close(reinterpret_cast<uv_handle_t*>(handle_),
             [](uv_handle_t* handle) { delete reinterpret_cast<uv_async_t*>(handle); });
  }

  void post(Letter letter) override {
    bool first = false;
    {
      const std::lock_guard lock(mutex_);
      first = letters_.empty();
      letters_.push_back(std::move(letter));
    }
    if (first) uv_async_send(handle_);
  }

 private:
  void deliver() {
    std::vector<Letter> letters;
    {
      const std::lock_guard lock(mutex_);
      letters.swap(letters_);
    }
    for (Letter& letter : letters) letter();
  }

  std::mutex mutex_;
  std::vector<Letter> letters_;
  uv_async_t* handle_;  // libuv's own from close on
};

class UvLoopThread final : public LoopThread {
 public:
  UvLoopThread(TlsInForce& tls, Introductions& introductions) {
    std::promise<void> started;
    auto ready = started.get_future();
    thread_ = std::thread([this, &tls, &introductions, started = std::move(started)]() mutable {
      ::pthread_setname_np(::pthread_self(), "loop");  // for top -H
      UvWorld world(tls, introductions);
      const auto mailbox = world.world().loops.open_mailbox();
      world_ = &world;
      mailbox_ = mailbox.get();
      started.set_value();
      world.run();
    });
    ready.wait();
  }
  ~UvLoopThread() override { CHECK(!thread_.joinable()); }

  World& world() override { return world_->world(); }
  Mailbox& mailbox() override { return *mailbox_; }
  void finish(Letter last) override {
    mailbox_->post([world = world_, last = std::move(last)]() mutable {
      last();
      world->stop();
    });
    thread_.join();
  }

 private:
  UvWorld* world_ = nullptr;  // on the thread's stack
  Mailbox* mailbox_ = nullptr;
  std::thread thread_;
};

class UvLoops final : public Loops {
 public:
  UvLoops(uv_loop_t& loop, TlsInForce& tls, Introductions& introductions)
      : loop_(loop), tls_(tls), introductions_(introductions) {}
  std::unique_ptr<Mailbox> open_mailbox() override { return std::make_unique<UvMailbox>(loop_); }
  std::unique_ptr<LoopThread> start_thread() override { return std::make_unique<UvLoopThread>(tls_, introductions_); }

 private:
  uv_loop_t& loop_;
  TlsInForce& tls_;
  Introductions& introductions_;
};

}  // namespace

std::unique_ptr<Loops> make_uv_loops(uv_loop_t& loop, TlsInForce& tls, Introductions& introductions) {
  return std::make_unique<UvLoops>(loop, tls, introductions);
}

}  // namespace sidestream
