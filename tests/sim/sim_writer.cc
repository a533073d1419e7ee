// sim_writer.cc: see sim_writer.h.
#include "tests/sim/sim_writer.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "common/text.h"
#include "proxy/resp/writer.h"

namespace sidestream::sim {
namespace {

constexpr int64_t kPatienceMs = 10'000;
constexpr std::string_view kBegin = "id=";
constexpr int64_t kPauseMs = 1000;  // twice what a writer waits between two writes

Task<Result<std::string>> read_line(ByteStream& stream) {
  std::string line;
  char chunk[256];
  while (!line.ends_with('\n')) {
    auto n = co_await stream.read(chunk);
    CO_RETURN_IF_ERROR(n);
    if (n.value() == 0) co_return Error{Errc::closed, "end of stream"};
    line.append(chunk, n.value());
  }
  co_return line;
}

using Texts = std::set<std::string, std::less<>>;

/// The texts of all writes in a stream.
Texts texts_in(std::string_view bytes) {
  Texts texts;
  for (size_t at = bytes.find(kBegin); at != std::string_view::npos; at = bytes.find(kBegin, at + 1)) {
    texts.emplace(bytes.substr(at, bytes.find(';', at) + 1 - at));
  }
  return texts;
}

/// A time in which a history took writes, without a pause that could mean that it was fenced.
struct Run {
  const SimWrite* first;
  const SimWrite* last;
};

/// When the writes were acknowledged that are in one history and missing in another.
std::vector<Run> runs(const std::deque<SimWrite>& writes, const Texts& in, const Texts& missing_in) {
  std::vector<const SimWrite*> found;
  for (const SimWrite& write : writes) {
    if (write.acked_us >= 0 && in.contains(write.text) && !missing_in.contains(write.text)) found.push_back(&write);
  }
  std::sort(found.begin(), found.end(), [](auto* a, auto* b) { return a->acked_us < b->acked_us; });
  std::vector<Run> all;
  for (const SimWrite* write : found) {
    if (all.empty() || write->sent_us > all.back().last->acked_us + kPauseMs * 1000) all.push_back({write, write});
    all.back().last = write;
  }
  return all;
}

}  // namespace

SimWriter::SimWriter(SimWorld& world, int id, Address server)
    : world_(world), id_(id), server_(std::move(server)), seams_(world.at("10.0.0." + std::to_string(21 + id))) {}

Task<void> SimWriter::run() {
  const int64_t pause_max_ms = world_.dice().between(50, 500);
  while (!stopped_) {
    auto connecting = seams_.network.connect(server_);
    auto stream = co_await with_timeout(world_.clock(), kPatienceMs, "connect", std::move(connecting));
    bool works = stream.ok();
    while (works && !stopped_) {
      auto done = co_await write(*stream.value());
      works = done.ok();
      const int64_t pause_ms = world_.dice().between(1, pause_max_ms);
      co_await world_.clock().sleep(pause_ms);
      while (resting_ && !stopped_) co_await world_.clock().sleep(10);
    }
    if (!works) co_await world_.clock().sleep(50);
  }
}

Task<Result<void>> SimWriter::write(ByteStream& stream) {
  const size_t number = writes_.size();
  const std::string text = fmt::format("{}{}.{};", kBegin, id_, number);
  writes_.push_back({text, server_.host, world_.clock().now_us(), -1});
  stream.write(resp::command({"RPUSH", log(), text}));
  auto reading = read_line(stream);
  auto line = co_await with_timeout(world_.clock(), kPatienceMs, "reply", std::move(reading));
  CO_RETURN_IF_ERROR(line);
  world_.mix(line.value());
  world_.trace("writer {}: {} {}", id_, text, trim(line.value()));
  if (line.value().starts_with(':')) {
    writes_[number].acked_us = world_.clock().now_us();
    ++acked_;
  } else if (!line.value().starts_with('-')) {
    world_.fail(fmt::format("writer {}: a reply that fits no write: {}", id_, printable(line.value())));
  }
  co_return Result<void>();
}

std::string two_primaries(const Chronicle& chronicle, const std::deque<SimWrite>& writes, int64_t grace_ms) {
  std::map<std::string, Texts> held;
  for (const std::string& replid : chronicle.replids()) held[replid] = texts_in(chronicle.bytes(replid));
  for (auto one = held.begin(); one != held.end(); ++one) {
    for (auto other = held.begin(); other != one; ++other) {
      const std::vector<Run> here = runs(writes, one->second, other->second);
      const std::vector<Run> there = runs(writes, other->second, one->second);
      for (const Run& a : here) {
        for (const Run& b : there) {
          const int64_t beside_us =
              std::min(a.last->sent_us, b.last->sent_us) - std::max(a.first->acked_us, b.first->acked_us);
          if (beside_us <= grace_ms * 1000) continue;
          return fmt::format("two primaries take writes for {} ms: {} ({} to {}) and {} ({} to {})", beside_us / 1000,
                             a.last->through, a.first->text, a.last->text, b.last->through, b.first->text,
                             b.last->text);
        }
      }
    }
  }
  return "";
}

}  // namespace sidestream::sim
