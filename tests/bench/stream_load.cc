// stream_load.cc: what a hop of replication costs: latency, throughput, time of a full resync.
//
//   latency     writes probes to `--primary` and sees them come out of the stream of `--end`
//   throughput  streams `--mb` from a synthetic primary on `--source` to `--sinks` replicas of `--end`, whatever stands
//               between them; with `--end` equal to `--source` nothing does
//   fullsync    `--sinks` replicas attach to `--end` at once and take the snapshot
// Happy path: one JSON line on stdout. Failure modes: a refused or lost link, or silence, ends the program.
#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "tests/bench/bench_support.h"
#include "tests/bench/replica_client.h"
#include "tests/bench/synthetic_primary.h"

namespace sidestream::bench {
namespace {

constexpr double kAttachSeconds = 60;
// More often than a replica's once a second: a stock primary ignores an ACK that comes before its snapshot child has
// been reaped, and begins the stream only at the next one.
constexpr int64_t kAckInterval = 100'000'000;
constexpr int64_t kSilenceMax = 20'000'000'000;

struct Options {
  uint16_t primary = 0;
  uint16_t end = 0;
  uint16_t source = 0;
  double rate = 1000;
  double seconds = 3;
  double warmup = 0.5;
  size_t value_bytes = 100;
  int sinks = 1;
  int64_t mb = 256;
  int64_t window_mb = 16;
  bool verify = false;
  std::vector<int> watch;
};

/// Probes in flight: the value of each SET begins with `@`, the run and a number, which nothing else in the stream
/// does. Probes of earlier runs may precede ours: a snapshot may be older than the stream that completes it.
class LatencyRun {
 public:
  explicit LatencyRun(const Options& options)
      : options_(options), link_(attach_within(options.end, kAttachSeconds)), writer_(connect_to(options.primary)) {
    set_nonblocking(link_.fd);
    set_nonblocking(writer_);
    offset_ = link_.offset;
    take(link_.early);
  }

  void run() {
    const auto interval = static_cast<int64_t>(1e9 / options_.rate);
    const auto warmup = static_cast<size_t>(options_.warmup * options_.rate);
    const size_t total = warmup + static_cast<size_t>(options_.seconds * options_.rate);
    first_counted_ = warmup;
    sent_at_.reserve(total);
    send_probe();  // the first one only proves that the stream flows
    while (seen_ == 0) wait(kAckInterval);
    CpuWatch watch(options_.watch);
    const int64_t started = now_ns();
    while (seen_ < total) {
      const int64_t now = now_ns();
      const int64_t due = started + static_cast<int64_t>(sent_at_.size()) * interval;
      if (sent_at_.size() < total && now >= due) {
        send_probe();
      } else {
        wait(sent_at_.size() < total ? std::min(due - now, kAckInterval) : kAckInterval);
      }
    }
    const double seconds = static_cast<double>(now_ns() - started) / 1e9;
    fmt::print(R"({{"seconds":{:.3f},"probes":{},"cpu_s":{},{}}})"
               "\n",
               seconds, total, watch.seconds_json(), latency_.json_fields());
  }

 private:
  static constexpr size_t kDigits = 12;

  void send_probe() {
    const std::string number = fmt::format("{}{:012}", mark_, sent_at_.size());
    const std::string value = number + std::string(options_.value_bytes - number.size(), 'x');
    const std::string probe =
        fmt::format("*3\r\n$3\r\nSET\r\n$11\r\nbench:probe\r\n${}\r\n{}\r\n", value.size(), value);
    sent_at_.push_back(now_ns());
    if (!write_all(writer_, probe)) die("the primary closed the connection");
  }

  void wait(int64_t nanos) {
    std::array<pollfd, 2> interests{{{link_.fd, POLLIN, 0}, {writer_, POLLIN, 0}}};
    const timespec patience{nanos / 1'000'000'000, nanos % 1'000'000'000};
    ppoll(interests.data(), interests.size(), &patience, nullptr);
    std::array<char, 65536> chunk{};
    if ((interests[1].revents & POLLIN) != 0 && read(writer_, chunk.data(), chunk.size()) <= 0) die("primary gone");
    if (interests[0].revents != 0) {
      const ssize_t got = read(link_.fd, chunk.data(), chunk.size());
      if (got <= 0) die("the replication link was closed");
      take(std::string_view(chunk.data(), static_cast<size_t>(got)));
    }
    const int64_t now = now_ns();
    if (now - last_seen_at_ > kSilenceMax) die("no probe came out of the stream for 20 s");
    if (now - acked_at_ >= kAckInterval) {
      acked_at_ = now;
      if (!acknowledge(link_.fd, offset_)) die("the replication link was closed");
    }
  }

