// lost_writes.cc: see lost_writes.h.
#include "proxy/instance/lost_writes.h"

#include <algorithm>

#include "common/log.h"
#include "common/text.h"
#include "proxy/replication/stream_scanner.h"

namespace sidestream::instance {
namespace {

/// Takes the commands apart: what is a write, and what only frames one.
class Gatherer final : public replication::StreamScanner::Visitor {
 public:
  Gatherer(std::string_view bytes, ReplOffset fork, ReplOffset counted)
      : bytes_(bytes), fork_(fork), counted_(counted) {}

  void command(const replication::StreamScanner::Command& command) override {
    const std::string name = command.args.empty() ? "" : to_lower(command.args[0]);
    if (name.empty() || name == "ping" || name == "replconf") return;
    if (name == "select" && command.args.size() == 2) db_ = parse_int(command.args[1]).value_or(-1);
    const auto from = static_cast<size_t>(command.before - fork_);
    const auto size = static_cast<size_t>(command.end - command.before);
    text.append(bytes_.substr(from, size));
    if (name == "select" || name == "multi" || name == "exec" || command.end <= counted_) return;
    admin::LostWrite write;
    write.offset = command.end;
    write.db = db_;
    for (const std::string_view arg : command.args) write.args.emplace_back(arg.substr(0, kArgumentShownMax));
    found.push_back(std::move(write));
  }

  std::string text;
  std::vector<admin::LostWrite> found;

 private:
  static constexpr size_t kArgumentShownMax = 256;

  std::string_view bytes_;
  ReplOffset fork_;
  ReplOffset counted_;
  int64_t db_ = -1;  // not known before the first SELECT
};

}  // namespace

void LostWrites::add(const replication::ReplId& replid, ReplOffset fork, std::string_view bytes) {
  ReplOffset& counted = counted_.try_emplace(replid.text(), fork).first->second;
  replication::StreamScanner scanner;
  scanner.reset(fork);
  Gatherer gatherer(bytes, fork, counted);
  auto scanned = scanner.feed(bytes, gatherer);
  if (!scanned.ok()) add_unseen(static_cast<int64_t>(bytes.size()) - (scanner.command_boundary() - fork));
  counted = std::max(counted, scanner.command_boundary());
  if (gatherer.found.empty()) return;
  count_ += gatherer.found.size();
  log_error("instance", "{} writes of {} behind offset {} were lost with the former primary: SIDESTREAM LOST",
            gatherer.found.size(), replid.text(), fork.value);
  for (admin::LostWrite& write : gatherer.found) {
    writes_.push_back(std::move(write));
    if (writes_.size() > kShownMax) writes_.pop_front();
  }
  tasks_.add(keep("lost-" + replid.text() + "-" + std::to_string(fork.value) + ".resp", std::move(gatherer.text)));
}

Task<void> LostWrites::keep(std::string name, std::string bytes) {
  const std::string path = config_.dir + "/" + name;
  auto file = co_await world_.files.open(path, Files::Mode::create);
  if (file.ok()) {
    auto written = co_await file.value()->write_at(0, bytes);
    if (written.ok()) {
      auto synced = co_await file.value()->sync();
      if (synced.ok()) {
        log_notice("instance", "the lost writes are in {}", path);
        co_return;
      }
    }
  }
  log_error("instance", "the lost writes are not kept: {} cannot be written", path);
}

}  // namespace sidestream::instance
