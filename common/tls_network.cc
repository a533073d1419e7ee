// tls_network.cc: a stream that runs its engine over another stream, and the network that puts it there.
#include "common/tls_network.h"

#include <optional>
#include <utility>

#include "common/log.h"
#include "common/signal.h"
#include "common/tls_engine.h"

namespace sidestream {
namespace {

constexpr size_t kSendPieceBytes = 128 * 1024;  // plain text encrypted before it goes to the stream below
constexpr size_t kOutKeptBytes = 64 * 1024;
constexpr std::string_view kPlainOnTls =
    "-ERR this address speaks TLS; connect with TLS (redis-cli --tls) or to a plain address\r\n";

/// What a TLS stream is when nobody waits for it.
struct TlsState {
  std::unique_ptr<TlsEngine> engine;
  bool open = false;       // the handshake is done
  bool end_below = false;  // the stream below ended
  bool write_closed = false;
  std::string pending;  // plain text written before the handshake was done
};

struct MovingTls final : MovingStream {
  TlsState state;
  std::unique_ptr<MovingStream> below;
};

class TlsStream final : public ByteStream {
 public:
  TlsStream(Clock& clock, TlsInForce& in_force, TlsState state, std::unique_ptr<ByteStream> below)
      : in_force_(in_force),
        state_(std::move(state)),
        below_(std::move(below)),
        late_node_(*this),
        handshake_timer_(clock, late_node_) {
    const int64_t limit_ms = in_force_.handshake_ms;
    if (!state_.open && limit_ms > 0) handshake_timer_.start_after(limit_ms);
    pumping_.add(pump());
  }
  ~TlsStream() override {
    if (below_ && state_.open && !failure_) {  // else it was released
      state_.engine->close_write();
      send_out();
    }
    pumping_.cancel_all();
  }

  /// Ends this object's part; what has arrived goes along.
  TlsState release(std::unique_ptr<ByteStream>& below) {
    CHECK(read_ == nullptr && drain_ == nullptr);
    if (reading_ != nullptr && reading_->op.done && !reading_->op.failed) {
      state_.engine->filled(reading_->op.bytes);
      state_.end_below |= reading_->op.bytes == 0;
    }
    pumping_.cancel_all();
    handshake_timer_.cancel();
    below = std::move(below_);
    return std::move(state_);
  }

  /// Until the handshake has succeeded or failed.
  Task<Result<void>> shaken() {
    advance();
    while (!state_.open && !failure_) co_await changed_.wait();
    if (failure_) co_return *failure_;
    co_return Result<void>();
  }

  void start_read(ReadOp& op) override {
    CHECK(read_ == nullptr);
    read_ = &op;
    advance();
    wanted_.notify_all();
  }
  void cancel_read(ReadOp& op) override {
    if (read_ == &op) read_ = nullptr;
  }
  void write(std::string_view bytes) override {
    if (failure_ || state_.write_closed) return;
    if (!state_.open) {
      state_.pending.append(bytes);
      return;
    }
    encrypt(bytes);
  }
  void write(Slice slice) override { write(slice.bytes); }
  size_t unsent() const override { return (below_ ? below_->unsent() : 0) + state_.pending.size(); }
  void close_write() override {
    state_.write_closed = true;
    if (state_.open && !failure_) finish_writing();
  }
  bool broken() override { return failure_.has_value() || state_.engine->ended() || below_->broken(); }
  const std::string& peer() const override { return below_->peer(); }
  const std::string& local() const override { return below_->local(); }

  void start_drain(DrainOp& op) override {
    CHECK(drain_ == nullptr);
    drain_ = &op;
    if (failure_) return fail_drain();
    if (state_.open) below_->start_drain(op);
  }
  void cancel_drain(DrainOp& op) override {
    if (drain_ != &op) return;
    drain_ = nullptr;
    if (state_.open) below_->cancel_drain(op);
  }

