// wipe_guard.h: may the history that an upstream offers take the place of ours? Knows what we and those behind us hold,
// is told what is offered, and says yes or no before a byte of it reaches anybody. No connections, no clock.
//
// Happy path: our history goes on, or another one holds about as much as ours: yes. Failure modes: another history that
// is empty or holds less than half of our keys is held: it stays so, whatever is written to it meanwhile, until the
// upstream goes on with our history, holds nearly what we hold, is accepted by hand, or another one is followed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/byte_stream.h"
#include "common/result.h"
#include "config/config.h"
#include "proxy/replication/repl_id.h"
#include "proxy/resp/repl_offset.h"

namespace sidestream::replication {

/// A history and how much is in it.
struct Dataset {
  ReplId replid;  ///< empty: none
  ReplOffset offset;
  std::optional<int64_t> keys;  ///< in all databases; nothing: not known
  friend bool operator==(const Dataset&, const Dataset&) = default;
};

/// Why `offered` must not replace `ours`; nothing: it may. `related`: it was ours once, and went on under another id.
/// `suspected`: it was held before, so it has to come closer to ours.
std::optional<std::string> objection(const Dataset& ours, const Dataset& offered, bool related, bool suspected);

class WipeGuard {
 public:
  struct Quarantine {
    Dataset offered;
    std::string reason;  ///< and what to do about it, in words
  };

  explicit WipeGuard(const Config& config) : config_(config) {}

  /// What an earlier run held. `suspected`: something else was being offered instead; `rejected`: and refused by order.
  void restore(const Dataset& ours, bool suspected, bool rejected);
  /// We hold this history, as we know without an upstream.
  void hold(const ReplId& replid, ReplOffset offset);
  /// Nobody may replace anything yet: those behind us, who may hold data, have not been heard.
  void wait_for_nodes(std::string names) { unheard_ = std::move(names); }
  /// Another server may be the primary by now; empty: it is known who is. Until then nobody else's history takes the
  /// place of ours: what we wrote last could not even be counted as lost.
  void wait_for_word(std::string doubt) { doubt_ = std::move(doubt); }
  /// What those behind us hold, as long as we hold no history ourselves.
  void nodes_hold(int64_t keys) { behind_us_ = keys; }
  /// Somebody of our history, at `as_of`, said how much it holds. Who spoke before it was emptied, or got its first key
  /// after that, does not count.
  void count(int64_t keys, ReplOffset as_of);
  /// Whoever is followed is known to have got another history behind our back: only ours is let in, or by order.
  void distrust() { rejected_ = true; }
  /// A command of our history, which ends at `end`: whether it may hold something by now.
  void saw(std::string_view command, ReplOffset end);

  /// An upstream offers this. Errc::refused: held, or not now.
  Result<void> judge(const Dataset& offered, bool related);
  /// Our history goes on, or what was offered last took its place.
  void settled();
  /// This upstream is followed from now on. `by_order`: whoever chose it knows that its history may be another one.
  void follows(const Address& upstream, bool by_order);
  /// The operator's word about what is held. False: nothing is.
  bool accept();
  bool reject();

  const std::optional<Quarantine>& quarantine() const { return quarantine_; }
  bool suspects() const { return suspected_ || quarantine_.has_value(); }
  bool rejected() const { return rejected_; }
  /// Until an upstream has been judged, there may be something that it must not replace.
  bool at_stake() const { return !unheard_.empty() || behind_us_ > 0 || ours_.keys != 0; }
  /// What we hold.
  const Dataset& ours() const { return ours_; }
  int64_t times_held() const { return times_held_; }

 private:
  const Config& config_;
  Dataset ours_{{}, {}, 0};
  ReplOffset turned_at_{-1};  // our history: empty, or not empty any more
  Dataset offered_;           // judged last
  Address upstream_;
  int64_t behind_us_ = 0;
  std::string unheard_;
  std::string doubt_;
  std::optional<Quarantine> quarantine_;
  bool suspected_ = false;  // by an earlier run
  bool accepted_ = false;
  bool rejected_ = false;
  int64_t times_held_ = 0;
};

}  // namespace sidestream::replication
