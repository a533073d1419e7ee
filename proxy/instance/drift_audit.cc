// drift_audit.cc: see drift_audit.h.
#include "proxy/instance/drift_audit.h"

#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/text.h"
#include "proxy/resp/reply.h"

namespace sidestream::instance {
namespace {

constexpr int64_t kStepTimeoutMs = 3000;
constexpr int64_t kAgainMs = 1000;             // after a server broke or refused
constexpr int64_t kBatchesPerSecond = 20;      // at low rates: a key or two a batch
constexpr int64_t kBatchMax = 32;              // keys
constexpr int64_t kValueBytesMax = 64 * 1024;  // in the server's memory: of a batch, 2 MB at most are read
constexpr const char* kSamples = "4096";       // elements that MEMORY USAGE looks at: exact for nearly all that fits
constexpr int64_t kCatchUpMs = 3000;           // a replica that is further behind is not waited for
constexpr int64_t kCatchUpStepMs = 2;
constexpr int kRounds = 3;  // in which a key must differ
constexpr int kTries = 20;  // to get them
constexpr int64_t kRoundMs = 50;
constexpr size_t kKeysShown = 16;

struct Sample {
  std::string key;
  std::string type;
};

/// What one side said about a batch.
struct Side {
  ReplOffset before, after;
  std::vector<Reading> readings;
};

/// ROLE's offset; nullopt: it tells none now.
std::optional<ReplOffset> offset_of(const resp::Value& role) {
  using Type = resp::Value::Type;
  const auto& parts = role.elements;
  if (parts.size() >= 2 && parts[0].text == "master" && parts[1].type == Type::integer) {
    return ReplOffset{parts[1].integer};
  }
  const bool follows = parts.size() >= 5 && parts[0].text == "slave" && parts[3].text == "connected";
  if (follows && parts[4].type == Type::integer) return ReplOffset{parts[4].integer};
  return std::nullopt;
}

/// Told of the stream's writes for as long as it lives.
class Watching {
 public:
  Watching(routing::Plane& plane, std::span<const std::string> keys) : plane_(plane) {
    watch_.begin(keys);
    plane_.watch(watch_);
  }
  Watching(const Watching&) = delete;
  Watching& operator=(const Watching&) = delete;
  ~Watching() { plane_.unwatch(watch_); }
  const routing::KeyWatch& keys() const { return watch_; }

 private:
  routing::Plane& plane_;
  routing::KeyWatch watch_;
};

}  // namespace

/// Compares one replica with the primary.
class DriftAudit::Auditor {
 public:
  Auditor(DriftAudit& audit, Record& record, AuditPlace primary, AuditPlace replica)
      : world_(audit.world_), audit_(audit), record_(record), sides_{std::move(primary), std::move(replica)} {
    record_.passes_before = record_.facts.passes;
    tasks_.add(run());
  }
  Auditor(const Auditor&) = delete;
  Auditor& operator=(const Auditor&) = delete;
  ~Auditor() { record_.facts.trouble.clear(); }

  /// The same two servers; what changes while they run is taken over. False: others.
  bool update(const AuditPlace& primary, const AuditPlace& replica) {
    const auto is_same = [](const AuditPlace& now, const AuditPlace& then) {
      return now.address == then.address && now.address.transport == then.address.transport &&
             now.is_instance == then.is_instance && now.link_id == then.link_id;
    };
    if (!is_same(primary, sides_[kPrimary]) || !is_same(replica, sides_[kReplica])) return false;
    sides_ = {primary, replica};
    return true;
  }

 private:
  enum { kPrimary, kReplica };
  using Connection = std::unique_ptr<replication::NodeConnection>;
  using Comparisons = std::vector<Comparison>;
  /// Where SCAN is, on one side.
  struct Walk {
    size_t database = 0;  // index among those in use
    std::string cursor = "0";
    std::deque<std::string> keys;  // found and not looked at yet: of one SCAN
    int keys_db = 0;
  };

  int64_t batch_size() const {
    return std::clamp<int64_t>(audit_.config_.audit_rate / kBatchesPerSecond, 1, kBatchMax);
  }

  Task<void> run() {
    for (;;) {
      const int64_t began_us = world_.clock.now_us();
      const int64_t batch = batch_size();
      auto done = co_await audit_batch(batch);
      if (!done.ok()) {
        trouble(done.error().detail);
        connections_ = {};
        co_await world_.clock.sleep(kAgainMs);
        continue;
      }
      trouble("");
      const int64_t rate = std::max<int64_t>(audit_.config_.audit_rate, 1);
      const int64_t wait_ms = (began_us + batch * 1'000'000 / rate - world_.clock.now_us()) / 1000;
      co_await world_.clock.sleep(std::max<int64_t>(wait_ms, 1));
    }
  }

