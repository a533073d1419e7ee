// uv_world.cc: the loop, its clock, its signals and its chance.
#include "common/uv_world.h"

#include <fcntl.h>
#include <sys/random.h>

#include <array>
#include <csignal>
#include <ctime>
#include <list>
#include <utility>

#include "common/check.h"
#include "common/tls_network.h"
#include "common/uv_parts.h"

namespace sidestream {

UvPoll::UvPoll(uv_loop_t& loop, int fd, Callback callback)
    : handle_(new Handle{{}, this}), callback_(std::move(callback)) {
  CHECK(uv_poll_init(&loop, &handle_->poll, fd) == 0);
  handle_->poll.data = handle_;
}

UvPoll::~UvPoll() {
  handle_->owner = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_->poll),
           [](uv_handle_t* handle) { delete static_cast<Handle*>(handle->data); });
}

void UvPoll::watch(int events) {
  if (events == events_) return;
  events_ = events;
  if (events == 0) {
    uv_poll_stop(&handle_->poll);
    return;
  }
  uv_poll_start(&handle_->poll, events, [](uv_poll_t* poll, int status, int seen) {
    auto* handle = static_cast<Handle*>(poll->data);
    if (handle->owner == nullptr) return;
    // An error shows as readiness: the read or write that follows tells which. libuv has stopped watching by itself.
    handle->owner->callback_(status < 0 ? std::exchange(handle->owner->events_, 0) : seen);
  });
}

UvJob::UvJob(uv_loop_t& loop, std::function<int64_t()> job) : loop_(loop), work_(std::make_unique<Work>()) {
  work_->job = std::move(job);
}

UvJob::~UvJob() {
  if (queued_ != nullptr) queued_->waiter = nullptr;
}

void UvJob::await_suspend(std::coroutine_handle<> handle) {
  resumption_.set(handle);
  queued_ = work_.release();
  queued_->waiter = this;
  queued_->request.data = queued_;
  const auto run = [](uv_work_t* request) {
    auto* work = static_cast<Work*>(request->data);
    work->result = work->job();
  };
  const auto done = [](uv_work_t* request, int) {
    std::unique_ptr<Work> work(static_cast<Work*>(request->data));
    if (work->waiter == nullptr) return;
    work->waiter->result_ = work->result;
    work->waiter->queued_ = nullptr;
    work->waiter->resumption_.post();
  };
  CHECK(uv_queue_work(&loop_, &queued_->request, run, done) == 0);
}

namespace {

class UvClock final : public Clock {
 public:
  explicit UvClock(uv_loop_t& loop) {
    CHECK(uv_timer_init(&loop, &timer_) == 0);
    timer_.data = this;
  }
  int64_t now_us() const override { return static_cast<int64_t>(uv_hrtime() / 1000); }
  int64_t wall_ms() const override {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
  }
  void close() { uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr); }

 private:
  void deadline_changed() override {
    const int64_t deadline = next_deadline_us();
    if (deadline < 0) return;
    const int64_t left_us = deadline - now_us();
    const uint64_t delay_ms = left_us <= 0 ? 0 : static_cast<uint64_t>((left_us + 999) / 1000);
    uv_update_time(timer_.loop);
    uv_timer_start(
        &timer_,
        [](uv_timer_t* timer) {
          auto* clock = static_cast<UvClock*>(timer->data);
          clock->fire_due();
          clock->deadline_changed();
        },
        delay_ms, 0);
  }
  uv_timer_t timer_;
};

class OsRandom final : public Random {
 public:
  uint64_t next() override {
    uint64_t value = 0;
    CHECK(getrandom(&value, sizeof value, 0) == sizeof value);
    return value;
  }
};

struct SignalWatch {
  explicit SignalWatch(std::function<void()> action) : node(*this), handler(std::move(action)) {}
  struct Node : ReadyNode {
    explicit Node(SignalWatch& owner)
        : ReadyNode([](ReadyNode& self) { static_cast<Node&>(self).watch.handler(); }), watch(owner) {}
    SignalWatch& watch;
  };
  uv_signal_t handle{};
  Node node;
  std::function<void()> handler;
};

constexpr size_t kBusyNodes = 8;         // run in one turn: about so many sockets were ready
constexpr uint64_t kGatherNs = 100'000;  // what is gathered waits no longer
constexpr uint64_t kStallMs = 1000;

}  // namespace

