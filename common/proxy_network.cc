// proxy_network.cc: see the header.
#include "common/proxy_network.h"

#include <algorithm>
#include <array>
#include <deque>
#include <utility>

#include "common/log.h"
#include "common/proxy_header.h"
#include "common/signal.h"

namespace sidestream {
namespace {

constexpr size_t kReadyMax = 64;  // connections that nobody has accepted yet
constexpr std::string_view kHeaderMissing =
    "-ERR this address expects a PROXY header from you (proxy-protocol: require); send one, or take this host out of "
    "proxy-protocol-from\r\n";
constexpr std::string_view kHeaderBad = "-ERR the PROXY header is malformed: ";

struct MovingIntroduced final : MovingStream {
  std::string peer, first;
  std::unique_ptr<MovingStream> below;
};

/// The stream below under its client's name, and what was read of it already.
class IntroducedStream final : public ByteStream {
 public:
  IntroducedStream(std::unique_ptr<ByteStream> below, std::string peer, std::string first)
      : below_(std::move(below)), peer_(std::move(peer)), first_(std::move(first)) {}

  std::unique_ptr<MovingStream> release(Network& network) {
    auto moving = std::make_unique<MovingIntroduced>();
    moving->peer = peer_;
    moving->first = first_;
    moving->below = network.release(std::move(below_));
    return moving;
  }

  void start_read(ReadOp& op) override {
    if (first_.empty()) return below_->start_read(op);
    const size_t n = std::min(first_.size(), op.into.size());
    std::copy_n(first_.begin(), n, op.into.begin());
    first_.erase(0, n);
    op.finish(n);
  }
  void cancel_read(ReadOp& op) override { below_->cancel_read(op); }
  void write(std::string_view bytes) override { below_->write(bytes); }
  void write(Slice slice) override { below_->write(std::move(slice)); }
  size_t unsent() const override { return below_->unsent(); }
  void close_write() override { below_->close_write(); }
  bool broken() override { return below_->broken(); }
  const std::string& peer() const override { return peer_; }
  const std::string& local() const override { return below_->local(); }
  void start_drain(DrainOp& op) override { below_->start_drain(op); }
  void cancel_drain(DrainOp& op) override { below_->cancel_drain(op); }

 private:
  std::unique_ptr<ByteStream> below_;
  std::string peer_, first_;
};

class IntroducedListener final : public Listener {
 public:
  IntroducedListener(Clock& clock, Introductions& introductions, std::unique_ptr<Listener> below)
      : clock_(clock), introductions_(introductions), below_(std::move(below)) {}

  /// One that has to introduce itself keeps nobody waiting: all are heard at the same time.
  Task<Result<std::unique_ptr<ByteStream>>> accept() override {
    Caller caller(*this);
    while (ready_.empty()) co_await changed_.wait();
    caller.served = true;
    auto next = std::move(ready_.front());
    ready_.pop_front();
    changed_.notify_all();
    co_return std::move(next);
  }
  const Address& address() const override { return below_->address(); }

 private:
  using Mode = Introductions::Mode;

  /// Whoever is cancelled wants no more: another process may be accepting from the same socket by now.
  struct Caller {
    explicit Caller(IntroducedListener& l) : listener(l) {
      if (listener.accepting_.empty()) listener.accepting_.add(listener.accept_forever());
    }
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;
    ~Caller() {
      if (!served) listener.accepting_.cancel_all();
    }
    IntroducedListener& listener;
    bool served = false;
  };

  Task<void> accept_forever() {
    for (;;) {
      while (ready_.size() >= kReadyMax) co_await changed_.wait();
      auto stream = co_await below_->accept();
      if (!stream.ok() || !must_be_heard(*stream.value())) {
        hand_out(std::move(stream));
      } else if (heard_now_ >= kIntroducedMax) {
        refuse(*stream.value(), "too many others are being waited for", {});
      } else {
        hearings_.add(hear(std::move(stream).value()));
      }
    }
  }

  bool must_be_heard(const ByteStream& stream) const {
    const std::string_view host = host_of(stream.peer());
    return introductions_.mode != Mode::none &&
           std::any_of(introductions_.from.begin(), introductions_.from.end(),
                       [&](const IpNetwork& network) { return network.contains(host); });
  }