  void trouble(const std::string& words) {
    if (!words.empty() && words != record_.facts.trouble) {
      log_verbose("audit " + sides_[kReplica].name, "nothing is compared: {}", words);
    }
    record_.facts.trouble = words;
  }

  Task<Result<void>> audit_batch(int64_t size) {
    auto ready = co_await connect();
    CO_RETURN_IF_ERROR(ready);
    side_ = side_ == kPrimary ? kReplica : kPrimary;
    auto found = co_await next_keys(static_cast<size_t>(size));
    CO_RETURN_IF_ERROR(found);
    auto samples = co_await survey(std::move(found).value());
    CO_RETURN_IF_ERROR(samples);
    if (samples.value().empty()) co_return Result<void>();
    auto compared = co_await compare_at_equal_offsets(samples.value());
    CO_RETURN_IF_ERROR(compared);
    for (size_t i = 0; i < samples.value().size(); ++i) {
      const Verdict verdict = compared.value()[i].verdict;
      count(verdict);
      if (verdict != Verdict::differs) continue;
      auto confirmed = co_await confirm(samples.value()[i]);
      CO_RETURN_IF_ERROR(confirmed);
    }
    co_return Result<void>();
  }

  void count(Verdict verdict) {
    if (verdict == Verdict::unclear) {
      ++record_.facts.unclear;
    } else {
      ++record_.facts.compared;
    }
  }

  // --- what to look at ---

  Task<Result<void>> connect() {
    for (size_t i = 0; i < sides_.size(); ++i) {
      if (connections_[i] != nullptr) continue;
      Address address = sides_[i].address;
      replication::Credentials credentials{audit_.config_.masteruser, audit_.config_.masterauth};
      auto opened = co_await replication::NodeConnection::open(world_, std::move(address), std::move(credentials),
                                                               kStepTimeoutMs);
      CO_RETURN_IF_ERROR(opened);
      if (sides_[i].is_instance) {
        auto introduced = co_await opened.value()->introduce();
        CO_RETURN_IF_ERROR(introduced);
      }
      // From 7.2 on: what is looked at here does not look used to the server's eviction.
      Words words = split("CLIENT NO-TOUCH ON", ' ');
      auto untouched = co_await opened.value()->ask(std::move(words));
      CO_RETURN_IF_ERROR(untouched);
      connections_[i] = std::move(opened).value();
      selected_[i] = 0;
    }
    co_return Result<void>();
  }

  Task<Result<void>> select(int database) {
    for (size_t i = 0; i < sides_.size(); ++i) {
      if (selected_[i] == database) continue;
      Words words = {"SELECT", std::to_string(database)};
      auto selected = co_await connections_[i]->demand(std::move(words));
      CO_RETURN_IF_ERROR(selected);
      selected_[i] = database;
    }
    co_return Result<void>();
  }

  /// Of the walk through this side; none: the pass has come to its end, or the SCAN found none.
  Task<Result<Words>> next_keys(size_t most) {
    Walk& walk = walks_[side_];
    if (walk.keys.empty()) {
      auto scanned = co_await scan(walk, most);
      CO_RETURN_IF_ERROR(scanned);
    }
    Words keys;
    while (!walk.keys.empty() && keys.size() < most) {
      keys.push_back(std::move(walk.keys.front()));
      walk.keys.pop_front();
    }
    if (!keys.empty()) {
      auto selected = co_await select(walk.keys_db);
      CO_RETURN_IF_ERROR(selected);
    }
    co_return std::move(keys);
  }

  Task<Result<void>> scan(Walk& walk, size_t count) {
    const std::vector<int> databases = sides_[side_].databases;
    if (walk.database >= databases.size()) {
      if (walk.database > 0) ++passes_[side_];
      record_.facts.passes = record_.passes_before + std::min(passes_[kPrimary], passes_[kReplica]);
      walk = Walk();
      co_return Result<void>();
    }
    walk.keys_db = databases[walk.database];
    auto selected = co_await select(walk.keys_db);
    CO_RETURN_IF_ERROR(selected);
    Words words = {"SCAN", walk.cursor, "COUNT", std::to_string(count)};
    auto reply = co_await connections_[side_]->demand(std::move(words));
    CO_RETURN_IF_ERROR(reply);
    auto& parts = reply.value().elements;
    if (parts.size() != 2) co_return Error{Errc::protocol, "SCAN: not a cursor and keys"};
    for (resp::Value& key : parts[1].elements) walk.keys.push_back(std::move(key.text));
    walk.cursor = std::move(parts[0].text);
    if (walk.cursor == "0") ++walk.database;
    co_return Result<void>();
  }

