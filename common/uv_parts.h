// uv_parts.h: what uv_world.cc is put together from. Private to common/uv_*.
#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/byte_stream.h"
#include "common/files.h"
#include "common/loops.h"
#include "common/passing.h"
#include "common/proxy_network.h"
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

/// The sockets that a process listens on, also for the one that takes its place.
struct UvListening {
  std::vector<PassedListener> inherited;          // listen() takes these before it binds
  std::vector<std::pair<std::string, int>> open;  // address as it was asked for, socket
  bool given_away = false;                        // the paths of unix sockets are another process's now
};

/// `listening` outlives it.
std::unique_ptr<Network> make_uv_network(uv_loop_t& loop, UvListening& listening);
std::unique_ptr<Passage> make_uv_passage(uv_loop_t& loop, OwnedDescriptor socket);
std::unique_ptr<Files> make_uv_files(uv_loop_t& loop);
std::unique_ptr<Loops> make_uv_loops(uv_loop_t& loop, TlsInForce& tls, Introductions& introductions);

}  // namespace sidestream
