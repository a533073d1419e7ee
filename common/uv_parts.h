// uv_parts.h: what uv_world.cc is put together from. Private to common/uv_*.
#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "common/byte_stream.h"
#include "common/files.h"
#include "common/loops.h"
#include "common/ready_queue.h"
#include "common/tls_context.h"

namespace sidestream {

/// Watches one descriptor. libuv owns the handle from close on: it sits in a block of its own, and the callback finds
/// the watcher through a pointer that the destructor clears.
class UvPoll {
 public:
  using Callback = std::function<void(int events)>;
  UvPoll(uv_loop_t& loop, int fd, Callback callback);
  ~UvPoll();
  UvPoll(const UvPoll&) = delete;
  UvPoll& operator=(const UvPoll&) = delete;
  /// UV_READABLE | UV_WRITABLE; 0 stops.
  void watch(int events);

 private:
  struct Handle {
    uv_poll_t poll;
    UvPoll* owner;
  };
  Handle* handle_;
  Callback callback_;
  int events_ = 0;
};

/// Runs `job` on libuv's thread pool and waits for its result. Cancelling the wait leaves the job to finish alone: it
/// must own all it touches.
class UvJob {
 public:
  UvJob(uv_loop_t& loop, std::function<int64_t()> job);
  ~UvJob();
  UvJob(const UvJob&) = delete;
  UvJob& operator=(const UvJob&) = delete;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle);
  int64_t await_resume() const { return result_; }

 private:
  struct Work {
    uv_work_t request;
    std::function<int64_t()> job;
    int64_t result = 0;
    UvJob* waiter = nullptr;
  };
  uv_loop_t& loop_;
  std::unique_ptr<Work> work_;  // until it is queued
  Work* queued_ = nullptr;
  Resumption resumption_;
  int64_t result_ = 0;
};

std::unique_ptr<Network> make_uv_network(uv_loop_t& loop);
std::unique_ptr<Files> make_uv_files(uv_loop_t& loop);
std::unique_ptr<Loops> make_uv_loops(uv_loop_t& loop, TlsInForce& tls);

}  // namespace sidestream
