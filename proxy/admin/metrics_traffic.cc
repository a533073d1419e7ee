// metrics_traffic.cc: see the header. Facts about the process are read from /proc; a file that cannot be read leaves
// its metric out.
#include "proxy/admin/metrics_traffic.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>

#include "common/log.h"

namespace sidestream::admin {
namespace {

using resp::CommandClass;
using routing::Work;

/// Who answers a class of commands; reads are counted where they went.
const char* route_of(CommandClass cls) {
  return cls == CommandClass::session || cls == CommandClass::local || cls == CommandClass::subscribe ? "here"
                                                                                                      : "primary";
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

int64_t resident_pages() {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen("/proc/self/statm", "re"), &std::fclose);
  long size = 0, resident = 0;
  if (!file || std::fscanf(file.get(), "%ld %ld", &size, &resident) != 2) return -1;
  return resident;
}

int64_t open_descriptors() {
  std::error_code failed;
  int64_t count = 0;
  for (std::filesystem::directory_iterator each("/proc/self/fd", failed), end; !failed && each != end;
       each.increment(failed)) {
    ++count;
  }
  return failed ? -1 : count - 1;  // the directory itself
}

void add_log(Scrape& scrape) {
  const LogCounts counts = log_counts();
  for (const LogLevel level :
       {LogLevel::debug, LogLevel::verbose, LogLevel::notice, LogLevel::warning, LogLevel::error}) {
    scrape.counter("log_messages_total", "Log lines, also those below log.level from notice on.",
                   counts.lines[static_cast<size_t>(level)], {{"level", std::string(name_of(level))}});
  }
  scrape.counter("log_messages_dropped_total", "Log lines that were repeats and not written.", counts.dropped);
}

}  // namespace

void add_commands(Scrape& scrape, Group& group) {
  const auto counters = group.plane().counters();
  const auto times = group.plane().times();
  const std::string help = "Commands of clients, by who was asked and what kind they are.";
  scrape.counter("commands_total", help, counters.reads_replica, {{"route", "replica"}, {"class", "read"}});
  scrape.counter("commands_total", help, counters.reads_primary, {{"route", "primary"}, {"class", "read"}});
  scrape.counter("commands_total", help, counters.by_class[static_cast<size_t>(CommandClass::write)],
                 {{"route", "primary"}, {"class", "write"}});
  for (size_t i = 0; i < counters.by_class.size(); ++i) {
    const auto cls = static_cast<CommandClass>(i);
    const bool counted = cls == CommandClass::read || cls == CommandClass::read_primary || cls == CommandClass::write ||
                         cls == CommandClass::scan;
    if (counted) continue;
    scrape.counter("commands_total", help, counters.by_class[i],
                   {{"route", route_of(cls)}, {"class", std::string(resp::class_name(cls))}});
  }
  for (size_t route = 0; route < times.routes.size(); ++route) {
    scrape.counter("command_errors_total", "Error replies of servers, passed on to clients.",
                   times.routes[route].errors, {{"route", routing::kRouteNames[route]}});
    for (size_t work = 0; work < static_cast<size_t>(Work::kCount); ++work) {
      scrape.histogram("command_duration_seconds",
                       "From the moment a request is queued for a server until its reply is here. private: on a "
                       "connection of its own (transactions, scripts); what may block is not in it.",
                       times.routes[route].took[work],
                       {{"route", routing::kRouteNames[route]}, {"class", routing::kWorkNames[work]}});
    }
  }
  scrape.gauge("held_writes", "Clients that wait for a server to take their request.", group.plane().clients().held);
  scrape.histogram("held_write_duration_seconds", "How long such requests waited.", times.held);
}

void add_process(Scrape& scrape, Group& group) {
  size_t thread = 0;
  for (const Latency& lag : group.plane().loop_lags()) {
    scrape.histogram("event_loop_lag_seconds", "How much later than due the loop's timer ran, ten times a second.", lag,
                     {{"thread", std::to_string(thread++)}});
  }
  add_log(scrape);
  const int64_t up_ms = group.world().clock.now_ms() - group.started_at_ms();
  scrape.process_gauge("start_time_seconds", "Start of the process, in seconds since 1970.",
                       static_cast<double>(group.world().clock.wall_ms() - up_ms) / 1000);
  rusage used{};
  if (getrusage(RUSAGE_SELF, &used) == 0) {
    scrape.process_counter("cpu_seconds_total", "CPU time, user and system.",
                           seconds_of(used.ru_utime) + seconds_of(used.ru_stime));
  }
  const int64_t pages = resident_pages();
  if (pages >= 0) {
    scrape.process_gauge("resident_memory_bytes", "Memory in use.",
                         static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE)));
  }
  const int64_t open = open_descriptors();
  if (open >= 0) scrape.process_gauge("open_fds", "Open file descriptors.", static_cast<double>(open));
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    scrape.process_gauge("max_fds", "How many may be open.", static_cast<double>(limit.rlim_cur));
  }
}

}  // namespace sidestream::admin
