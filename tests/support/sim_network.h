// sim_network.h: connections in memory. A connection is two wires; a wire has what TCP has: a queue at the sender,
// bytes in flight with a bounded window, bytes that arrived and wait for a reader.
//
//   write() -> queued -> (window, latency, pieces, stalls) -> flying -> arrived -> read()
//
// Failure modes: an end that is destroyed sends what it has for a moment, then the end of the stream; bytes for a
// destroyed end, a cut and a crash reset both ends: what had arrived can still be read, then reads fail.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "common/byte_stream.h"
#include "common/clock.h"
#include "common/signal.h"

namespace sidestream::sim {

class SimWorld;
class SimFiles;
class SimLoops;
class SimHost;
class SimStream;
class SimListener;
class Connection;

/// One direction of a connection.
class Wire final : public ReadyNode {
 public:
  Wire(Connection& connection, int to);
  void push(std::string_view bytes);
  /// The end of the stream, behind what is queued.
  void finish();
  void abandon_queue();
  /// Nothing more arrives; readers get what has arrived, then the error.
  void reset();
  void start_read(ReadOp& op);
  void start_drain(DrainOp& op);
  void cancel_read() { read_ = nullptr; }
  void cancel_drain() { drain_ = nullptr; }
  void wake();
  /// What is sent from now on arrives no earlier.
  void stall_until(int64_t us) { last_arrival_us_ = std::max(last_arrival_us_, us); }
  size_t unsent() const { return queued_.size() - queued_from_; }
  /// The reader has some bytes of a push(), and not all.
  bool read_in_part() const { return read_bytes_ > whole_bytes_; }
  bool ended() const { return end_arrived_; }

 private:
  struct Piece {
    int64_t arrival_us;
    std::string bytes;  // empty: the end of the stream
  };
  void send();
  void fly(std::string bytes);
  void arrive();
  void deliver();
  size_t piece_size(size_t most);

  Connection& connection_;
  int to_;
  Timer timer_;
  std::string queued_;
  size_t queued_from_ = 0;
  std::deque<Piece> flying_;
  uint64_t pushed_bytes_ = 0, read_bytes_ = 0;
  uint64_t whole_bytes_ = 0;           // up to the last push() that was read to its end
  std::deque<uint64_t> pushes_ended_;  // pushed_bytes_ then, of those that were not
  size_t window_used_ = 0;             // flying or arrived, not read
  int64_t last_arrival_us_ = 0;
  std::string arrived_;
  size_t arrived_from_ = 0;
  bool finishing_ = false;
  bool end_sent_ = false;
  bool end_arrived_ = false;
  ReadOp* read_ = nullptr;
  DrainOp* drain_ = nullptr;
};

class Connection {
 public:
  Connection(SimWorld& outside, uint64_t number, std::string client, std::string server);
  /// Both ends fail.
  void reset(const char* why);
  /// The owner of that end is gone. May destroy the connection.
  void detach(int side);
  /// The host of that end died: what its process had queued is lost.
  void crash(const std::string& host);
  bool between(const std::string& a, const std::string& b) const;
  bool parted() const;

  SimWorld& world;
  const uint64_t id;
  std::string host[2];  // 0 the client
  SimStream* end[2] = {nullptr, nullptr};
  Wire wire[2];  // to the server, to the client
  bool was_reset = false;
  size_t piece_max = 0;    // 0: pieces as they come
  int64_t cut_after = -1;  // bytes, -1: never
};

class SimStream final : public ByteStream {
 public:
  SimStream(Connection& connection, int side, std::string local, std::string peer);
  ~SimStream() override;
  void write(std::string_view bytes) override;
  void write(Slice slice) override { write(slice.bytes); }
  size_t unsent() const override { return out().unsent(); }
  void close_write() override { out().finish(); }
  bool broken() override { return connection_.was_reset || in().ended(); }
  const std::string& peer() const override { return peer_; }
  const std::string& local() const override { return local_; }
  void start_read(ReadOp& op) override { in().start_read(op); }
  void cancel_read(ReadOp&) override { in().cancel_read(); }
  void start_drain(DrainOp& op) override { out().start_drain(op); }
  void cancel_drain(DrainOp&) override { out().cancel_drain(); }

 private:
  Wire& in() const { return connection_.wire[1 - side_]; }
  Wire& out() const { return connection_.wire[side_]; }
  Connection& connection_;
  int side_;
  std::string local_;
  std::string peer_;
};

/// A machine: its part of the network, and its disk, which outlives its processes.
class SimHost final : public Network {
 public:
  SimHost(SimWorld& world, std::string name);
  ~SimHost() override;
  Task<Result<std::unique_ptr<ByteStream>>> connect(Address address) override;
  Result<std::unique_ptr<Listener>> listen(const Address& address) override;
  std::unique_ptr<MovingStream> release(std::unique_ptr<ByteStream> stream) override;
  std::unique_ptr<ByteStream> adopt(std::unique_ptr<MovingStream> stream) override;

  const std::string& name() const { return name_; }
  SimFiles& files() { return *files_; }
  SimLoops& loops() { return *loops_; }
  /// kill -9: all connections break, nobody listens any more. The caller destroys the objects.
  void crash();
  size_t listeners() const { return listeners_.size(); }

 private:
  friend class SimListener;
  std::string resolve(const Address& address) const;
  Result<std::unique_ptr<ByteStream>> meet(const Address& address);
  void count_refusal(const std::string& to);

  SimWorld& world_;
  std::string name_;
  std::map<std::string, int> refusals_;  // by address, in this second
  int64_t refusals_second_ = 0;
  std::map<int, SimListener*> listeners_;
  int last_port_ = 40'000;
  std::unique_ptr<SimFiles> files_;
  std::unique_ptr<SimLoops> loops_;
};

class SimListener final : public Listener {
 public:
  SimListener(SimHost& host, Address address) : host_(&host), address_(std::move(address)) {}
  ~SimListener() override { close(); }
  Task<Result<std::unique_ptr<ByteStream>>> accept() override;
  const Address& address() const override { return address_; }
  void close();

 private:
  friend class SimHost;
  SimHost* host_;  // nullptr: crashed
  Address address_;
  std::deque<std::unique_ptr<SimStream>> waiting_;
  Signal arrived_;
};

}  // namespace sidestream::sim