  /// What can be compared of these.
  Task<Result<std::vector<Sample>>> survey(Words keys) {
    std::vector<Words> questions;
    for (const std::string& key : keys) {
      questions.push_back({"TYPE", key});
      questions.push_back({"MEMORY", "USAGE", key, "SAMPLES", kSamples});
    }
    auto answers = co_await connections_[side_]->ask_all(std::move(questions));
    CO_RETURN_IF_ERROR(answers);
    std::vector<Sample> samples;
    for (size_t i = 0; i < keys.size(); ++i) {
      const resp::Value& type = answers.value()[2 * i];
      const resp::Value& bytes = answers.value()[2 * i + 1];
      for (const resp::Value* each : {&type, &bytes}) {
        if (each->is_error()) co_return Error{Errc::refused, printable(each->text, 256)};
      }
      if (type.text == "none" || bytes.type == resp::Value::Type::nil) continue;
      if (!can_read(type.text) || bytes.integer > kValueBytesMax) {
        ++record_.facts.passed_over;
      } else {
        samples.push_back({std::move(keys[i]), type.text});
      }
    }
    co_return std::move(samples);
  }

  // --- the comparison ---

  /// One for each sample.
  Task<Result<Comparisons>> compare_at_equal_offsets(std::vector<Sample> samples) {
    Words keys;
    for (const Sample& sample : samples) keys.push_back(sample.key);
    const Watching watching(audit_.plane_, keys);
    const replication::ReplId history = audit_.relay_.history().replid;
    Bracket bracket;
    bracket.seen_from = std::max(audit_.relay_.offset(), audit_.relay_.commands_known_from());
    auto primary = co_await read_side(kPrimary, samples);
    CO_RETURN_IF_ERROR(primary);
    auto caught_up = co_await catch_up(primary.value().after);
    CO_RETURN_IF_ERROR(caught_up);
    auto replica = co_await read_side(kReplica, samples);
    CO_RETURN_IF_ERROR(replica);
    bracket.primary_before = primary.value().before;
    bracket.primary_after = primary.value().after;
    bracket.replica_before = replica.value().before;
    bracket.replica_after = replica.value().after;
    bracket.seen_to = audit_.relay_.offset();
    const bool one_history = audit_.relay_.has_history() && audit_.relay_.history().replid == history;
    Comparisons found(samples.size());
    for (size_t i = 0; i < samples.size(); ++i) {
      if (!one_history || !is_proof(bracket, watching.keys().last_write(i))) continue;
      found[i] = compare(primary.value().readings[i], replica.value().readings[i]);
    }
    co_return std::move(found);
  }

  Task<Result<Side>> read_side(size_t which, const std::vector<Sample>& samples) {
    const bool absolute = sides_[kPrimary].absolute_expiry && sides_[kReplica].absolute_expiry;
    std::vector<Words> questions(1, Words(1, "ROLE"));
    std::vector<size_t> ends;
    for (const Sample& sample : samples) {
      for (Words& each : questions_about(sample.key, sample.type, absolute)) questions.push_back(std::move(each));
      ends.push_back(questions.size());
    }
    questions.push_back(Words(1, "ROLE"));
    auto answers = co_await connections_[which]->ask_all(std::move(questions));
    CO_RETURN_IF_ERROR(answers);
    const auto before = offset_of(answers.value().front());
    const auto after = offset_of(answers.value().back());
    if (!before || !after) co_return Error{Errc::refused, sides_[which].name + " tells no offset"};
    Side side{*before, *after, {}};
    const std::span<const resp::Value> all = answers.value();
    size_t begin = 1;
    for (size_t i = 0; i < samples.size(); ++i) {
      side.readings.push_back(reading_of(all.subspan(begin, ends[i] - begin), samples[i].type));
      begin = ends[i];
    }
    co_return std::move(side);
  }

  Task<Result<void>> catch_up(ReplOffset wanted) {
    const int64_t deadline_ms = world_.clock.now_ms() + kCatchUpMs;
    for (;;) {
      Words words(1, "ROLE");
      auto role = co_await connections_[kReplica]->demand(std::move(words));
      CO_RETURN_IF_ERROR(role);
      const auto offset = offset_of(role.value());
      if (!offset) co_return Error{Errc::refused, sides_[kReplica].name + " is not connected"};
      if (*offset >= wanted) co_return Result<void>();
      if (world_.clock.now_ms() > deadline_ms) co_return Error{Errc::timed_out, "the replica is too far behind"};
      co_await world_.clock.sleep(kCatchUpStepMs);
    }
  }

