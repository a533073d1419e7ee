// fake_node.cc: birth and death of a fake node, its sessions, and how a command is run.
#include "tests/support/fake_node.h"

#include "common/text.h"
#include "proxy/resp/writer.h"

namespace sidestream::sim {
namespace {

const std::string kNoId(40, '0');

}  // namespace

FakeNode::FakeNode(SimWorld& world, Chronicle& chronicle, FakeNodeOptions options)
    : world_(world),
      chronicle_(chronicle),
      options_(std::move(options)),
      seams_(world.at(options_.host)),
      name_(options_.host + ":" + std::to_string(options_.port)),
      replid2_(kNoId) {
  console_.authenticated = true;
}

FakeNode::~FakeNode() {
  following_.cancel_all();
  tasks_.cancel_all();
  seats_.clear();
}

void FakeNode::start(std::string_view rdb, const Address& primary) {
  CHECK(!running());
  auto listener = seams_.network.listen(address());
  CHECK(listener.ok());
  listener_ = std::move(listener).value();
  run_id_ = seams_.random.hex40();
  replid_ = seams_.random.hex40();
  lonely_since_ms_ = now_ms();
  counters_.most_keys = 0;
  RdbAux aux;
  size_t used = 0;
  if (!rdb.empty()) CHECK(decode_rdb(rdb, data_, aux, used));
  if (!aux.replid.empty() && !primary.empty()) {  // goes on where it was
    offset_ = aux.offset;
    replid_ = aux.replid;
    stream_db_ = aux.stream_db;
    backlog_.emplace();
  } else if (!aux.replid.empty()) {  // 7.0: the id of the file becomes replid2, and a backlog is there from the start
    offset_ = aux.offset;
    replid2_ = aux.replid;
    second_offset_ = aux.offset + 1;
    chronicle_.fork(replid_, aux.replid, offset_);
    backlog_.emplace();
  } else {
    chronicle_.begin(replid_, 0, data_.digest());
  }
  world_.trace("{}: starts, {} at {}", name_, replid_, offset_);
  tasks_.add(accept_all());
  tasks_.add(cron());
  if (!primary.empty()) replicaof(primary);
}

void FakeNode::crash() {
  if (!running()) return;
  world_.host(options_.host).crash();
  following_.cancel_all();
  tasks_.cancel_all();
  seats_.clear();
  doomed_.clear();
  listener_.reset();
  data_ = FakeData();
  config_.clear();
  effects_.clear();
  backlog_.reset();
  loading_ = frozen_ = remembers_ = false;
  primary_ = Address();
  link_ = Link::none;
  replid2_ = kNoId;
  second_offset_ = stream_db_ = -1;
  offset_ = 0;
}

std::string FakeNode::save() const {
  RdbAux aux;
  if (backlog_) aux = RdbAux{std::max(stream_db_, 0), replid_, offset_};
  return encode_rdb(data_, aux);
}

void FakeNode::freeze(bool frozen) {
  world_.trace("{}: {}", name_, frozen ? "frozen" : "thawed");
  frozen_ = frozen;
  changed_.notify_all();
}

std::string FakeNode::run(const Words& args, int db) {
  console_.db = db;
  console_.out.clear();
  execute(console_, args);
  return std::exchange(console_.out, std::string());
}

Task<void> FakeNode::accept_all() {
  for (;;) {
    auto stream = co_await listener_->accept();
    if (!stream.ok()) co_return;
    const int64_t id = ++last_session_;
    Seat& seat = seats_[id];
    seat.session = std::make_unique<Session>();
    seat.session->id = id;
    seat.session->stream = std::move(stream).value();
    seat.session->authenticated = options_.password.empty();
    seat.task.add(serve(*seat.session));
  }
}

/// Everything a busy or stopped process is late with.
Task<void> FakeNode::breathe(int64_t max_us) {
  if (max_us > 0) {
    Signal moment;
    const int64_t until = world_.clock().now_us() + world_.dice().between(0, max_us);
    co_await moment.wait_until(world_.clock(), until);
  }
  while (frozen_) co_await changed_.wait();
}

Task<void> FakeNode::serve(Session& session) {
  std::string input;
  resp::RequestParser parser;
  char chunk[4096];
  for (;;) {
    auto n = co_await session.stream->read(chunk);
    if (!n.ok() || n.value() == 0) break;
    input.append(chunk, n.value());
    const int64_t pause_us = session.stage == Stage::client ? options_.service_max_us : 0;
    co_await breathe(pause_us);
    Batch batch = execute_batch(session, parser, input);
    while (batch == Batch::blocked) {
      const int64_t until = session.wait_until_us.value_or(INT64_MAX);
      co_await changed_.wait_until(world_.clock(), until);
      if (acknowledged_by(session.written) < session.wait_count && world_.clock().now_us() < until) continue;
      resp::append_integer(session.out, acknowledged_by(session.written));
      session.wait_until_us.reset();
      batch = execute_batch(session, parser, input);
    }
    while (batch == Batch::paused) {
      co_await changed_.wait_until(world_.clock(), paused_until_ms_ * 1000);
      batch = execute_batch(session, parser, input);
    }
    if (batch == Batch::end) break;
    if (session.stage != Stage::client) continue;
    auto drained = co_await session.stream->drained(64 * 1024);
    if (!drained.ok()) break;
  }
  doom(session);
}

FakeNode::Batch FakeNode::execute_batch(Session& session, resp::RequestParser& parser, std::string& input) {
  size_t position = 0;
  Batch batch = Batch::more;
  resp::Request request;
  while (batch == Batch::more) {
    const std::string_view rest = std::string_view(input).substr(position);
    if (rest.empty()) break;
    const auto state = parser.next(rest, request);
    if (state == resp::RequestParser::State::incomplete) break;
    if (state == resp::RequestParser::State::bad) {
      resp::append_error(session.out, "ERR " + parser.error());
      batch = Batch::end;
      break;
    }
    const Words args(request.args.begin(), request.args.end());
    if (!args.empty() && has_to_wait(session, args)) {
      batch = Batch::paused;
      break;
    }
    position += parser.consumed();
    if (session.stage != Stage::client) session.ack_ms = now_ms();  // also a bare newline says that it is alive
    if (args.empty()) continue;
    execute(session, args);
    if (session.wait_until_us) batch = Batch::blocked;
    if (session.quit) batch = Batch::end;
  }
  input.erase(0, position);
  session.stream->write(session.out);
  session.out.clear();
  return batch;
}

bool FakeNode::has_to_wait(const Session& session, const Words& args) const {
  if (!paused() || session.stage != Stage::client) return false;
  const auto writes = [](const Words& each) {
    const FakeCommand* command = find_command(to_lower(each[0]));
    return command != nullptr && command->writes();
  };
  const bool is_exec = iequals(args[0], "exec");
  return is_exec ? std::any_of(session.queued.begin(), session.queued.end(), writes) : !session.multi && writes(args);
}

bool FakeNode::refuse(Session& session, const FakeCommand* command, const Words& args) {
  std::string error;
  if (command == nullptr) {
    error = "ERR unknown command '" + args[0].substr(0, 128) + "', with args beginning with: ";
    for (size_t i = 1; i < args.size() && i < 20; ++i) error += "'" + args[i].substr(0, 128) + "' ";
  } else if (command->arity > 0 ? args.size() != static_cast<size_t>(command->arity)
                                : args.size() < static_cast<size_t>(-command->arity)) {
    error = std::string("ERR wrong number of arguments for '") + command->name + "' command";
  } else if (!session.authenticated && !command->has("no_auth")) {
    error = "NOAUTH Authentication required.";
  } else if (loading_ && !command->has("loading")) {
    error = "LOADING Redis is loading the dataset in memory";
  } else if (is_replica() && command->writes()) {
    error = "READONLY You can't write against a read only replica.";
    ++counters_.writes_refused;
    world_.trace("{}: refuses {}", name_, args[0]);
  } else {
    return false;
  }
  if (session.multi) session.multi_failed = true;
  resp::append_error(session.out, error);
  return true;
}

void FakeNode::execute(Session& session, const Words& args) {
  const std::string name = to_lower(args[0]);
  const FakeCommand* command = find_command(name);
  world_.mix(name);
  if (session.stage != Stage::client && name != "replconf") {
    world_.fail(fmt::format("{}: a replica sends {} on its attached link", name_, printable(args[0])));
    return doom(session);
  }
  if (refuse(session, command, args)) return;
  const bool ends_multi = name == "exec" || name == "discard" || name == "reset" || name == "quit";
  if (session.multi && !ends_multi && name != "multi" && name != "watch") {
    session.queued.push_back(args);
    return resp::append_simple(session.out, "QUEUED");
  }
  const uint64_t digest_before = data_.digest();
  call(session, *command, args);
  if (!effects_.empty()) propagate(std::exchange(effects_, {}), digest_before);
  counters_.most_keys = std::max(counters_.most_keys, data_.keys());
  if (name != "wait") session.written = offset_;
}

void FakeNode::call(Session& session, const FakeCommand& command, const Words& args) {
  if (command.run == nullptr) return (this->*answer_of(command.name))(session, args);
  if (command.run(data_, session.db, args, session.protocol, session.out)) {
    effects_.push_back({session.db, args});
    if (&session != &console_) ++counters_.writes;
  } else if (&session != &console_) {
    ++counters_.reads;
    if (args.size() > 1) world_.trace("{}: {} {} at {}", name_, args[0], args[1], offset_);
  }
}

/// Closes a session at the end of the turn: never while one of its own frames is running.
void FakeNode::doom(Session& session) {
  if (std::exchange(session.doomed, true)) return;
  doomed_.push_back(session.id);
  ReadyQueue::current().post_turn_end(reaper_);
}

void FakeNode::reap() {
  for (const int64_t id : std::exchange(doomed_, {})) {
    if (replicas() == 1 && seats_.count(id) > 0 && seats_[id].session->stage != Stage::client) {
      lonely_since_ms_ = now_ms();
    }
    seats_.erase(id);
  }
  changed_.notify_all();
}

}  // namespace sidestream::sim
