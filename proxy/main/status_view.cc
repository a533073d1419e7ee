// status_view.cc: reads fields with defaults, so that an older or newer instance can be looked at too.
#include "proxy/main/status_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "common/text.h"

namespace sidestream {
namespace {

using nlohmann::json;

const json& at(const json& object, const char* key) {
  static const json kNothing;
  if (!object.is_object()) return kNothing;
  const auto found = object.find(key);
  return found == object.end() ? kNothing : *found;
}

std::string text(const json& object, const char* key) {
  const json& value = at(object, key);
  return value.is_string() ? printable(value.get_ref<const std::string&>(), 512) : std::string();
}

int64_t number(const json& object, const char* key) {
  const json& value = at(object, key);
  return value.is_number() ? value.get<int64_t>() : 0;
}

bool yes(const json& object, const char* key) {
  const json& value = at(object, key);
  return value.is_boolean() && value.get<bool>();
}

std::string share(int64_t part, int64_t whole) {
  return whole == 0 ? "0%" : fmt::format("{:.0f}%", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

constexpr size_t kReasonsShown = 6;

/// "[#######.....]"
std::string bar(int64_t part, int64_t whole) {
  constexpr size_t kWidth = 24;
  const double filled = whole == 0 ? 0 : std::min(1.0, static_cast<double>(part) / static_cast<double>(whole));
  const auto marks = static_cast<size_t>(kWidth * filled);
  return fmt::format("[{}{}]", std::string(marks, '#'), std::string(kWidth - marks, '.'));
}

/// "[#######.....]  58%  1.1 GiB of 1.9 GiB"; without a total only what is there.
std::string progress(const json& transfer, const char* done_key) {
  const int64_t done = number(transfer, done_key), total = number(transfer, "total");
  std::string pace;
  if (number(transfer, "rate") > 0) pace = fmt::format(", {}/s", human_bytes(number(transfer, "rate")));
  if (number(transfer, "eta_ms") > 0) pace += fmt::format(", {} s left", (number(transfer, "eta_ms") + 999) / 1000);
  if (total <= 0) return human_bytes(done) + pace;
  return fmt::format("{} {} of {} ({}){}", bar(done, total), human_bytes(done), human_bytes(total), share(done, total),
                     pace);
}

class Picture {
 public:
  Picture(const json& status, bool colour) : status_(status), colour_(colour) {}

  std::string draw() {
    upstream();
    instance();
    below();
    counts();
    reasons();
    lost();
    held();
    return std::move(out_);
  }

 private:
  std::string state(const std::string& name) const {
    if (!colour_) return name;
    const bool good = name == "online" || name == "connected" || name == "ready";
    const bool bad = name == "down" || name == "connect" || name == "held" || name == "differs" || name == "not ready";
    return fmt::format("\x1b[{}m{}\x1b[0m", good ? 32 : bad ? 31 : 33, name);
  }
  std::string strong(const std::string& words) const {
    return colour_ ? fmt::format("\x1b[1m{}\x1b[0m", words) : words;
  }
  void line(const std::string& words) { out_ += words + '\n'; }
  void trouble(const std::string& indent, const std::string& words) {
    if (!words.empty())
      line(fmt::format("{}{}", indent, colour_ ? fmt::format("\x1b[31m! {}\x1b[0m", words) : "! " + words));
  }

  void upstream() {
    const json& up = at(status_, "upstream");
    if (text(up, "address").empty()) return;
    line(fmt::format("upstream {}  {}  offset {}, heard {} ms ago", strong(text(up, "address")),
                     state(text(up, "state")), number(up, "offset"), number(up, "last_io_ms")));
    const json& snapshot = at(up, "snapshot");
    if (text(up, "state") == "sync") line("│  snapshot " + progress(snapshot, "received"));
    if (text(up, "state") != "connected") trouble("│  ", text(up, "last_error"));
  }

  void instance() {
    line(fmt::format("instance  {}  {}  offset {}  sidestream {}", strong(text(status_, "role")),
                     state(yes(status_, "ready") ? "ready" : "not ready"), number(status_, "offset"),
                     text(status_, "version")));
    const json& backlog = at(status_, "backlog");
    line(fmt::format("│  history {}, backlog {} in {} of memory", text(status_, "replid"),
                     human_bytes(number(backlog, "histlen")), human_bytes(number(backlog, "memory_bytes"))));
    snapshot();
    trouble("│  ", text(status_, "trouble"));
  }

  void snapshot() {
    const json& snapshot = at(status_, "snapshot");
    if (text(snapshot, "state") == "fetching") {
      line(fmt::format("│  fetching a snapshot {} {}", text(snapshot, "source"), progress(snapshot, "received")));
      trouble("│  ", text(snapshot, "last_error"));
    } else if (text(snapshot, "state") == "ready") {
      line(fmt::format("│  snapshot of {} at offset {}, {} s old, given to {} replicas",
                       human_bytes(number(snapshot, "received")), number(snapshot, "offset"),
                       number(snapshot, "age_ms") / 1000, number(snapshot, "served")));
    }
  }

  void below() {
    const json& nodes = at(status_, "nodes");
    const json& replicas = at(status_, "replicas");
    int64_t reads = 0;
    for (const json& node : nodes) reads += number(node, "reads");
    const size_t all = nodes.size() + replicas.size();
    size_t drawn = 0;
    for (const json& node : nodes) {
      const bool last = ++drawn == all;
      line(fmt::format("{} node {}  {}  {}  {}  reads {} ({}), writes {}", last ? "└─" : "├─",
                       strong(text(node, "address")), text(node, "role"), state(text(node, "state")), lag(node),
                       number(node, "reads"), share(number(node, "reads"), reads), number(node, "writes")));
      const std::string indent = last ? "     " : "│    ";
      if (number(node, "p99_us") > 0) line(indent + lately(node));
      trouble(indent, text(node, "trouble"));
    }
    for (const json& replica : replicas) {
      const bool last = ++drawn == all;
      line(fmt::format("{} replica {}  {}  {}", last ? "└─" : "├─", strong(text(replica, "address")),
                       state(text(replica, "state")), lag(replica)));
      if (text(replica, "state") == "send_bulk") {
        line((last ? "     snapshot " : "│    snapshot ") + progress(replica, "sent"));
      }
      const std::string indent = last ? "     " : "│    ";
      if (!text(replica, "waits_for").empty()) line(indent + text(replica, "waits_for"));
      if (number(replica, "failures") > 0) {
        trouble(indent, fmt::format("{} full syncs failed in a row: {}", number(replica, "failures"),
                                    text(replica, "trouble")));
      }
    }
  }

  static std::string lag(const json& who) {
    return fmt::format("offset {}, behind {} and {} ms", number(who, "offset"), human_bytes(number(who, "lag_bytes")),
                       number(who, "lag_ms"));
  }

  /// What a node did in the last ten seconds.
  static std::string lately(const json& node) {
    return fmt::format("reads {}/s, writes {}/s, half of them within {} us, 99% within {} us",
                       number(node, "reads_per_s"), number(node, "writes_per_s"), number(node, "p50_us"),
                       number(node, "p99_us"));
  }

  /// Why commands went where they went, the most frequent reasons first.
  void reasons() {
    const json& routing = at(status_, "routing");
    if (!routing.is_object()) return;
    std::vector<std::pair<int64_t, std::string>> found;
    int64_t all = 0;
    for (const auto& [reason, count] : routing.items()) {
      if (!count.is_number()) continue;
      found.emplace_back(count.get<int64_t>(), printable(reason));
      all += found.back().first;
    }
    std::sort(found.rbegin(), found.rend());
    if (found.size() > kReasonsShown) found.resize(kReasonsShown);
    for (const auto& [count, reason] : found)
      line(fmt::format("  {:>4}  {}  {}", share(count, all), bar(count, all), reason));
  }

  /// What an unplanned change of the primary cost.
  void lost() {
    const json& lost = at(status_, "lost");
    if (number(lost, "writes") == 0) return;
    const json& keys = at(lost, "keys");
    trouble("", fmt::format("{} writes of a former primary were lost; of their keys {} are untouched since, {} "
                            "overwritten, {} unknown: redis-cli SIDESTREAM LOST",
                            number(lost, "writes"), number(keys, "untouched"), number(keys, "overwritten"),
                            number(keys, "unknown")));
  }

  void held() {
    if (text(at(status_, "upstream"), "state") == "held") {
      trouble("", "the upstream is held: decide with redis-cli SIDESTREAM REVIVE, ACCEPT or REJECT");
    }
    trouble("", text(at(status_, "reload"), "trouble"));
    trouble("", text(at(at(status_, "process"), "upgrade"), "trouble"));
    const int64_t waiting = number(at(status_, "clients"), "held");
    if (waiting > 0)
      trouble("", fmt::format("{} wait for a server to take their request",
                              waiting == 1 ? "1 client" : fmt::format("{} clients", waiting)));
  }

  void counts() {
    const json& clients = at(status_, "clients");
    line(fmt::format("clients {} connected, {} accepted, {} rejected", number(clients, "connected"),
                     number(clients, "accepted"), number(clients, "rejected")));
    const json& counters = at(status_, "counters");
    const int64_t spread = number(counters, "reads_replica");
    const int64_t reads = spread + number(counters, "reads_primary");
    line(fmt::format("reads {}, {} of them by replicas; writes {}, {} held", reads, share(spread, reads),
                     number(counters, "writes"), number(counters, "held_writes")));
    line(fmt::format("syncs {} full, {} partial; snapshots {} fetched, {} shared", number(counters, "full_syncs"),
                     number(counters, "partial_syncs"), number(counters, "snapshots_fetched"),
                     number(counters, "snapshots_shared")));
  }

  const json& status_;
  bool colour_;
  std::string out_;
};

}  // namespace

Result<std::string> draw_status(std::string_view text, bool colour) {
  const json status = json::parse(text, nullptr, false);
  if (!status.is_object() || !status.contains("role"))
    return Error{Errc::protocol, "the answer is no status of an instance"};
  return Picture(status, colour).draw();
}

bool is_synced(std::string_view body) {
  const json status = json::parse(body, nullptr, false);
  const json& nodes = at(status, "nodes");
  const bool online =
      std::all_of(nodes.begin(), nodes.end(), [](const json& node) { return text(node, "state") == "online"; });
  const bool connected = text(status, "role") == "primary" || text(at(status, "upstream"), "state") == "connected";
  return yes(status, "ready") && connected && online;
}

}  // namespace sidestream
