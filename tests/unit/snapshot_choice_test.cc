// snapshot_choice_test.cc: who is asked for a snapshot, and who is not, and why.
#include "proxy/replication/snapshot_choice.h"

#include "tests/unit/unit_test.h"

namespace sidestream::replication {
namespace {

const std::string kId(40, 'a');
const std::string kOther(40, 'b');

SourceFacts source(int port, const std::string& extra = "", const std::string& id = kId, int64_t offset = 500) {
  return parse_source_facts({"h", port, {}}, "redis_version:7.0.15\r\nmaster_replid:" + id +
                                                 "\r\nmaster_repl_offset:" + std::to_string(offset) + "\r\n" + extra);
}

SourceWish wish() { return {History{*ReplId::parse(kId), {}, -1}, source(1).version, ReplOffset{-1}}; }

std::string ports(const std::vector<Address>& addresses) {
  std::string all;
  for (const Address& address : addresses) all += std::to_string(address.port) + " ";
  return all;
}

TEST_CASE("the least busy first, one that saves already last, equals in the order given") {
  std::string reasons;
  const auto best = rank({source(1, "instantaneous_ops_per_sec:900\r\n"), source(2, "rdb_bgsave_in_progress:1\r\n"),
                          source(3), source(4, "instantaneous_ops_per_sec:0\r\n"),
                          source(5, "aof_rewrite_in_progress:1\r\ninstantaneous_ops_per_sec:1\r\n")},
                         wish(), reasons);
  CHECK(ports(best) == "3 4 1 2 5 ");
  CHECK(reasons.empty());
}

TEST_CASE("who cannot give what is wanted is not asked for it, and it is said why") {
  SourceFacts silent;
  silent.address = {"h", 9, {}};
  silent.trouble = "connection refused";
  SourceWish late = wish();
  late.offset = ReplOffset{500};
  std::string reasons;
  SourceFacts newer = source(4);
  newer.version = "redis 8.0";
  const auto best = rank({silent, source(2, "loading:1\r\n"), source(3, "master_link_status:down\r\n"), newer,
                          source(5, "", kOther), source(6, "", kId, 499), source(7)},
                         late, reasons);
  CHECK(ports(best) == "7 ");
  for (const char* words : {"h:9: connection refused", "h:2: it is loading", "h:3: it has lost its primary",
                            "h:4: it is of version redis 8.0", "h:5: it has another history", "h:6: it is behind"}) {
    CAPTURE(words);
    CHECK(reasons.find(words) != std::string::npos);
  }
}

TEST_CASE("a replica that still knows our history by its former name is asked up to the fork") {
  SourceWish forked = wish();
  forked.history = History{*ReplId::parse(kOther), *ReplId::parse(kId), 501};
  std::string reasons;
  CHECK(ports(rank({source(1, "", kId, 500), source(2, "", kId, 501)}, forked, reasons)) == "1 ");
}

}  // namespace
}  // namespace sidestream::replication
