// load_client.cc: a closed-loop load of GET and SET over many connections, with exact counts, latencies and CPU.
//
// Happy path: each connection writes a batch of `--pipeline` requests in one write, reads until all replies came,
// records their latency (reply read minus batch written) and writes the next batch. After `--warmup` seconds the
// counters start again and the CPU clocks of the `--watch` processes are read; the same at the end. One JSON line on
// stdout. Every value begins with its key, and every reply is compared with the request it answers: a proxy that mixes
// up replies shows as `errors`, not as speed. Failure modes: an error reply or a wrong value is counted; a lost
// connection or 10 s of silence ends the program.
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/bench_support.h"
#include "tests/bench/wire.h"

namespace sidestream::bench {
namespace {

struct Options {
  uint16_t port = 0;
  int clients = 50;
  int pipeline = 1;
  int reads_percent = 100;
  uint32_t keys = 100'000;
  size_t value_bytes = 64;
  double seconds = 3;
  double warmup = 0.5;
  uint64_t requests = 0;  // 0: by time
  bool fill = false;
  bool unchecked = false;
  bool tls = false;
  std::vector<int> watch;
};

/// Requests as bytes: one form per command, into which the eight digits of the key are written.
class Requests {
 public:
  explicit Requests(const Options& options) {
    // Keys of different value sizes never meet, so one dataset serves all loads.
    const std::string key = fmt::format("v{}:{:08}", options.value_bytes, 0);
    key_bytes_ = key.size();
    const std::string value = key + std::string(options.value_bytes - key.size(), 'x');
    get_ = fmt::format("*2\r\n$3\r\nGET\r\n${}\r\n{}\r\n", key.size(), key);
    set_ = fmt::format("*3\r\n$3\r\nSET\r\n${}\r\n{}\r\n${}\r\n{}\r\n", key.size(), key, value.size(), value);
  }

  /// Returns where in `out` the key stands.
  size_t append(std::string& out, bool is_read, uint32_t index) const {
    const std::string& form = is_read ? get_ : set_;
    const size_t start = out.size();
    out += form;
    write_digits(out, start + form.find(':') + 1, index);
    if (!is_read) write_digits(out, start + form.rfind(':') + 1, index);
    return start + form.find(':') + 1 + kDigits - key_bytes_;
  }

  size_t key_bytes() const { return key_bytes_; }

  static constexpr size_t kDigits = 8;
  static constexpr size_t kValueBytesMin = 20;  // a key must fit into its value

 private:
  static void write_digits(std::string& out, size_t at, uint32_t index) {
    for (size_t i = kDigits; i-- > 0; index /= 10) out[at + i] = static_cast<char>('0' + index % 10);
  }

  std::string get_;
  std::string set_;
  size_t key_bytes_ = 0;
};

struct Counters {
  uint64_t requests = 0;
  uint64_t errors = 0;
  uint64_t misses = 0;
  Histogram latency;
};

/// What a connection waits for: one entry per request in flight.
struct Expected {
  bool is_read = true;
  size_t key_at = 0;  // in the connection's output
};

class Connection {
 public:
  Connection(const Options& options, const Requests& requests, Counters& counters, uint64_t seed)
      : wire(options.port, options.tls), options_(options), requests_(requests), counters_(counters), random_(seed) {
    expected_.resize(static_cast<size_t>(options.pipeline));
  }
  Connection(const Connection&) = delete;

  /// Writes the next batch. True when all of it fitted into the socket.
  bool start_batch() {
    output_.clear();
    output_sent_ = 0;
    answered_ = 0;
    for (Expected& request : expected_) {
      request.is_read = static_cast<int>(next_random() % 100) < options_.reads_percent;
      request.key_at = requests_.append(output_, request.is_read, static_cast<uint32_t>(next_random() % options_.keys));
    }
    sent_at_ = now_ns();
    return flush();
  }

  bool flush() {
    while (output_sent_ < output_.size()) {
      const size_t sent = wire.send_some(std::string_view(output_).substr(output_sent_));
      if (sent == 0) return false;
      output_sent_ += sent;
    }
    return true;
  }