  void take(std::string_view bytes) {
    const int64_t at = now_ns();
    offset_ += static_cast<int64_t>(bytes.size());
    pending_ += bytes;
    size_t done = 0;
    for (size_t at_mark = pending_.find('@'); at_mark != std::string::npos; at_mark = pending_.find('@', done)) {
      done = at_mark + mark_.size() + kDigits;
      if (done > pending_.size()) {
        pending_.erase(0, at_mark);
        return;
      }
      if (pending_.compare(at_mark, mark_.size(), mark_) != 0) continue;
      see(static_cast<size_t>(std::atoll(pending_.substr(done - kDigits, kDigits).c_str())), at);
    }
    pending_.clear();
  }

  void see(size_t number, int64_t at) {
    if (number != seen_ || number >= sent_at_.size()) die(fmt::format("probe {} came where {} was due", number, seen_));
    if (number >= first_counted_) latency_.add(at - sent_at_[number]);
    ++seen_;
    last_seen_at_ = at;
  }

  const Options& options_;
  const std::string mark_ = fmt::format("@{:016x}", now_ns());
  ReplicaLink link_;
  int writer_;
  int64_t offset_ = 0;
  int64_t acked_at_ = 0;
  int64_t last_seen_at_ = now_ns();
  std::vector<int64_t> sent_at_;
  size_t seen_ = 0;
  size_t first_counted_ = 0;
  std::string pending_;
  Histogram latency_;
};

class ThroughputRun {
 public:
  explicit ThroughputRun(const Options& options)
      : options_(options),
        stream_(options.value_bytes),
        source_(options.source, stream_, progress_, options.window_mb << 20) {}

  void run() {
    fmt::print("listening\n");
    std::fflush(stdout);
    for (int i = 0; i < options_.sinks; ++i) add_sink();
    const int64_t begin = sinks_[0].offset;
    // Whole blocks: a stock replica passes on whole commands only, so a stream cut inside one would never end.
    const int64_t bytes = ((options_.mb << 20) / stream_.block_bytes() + 1) * stream_.block_bytes();
    progress_.slowest = begin;
    CpuWatch watch(options_.watch);
    progress_.end = begin + bytes;
    const int64_t finished = receive(begin + bytes);
    const double seconds = static_cast<double>(finished - progress_.first_sent) / 1e9;
    fmt::print(R"({{"seconds":{:.4f},"bytes":{},"sinks":{},"mb_per_s":{:.1f},"cpu_s":{},"verified":{}}})"
               "\n",
               seconds, bytes, options_.sinks, static_cast<double>(bytes) / 1e6 / seconds, watch.seconds_json(),
               options_.verify);
    std::fflush(stdout);
    getchar();  // the caller looks at the memory of whoever stands between, then closes our input
  }

 private:
  void add_sink() {
    ReplicaLink sink = attach_within(options_.end, kAttachSeconds);
    set_nonblocking(sink.fd);
    sink.offset += static_cast<int64_t>(sink.early.size());
    if (!sinks_.empty() && sink.offset != sinks_[0].offset) die("the stream began before all had attached");
    epoll_event interest{};
    interest.events = EPOLLIN;
    interest.data.u64 = sinks_.size();
    if (epoll_ctl(poller_, EPOLL_CTL_ADD, sink.fd, &interest) != 0) die("epoll_ctl");
    sinks_.push_back(std::move(sink));
  }

  /// Reads until every sink has all bytes before `end`. Returns when that was.
  int64_t receive(int64_t end) {
    std::array<epoll_event, 64> events{};
    int64_t acked_at = 0;
    int64_t received_at = now_ns();
    while (progress_.slowest < end) {
      const int ready = epoll_wait(poller_, events.data(), static_cast<int>(events.size()), 50);
      const int64_t now = now_ns();
      if (ready > 0) received_at = now;
      if (now - received_at > kSilenceMax)
        die(fmt::format("no stream byte for 20 s, {} missing", end - progress_.slowest));
      for (int i = 0; i < ready; ++i) take(sinks_[events[static_cast<size_t>(i)].data.u64]);
      int64_t slowest = end;
      for (const ReplicaLink& sink : sinks_) slowest = std::min(slowest, sink.offset);
      progress_.slowest = slowest;
      if (now - acked_at < kAckInterval) continue;
      acked_at = now;
      for (const ReplicaLink& sink : sinks_) acknowledge(sink.fd, sink.offset);
    }
    return now_ns();
  }

