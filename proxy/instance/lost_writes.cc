// lost_writes.cc: see lost_writes.h.
#include "proxy/instance/lost_writes.h"

#include <algorithm>
#include <iterator>

#include "common/log.h"
#include "proxy/resp/writer.h"

namespace sidestream::instance {
namespace {

using replication::StreamScanner;

constexpr size_t kReadBytes = 1 << 20;
constexpr int64_t kExportBytesMax = 512 << 20;

/// What a command of a stream is to the ledger.
enum class Kind : uint8_t { none, select, frame, write };

Kind kind_of(LostWrites::Args args) {
  const std::string name = args.empty() ? "" : to_lower(args[0]);
  if (name.empty() || name == "ping" || name == "replconf") return Kind::none;
  if (name == "select" && args.size() == 2) return Kind::select;
  return name == "multi" || name == "exec" ? Kind::frame : Kind::write;
}

/// Takes commands apart: what is a write, and what only frames one.
class Parts : public StreamScanner::Visitor {
 public:
  Parts(std::string_view bytes, ReplOffset from, int64_t db) : db_(db), bytes_(bytes), from_(from) {}

  void command(const StreamScanner::Command& command) override {
    const Kind kind = kind_of(command.args);
    if (kind == Kind::none) return;
    if (kind == Kind::select) db_ = parse_int(command.args[1]).value_or(-1);
    if (kind == Kind::write && !takes(command)) return;
    const auto from = static_cast<size_t>(command.before - from_);
    text.append(bytes_.substr(from, static_cast<size_t>(command.end - command.before)));
  }

  std::string text;

 protected:
  /// Whether this write belongs to the text.
  virtual bool takes(const StreamScanner::Command& command) = 0;

  int64_t db_;

 private:
  std::string_view bytes_;
  ReplOffset from_;
};

class Gatherer final : public Parts {
 public:
  Gatherer(const resp::CommandTable& commands, std::string_view bytes, LostWrites::Loss& loss, ReplOffset counted)
      : Parts(bytes, loss.fork, loss.db), commands_(commands), loss_(loss), counted_(counted) {
    if (loss.db >= 0) text = resp::command({"SELECT", std::to_string(loss.db)});
  }

  std::vector<admin::LostWrite> found;

 private:
  static constexpr size_t kArgumentShownMax = 256;

  bool takes(const StreamScanner::Command& command) override {
    if (command.end <= counted_) return true;
    loss_.keys.lost(commands_, db_, command.args, command.truncated);
    admin::LostWrite write;
    write.offset = command.end;
    write.db = db_;
    for (const std::string_view arg : command.args) write.args.emplace_back(arg.substr(0, kArgumentShownMax));
    found.push_back(std::move(write));
    return true;
  }

  const resp::CommandTable& commands_;
  LostWrites::Loss& loss_;
  ReplOffset counted_;
};

class Untouched final : public Parts {
 public:
  Untouched(const resp::CommandTable& commands, std::string_view bytes, const LostWrites::Loss& loss)
      : Parts(bytes, ReplOffset{0}, -1), commands_(commands), loss_(loss) {}

 private:
  bool takes(const StreamScanner::Command& command) override {
    return loss_.keys.since(commands_, db_, command.args, command.truncated) == LostKeys::Since::untouched;
  }

