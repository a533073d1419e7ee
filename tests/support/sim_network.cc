// sim_network.cc: wires, connections, hosts. Nothing here resumes a coroutine: reads and drains are posted.
#include "tests/support/sim_network.h"

#include <algorithm>
#include <cstring>

#include "tests/support/sim_files.h"
#include "tests/support/sim_loops.h"
#include "tests/support/sim_world.h"

namespace sidestream::sim {
namespace {

constexpr int64_t kConnectPatienceMs = 127'000;  // Linux gives up after six SYNs
constexpr size_t kAcceptQueue = 511;
constexpr int kRefusalsPerSecondMax = 100;  // of one host by one address; more is a loop without a pause

Error broken_pipe() { return Error{Errc::closed, "connection reset by peer"}; }

}  // namespace

Wire::Wire(Connection& connection, int to)
    : ReadyNode([](ReadyNode& node) { static_cast<Wire&>(node).arrive(); }),
      connection_(connection),
      to_(to),
      timer_(connection.world.clock(), *this) {}

void Wire::push(std::string_view bytes) {
  if (connection_.was_reset || finishing_) return;
  queued_.append(bytes);
  pushed_bytes_ += bytes.size();
  pushes_ended_.push_back(pushed_bytes_);
  send();
}

void Wire::finish() {
  if (finishing_) return;
  finishing_ = true;
  send();
}

void Wire::abandon_queue() {
  queued_.clear();
  queued_from_ = 0;
}

void Wire::reset() {
  abandon_queue();
  flying_.clear();
  timer_.cancel();
  deliver();
  if (drain_ == nullptr) return;
  drain_->failed = true;
  drain_->error = broken_pipe();
  drain_->resumption.post();
  drain_ = nullptr;
}

size_t Wire::piece_size(size_t most) {
  if (connection_.piece_max == 0 || most <= 1) return most;
  return std::min<size_t>(most, 1 + connection_.world.dice().below(connection_.piece_max));
}

void Wire::send() {
  const size_t window = connection_.world.weather().socket_buffer;
  while (unsent() > 0 && window_used_ < window) {
    const size_t n = piece_size(std::min(unsent(), window - window_used_));
    fly(queued_.substr(queued_from_, n));
    queued_from_ += n;
    window_used_ += n;
  }
  if (unsent() == 0) {
    abandon_queue();
    if (finishing_ && !end_sent_) {
      end_sent_ = true;
      fly(std::string());
    }
  } else if (queued_from_ > queued_.size() / 2) {
    queued_.erase(0, queued_from_);
    queued_from_ = 0;
  }
  if (drain_ != nullptr && unsent() <= drain_->below) {
    drain_->resumption.post();
    drain_ = nullptr;
  }
}

void Wire::fly(std::string bytes) {
  SimWorld& world = connection_.world;
  const Weather& weather = world.weather();
  int64_t arrival = world.clock().now_us() + world.dice().between(weather.latency_min_us, weather.latency_max_us);
  if (world.dice().chance(weather.stall)) arrival += 1000 * world.dice().between(1, weather.stall_max_ms);
  arrival = last_arrival_us_ = std::max(arrival, last_arrival_us_);
  flying_.push_back({arrival, std::move(bytes)});
  if (!timer_.active()) timer_.start_at(flying_.front().arrival_us);
}

void Wire::wake() {
  if (!flying_.empty()) timer_.start_at(flying_.front().arrival_us);
}

void Wire::arrive() {
  SimWorld& world = connection_.world;
  if (connection_.was_reset || connection_.parted()) return;  // woken again when the hosts meet
  while (!flying_.empty() && flying_.front().arrival_us <= world.clock().now_us()) {
    Piece piece = std::move(flying_.front());
    flying_.pop_front();
    if (piece.bytes.empty()) {
      end_arrived_ = true;
      continue;
    }
    world.mix(piece.bytes);
    if (connection_.cut_after >= 0) {
      connection_.cut_after -= static_cast<int64_t>(piece.bytes.size());
      if (connection_.cut_after < 0) {
        const size_t kept = piece.bytes.size() - static_cast<size_t>(-connection_.cut_after);
        arrived_.append(piece.bytes, 0, kept);
        return connection_.reset("cut");
      }
    }
    if (connection_.end[to_] == nullptr) return connection_.reset("bytes for a closed end");
    arrived_.append(piece.bytes);
  }
  wake();
  deliver();
}

void Wire::deliver() {
  if (read_ == nullptr) return;
  const size_t there = arrived_.size() - arrived_from_;
  if (there == 0 && !end_arrived_ && !connection_.was_reset) return;
  ReadOp& op = *std::exchange(read_, nullptr);
  if (there > 0) {
    const size_t n = piece_size(std::min(there, op.into.size()));
    std::memcpy(op.into.data(), arrived_.data() + arrived_from_, n);
    arrived_from_ += n;
    window_used_ -= std::min(n, window_used_);
    read_bytes_ += n;
    while (!pushes_ended_.empty() && pushes_ended_.front() <= read_bytes_) {
      whole_bytes_ = pushes_ended_.front();
      pushes_ended_.pop_front();
    }
    if (arrived_from_ == arrived_.size()) {
      arrived_.clear();
      arrived_from_ = 0;
    }
    op.finish(n);
    if (!connection_.was_reset) send();
  } else if (connection_.was_reset) {
    op.fail(broken_pipe());
  } else {
    op.finish(0);
  }
}

void Wire::start_read(ReadOp& op) {
  CHECK(read_ == nullptr);
  read_ = &op;
  deliver();
}

void Wire::start_drain(DrainOp& op) {
  CHECK(drain_ == nullptr);
  if (connection_.was_reset) {
    op.failed = true;
    op.error = broken_pipe();
    op.resumption.post();
  } else if (unsent() <= op.below) {
    op.resumption.post();
  } else {
    drain_ = &op;
  }
}

Connection::Connection(SimWorld& outside, uint64_t number, std::string client, std::string server)
    : world(outside), id(number), host{std::move(client), std::move(server)}, wire{{*this, 1}, {*this, 0}} {
  SimRandom& dice = world.dice();
  const Weather& weather = world.weather();
  if (dice.chance(weather.pieces)) piece_max = weather.piece_max;
  if (dice.chance(weather.cut)) cut_after = dice.between(0, static_cast<int64_t>(weather.cut_within));
}

void Connection::reset(const char* why) {
  if (was_reset) return;
  was_reset = true;
  world.mix(id);
  world.trace("connection {} {} -> {}: {}", id, host[0], host[1], why);
  wire[0].reset();
  wire[1].reset();
}

void Connection::detach(int side) {
  end[side] = nullptr;
  wire[side].finish();
  world.mix(id * 2 + side);
  if (end[1 - side] == nullptr) world.connections_.erase(id);
}

void Connection::crash(const std::string& dead) {
  const int side = host[0] == dead ? 0 : 1;
  if (world.dice().chance(500)) return reset("crash");
  wire[side].abandon_queue();
  wire[side].finish();
}

bool Connection::between(const std::string& a, const std::string& b) const {
  return (host[0] == a && host[1] == b) || (host[0] == b && host[1] == a);
}

bool Connection::parted() const { return world.parted(host[0], host[1]); }

SimStream::SimStream(Connection& connection, int side, std::string local, std::string peer)
    : connection_(connection), side_(side), local_(std::move(local)), peer_(std::move(peer)) {
  connection_.end[side] = this;
}

SimStream::~SimStream() { connection_.detach(side_); }

void SimStream::write(std::string_view bytes) { out().push(bytes); }

SimHost::SimHost(SimWorld& world, std::string name)
    : world_(world),
      name_(std::move(name)),
      files_(std::make_unique<SimFiles>(world)),
      loops_(std::make_unique<SimLoops>(world, name_)) {}

SimHost::~SimHost() = default;

std::string SimHost::resolve(const Address& address) const {
  const std::string& host = address.host;
  const bool here = host.empty() || host == "localhost" || host == "127.0.0.1" || host == "::1" || host == "0.0.0.0";
  return here ? name_ : host;
}

Task<Result<std::unique_ptr<ByteStream>>> SimHost::connect(Address address) {
  const std::string server = resolve(address);
  const int64_t give_up = world_.clock_.now_us() + kConnectPatienceMs * 1000;
  int64_t there = world_.clock_.now_us() + 2 * world_.weather_.latency_max_us;
  there += 1000 * world_.dice_.between(0, world_.weather_.connect_max_ms);
  while (world_.clock_.now_us() < there || world_.parted(name_, server)) {
    const int64_t until = world_.parted(name_, server) ? give_up : there;
    co_await world_.roads_changed_.wait_until(world_.clock_, until);
    if (world_.clock_.now_us() >= give_up) co_return Error{Errc::timed_out, "connection timed out"};
  }
  co_return meet(address);
}

Result<std::unique_ptr<ByteStream>> SimHost::meet(const Address& address) {
  const std::string server = resolve(address);
  auto host = world_.hosts_.find(server);
  SimListener* listener = nullptr;
  if (host != world_.hosts_.end()) {
    auto found = host->second->listeners_.find(address.port);
    if (found != host->second->listeners_.end()) listener = found->second;
  }
  const bool unlucky = world_.dice_.chance(world_.weather_.refuse);
  if (listener == nullptr || unlucky || listener->waiting_.size() >= kAcceptQueue) {
    world_.trace("{} -> {}: refused", name_, address.text());
    count_refusal(address.text());
    return Error{Errc::refused, "connection refused"};
  }
  const uint64_t id = ++world_.last_connection_;
  auto made = std::make_unique<Connection>(world_, id, name_, server);
  Connection& connection = *world_.connections_.emplace(id, std::move(made)).first->second;
  const std::string here = name_ + ":" + std::to_string(++last_port_);
  const std::string there = server + ":" + std::to_string(address.port);
  listener->waiting_.push_back(std::make_unique<SimStream>(connection, 1, there, here));
  listener->arrived_.notify_all();
  world_.trace("connection {} {} -> {}: open", id, here, there);
  return std::unique_ptr<ByteStream>(std::make_unique<SimStream>(connection, 0, here, there));
}

void SimHost::count_refusal(const std::string& to) {
  const int64_t second = world_.clock_.now_us() / 1'000'000;
  if (std::exchange(refusals_second_, second) != second) refusals_.clear();
  if (++refusals_[to] == kRefusalsPerSecondMax)
    world_.fail(name_ + " tries " + to + " again and again without a pause");
}

Result<std::unique_ptr<Listener>> SimHost::listen(const Address& address) {
  Address real = address;
  if (resolve(address) != name_) return Error{Errc::io, address.text() + ": cannot assign requested address"};
  if (real.port == 0) real.port = ++last_port_;
  if (listeners_.count(real.port) > 0) return Error{Errc::io, address.text() + ": address already in use"};
  auto listener = std::make_unique<SimListener>(*this, real);
  listeners_[real.port] = listener.get();
  return std::unique_ptr<Listener>(std::move(listener));
}

namespace {
/// The simulation has one thread: the stream only changes owners.
struct SimMovingStream final : MovingStream {
  explicit SimMovingStream(std::unique_ptr<ByteStream> moved) : stream(std::move(moved)) {}
  std::unique_ptr<ByteStream> stream;
};
}  // namespace

std::unique_ptr<MovingStream> SimHost::release(std::unique_ptr<ByteStream> stream) {
  return std::make_unique<SimMovingStream>(std::move(stream));
}

std::unique_ptr<ByteStream> SimHost::adopt(std::unique_ptr<MovingStream> stream) {
  return std::move(static_cast<SimMovingStream&>(*stream).stream);
}

void SimHost::crash() {
  world_.trace("{}: crash", name_);
  while (!listeners_.empty()) listeners_.begin()->second->close();
  for (auto& [id, connection] : world_.connections_) {
    if (connection->host[0] == name_ || connection->host[1] == name_) connection->crash(name_);
  }
}

void SimListener::close() {
  if (host_ == nullptr) return;
  host_->listeners_.erase(address_.port);
  host_ = nullptr;
  waiting_.clear();
}

Task<Result<std::unique_ptr<ByteStream>>> SimListener::accept() {
  while (waiting_.empty()) co_await arrived_.wait();
  std::unique_ptr<ByteStream> stream = std::move(waiting_.front());
  waiting_.pop_front();
  co_return std::move(stream);
}

}  // namespace sidestream::sim
