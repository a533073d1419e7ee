// sim_tests.cc: runs scenarios over many seeds on all cores.
//
//   sim_tests [--seeds A..B] [--scenario NAME] [--jobs N] [--failures N]
//   SEED=n sim_tests --scenario NAME          one seed with its trace and log, all of it
//
// Happy path: every seed ends without a failure, without a leak, and one in eight is run twice to see that the same
// seed makes the same run. Failure modes: the first failing seeds are run again with the trace, which is printed; a
// crash or a hang is reported with its seed by the parent.
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>
#include <thread>

#include "common/log.h"
#include "common/text.h"
#include "tests/sim/scenario.h"

// Coroutine frames and nearly all objects come from here: what a seed leaves behind is a leak.
static int64_t live_allocations = 0;
void* operator new(size_t n) {
  ++live_allocations;
  void* memory = std::malloc(n == 0 ? 1 : n);
  if (memory == nullptr) std::abort();
  return memory;
}
void operator delete(void* memory) noexcept {
  if (memory == nullptr) return;
  --live_allocations;
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept { operator delete(memory); }

namespace sidestream::sim {
namespace {

constexpr Scenario kScenarios[] = {
    {"nodes", run_nodes}, {"relay", run_relay}, {"instance", run_instance}, {"switch", run_switch}};

constexpr int kSeedSecondsMax = 60;  // of the processor's time; a seed takes some milliseconds
constexpr uint64_t kTracesShown = 3;

struct Plan {
  uint64_t from = 1, to = 1000;
  unsigned jobs = std::max(1U, std::thread::hardware_concurrency());
  uint64_t failures = 20;  // enough is enough
  std::string only;
};

struct Outcome {
  std::string failure;
  uint64_t hash = 0;
};

enum class Trace { none, last_lines, all };

Outcome run_once(const Scenario& scenario, uint64_t seed, Trace trace) {
  Outcome outcome;
  SimWorld world(seed);
  if (trace == Trace::last_lines) world.start_tracing();
  if (trace == Trace::all) world.print_trace();
  scenario.run(world);
  world.run_for(0);
  const std::string leaks = world.leaks();
  if (!leaks.empty()) world.fail("left behind: " + leaks);
  outcome.failure = world.failure();
  outcome.hash = world.hash();
  if (trace == Trace::last_lines) {
    for (const auto& line : world.trace_lines()) std::printf("%s\n", line.c_str());
  }
  return outcome;
}

/// Empty if all is well.
std::string judge(const Scenario& scenario, uint64_t seed) {
  forget_log_events();
  const int64_t before = live_allocations;
  std::string failure;
  {
    const Outcome first = run_once(scenario, seed, Trace::none);
    failure = first.failure;
    if (failure.empty() && seed % 8 == 0 && run_once(scenario, seed, Trace::none).hash != first.hash) {
      failure = "two runs of this seed differ";
    }
  }
  if (!failure.empty()) return failure;
  forget_log_events();
  if (live_allocations != before) return std::to_string(live_allocations - before) + " allocations left behind";
  return {};
}

/// What a worker tells its parent, also when it dies.
struct Slot {
  std::atomic<uint64_t> seed;
  std::atomic<uint64_t> passed;
  std::atomic<uint64_t> failed;
};

uint64_t failures(const Plan& plan, const Slot* slots) {
  uint64_t sum = 0;
  for (unsigned job = 0; job < plan.jobs; ++job) sum += slots[job].failed;
  return sum;
}

void work(const Scenario& scenario, const Plan& plan, uint64_t first, Slot* slots, Slot& slot) {
  const itimerval patience{{0, 0}, {kSeedSecondsMax, 0}};
  slot.seed = first;
  run_once(scenario, first, Trace::none);  // first use of static objects is no leak
  for (uint64_t seed = first; seed <= plan.to && failures(plan, slots) < plan.failures; seed += plan.jobs) {
    slot.seed = seed;
    setitimer(ITIMER_VIRTUAL, &patience, nullptr);
    const std::string failure = judge(scenario, seed);
    if (failure.empty()) {
      ++slot.passed;
      continue;
    }
    std::printf("FAILED %s seed %llu: %s\n", scenario.name, static_cast<unsigned long long>(seed), failure.c_str());
    if (slot.failed++ < kTracesShown) run_once(scenario, seed, Trace::last_lines);
    std::fflush(stdout);
  }
}

bool run_scenario(const Scenario& scenario, const Plan& plan) {
  void* shared = mmap(nullptr, sizeof(Slot) * plan.jobs, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  Slot* slots = new (shared) Slot[plan.jobs]();
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::pair<pid_t, unsigned>> workers;
  const auto spawn = [&](unsigned job, uint64_t first) {
    std::fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
      work(scenario, plan, first, slots, slots[job]);
      std::fflush(stdout);
      _exit(0);
    }
    workers.emplace_back(pid, job);
  };
  for (unsigned job = 0; job < plan.jobs && plan.from + job <= plan.to; ++job) spawn(job, plan.from + job);
  while (!workers.empty()) {
    const auto [pid, job] = workers.back();
    workers.pop_back();
    int status = 0;
    waitpid(pid, &status, 0);
    if (!WIFSIGNALED(status)) continue;
    const uint64_t seed = slots[job].seed;
    std::printf("FAILED %s seed %llu: %s\n", scenario.name, static_cast<unsigned long long>(seed),
                WTERMSIG(status) == SIGVTALRM ? "hangs" : strsignal(WTERMSIG(status)));
    ++slots[job].failed;
    if (seed + plan.jobs <= plan.to && failures(plan, slots) < plan.failures) spawn(job, seed + plan.jobs);
  }
  const uint64_t failed = failures(plan, slots);
  uint64_t passed = 0;
  for (unsigned job = 0; job < plan.jobs; ++job) passed += slots[job].passed;
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  std::printf("%s: %llu seeds passed, %llu failed, %.1f s\n", scenario.name, static_cast<unsigned long long>(passed),
              static_cast<unsigned long long>(failed), taken.count());
  munmap(shared, sizeof(Slot) * plan.jobs);
  return failed == 0 && passed == plan.to - plan.from + 1;
}

int replay(const Scenario& scenario, uint64_t seed) {
  static_cast<void>(set_log(LogSettings{LogLevel::debug, false, {}}));
  const Outcome outcome = run_once(scenario, seed, Trace::all);
  std::printf("%s seed %llu: %s, hash %016llx\n", scenario.name, static_cast<unsigned long long>(seed),
              outcome.failure.empty() ? "passed" : outcome.failure.c_str(),
              static_cast<unsigned long long>(outcome.hash));
  return outcome.failure.empty() ? 0 : 1;
}

int usage() {
  std::fprintf(stderr,
               "usage: sim_tests [--seeds A..B] [--scenario NAME] [--jobs N] [--failures N]; SEED=n replays one\n");
  return 2;
}

bool read_arguments(int argc, char** argv, Plan& plan) {
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) return false;
    const std::string_view option = argv[i], value = argv[i + 1];
    const size_t dots = std::min(value.find(".."), value.size());
    const auto first = parse_int(value.substr(0, dots));
    const auto last = dots == value.size() ? first : parse_int(value.substr(dots + 2));
    if (option == "--scenario") {
      plan.only = value;
      continue;
    }
    if (!first || !last || *first < 1 || *last < *first) return false;
    if (option == "--seeds") {
      plan.from = static_cast<uint64_t>(*first);
      plan.to = static_cast<uint64_t>(*last);
    } else if (option == "--jobs") {
      plan.jobs = static_cast<unsigned>(*first);
    } else if (option == "--failures") {
      plan.failures = static_cast<uint64_t>(*first);
    } else {
      return false;
    }
  }
  return true;
}

int run(int argc, char** argv) {
  Plan plan;
  if (!read_arguments(argc, argv, plan)) return usage();
  static_cast<void>(set_log(LogSettings{LogLevel::error, false, {}}));
  bool good = true, any = false;
  for (const Scenario& scenario : kScenarios) {
    if (!plan.only.empty() && plan.only != scenario.name) continue;
    any = true;
    if (const char* seed = std::getenv("SEED")) return replay(scenario, std::strtoull(seed, nullptr, 10));
    good &= run_scenario(scenario, plan);
  }
  if (!any) return usage();
  return good ? 0 : 1;
}

}  // namespace
}  // namespace sidestream::sim

int main(int argc, char** argv) { return sidestream::sim::run(argc, argv); }