  void take(ReplicaLink& sink) {
    // MSG_TRUNC: the kernel drops the bytes instead of copying them, so that sinks take little of the machine.
    const ssize_t got = recv(sink.fd, chunk_.data(), chunk_.size(), options_.verify ? 0 : MSG_TRUNC);
    if (got <= 0) die(fmt::format("a sink was cut off at offset {}", sink.offset));
    if (options_.verify && !stream_.matches(sink.offset, {chunk_.data(), static_cast<size_t>(got)})) {
      die(fmt::format("a sink got other bytes than were sent, after offset {}", sink.offset));
    }
    sink.offset += got;
  }

  const Options& options_;
  EndlessStream stream_;
  StreamProgress progress_;
  SyntheticPrimary source_;
  std::vector<ReplicaLink> sinks_;
  int poller_ = epoll_create1(EPOLL_CLOEXEC);
  std::vector<char> chunk_ = std::vector<char>(size_t{1} << 20);
};

void run_fullsync(const Options& options) {
  std::vector<ReplicaLink> links(static_cast<size_t>(options.sinks));
  std::vector<double> seconds(links.size());
  std::vector<std::thread> threads;
  CpuWatch watch(options.watch);
  const int64_t started = now_ns();
  for (size_t i = 0; i < links.size(); ++i) {
    threads.emplace_back([&options, &link = links[i], &taken = seconds[i], started] {
      link = attach_within(options.end, kAttachSeconds);
      taken = static_cast<double>(now_ns() - started) / 1e9;
    });
  }
  for (std::thread& thread : threads) thread.join();
  uint64_t bytes = 0;
  for (const ReplicaLink& link : links) bytes = std::max(bytes, link.snapshot_bytes);
  fmt::print(R"({{"sinks":{},"first_s":{:.3f},"last_s":{:.3f},"snapshot_bytes":{},"cpu_s":{}}})"
             "\n",
             options.sinks, *std::min_element(seconds.begin(), seconds.end()),
             *std::max_element(seconds.begin(), seconds.end()), bytes, watch.seconds_json());
}

}  // namespace
}  // namespace sidestream::bench

int main(int argc, char** argv) {
  using namespace sidestream::bench;
  Options options;
  CLI::App app("Replication load on 127.0.0.1");
  app.require_subcommand(1);
  app.add_option("--watch", options.watch, "process ids whose CPU is read")->delimiter(',');
  app.add_option("--value-bytes", options.value_bytes)->check(CLI::Range(32, 1 << 20));
  app.add_option("--sinks", options.sinks)->check(CLI::Range(1, 64));
  CLI::App* latency = app.add_subcommand("latency", "probe a path from a primary to the end of its stream");
  latency->add_option("--primary", options.primary)->required();
  latency->add_option("--rate", options.rate, "probes per second");
  latency->add_option("--seconds", options.seconds);
  latency->add_option("--warmup", options.warmup);
  CLI::App* throughput = app.add_subcommand("throughput", "stream from a synthetic primary");
  throughput->add_option("--source", options.source, "port to serve as that primary")->required();
  throughput->add_option("--mb", options.mb, "stream length in MiB");
  throughput->add_option("--window-mb", options.window_mb, "the source waits for sinks farther behind");
  throughput->add_flag("--verify", options.verify, "compare every byte that arrives");
  CLI::App* fullsync = app.add_subcommand("fullsync", "attach and take a snapshot");
  for (CLI::App* mode : {latency, throughput, fullsync}) {
    mode->add_option("--end", options.end, "port to attach to")->required();
    mode->fallthrough();
  }
  CLI11_PARSE(app, argc, argv);
  if (latency->parsed()) LatencyRun(options).run();
  if (throughput->parsed()) ThroughputRun(options).run();
  if (fullsync->parsed()) run_fullsync(options);
  return 0;
}
