// lost_writes_test.cc: which lost keys the new history wrote since, in which database, and what is never claimed.
#include "proxy/instance/lost_writes.h"

#include <fstream>
#include <functional>
#include <iterator>

#include "common/text.h"
#include "proxy/resp/reply.h"
#include "proxy/resp/writer.h"
#include "tests/support/sim_world.h"
#include "tests/unit/unit_test.h"

namespace sidestream::instance {
namespace {

const replication::ReplId kId = *replication::ReplId::parse(std::string(40, 'a'));

const resp::CommandTable& commands() {
  static const resp::CommandTable kCommands = [] {
    std::ifstream file(SIDESTREAM_TEST_DATA "/command-7.0.15.resp", std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    return resp::CommandTable::from_command_reply(resp::parse_value(bytes));
  }();
  return kCommands;
}

/// "SET k v" as it stands in a stream.
std::string in_stream(const std::string& line) {
  std::string out;
  const std::vector<std::string> words = split(line, ' ');
  resp::append_array(out, std::ssize(words));
  for (const std::string& word : words) resp::append_bulk(out, word);
  return out;
}

struct Scene {
  Scene() : host(world.at("10.0.0.2")), ledger(host, config, [] { return std::cref(commands()); }) {
    config.dir = "/dir";
  }

  /// The new history goes on.
  void passes(const std::string& line, bool truncated = false) {
    const std::vector<std::string> words = split(line, ' ');
    const std::vector<std::string_view> args(words.begin(), words.end());
    end = end + std::ssize(in_stream(line));
    ledger.passes(args, truncated, end);
  }
  std::shared_ptr<LostWrites::Loss> lose(const std::vector<std::string>& lines,
                                         LostWrites::Watched watched = LostWrites::Watched::from_the_fork) {
    std::string bytes;
    for (const std::string& line : lines) bytes += in_stream(line);
    auto loss = ledger.add(kId, end, bytes, watched);
    world.run_for(50);  // the file
    return loss;
  }
  /// "0:a untouched, 0:b overwritten"
  std::string keys() const {
    std::string all;
    for (const admin::LostKey& key : ledger.keys()) {
      all += (all.empty() ? "" : ", ") + std::to_string(key.db) + ":" + key.key + " " + key.since;
    }
    return all;
  }

  sim::SimWorld world{1};
  World host;
  Config config;
  LostWrites ledger;
  ReplOffset end{100};
};

TEST_CASE("lost keys: what the new history names is overwritten, in that database") {
  Scene scene;
  scene.passes("SELECT 0");
  scene.lose({"SET a 1", "SET b 1", "MULTI", "SET c 1", "EXEC", "PING", "SELECT 2", "SET a 1", "INCR a"});
  CHECK(scene.ledger.count() == 5);
  CHECK(scene.keys() == "0:a untouched, 0:b untouched, 0:c untouched, 2:a untouched");
  scene.passes("SET b 2");
  scene.passes("PING");
  scene.passes("MULTI");
  scene.passes("SELECT 2");
  scene.passes("MSET c 2 d 2");
  scene.passes("EXEC");
  CHECK(scene.keys() == "0:a untouched, 0:b overwritten, 0:c untouched, 2:a untouched");
  scene.passes("DEL x a");
  CHECK(scene.keys() == "0:a untouched, 0:b overwritten, 0:c untouched, 2:a overwritten");
  const LostKeys::Counts counts = scene.ledger.key_counts();
  CHECK(counts.untouched == 2);
  CHECK(counts.overwritten == 2);
  CHECK(counts.unknown == 0);
}

TEST_CASE("lost keys: commands that write elsewhere, or everywhere") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"FLUSHDB", "0:a overwritten, 3:a untouched"},      {"FLUSHALL", "0:a overwritten, 3:a overwritten"},
      {"SWAPDB 3 4", "0:a overwritten, 3:a overwritten"}, {"COPY x a DB 3", "0:a overwritten, 3:a overwritten"},
      {"RENAME x a", "0:a overwritten, 3:a untouched"},   {"NOSUCHCOMMAND x", "0:a unknown, 3:a unknown"},
      {"PUBLISH a x", "0:a untouched, 3:a untouched"}};
  for (const auto& [line, outcome] : cases) {
    CAPTURE(line);
    Scene scene;
    scene.passes("SELECT 0");
    scene.lose({"SET a 1", "SELECT 3", "SET a 1"});
    scene.passes(line);
    CHECK(scene.keys() == outcome);
  }
}

