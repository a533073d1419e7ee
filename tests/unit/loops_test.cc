// loops_test.cc: letters between loops, and freshness marks made by several threads at once against an oracle.
#include "common/loops.h"

#include <array>
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "common/uv_world.h"
#include "proxy/routing/freshness.h"
#include "tests/unit/unit_test.h"

namespace sidestream {
namespace {

using routing::FreshnessMap;
using routing::FreshnessTable;

ReplOffset at(int64_t offset) { return ReplOffset{offset}; }

/// Passes on a number that is counted up at every hop, until it is large enough.
struct PingPong {
  Mailbox& here;
  Mailbox& there;
  UvWorld& first;
  std::vector<int> seen;  // here, in order of arrival

  void hop(int n) {
    seen.push_back(n);
    if (n >= 2000) return first.stop();
    there.post([this, n] { here.post([this, n] { hop(n + 1); }); });
  }
};

}  // namespace

TEST_CASE("loops: letters go back and forth between threads, in order") {
  TlsInForce tls;
  Introductions introductions;
  UvWorld first(tls, introductions);
  auto mailbox = first.world().loops.open_mailbox();
  auto other = first.world().loops.start_thread();
  PingPong game{*mailbox, other->mailbox(), first, {}};
  mailbox->post([&] { game.hop(0); });
  first.run();
  bool last_ran = false;
  other->finish([&] { last_ran = true; });
  CHECK(last_ran);
  REQUIRE(game.seen.size() == 2001);
  for (int i = 0; i <= 2000; ++i) CHECK(game.seen[static_cast<size_t>(i)] == i);
}

TEST_CASE("loops: letters that never ran are dropped with their mailbox, and with them what they own") {
  auto owned = std::make_shared<int>(1);
  {
    TlsInForce tls;
    Introductions introductions;
    UvWorld world(tls, introductions);
    auto mailbox = world.world().loops.open_mailbox();
    mailbox->post([owned] { *owned = 2; });
    CHECK(owned.use_count() == 2);
  }
  CHECK(owned.use_count() == 1);
  CHECK(*owned == 1);
}

TEST_CASE("loops: a stream moves to another loop, with what was not sent yet") {
  TlsInForce tls;
  Introductions introductions;
  UvWorld first(tls, introductions);
  Network& network = first.world().network;
  auto mailbox = first.world().loops.open_mailbox();
  auto other = first.world().loops.start_thread();
  auto listener = network.listen(Address{"127.0.0.1", 0, ""});
  REQUIRE(listener.ok());
  std::unique_ptr<ByteStream> there;  // only touched on the other loop
  std::string heard;
  struct Talk {
    static Task<void> serve(Network& network, Listener& listener, LoopThread& other, std::unique_ptr<ByteStream>& there,
                            const std::string& large) {
      auto accepted = co_await listener.accept();
      accepted.value()->write(large);
      CHECK(accepted.value()->unsent() > 0);
      auto moving = network.release(std::move(accepted).value());
      other.mailbox().post([&there, &other, moving = std::move(moving)]() mutable {
        there = other.world().network.adopt(std::move(moving));
        there->write("end");
      });
    }
    static Task<void> listen(Network& network, Address address, std::string& heard, UvWorld& world) {
      auto stream = co_await network.connect(address);
      std::vector<char> chunk(1 << 20);
      while (!heard.ends_with("end")) {
        auto n = co_await stream.value()->read(chunk);
        if (!n.ok() || n.value() == 0) break;
        heard.append(chunk.data(), n.value());
      }
      world.stop();
    }
  };
  const std::string large(32 << 20, 'x');
  {
    TaskSet tasks;
    tasks.add(Talk::serve(network, *listener.value(), *other, there, large));
    tasks.add(Talk::listen(network, listener.value()->address(), heard, first));
    first.run();
  }
  other->finish([&] { there.reset(); });
  CHECK(heard.size() == large.size() + 3);
  CHECK(heard == large + "end");
}

namespace {

/// A primary that several threads write to: it gives each write the next offset. What a thread was told about a key is
/// published afterwards, as an acknowledgement is; nobody may need less from then on.
class Hammer {
 public:
  explicit Hammer(unsigned seed) : seed_(seed) {}