  const resp::CommandTable& commands_;
  const LostWrites::Loss& loss_;
};

}  // namespace

std::shared_ptr<LostWrites::Loss> LostWrites::loss(const std::string& file, ReplOffset fork) const {
  const auto same = std::find_if(losses_.begin(), losses_.end(), [&](const auto& each) { return each->file == file; });
  return same != losses_.end() ? *same : std::make_shared<Loss>(Loss{file, fork, trail_.at(fork), {}, false});
}

std::shared_ptr<LostWrites::Loss> LostWrites::add(const replication::ReplId& replid, ReplOffset fork,
                                                  std::string_view bytes, Watched watched) {
  ReplOffset& counted = counted_.try_emplace(replid.text(), fork).first->second;
  std::shared_ptr<Loss> lost = loss("lost-" + replid.text() + "-" + std::to_string(fork.value), fork);
  if (watched == Watched::from_now) lost->keys.missing();
  StreamScanner scanner;
  scanner.reset(fork);
  Gatherer gatherer(commands_(), bytes, *lost, counted);
  auto scanned = scanner.feed(bytes, gatherer);
  if (!scanned.ok()) add_unseen(static_cast<int64_t>(bytes.size()) - (scanner.command_boundary() - fork));
  counted = std::max(counted, scanner.command_boundary());
  if (gatherer.found.empty()) return lost;
  log_error("instance", "{} writes of {} behind offset {} were lost with the former primary: SIDESTREAM LOST",
            gatherer.found.size(), replid.text(), fork.value);
  enter(lost, std::move(gatherer.found));
  tasks_.add(keep(lost, std::move(gatherer.text)));
  return lost;
}

void LostWrites::enter(const std::shared_ptr<Loss>& loss, std::vector<admin::LostWrite> writes) {
  if (std::find(losses_.begin(), losses_.end(), loss) == losses_.end()) losses_.push_back(loss);
  if (losses_.size() > kLossesMax) losses_.pop_front();
  count_ += writes.size();
  for (admin::LostWrite& write : writes) {
    writes_.push_back(std::move(write));
    if (writes_.size() > kShownMax) writes_.pop_front();
  }
}

void LostWrites::watch(Args args, bool truncated) {
  for (const auto& lost : losses_) {
    if (lost->keys.is_open()) lost->keys.wrote(commands_(), trail_.now(), args, truncated);
  }
}

void LostWrites::new_history() {
  trail_.clear();
  for (const auto& lost : losses_) lost->keys.missed();
}

std::vector<admin::LostKey> LostWrites::keys() const {
  std::vector<admin::LostKey> all;
  for (auto lost = losses_.rbegin(); lost != losses_.rend(); ++lost) {
    const LostKeys& keys = (*lost)->keys;
    for (auto key = keys.keys().rbegin(); key != keys.keys().rend() && all.size() < kShownMax; ++key) {
      all.push_back({key->db, key->name, key->writes, LostKeys::name(keys.since(*key))});
    }
  }
  std::reverse(all.begin(), all.end());
  return all;
}

LostKeys::Counts LostWrites::key_counts() const {
  LostKeys::Counts all;
  for (const auto& lost : losses_) {
    const LostKeys::Counts counts = lost->keys.counts();
    all.untouched += counts.untouched;
    all.overwritten += counts.overwritten;
    all.unknown += counts.unknown;
  }
  return all;
}

// --- looking back ---

LostWrites::LookBack::LookBack(const LostWrites& ledger, std::shared_ptr<Loss> loss)
    : ledger_(ledger), loss_(std::move(loss)), db_(loss_->db) {
  scanner_.reset(loss_->fork);
}

void LostWrites::LookBack::command(const StreamScanner::Command& command) {
  const Kind kind = kind_of(command.args);
  if (kind == Kind::select) db_ = parse_int(command.args[1]).value_or(-1);
  if (kind == Kind::write) loss_->keys.wrote(ledger_.commands_(), db_, command.args, command.truncated);
}

// --- files ---

Task<void> LostWrites::keep(std::shared_ptr<Loss> loss, std::string bytes) {
  const std::string path = config_.dir + "/" + loss->file + ".resp";
  loss->kept = false;
  auto written = co_await write(path, std::move(bytes));
  loss->kept = written.ok();
  if (written.ok()) {
    log_notice("instance", "the lost writes are in {}", path);
  } else {
    log_error("instance", "the lost writes are not kept: {} cannot be written", path);
  }
}

Task<Result<void>> LostWrites::write(std::string path, std::string bytes) {
  auto file = co_await world_.files.open(std::move(path), Files::Mode::create);
  CO_RETURN_IF_ERROR(file);
  auto written = co_await file.value()->write_at(0, bytes);
  CO_RETURN_IF_ERROR(written);
  co_return co_await file.value()->sync();
}

Task<Result<std::string>> LostWrites::read(std::string path) {
  auto file = co_await world_.files.open(path, Files::Mode::read);
  CO_RETURN_IF_ERROR(file);
  std::string bytes;
  for (size_t had = 0;;) {
    if (std::ssize(bytes) > kExportBytesMax) co_return Error{Errc::over_limit, path + " is too large for this"};
    bytes.resize(had + kReadBytes);
    auto size = co_await file.value()->read_at(had, std::span(bytes).subspan(had));
    CO_RETURN_IF_ERROR(size);
    had += size.value();
    bytes.resize(had);
    if (size.value() < kReadBytes) co_return std::move(bytes);
  }
}

Task<Result<std::vector<std::string>>> LostWrites::export_untouched() {
  std::vector<std::string> paths;
  const std::vector<std::shared_ptr<Loss>> losses(losses_.begin(), losses_.end());
  for (const std::shared_ptr<Loss>& lost : losses) {
    const std::string path = config_.dir + "/" + lost->file;
    const std::string from = path + ".resp";
    if (!lost->kept) co_return Error{Errc::refused, from + " is not written"};
    auto bytes = co_await read(from);
    CO_RETURN_IF_ERROR(bytes);
    StreamScanner scanner;
    Untouched untouched(commands_(), bytes.value(), *lost);
    auto scanned = scanner.feed(bytes.value(), untouched);
    if (!scanned.ok()) co_return Error{Errc::io, from + " is damaged: " + scanned.error().detail};
    paths.push_back(path + ".untouched.resp");
    const std::string to = paths.back();
    std::string text = std::move(untouched.text);
    auto written = co_await write(to, std::move(text));
    CO_RETURN_IF_ERROR(written);
  }
  co_return std::move(paths);
}

}  // namespace sidestream::instance