 private:
  /// Ciphertext is taken from below only while somebody wants what is in it: back-pressure passes through.
  bool wants_bytes() const {
    return !failure_ && !state_.end_below && state_.engine->needs_more() && (!state_.open || read_ != nullptr);
  }

  Task<void> pump() {
    for (;;) {
      while (!wants_bytes()) co_await wanted_.wait();
      ByteStream::Read reading(*below_, state_.engine->room());
      reading_ = &reading;
      auto n = co_await reading;
      reading_ = nullptr;
      if (!n.ok()) {
        fail(std::move(n).error());
      } else if (n.value() == 0) {
        state_.end_below = true;
        advance();
      } else {
        state_.engine->filled(n.value());
        advance();
      }
    }
  }

  /// Everything that what has arrived makes possible.
  void advance() {
    if (!state_.open && !failure_) shake();
    if (state_.open && !failure_) serve_read();
    if (read_ != nullptr && failure_) std::exchange(read_, nullptr)->fail(*failure_);
  }

  void shake() {
    auto done = state_.engine->shake();
    if (state_.engine->plain_text()) {
      below_->write(kPlainOnTls);
      return fail(Error{Errc::protocol, "TLS: plain text on an address that speaks TLS"});
    }
    send_out();
    if (!done.ok()) return fail(std::move(done).error());
    if (!done.value()) {
      if (state_.end_below) fail(Error{Errc::closed, "TLS: the other side closed the connection in the handshake"});
      return;
    }
    state_.open = true;
    ++in_force_.handshakes;
    handshake_timer_.cancel();
    const std::string pending = std::exchange(state_.pending, {});
    encrypt(pending);
    if (state_.write_closed) finish_writing();
    if (drain_ != nullptr) below_->start_drain(*drain_);
    changed_.notify_all();
  }

  void serve_read() {
    if (read_ == nullptr) return;
    auto n = state_.engine->read(read_->into);
    if (!state_.engine->out().empty()) send_out();  // an answer of the protocol's own
    if (!n.ok()) return fail(std::move(n).error());
    // An end without TLS' own goodbye is an end all the same: RESP and PSYNC know by themselves what is whole.
    const bool end = state_.engine->ended() || state_.end_below;
    if (n.value() > 0 || end) std::exchange(read_, nullptr)->finish(n.value());
  }

  void encrypt(std::string_view plain) {
    while (!plain.empty() && !failure_) {
      const std::string_view piece = plain.substr(0, kSendPieceBytes);
      auto done = state_.engine->write(piece);
      if (!done.ok()) return fail(std::move(done).error());
      send_out();
      plain.remove_prefix(piece.size());
    }
  }

  void finish_writing() {
    state_.engine->close_write();
    send_out();
    below_->close_write();
  }

  void send_out() {
    std::string& out = state_.engine->out();
    if (!out.empty()) below_->write(out);
    out.clear();
    if (out.capacity() > kOutKeptBytes) out.shrink_to_fit();
  }

  void fail(Error error) {
    if (failure_) return;
    if (!state_.open) {
      ++in_force_.failed_handshakes;
      log_verbose("tls", "{}: {}", below_->peer(), error.detail);
    }
    if (drain_ != nullptr && state_.open) below_->cancel_drain(*drain_);
    failure_ = std::move(error);
    state_.pending.clear();
    handshake_timer_.cancel();
    if (read_ != nullptr) std::exchange(read_, nullptr)->fail(*failure_);
    fail_drain();
    changed_.notify_all();
  }

  void fail_drain() {
    if (drain_ == nullptr) return;
    drain_->failed = true;
    drain_->error = *failure_;
    std::exchange(drain_, nullptr)->resumption.post();
  }

  void late() { fail(Error{Errc::timed_out, "TLS: the handshake took too long"}); }