  /// A difference is one that is there again and again.
  Task<Result<void>> confirm(Sample sample) {
    const std::vector<Sample> one(1, sample);
    std::string what;
    int rounds = 1;
    for (int tries = 0; rounds < kRounds && tries < kTries; ++tries) {
      co_await world_.clock.sleep(kRoundMs);
      auto again = co_await compare_at_equal_offsets(one);
      CO_RETURN_IF_ERROR(again);
      const Comparison& found = again.value().front();
      if (found.verdict == Verdict::equal) co_return Result<void>();
      if (found.verdict == Verdict::unclear) continue;
      what = found.what;
      ++rounds;
    }
    if (rounds == kRounds) report({walks_[side_].keys_db, std::move(sample.key), std::move(what)});
    co_return Result<void>();
  }

  void report(admin::DriftedKey key) {
    ++record_.facts.differences;
    auto& shown = record_.facts.keys;
    const auto is_same = [&](const auto& each) { return each.db == key.db && each.name == key.name; };
    const auto known = std::find_if(shown.begin(), shown.end(), is_same);
    if (known != shown.end()) {
      known->what = std::move(key.what);
    } else if (shown.size() < kKeysShown) {
      shown.push_back(std::move(key));
    }
    if (std::exchange(record_.facts.differs, true)) return;
    record_.link_id = sides_[kReplica].link_id;
    log_warning("node " + sides_[kReplica].name,
                "its data is not the primary's (SIDESTREAM AUDIT shows keys): not read until SIDESTREAM RESYNC {}",
                sides_[kReplica].name);
    audit_.changed_();
  }

  World& world_;
  DriftAudit& audit_;
  Record& record_;
  std::array<AuditPlace, 2> sides_;
  std::array<Connection, 2> connections_;
  std::array<int, 2> selected_ = {};
  std::array<Walk, 2> walks_;
  std::array<uint64_t, 2> passes_ = {};
  size_t side_ = kReplica;  // whose keys are looked at; the other one's next
  TaskSet tasks_;
};

DriftAudit::DriftAudit(World& world, const Config& config, const replication::Relay& relay, routing::Plane& plane,
                       std::function<void()> changed)
    : world_(world), config_(config), relay_(relay), plane_(plane), changed_(std::move(changed)) {}

DriftAudit::~DriftAudit() = default;

void DriftAudit::set_places(const std::optional<AuditPlace>& primary, const std::vector<AuditPlace>& replicas) {
  if (primary) clear(primary->name, "it leads now: what it holds is right");
  for (const AuditPlace& replica : replicas) {
    const auto record = records_.find(replica.name);
    const bool is_anew = record != records_.end() && replica.resynced && replica.link_id > record->second.link_id;
    if (is_anew) clear(replica.name, "it was resynced in full and is read again");
  }
  const bool on = config_.audit_rate > 0 && primary.has_value();
  std::erase_if(auditors_, [&](const auto& entry) {
    const auto found = std::find_if(replicas.begin(), replicas.end(),
                                    [&](const auto& replica) { return replica.name == entry.first; });
    return !on || found == replicas.end() || !entry.second->update(*primary, *found);
  });
  if (!on) return;
  for (const AuditPlace& replica : replicas) {
    if (auditors_.contains(replica.name)) continue;
    auditors_.emplace(replica.name, std::make_unique<Auditor>(*this, records_[replica.name], *primary, replica));
  }
}

void DriftAudit::stop() { auditors_.clear(); }

bool DriftAudit::is_idle() const {
  const auto differs = [](const auto& entry) { return entry.second.facts.differs; };
  return config_.audit_rate == 0 && auditors_.empty() && std::none_of(records_.begin(), records_.end(), differs);
}

void DriftAudit::clear(const std::string& name, std::string_view why) {
  const auto record = records_.find(name);
  if (record == records_.end() || !std::exchange(record->second.facts.differs, false)) return;
  record->second.facts.keys.clear();
  log_notice("node " + name, "{}", why);
  changed_();
}

void DriftAudit::forget(const std::string& name) {
  auditors_.erase(name);
  records_.erase(name);
}

admin::AuditFacts DriftAudit::facts(const std::string& name) const {
  const auto record = records_.find(name);
  return record == records_.end() ? admin::AuditFacts() : record->second.facts;
}

std::vector<std::string> DriftAudit::drifted() const {
  std::vector<std::string> names;
  for (const auto& [name, record] : records_) {
    if (record.facts.differs) names.push_back(name);
  }
  return names;
}

bool DriftAudit::differs(const std::string& name) const {
  const auto record = records_.find(name);
  return record != records_.end() && record->second.facts.differs;
}

}  // namespace sidestream::instance