  /// True when the bytes completed the batch.
  bool consume(std::string_view bytes) {
    const int64_t at = now_ns();
    while (!bytes.empty()) {
      if (body_left_ > 0) {
        take_body(bytes, at);
      } else {
        take_line(bytes, at);
      }
    }
    return answered_ == expected_.size();
  }

  Wire wire;

 private:
  uint64_t next_random() {  // splitmix64: every seed is good and the high bits are as random as the low ones
    uint64_t z = random_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (z ^ (z >> 31)) >> 16;
  }

  void take_line(std::string_view& bytes, int64_t at) {
    const size_t end = bytes.find('\n');
    const std::string_view part = bytes.substr(0, end == std::string_view::npos ? bytes.size() : end + 1);
    line_.append(part.substr(0, kLineMax - std::min(kLineMax, line_.size())));
    bytes.remove_prefix(part.size());
    if (end == std::string_view::npos) return;
    if (answered_ == expected_.size()) die("more replies than requests");
    judge_line(line_, at);
    line_.clear();
  }

  void judge_line(const std::string& line, int64_t at) {
    const Expected& request = expected_[answered_];
    const char type = line[0];
    if (type == '$' && line[1] != '-' && (request.is_read || options_.unchecked)) {
      size_t length = 0;
      std::from_chars(line.data() + 1, line.data() + line.size(), length);
      if (length != options_.value_bytes) ++counters_.errors;
      body_left_ = length + 2;
      if (!options_.unchecked) body_expected_ = std::string_view(output_).substr(request.key_at, requests_.key_bytes());
      return;
    }
    if (type == '$' && request.is_read) {
      ++counters_.misses;
    } else if (!(type == '+' && !request.is_read) && !options_.unchecked) {
      ++counters_.errors;
      if (counters_.errors == 1) fmt::print(stderr, "load_client: first unexpected reply: {}", line);
    }
    answer(at);
  }

  void take_body(std::string_view& bytes, int64_t at) {
    const std::string_view part = bytes.substr(0, std::min(bytes.size(), body_left_));
    const size_t comparable = std::min(part.size(), body_expected_.size());
    if (part.substr(0, comparable) != body_expected_.substr(0, comparable)) ++counters_.errors;
    body_expected_.remove_prefix(comparable);
    body_left_ -= part.size();
    bytes.remove_prefix(part.size());
    if (body_left_ == 0) answer(at);
  }

  void answer(int64_t at) {
    ++answered_;
    ++counters_.requests;
    counters_.latency.add(at - sent_at_);
  }

  static constexpr size_t kLineMax = 128;
  const Options& options_;
  const Requests& requests_;
  Counters& counters_;
  uint64_t random_;
  std::vector<Expected> expected_;
  size_t answered_ = 0;
  int64_t sent_at_ = 0;
  std::string output_;
  size_t output_sent_ = 0;
  std::string line_;
  size_t body_left_ = 0;
  std::string_view body_expected_;  // the key, in output_
};

class Load {
 public:
  explicit Load(const Options& options) : options_(options), requests_(options), watch_(options.watch) {
    for (int i = 0; i < options.clients; ++i) {
      connections_.push_back(
          std::make_unique<Connection>(options_, requests_, *counters_, static_cast<uint64_t>(i) + 1));
      watch_writable(*connections_.back(), false, EPOLL_CTL_ADD);
    }
  }

  void run() {
    for (const auto& connection : connections_) watch_writable(*connection, !connection->start_batch(), EPOLL_CTL_MOD);
    turn_until(now_ns() + static_cast<int64_t>(options_.warmup * 1e9));
    *counters_ = Counters();
    watch_.restart();
    CpuWatch own({getpid()});
    const int64_t started = now_ns();
    if (options_.requests > 0) {
      turn_until(INT64_MAX, options_.requests);
    } else {
      turn_until(started + static_cast<int64_t>(options_.seconds * 1e9));
    }
    const double seconds = static_cast<double>(now_ns() - started) / 1e9;
    fmt::print(R"({{"seconds":{:.4f},"requests":{},"errors":{},"misses":{},"cpu_s":{},"own_cpu_s":{},{}}})"
               "\n",
               seconds, counters_->requests, counters_->errors, counters_->misses, watch_.seconds_json(),
               own.seconds_json(), counters_->latency.json_fields());
  }