  TlsInForce& in_force_;
  TlsState state_;
  std::unique_ptr<ByteStream> below_;
  std::optional<Error> failure_;
  ReadOp* read_ = nullptr;
  DrainOp* drain_ = nullptr;
  ByteStream::Read* reading_ = nullptr;
  Signal wanted_, changed_;
  MemberNode<TlsStream, &TlsStream::late> late_node_;
  Timer handshake_timer_;
  TaskSet pumping_;  // last: cancelled before what it uses goes
};

class TlsListener final : public Listener {
 public:
  TlsListener(Clock& clock, TlsInForce& in_force, std::unique_ptr<Listener> below)
      : clock_(clock), in_force_(in_force), below_(std::move(below)), address_(below_->address()) {
    address_.transport = Transport::tls;
  }
  Task<Result<std::unique_ptr<ByteStream>>> accept() override {
    auto stream = co_await below_->accept();
    CO_RETURN_IF_ERROR(stream);
    TlsState state;
    state.engine = std::make_unique<TlsEngine>(in_force_.server(), "");
    co_return std::unique_ptr<ByteStream>(
        std::make_unique<TlsStream>(clock_, in_force_, std::move(state), std::move(stream).value()));
  }
  const Address& address() const override { return address_; }

 private:
  Clock& clock_;
  TlsInForce& in_force_;
  std::unique_ptr<Listener> below_;
  Address address_;
};

class TlsNetwork final : public Network {
 public:
  TlsNetwork(Network& below, Clock& clock, TlsInForce& in_force) : below_(below), clock_(clock), in_force_(in_force) {}

  std::unique_ptr<MovingStream> release(std::unique_ptr<ByteStream> stream) override {
    auto* tls = dynamic_cast<TlsStream*>(stream.get());
    if (tls == nullptr) return below_.release(std::move(stream));
    auto moving = std::make_unique<MovingTls>();
    std::unique_ptr<ByteStream> lower;
    moving->state = tls->release(lower);
    moving->below = below_.release(std::move(lower));
    return moving;
  }
  std::unique_ptr<ByteStream> adopt(std::unique_ptr<MovingStream> stream) override {
    auto* tls = dynamic_cast<MovingTls*>(stream.get());
    if (tls == nullptr) return below_.adopt(std::move(stream));
    return std::make_unique<TlsStream>(clock_, in_force_, std::move(tls->state), below_.adopt(std::move(tls->below)));
  }

  Task<Result<std::unique_ptr<ByteStream>>> connect(Address address) override {
    auto stream = co_await below_.connect(address);
    if (!stream.ok() || !speaks_tls(address, in_force_.client_by_default())) co_return std::move(stream);
    auto context = in_force_.client();
    if (context == nullptr) co_return Error{Errc::config, "TLS towards " + address.text() + " is not set up"};
    TlsState state;
    state.engine = std::make_unique<TlsEngine>(std::move(context), address.host);
    auto tls = std::make_unique<TlsStream>(clock_, in_force_, std::move(state), std::move(stream).value());
    auto shaken = co_await tls->shaken();
    if (!shaken.ok()) co_return Error{Errc::refused, address.text() + ": " + shaken.error().detail};
    co_return std::unique_ptr<ByteStream>(std::move(tls));
  }

  Result<std::unique_ptr<Listener>> listen(const Address& address) override {
    const bool tls = speaks_tls(address, in_force_.server_by_default());
    if (tls && in_force_.server() == nullptr) {
      return Error{Errc::config,
                   "tls://" + address.text() + " needs a certificate: set tls.listen-cert and listen-key"};
    }
    auto listener = below_.listen(address);
    if (!listener.ok() || !tls) return listener;
    return std::unique_ptr<Listener>(std::make_unique<TlsListener>(clock_, in_force_, std::move(listener).value()));
  }

 private:
  static bool speaks_tls(const Address& address, bool by_default) {
    if (!address.path.empty() || address.transport == Transport::plain) return false;
    return address.transport == Transport::tls || by_default;
  }
  Network& below_;
  Clock& clock_;
  TlsInForce& in_force_;
};

}  // namespace

std::unique_ptr<Network> make_tls_network(Network& below, Clock& clock, TlsInForce& in_force) {
  return std::make_unique<TlsNetwork>(below, clock, in_force);
}

}  // namespace sidestream