  void run(unsigned threads) {
    std::vector<std::thread> running;
    for (unsigned n = 0; n < threads; ++n) running.emplace_back([this, n] { write(seed_ * 100 + n); });
    running.emplace_back([this] { hear_the_stream(); });
    running.emplace_back([this] { read(seed_ * 100 + 99); });
    for (std::thread& thread : running) thread.join();
    FreshnessMap last(table_);
    for (uint64_t key = 0; key < kKeys; ++key) {
      const auto need = last.needed(key);
      if (!need || need->value < promised_[key].load()) ++violations_;  // nothing is pending any more
    }
    if (!last.needed_any()) ++violations_;
  }
  int64_t violations() const { return violations_; }
  int64_t known() const { return known_; }

 private:
  static constexpr uint64_t kKeys = 4;
  static constexpr int kRounds = 3000;

  void promise(uint64_t key, int64_t offset) {
    int64_t seen = promised_[key].load();
    while (seen < offset && !promised_[key].compare_exchange_weak(seen, offset)) {}
  }

  void check(FreshnessMap& map, uint64_t key) {
    const int64_t promised = promised_[key].load();  // before the question
    const auto need = map.needed(key);
    if (need && need->value < promised) ++violations_;
    if (need) ++known_;
  }

  void write(unsigned seed) {
    std::mt19937 dice(seed);
    FreshnessMap map(table_);
    for (int round = 0; round < kRounds; ++round) {
      auto batch = map.open();
      const uint64_t key = dice() % kKeys;
      map.mark(*batch, key);
      if (dice() % 200 == 0) map.mark_floor(*batch);
      const int64_t offset = ++primary_;
      promise(key, offset);  // the reply: the mark is set, the ROLE behind it is not here yet
      check(map, key);
      if (dice() % 50 == 0) {
        map.orphan(std::move(batch));
        const uint64_t role = map.role_sent();
        map.role_answered(role, at(primary_.load()));
      } else {
        map.settle(std::move(batch), at(offset));
      }
      check(map, dice() % kKeys);
      if (dice() % 4 == 0) std::this_thread::yield();
    }
    ++finished_;
  }

  /// Writes of others, heard in the stream and promised as soon as they were.
  void hear_the_stream() {
    FreshnessMap map(table_);
    std::mt19937 dice(seed_);
    while (finished_.load() < 2) {
      const uint64_t key = dice() % kKeys;
      const int64_t offset = ++primary_;
      map.stream_wrote(key, at(offset));
      map.relayed(at(offset));
      promise(key, offset);
      check(map, key);
      std::this_thread::yield();
    }
  }

  void read(unsigned seed) {
    std::mt19937 dice(seed);
    FreshnessMap map(table_);
    while (finished_.load() < 2) {
      check(map, dice() % kKeys);
      const int64_t promised = promised_[0].load();
      const auto any = map.needed_any();
      if (any && any->value < promised) ++violations_;
    }
  }

  const unsigned seed_;
  FreshnessTable table_{16};
  std::atomic<int64_t> primary_{0};
  std::array<std::atomic<int64_t>, kKeys> promised_{};
  std::atomic<int64_t> violations_{0}, known_{0};
  std::atomic<int> finished_{0};
};

}  // namespace

TEST_CASE("freshness: several threads at once, never less than what was promised before the question") {
  int64_t known = 0;
  for (unsigned seed = 1; seed <= 5; ++seed) {
    Hammer hammer(seed);
    hammer.run(2);
    CHECK(hammer.violations() == 0);
    known += hammer.known();
  }
  CHECK(known > 0);  // and not by never knowing
}

TEST_CASE("freshness: a loop that has not heard of a new history knows that it knows nothing") {
  FreshnessTable table(16);
  FreshnessMap here(table);
  FreshnessMap there(table);
  CHECK(there.is_current());
  here.new_history(at(10));
  CHECK(here.is_current());
  CHECK_FALSE(there.is_current());
  CHECK_FALSE(there.needed(3).has_value());
  there.heard_of(here.epoch());
  CHECK(there.is_current());
}

}  // namespace sidestream