 private:
  void watch_writable(Connection& connection, bool writable, int operation) const {
    epoll_event interest{};
    interest.events = EPOLLIN | (writable ? EPOLLOUT : 0U);
    interest.data.ptr = &connection;
    if (epoll_ctl(poller_, operation, connection.wire.fd(), &interest) != 0) die("epoll_ctl");
  }

  void turn_until(int64_t deadline, uint64_t requests = UINT64_MAX) {
    std::array<epoll_event, 256> events{};
    while (now_ns() < deadline && counters_->requests < requests) {
      const int ready = epoll_wait(poller_, events.data(), static_cast<int>(events.size()), 10'000);
      if (ready == 0) die("no reply for 10 s");
      for (int i = 0; i < ready; ++i) {
        const epoll_event& event = events[static_cast<size_t>(i)];
        serve(*static_cast<Connection*>(event.data.ptr), event.events);
      }
    }
  }

  void serve(Connection& connection, uint32_t events) {
    if ((events & EPOLLOUT) != 0 && connection.flush()) watch_writable(connection, false, EPOLL_CTL_MOD);
    if ((events & ~uint32_t{EPOLLOUT}) == 0) return;
    do {
      const size_t got = connection.wire.receive_some(input_);
      if (got == 0) return;
      if (!connection.consume(std::string_view(input_.data(), got))) continue;
      if (!connection.start_batch()) watch_writable(connection, true, EPOLL_CTL_MOD);
    } while (connection.wire.buffers());
  }

  const Options& options_;
  Requests requests_;
  std::unique_ptr<Counters> counters_ = std::make_unique<Counters>();
  CpuWatch watch_;
  std::vector<std::unique_ptr<Connection>> connections_;
  int poller_ = epoll_create1(EPOLL_CLOEXEC);
  std::vector<char> input_ = std::vector<char>(256 * 1024);
};

/// Sets every key once, a few hundred kilobytes at a time.
void fill(const Options& options) {
  const Requests requests(options);
  const int fd = connect_to(options.port);
  const uint32_t batch = static_cast<uint32_t>(std::clamp<size_t>(262'144 / (options.value_bytes + 64), 1, 1000));
  for (uint32_t first = 0; first < options.keys; first += batch) {
    const uint32_t count = std::min(batch, options.keys - first);
    std::string bytes;
    for (uint32_t i = 0; i < count; ++i) requests.append(bytes, false, first + i);
    if (!write_all(fd, bytes)) die("the server closed the connection");
    std::string replies(size_t{count} * 5, '\0');  // `+OK\r\n` each
    if (recv(fd, replies.data(), replies.size(), MSG_WAITALL) != static_cast<ssize_t>(replies.size())) die("fill");
    if (replies[0] != '+' || replies.back() != '\n') die("fill: " + replies.substr(0, replies.find('\r')));
  }
  close(fd);
}

}  // namespace
}  // namespace sidestream::bench

int main(int argc, char** argv) {
  using namespace sidestream::bench;
  Options options;
  CLI::App app("Closed-loop GET/SET load against one port of 127.0.0.1");
  app.add_option("--port", options.port)->required();
  app.add_option("--clients", options.clients)->check(CLI::Range(1, 20'000));
  app.add_option("--pipeline", options.pipeline)->check(CLI::Range(1, 10'000));
  app.add_option("--reads", options.reads_percent, "percentage of GETs, the rest are SETs")->check(CLI::Range(0, 100));
  app.add_option("--keys", options.keys)->check(CLI::Range(1, 99'999'999));
  app.add_option("--value-bytes", options.value_bytes)->check(CLI::Range(Requests::kValueBytesMin, size_t{1} << 29));
  app.add_option("--seconds", options.seconds);
  app.add_option("--warmup", options.warmup, "seconds before the counters start");
  app.add_option("--watch", options.watch, "process ids whose CPU is read")->delimiter(',');
  app.add_option("--requests", options.requests, "count this many instead of --seconds");
  app.add_flag("--fill", options.fill, "set every key once, then end");
  app.add_flag("--tls", options.tls, "speak TLS");
  app.add_flag("--unchecked", options.unchecked, "do not compare replies (for the null responder)");
  CLI11_PARSE(app, argc, argv);
  if (options.fill) {
    fill(options);
  } else {
    Load(options).run();
  }
  return 0;
}