struct UvWorld::State {
  State(TlsInForce& tls, Introductions& introductions, std::vector<PassedListener> inherited)
      : loop(make_loop()),
        clock(*loop),
        listening{std::move(inherited), {}, false},
        sockets(make_uv_network(*loop, listening)),
        introduced(make_proxy_network(*sockets, clock, introductions)),
        network(make_tls_network(*introduced, clock, tls)),
        files(make_uv_files(*loop)),
        loops(make_uv_loops(*loop, tls, introductions)),
        world{clock, *network, *files, random, *loops, &tls, &introductions} {
    turned_ms = uv_now(loop.get());
    uv_prepare_init(loop.get(), &prepare);
    uv_check_init(loop.get(), &check);
    prepare.data = check.data = this;
    uv_idle_init(loop.get(), &keep_looking);
    uv_prepare_start(&prepare, [](uv_prepare_t* handle) { static_cast<State*>(handle->data)->before_poll(); });
    uv_check_start(&check, [](uv_check_t* handle) { static_cast<State*>(handle->data)->after_poll(); });
  }

  void before_poll() {
    queue.drain_turn();
    if (queue.has_gathered()) {
      uv_idle_start(&keep_looking, [](uv_idle_t*) {});  // the poll does not wait
    } else {
      uv_idle_stop(&keep_looking);
    }
  }

  /// A loop with little to do sends at once. A busy one looks again first: what came meanwhile goes into the same
  /// batch.
  void after_poll() {
    const uint64_t now_ms = uv_now(loop.get());
    if (now_ms - std::exchange(turned_ms, now_ms) > kStallMs && stalled) stalled();
    const bool busy = queue.drain_turn() >= kBusyNodes;
    if (!queue.has_gathered()) return;
    const uint64_t now_ns = uv_hrtime();
    if (gathering_since_ns == 0) gathering_since_ns = now_ns;
    if (busy && now_ns - gathering_since_ns < kGatherNs) return;
    gathering_since_ns = 0;
    queue.drain();
  }

  static std::unique_ptr<uv_loop_t> make_loop() {
    auto fresh = std::make_unique<uv_loop_t>();
    CHECK(uv_loop_init(fresh.get()) == 0);
    return fresh;
  }

  std::unique_ptr<uv_loop_t> loop;
  ReadyQueue queue;
  UvClock clock;
  OsRandom random;
  UvListening listening;
  std::unique_ptr<Network> sockets;
  std::unique_ptr<Network> introduced;
  std::unique_ptr<Network> network;
  std::unique_ptr<Files> files;
  std::unique_ptr<Loops> loops;
  World world;
  uv_prepare_t prepare{};
  uv_check_t check{};
  uv_idle_t keep_looking{};
  uint64_t gathering_since_ns = 0;  // 0: since the next poll
  std::list<SignalWatch> signals;
  uint64_t turned_ms = 0;  // loop time of the last poll
  std::function<void()> stalled;
};

UvWorld::UvWorld(TlsInForce& tls, Introductions& introductions, std::vector<PassedListener> inherited) {
  std::signal(SIGPIPE, SIG_IGN);
  state_ = std::make_unique<State>(tls, introductions, std::move(inherited));
}

UvWorld::~UvWorld() {
  for (SignalWatch& watch : state_->signals) uv_close(reinterpret_cast<uv_handle_t*>(&watch.handle), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&state_->prepare), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&state_->check), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&state_->keep_looking), nullptr);
  state_->clock.close();
  state_->queue.drain();
  uv_run(state_->loop.get(), UV_RUN_DEFAULT);  // lets close callbacks and lingering connections end
  state_->queue.drain();
  CHECK(uv_loop_close(state_->loop.get()) == 0);
}

World& UvWorld::world() { return state_->world; }
void UvWorld::run() {
  state_->queue.drain();
  uv_run(state_->loop.get(), UV_RUN_DEFAULT);
}
void UvWorld::stop() { uv_stop(state_->loop.get()); }

std::unique_ptr<Passage> UvWorld::passage(OwnedDescriptor socket) {
  return make_uv_passage(*state_->loop, std::move(socket));
}

std::vector<PassedListener> UvWorld::listeners() const {
  std::vector<PassedListener> copies;
  for (const auto& [address, fd] : state_->listening.open) {
    copies.push_back({address, OwnedDescriptor(::fcntl(fd, F_DUPFD_CLOEXEC, 0))});
  }
  return copies;
}

void UvWorld::give_listeners_away(bool given) { state_->listening.given_away = given; }

void UvWorld::on_signal(int number, std::function<void()> handler) {
  SignalWatch& watch = state_->signals.emplace_back(std::move(handler));
  CHECK(uv_signal_init(state_->loop.get(), &watch.handle) == 0);
  watch.handle.data = &watch;
  uv_signal_start(
      &watch.handle,
      [](uv_signal_t* handle, int) { ReadyQueue::current().post(static_cast<SignalWatch*>(handle->data)->node); },
      number);
}

void UvWorld::on_stall(std::function<void()> handler) { state_->stalled = std::move(handler); }

}  // namespace sidestream