TEST_CASE("lost keys: of a large command the keys count that are sure to be there") {
  Scene scene;
  scene.passes("SELECT 0");
  scene.lose({"SET a 1", "SET b 1"});
  scene.passes("SET a 1", true);
  CHECK(scene.keys() == "0:a overwritten, 0:b untouched");
  scene.passes("MSET x 1", true);
  CHECK(scene.keys() == "0:a overwritten, 0:b unknown");
}

TEST_CASE("lost keys: a database that is not known may be any") {
  Scene scene;
  scene.lose({"SET a 1", "SET b 1", "SELECT 1", "SET c 1"});
  CHECK(scene.ledger.writes().front().db == -1);
  CHECK(scene.keys() == "-1:a untouched, -1:b untouched, 1:c untouched");
  scene.passes("SET c 2");  // somewhere
  scene.passes("SELECT 7");
  scene.passes("SET a 2");
  CHECK(scene.keys() == "-1:a overwritten, -1:b untouched, 1:c overwritten");
}

TEST_CASE("lost keys: the database at the fork, not the one of what is cut off or came since") {
  Scene scene;
  scene.passes("SELECT 4");
  const ReplOffset fork = scene.end;
  scene.passes("SELECT 5");
  auto loss = scene.ledger.add(kId, fork, in_stream("SET a 1"));
  CHECK(loss->db == 4);
  scene.ledger.history_ends(fork);
  scene.passes("SET a 2");  // no SELECT: it is as it was at the fork
  CHECK(scene.keys() == "4:a overwritten");
}

TEST_CASE("lost keys: who hears of a loss late looks back") {
  Scene scene;
  scene.passes("SELECT 0");
  const ReplOffset fork = scene.end;
  const std::string missed = in_stream("SET a 2") + in_stream("SELECT 1") + in_stream("SET b 2");
  auto loss = scene.ledger.add(kId, fork, in_stream("SET a 1") + in_stream("SET b 1") + in_stream("SET c 1"),
                               LostWrites::Watched::from_now);
  CHECK(scene.keys() == "0:a unknown, 0:b unknown, 0:c unknown");
  {
    LostWrites::LookBack look(scene.ledger, loss);
    CHECK(look.feed(missed.substr(0, 20)));
    scene.passes("SET c 2");
  }
  CHECK(scene.keys() == "0:a unknown, 0:b unknown, 0:c overwritten");
  LostWrites::LookBack look(scene.ledger, loss);
  CHECK(look.feed(missed.substr(0, 20)));
  CHECK(look.feed(missed.substr(20)));
  CHECK(look.position() == fork + std::ssize(missed));
  look.done();
  CHECK(scene.keys() == "0:a overwritten, 0:b untouched, 0:c overwritten");
}

TEST_CASE("lost keys: a history of which we know nothing makes them unknown for good") {
  Scene scene;
  scene.passes("SELECT 0");
  auto loss = scene.lose({"SET a 1", "SET b 1"});
  scene.passes("SET a 2");
  scene.ledger.new_history();
  CHECK(scene.keys() == "0:a overwritten, 0:b unknown");
  loss->keys.seen_all();
  CHECK(scene.keys() == "0:a overwritten, 0:b unknown");
}

TEST_CASE("lost keys: what is beyond the bounds is unknown") {
  LostKeys keys;
  const std::string large(LostKeys::kKeyBytesMax + 1, 'k');
  const auto lose = [&](std::string_view key) {
    const std::vector<std::string_view> args = {"SET", key, "v"};
    keys.lost(commands(), 0, args, false);
  };
  lose(large);
  for (size_t i = 0; i <= LostKeys::kKeysMax; ++i) lose("k" + std::to_string(i));
  CHECK(keys.keys().size() == LostKeys::kKeysMax);
  CHECK(keys.counts().unknown == 2);
  CHECK(keys.since(0, large) == LostKeys::Since::unknown);
  CHECK(keys.since(0, "k" + std::to_string(LostKeys::kKeysMax)) == LostKeys::Since::unknown);
  CHECK(keys.since(0, "k0") == LostKeys::Since::untouched);
}

TEST_CASE("lost keys: a trail of databases is bounded, and says what it does not know") {
  DatabaseTrail trail;
  for (size_t i = 1; i <= DatabaseTrail::kChangesMax + 1; ++i) {
    trail.selected(ReplOffset{static_cast<int64_t>(i) * 10}, static_cast<int64_t>(i % 16));
  }
  CHECK(trail.at(ReplOffset{10}) == -1);
  const int64_t last = DatabaseTrail::kChangesMax + 1;
  CHECK(trail.at(ReplOffset{last * 10 - 1}) == (last - 1) % 16);
  CHECK(trail.at(ReplOffset{last * 10}) == last % 16);
  CHECK(trail.now() == last % 16);
}

}  // namespace
}  // namespace sidestream::instance