  Task<void> hear(std::unique_ptr<ByteStream> stream) {
    ++heard_now_;
    const int64_t limit_ms = introductions_.timeout_ms > 0 ? introductions_.timeout_ms : INT64_MAX / 2000;
    auto bytes = std::make_shared<std::string>();
    auto step = read_header(*stream, bytes);
    auto header = co_await with_timeout(clock_, limit_ms, "proxy", std::move(step));
    --heard_now_;
    if (header.ok()) {
      greet(std::move(stream), std::move(header).value(), std::move(*bytes));
    } else if (header.error().code == Errc::timed_out && bytes->empty() && introductions_.mode != Mode::required) {
      hand_out(std::move(stream));  // a client that is in no hurry to speak
    } else if (header.error().code == Errc::closed && bytes->empty()) {
      log_debug("proxy", "{}: came and went without a word", stream->peer());  // a balancer's health check
    } else {
      refuse(*stream, header.error().detail, {});
    }
  }

  static Task<Result<ProxyHeader>> read_header(ByteStream& stream, std::shared_ptr<std::string> bytes) {
    std::array<char, kProxyHeaderMax> chunk;
    for (;;) {
      const ProxyHeader header = parse_proxy_header(*bytes);
      if (header.state != ProxyHeader::State::incomplete) co_return header;
      auto n = co_await stream.read(chunk);
      CO_RETURN_IF_ERROR(n);
      if (n.value() == 0) co_return Error{Errc::closed, "it ended in the header"};
      bytes->append(chunk.data(), n.value());
    }
  }

  void greet(std::unique_ptr<ByteStream> stream, const ProxyHeader& header, std::string bytes) {
    if (header.state == ProxyHeader::State::bad) {
      return refuse(*stream, header.problem, std::string(kHeaderBad) + header.problem + "\r\n");
    }
    const bool absent = header.state == ProxyHeader::State::absent;
    if (absent && introductions_.mode == Mode::required) return refuse(*stream, "there is none", kHeaderMissing);
    if (!absent) ++introductions_.heard;
    std::string peer = header.source.empty() ? stream->peer() : header.source;
    bytes.erase(0, header.bytes);
    hand_out(std::unique_ptr<ByteStream>(
        std::make_unique<IntroducedStream>(std::move(stream), std::move(peer), std::move(bytes))));
  }

  void refuse(ByteStream& stream, std::string_view why, std::string_view last_words) {
    ++introductions_.failed;
    log_warning("proxy", "{}: closed for want of a good PROXY header: {}", stream.peer(), why);
    stream.write(last_words);
  }

  void hand_out(Result<std::unique_ptr<ByteStream>> stream) {
    ready_.push_back(std::move(stream));
    changed_.notify_all();
  }

  Clock& clock_;
  Introductions& introductions_;
  std::unique_ptr<Listener> below_;
  std::deque<Result<std::unique_ptr<ByteStream>>> ready_;
  size_t heard_now_ = 0;
  Signal changed_;
  TaskSet hearings_, accepting_;  // last: cancelled before what they use goes
};

class ProxyNetwork final : public Network {
 public:
  ProxyNetwork(Network& below, Clock& clock, Introductions& introductions)
      : below_(below), clock_(clock), introductions_(introductions) {}

  std::unique_ptr<MovingStream> release(std::unique_ptr<ByteStream> stream) override {
    auto* introduced = dynamic_cast<IntroducedStream*>(stream.get());
    return introduced != nullptr ? introduced->release(below_) : below_.release(std::move(stream));
  }
  std::unique_ptr<ByteStream> adopt(std::unique_ptr<MovingStream> stream) override {
    auto* moving = dynamic_cast<MovingIntroduced*>(stream.get());
    if (moving == nullptr) return below_.adopt(std::move(stream));
    return std::make_unique<IntroducedStream>(below_.adopt(std::move(moving->below)), std::move(moving->peer),
                                              std::move(moving->first));
  }
  Task<Result<std::unique_ptr<ByteStream>>> connect(Address address) override { return below_.connect(address); }
  Result<std::unique_ptr<Listener>> listen(const Address& address) override {
    auto listener = below_.listen(address);
    if (!listener.ok() || !address.introduced) return listener;
    return std::unique_ptr<Listener>(
        std::make_unique<IntroducedListener>(clock_, introductions_, std::move(listener).value()));
  }

 private:
  Network& below_;
  Clock& clock_;
  Introductions& introductions_;
};

}  // namespace

std::unique_ptr<Network> make_proxy_network(Network& below, Clock& clock, Introductions& introductions) {
  return std::make_unique<ProxyNetwork>(below, clock, introductions);
}

}  // namespace sidestream
