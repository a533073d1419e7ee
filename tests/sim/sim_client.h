// sim_client.h: applications in the simulation. Each sends pipelines of commands whose replies it can judge alone, over
// connections that come and go, and writes down what it was promised.
//
// Happy path: a burst is written, its replies come in order, each fits its request; values only grow, so a read that is
// older than what was acknowledged before it was sent shows. Failure modes: a reply that does not fit, a stale read, an
// id that was written twice are world.fail(); errors and broken connections are only wrong when `strict` is set.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "proxy/resp/reply.h"
#include "tests/support/fake_data.h"
#include "tests/support/sim_world.h"

namespace sidestream::sim {

/// What all clients together know. Keys belong to one writer each, who writes 1, 2, 3 ...
struct Ledger {
  static constexpr int kKeys = 8;
  struct Key {
    int64_t issued = 0;
    int64_t acked = 0;
    std::string through;                      // the instance its writer uses
    std::map<std::string, int64_t> known_by;  // what that one acknowledged or showed: only it promises fresh reads
    std::set<int64_t> unknown;                // sent, and no answer came: may be made at any time later, once
  };
  struct Log {
    int64_t issued = 0;
    std::set<int64_t> acked;
  };
  Key keys[kKeys];
  std::map<int, Log> logs;  // by client
  bool fresh = true;        ///< reads: fresh (or primary)
  bool strict = false;      ///< nothing may go wrong now
  bool quiet = false;       ///< no new bursts
  bool stop = false;
  int64_t errors = 0;
  int64_t reads = 0;
  int64_t writes = 0;

  static int db_of(int key) { return key % 2; }
  static std::string name_of(int key) { return "k" + std::to_string(key); }
  static std::string log_of(int client) { return "log:" + std::to_string(client); }
};

struct SimClientOptions {
  int id = 0;
  int clients = 1;  ///< key k belongs to client k % clients
  std::string host;
  Address server;
  std::string instance;  ///< who answers there
  std::string password;
  int64_t pause_max_ms = 100;
  /// How many replicas really hold `value` or later under `key`.
  std::function<int64_t(int key, int64_t value)> holders;
  /// The number that a writer beside us had written into "outside" when it passed through the instance.
  std::function<int64_t()> outside;
};

class SimClient {
 public:
  SimClient(SimWorld& world, Ledger& ledger, SimClientOptions options);
  /// Until ledger.stop, or for ever.
  Task<void> run();
  int64_t clean_bursts() const { return clean_bursts_; }
  int64_t bursts() const { return bursts_; }
  bool resting() const { return resting_; }

 private:
  enum class Kind { ok, queued, exec, echo, set, get, outside, push, wait };
  struct Asked {
    Kind kind;
    int key = 0;
    int64_t value = 0;  // written, or the least that may be read
    std::string text;   // echoed
  };

  Task<void> use(ByteStream& stream);
  Task<Result<void>> converse(ByteStream& stream);
  Task<Result<std::string>> read_frame(ByteStream& stream);
  void greet();
  void compose();
  void compose_write();
  void ask(const Asked& asked, const Words& words);
  void judge(const Asked& asked, const resp::Value& reply);
  void judge_read(const Asked& asked, const resp::Value& reply);
  void acknowledge_set(const Asked& asked);
  void lose(const Asked& asked);
  void wrong(const Asked& asked, const resp::Value& reply);

  SimWorld& world_;
  Ledger& ledger_;
  SimClientOptions options_;
  World seams_;
  int db_ = 0;
  std::string out_;
  std::vector<Asked> asked_;
  std::vector<Asked> in_transaction_;
  std::string input_;
  int64_t clean_bursts_ = 0;
  int64_t bursts_ = 0;
  bool error_seen_ = false;
  bool resting_ = false;
  int64_t last_written_ = 0;  // by this connection, under last_key_
  int last_key_ = 0;
  uint64_t tokens_ = 0;
};

}  // namespace sidestream::sim
