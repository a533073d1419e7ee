// sim_client.cc: see sim_client.h.
#include "tests/sim/sim_client.h"

#include <algorithm>

#include "common/text.h"
#include "proxy/resp/writer.h"

namespace sidestream::sim {
namespace {

constexpr int64_t kPatienceMs = 20'000;

/// "k3:17" is value 17 of key 3; -1 if it is anything else.
int64_t value_in(const std::string& text, const std::string& key) {
  if (!text.starts_with(key + ":")) return -1;
  return parse_int(std::string_view(text).substr(key.size() + 1)).value_or(-1);
}

Task<Result<size_t>> read_some(ByteStream& stream, std::string& into) {
  char chunk[4096];
  auto n = co_await stream.read(chunk);
  CO_RETURN_IF_ERROR(n);
  if (n.value() == 0) co_return Error{Errc::closed, "end of stream"};
  into.append(chunk, n.value());
  co_return n.value();
}

}  // namespace

SimClient::SimClient(SimWorld& world, Ledger& ledger, SimClientOptions options)
    : world_(world), ledger_(ledger), options_(std::move(options)), seams_(world.at(options_.host)) {}

Task<void> SimClient::run() {
  while (!ledger_.stop) {
    const int64_t pause_ms = world_.dice().between(1, 300);
    co_await world_.clock().sleep(pause_ms);
    auto connecting = seams_.network.connect(options_.server);
    auto stream = co_await with_timeout(world_.clock(), kPatienceMs, "connect", std::move(connecting));
    if (!stream.ok()) {
      if (ledger_.strict) world_.fail(fmt::format("client {}: {}", options_.id, stream.error().detail));
      continue;
    }
    co_await use(*stream.value());
  }
}

/// One connection, from its greeting to its end.
Task<void> SimClient::use(ByteStream& stream) {
  db_ = static_cast<int>(world_.dice().below(2));
  input_.clear();
  last_written_ = 0;
  greet();
  const int64_t bursts = world_.dice().between(1, 60);
  for (int64_t i = 0; i < bursts && !ledger_.stop; ++i) {
    const bool strict = ledger_.strict;
    error_seen_ = false;
    auto done = co_await converse(stream);
    ++bursts_;
    if (!done.ok()) {
      world_.trace("client {}: {}", options_.id, done.error().detail);
      if (strict) world_.fail(fmt::format("client {}: {}", options_.id, done.error().detail));
      co_return;
    }
    if (!error_seen_) ++clean_bursts_;
    if (error_seen_ && i == 0) co_return;  // not logged in, or not in the right database
    const int64_t pause_ms = world_.dice().between(0, options_.pause_max_ms);
    co_await world_.clock().sleep(pause_ms);
    resting_ = true;
    while (ledger_.quiet && !ledger_.stop) co_await world_.clock().sleep(10);
    resting_ = false;
    compose();
  }
}

void SimClient::ask(const Asked& asked, const Words& words) {
  asked_.push_back(asked);
  resp::append_command(out_, std::vector<std::string_view>(words.begin(), words.end()));
}

void SimClient::greet() {
  out_.clear();
  asked_.clear();
  if (!options_.password.empty()) ask({Kind::ok, 0, 0, {}}, {"AUTH", options_.password});
  ask({Kind::ok, 0, 0, {}}, {"SELECT", std::to_string(db_)});
}

void SimClient::compose() {
  out_.clear();
  asked_.clear();
  SimRandom& dice = world_.dice();
  for (int64_t n = dice.between(1, dice.chance(200) ? 30 : 5); n > 0; --n) {
    const uint64_t kind = dice.below(100);
    const int key = 2 * static_cast<int>(dice.below(Ledger::kKeys / 2)) + db_;
    if (kind < 10) {
      const std::string token = fmt::format("{}.{}", options_.id, ++tokens_);
      ask({Kind::echo, 0, 0, token}, {"ECHO", token});
    } else if (kind < 60) {
      ask({Kind::get, key, ledger_.keys[key].known_by[options_.instance], {}}, {"GET", Ledger::name_of(key)});
    } else if (kind < 70 && db_ == 0) {
      ask({Kind::outside, 0, options_.outside(), {}}, {"GET", "outside"});
    } else if (kind < 72 && last_written_ > 0) {
      ask({Kind::wait, last_key_, last_written_, {}}, {"WAIT", "1", std::to_string(dice.between(1, 500))});
    } else {
      compose_write();
    }
  }
}

void SimClient::compose_write() {
  SimRandom& dice = world_.dice();
  std::vector<int> mine;
  for (int key = 0; key < Ledger::kKeys; ++key) {
    if (key % options_.clients == options_.id && Ledger::db_of(key) == db_) mine.push_back(key);
  }
  const bool transaction = dice.chance(250);
  const Kind kind_of_ok = transaction ? Kind::queued : Kind::ok;
  if (transaction) ask({Kind::ok, 0, 0, {}}, {"MULTI"});
  in_transaction_.clear();
  if (!mine.empty()) {
    const int key = mine[dice.below(mine.size())];
    const int64_t value = ++ledger_.keys[key].issued;
    ledger_.keys[key].through = options_.instance;
    const Asked set{Kind::set, key, value, {}};
    if (transaction) in_transaction_.push_back(set);
    ask(transaction ? Asked{kind_of_ok, 0, 0, {}} : set,
        {"SET", Ledger::name_of(key), Ledger::name_of(key) + ":" + std::to_string(value)});
  }
  const int64_t id = ++ledger_.logs[options_.id].issued;
  const Asked push{Kind::push, 0, id, {}};
  if (transaction) in_transaction_.push_back(push);
  ask(transaction ? Asked{kind_of_ok, 0, 0, {}} : push, {"RPUSH", Ledger::log_of(options_.id), std::to_string(id)});
  if (!transaction) return;
  // What EXEC acknowledges is found again by the values it carries.
  Asked exec{Kind::exec, in_transaction_.size() == 2 ? in_transaction_[0].key : -1, in_transaction_[0].value,
             std::to_string(id)};
  ask(exec, {"EXEC"});
}

Task<Result<std::string>> SimClient::read_frame(ByteStream& stream) {
  resp::ReplyScanner scanner;
  for (;;) {
    const auto state = scanner.scan(input_);
    if (state == resp::ReplyScanner::State::bad) co_return Error{Errc::protocol, "not a reply: " + printable(input_)};
    if (state == resp::ReplyScanner::State::complete) break;
    auto reading = read_some(stream, input_);
    auto n = co_await with_timeout(world_.clock(), kPatienceMs, "reply", std::move(reading));
    CO_RETURN_IF_ERROR(n);
  }
  std::string frame = input_.substr(0, scanner.size());
  input_.erase(0, scanner.size());
  co_return frame;
}

Task<Result<void>> SimClient::converse(ByteStream& stream) {
  stream.write(out_);
  const std::vector<Asked> asked = std::exchange(asked_, {});
  for (auto one = asked.begin(); one != asked.end(); ++one) {
    auto frame = co_await read_frame(stream);
    if (!frame.ok() && frame.error().code == Errc::protocol) world_.fail(frame.error().detail);
    if (!frame.ok()) std::for_each(one, asked.end(), [this](const Asked& lost) { lose(lost); });
    CO_RETURN_IF_ERROR(frame);
    world_.mix(frame.value());
    const resp::Value reply = resp::parse_value(frame.value());
    judge(*one, reply);
  }
  if (!input_.empty()) world_.fail(fmt::format("client {}: a reply to nothing: {}", options_.id, printable(input_)));
  co_return Result<void>();
}

void SimClient::wrong(const Asked& asked, const resp::Value& reply) {
  static constexpr const char* kNames[] = {"OK",  "QUEUED",      "EXEC",  "ECHO", "SET",
                                           "GET", "GET outside", "RPUSH", "WAIT"};
  world_.fail(fmt::format("client {} of {}: {} of key {} value {} {} is answered '{}' ({}, {} elements)", options_.id,
                          options_.instance, kNames[static_cast<int>(asked.kind)], asked.key, asked.value, asked.text,
                          printable(reply.text), reply.integer, reply.elements.size()));
}

void SimClient::judge(const Asked& asked, const resp::Value& reply) {
  using Type = resp::Value::Type;
  if (reply.is_error()) {
    if (asked.kind == Kind::wait && reply.text.starts_with("ERR WAIT cannot be used with replica")) return;
    ++ledger_.errors;
    error_seen_ = true;
    world_.trace("client {}: -{}", options_.id, reply.text);
    if (reply.text.find("unknown") != std::string::npos) lose(asked);
    if (ledger_.strict) wrong(asked, reply);
    return;
  }
  switch (asked.kind) {
    case Kind::ok:
      if (reply.text != "OK") wrong(asked, reply);
      return;
    case Kind::queued:
      if (reply.text != "QUEUED") wrong(asked, reply);
      return;
    case Kind::echo:
      if (reply.text != asked.text) wrong(asked, reply);
      return;
    case Kind::set:
      return reply.text == "OK" ? acknowledge_set(asked) : wrong(asked, reply);
    case Kind::get:
    case Kind::outside:
      return judge_read(asked, reply);
    case Kind::push:
      if (reply.type != Type::integer || reply.integer < 1) return wrong(asked, reply);
      ledger_.logs[options_.id].acked.insert(asked.value);
      return;
    case Kind::wait:
      if (reply.type != Type::integer || reply.integer < 0) return wrong(asked, reply);
      if (reply.integer > options_.holders(asked.key, asked.value)) wrong(asked, reply);
      return;
    case Kind::exec: {
      if (reply.type != Type::array || reply.elements.size() != (asked.key < 0 ? 1U : 2U)) return wrong(asked, reply);
      for (const auto& element : reply.elements) {
        if (element.is_error()) return wrong(asked, element);
      }
      if (asked.key >= 0) acknowledge_set(asked);
      ledger_.logs[options_.id].acked.insert(parse_int(asked.text).value_or(0));
      return;
    }
  }
}

void SimClient::lose(const Asked& asked) {
  const bool writes_key = asked.kind == Kind::set || (asked.kind == Kind::exec && asked.key >= 0);
  if (writes_key) ledger_.keys[asked.key].unknown.insert(asked.value);
}

void SimClient::acknowledge_set(const Asked& asked) {
  Ledger::Key& key = ledger_.keys[asked.key];
  key.acked = std::max(key.acked, asked.value);
  int64_t& here = key.known_by[options_.instance];
  here = std::max(here, asked.value);
  last_key_ = asked.key;
  last_written_ = asked.value;
  ++ledger_.writes;
  world_.trace("client {}: {} is {}", options_.id, Ledger::name_of(asked.key), asked.value);
}

void SimClient::judge_read(const Asked& asked, const resp::Value& reply) {
  ++ledger_.reads;
  const bool outside = asked.kind == Kind::outside;
  const std::string name = outside ? "outside" : Ledger::name_of(asked.key);
  const bool nil = reply.type == resp::Value::Type::nil;
  const int64_t value = nil ? 0 : value_in(reply.text, name);
  world_.trace("client {}: reads {} of {}, at least {}", options_.id, value, name, asked.value);
  const bool possible = value >= 0 && (outside || value <= ledger_.keys[asked.key].issued);
  const bool late = !outside && ledger_.keys[asked.key].unknown.count(value) > 0;
  if (!possible || (ledger_.fresh && value < asked.value && !late)) wrong(asked, reply);
  if (outside || late || ledger_.keys[asked.key].through != options_.instance) return;
  int64_t& here = ledger_.keys[asked.key].known_by[options_.instance];
  here = std::max(here, value);
}

}  // namespace sidestream::sim
