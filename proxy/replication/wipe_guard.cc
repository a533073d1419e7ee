// wipe_guard.cc: tests/unit/wipe_guard_test.cc has the table of cases.
#include "proxy/replication/wipe_guard.h"

#include <algorithm>
#include <array>
#include <utility>

#include "common/log.h"
#include "common/text.h"

namespace sidestream::replication {
namespace {

constexpr std::string_view kTag = "wipe-guard";

/// Far smaller: less than half. Once suspected, it has to hold nine tenths of ours: those who write to it directly must
/// not talk us over key by key.
bool is_enough(int64_t offered, int64_t ours, bool suspected) {
  if (ours == 0 || offered == 0) return ours == 0;
  return suspected ? offered >= ours - ours / 10 : offered >= ours / 2;
}

std::string keys_text(int64_t keys) {
  return keys == 0 ? "no keys" : keys == 1 ? "1 key" : std::to_string(keys) + " keys";
}

std::string held_text(const Dataset& ours) { return ours.keys ? keys_text(*ours.keys) : "data"; }

constexpr std::string_view kWayOut =
    "; SIDESTREAM ACCEPT takes it and gives up what is held here, SIDESTREAM REVIVE gives it back what is held here, "
    "SIDESTREAM REJECT keeps waiting for the former history";

}  // namespace

std::optional<std::string> objection(const Dataset& ours, const Dataset& offered, bool related, bool suspected) {
  if (ours.replid == offered.replid && !ours.replid.empty()) return std::nullopt;
  if (ours.replid.empty() && ours.keys.value_or(0) == 0) return std::nullopt;
  if (!offered.keys) {
    const bool is_far_behind = offered.offset.value < ours.offset.value / 10;
    if (related || ours.keys == 0 || (!is_far_behind && !suspected)) return std::nullopt;
    return "it comes with another history, " + offered.replid.text() + ", at offset " +
           std::to_string(offered.offset.value) + " where ours was at " + std::to_string(ours.offset.value) +
           ", and does not say how many keys it holds (its INFO is refused to us)";
  }
  const bool known = ours.keys.has_value();
  const bool passes = known ? is_enough(*offered.keys, *ours.keys, suspected) : *offered.keys > 0;
  if (passes) return std::nullopt;
  return "it comes with another history, " + offered.replid.text() + ", that holds " + keys_text(*offered.keys) +
         " where ours holds " + held_text(ours);
}

void WipeGuard::restore(const Dataset& ours, bool suspected, bool rejected) {
  ours_ = ours;
  suspected_ = suspected;
  rejected_ = rejected;
}

void WipeGuard::hold(const ReplId& replid, ReplOffset offset) {
  if (!(ours_.replid == replid)) {
    ours_ = Dataset{replid, offset, std::nullopt};
    turned_at_ = ReplOffset{-1};
  }
  ours_.offset = offset;
}

void WipeGuard::count(int64_t keys, ReplOffset as_of) {
  if (as_of >= turned_at_) ours_.keys = keys;
}

void WipeGuard::saw(std::string_view command, ReplOffset end) {
  if (command.size() == 8 && iequals(command, "flushall")) {
    ours_.keys = 0;
    turned_at_ = end;
    return;
  }
  if (ours_.keys != 0) return;
  static constexpr std::array<std::string_view, 8> kHarmless{"ping", "select",  "replconf", "multi",
                                                             "exec", "flushdb", "publish",  "spublish"};
  const auto is_it = [&](std::string_view name) { return iequals(command, name); };
  if (std::any_of(kHarmless.begin(), kHarmless.end(), is_it)) return;
  ours_.keys.reset();
  turned_at_ = end;
}

Result<void> WipeGuard::judge(const Dataset& offered, bool related) {
  offered_ = offered;
  if (config_.wipe_guard == "pass" || accepted_) return {};
  Dataset ours = ours_;
  if (behind_us_ > ours.keys.value_or(0)) ours.keys = behind_us_;
  const bool same = !ours.replid.empty() && offered.replid == ours.replid;
  if (!same && ours.replid.empty() && !unheard_.empty()) {
    return Error{Errc::refused, "not before it is known what " + unheard_ + " holds"};
  }
  if (!same && !related && !ours.replid.empty() && !doubt_.empty()) {
    return Error{Errc::refused, "not before it is known who is primary: " + doubt_};
  }
  auto reason = objection(ours, offered, related, suspects() || rejected_);
  if (!reason && rejected_ && !same && !related) reason = "it comes with another history, which was rejected";
  if (!reason) return {};
  if (!quarantine_ || quarantine_->offered.replid != offered.replid) {
    times_held_ += quarantine_ ? 0 : 1;
    quarantine_ = Quarantine{offered, "held: " + *reason + std::string(kWayOut)};
    log_warning(kTag, "{}", quarantine_->reason);
  }
  return Error{Errc::refused, quarantine_->reason};
}

void WipeGuard::settled() {
  if (quarantine_) log_notice(kTag, "no longer held: {}", accepted_ ? "it was accepted" : "the history goes on");
  quarantine_.reset();
  accepted_ = rejected_ = suspected_ = false;
  behind_us_ = 0;
  const std::optional<int64_t> before = ours_.keys;
  if (!(ours_.replid == offered_.replid)) turned_at_ = ReplOffset{-1};
  ours_ = offered_;
  if (!ours_.keys) ours_.keys = before;
}

void WipeGuard::follows(const Address& upstream, bool by_order) {
  const bool is_first = upstream_.empty();
  if (!is_first && !(upstream_ == upstream)) {
    quarantine_.reset();
    rejected_ = suspected_ = false;
  }
  accepted_ = by_order;
  upstream_ = upstream;
}

bool WipeGuard::accept() {
  if (!quarantine_) return false;
  log_warning(kTag, "accepted by order: {}", quarantine_->offered.replid.text());
  accepted_ = true;
  rejected_ = false;
  return true;
}

bool WipeGuard::reject() {
  if (!quarantine_) return false;
  log_notice(kTag, "rejected by order: {}", quarantine_->offered.replid.text());
  rejected_ = true;
  accepted_ = false;
  return true;
}

}  // namespace sidestream::replication
