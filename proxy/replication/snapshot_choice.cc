// snapshot_choice.cc: see snapshot_choice.h.
#include "proxy/replication/snapshot_choice.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "common/text.h"
#include "proxy/replication/attach_plan.h"
#include "proxy/resp/reply.h"

namespace sidestream::replication {
namespace {

constexpr size_t kAskedMax = 8;
constexpr int64_t kPatienceMs = 500;

int64_t number(std::string_view info, std::string_view field) {
  return parse_int(resp::info_field(info, field)).value_or(0);
}

/// Why it cannot be taken; empty: it can.
std::string objection(const SourceFacts& facts, const SourceWish& wish) {
  if (!facts.trouble.empty()) return facts.trouble;
  if (!wish.version.empty() && facts.version != wish.version) {
    return "it is of version " + facts.version + ", the upstream of " + wish.version;
  }
  if (facts.loading) return "it is loading";
  if (facts.link_down) return "it has lost its primary";
  if (!wish.history.contains(facts.replid, facts.offset)) return "it has another history, " + facts.replid.text();
  return facts.offset < wish.offset ? "it is behind what a backup must hold" : "";
}

Task<SourceFacts> ask(World& world, Address address, Credentials credentials) {
  SourceFacts facts;
  facts.address = address;
  auto opened = co_await NodeConnection::open(world, address, std::move(credentials), kPatienceMs);
  if (!opened.ok()) {
    facts.trouble = opened.error().detail;
    co_return facts;
  }
  std::vector<std::string> info{"INFO"};
  auto reply = co_await opened.value()->demand(std::move(info));
  if (reply.ok()) co_return parse_source_facts(std::move(address), reply.value().text);
  facts.trouble = reply.error().detail;
  co_return facts;
}

}  // namespace

SourceFacts parse_source_facts(Address address, std::string_view info) {
  SourceFacts facts;
  facts.address = std::move(address);
  facts.version = server_version(info);
  facts.replid = ReplId::parse(resp::info_field(info, "master_replid")).value_or(ReplId());
  facts.offset = ReplOffset{number(info, "master_repl_offset")};
  facts.loading = number(info, "loading") != 0;
  facts.link_down = resp::info_field(info, "master_link_status") == "down";
  facts.saves = number(info, "rdb_bgsave_in_progress") != 0 || number(info, "aof_rewrite_in_progress") != 0 ||
                number(info, "module_fork_in_progress") != 0;
  facts.ops_per_sec = number(info, "instantaneous_ops_per_sec");
  return facts;
}

std::vector<Address> rank(std::vector<SourceFacts> candidates, const SourceWish& wish, std::string& reasons) {
  std::erase_if(candidates, [&](const SourceFacts& facts) {
    const std::string words = objection(facts, wish);
    if (words.empty()) return false;
    reasons += (reasons.empty() ? "" : "; ") + facts.address.text() + ": " + words;
    return true;
  });
  const auto is_less_busy = [](const SourceFacts& a, const SourceFacts& b) {
    return std::tie(a.saves, a.ops_per_sec) < std::tie(b.saves, b.ops_per_sec);
  };
  std::vector<Address> best;
  while (!candidates.empty()) {  // of equals the first; (std::stable_sort is deprecated inside for clang-19)
    const auto least = std::min_element(candidates.begin(), candidates.end(), is_less_busy);
    best.push_back(std::move(least->address));
    candidates.erase(least);
  }
  return best;
}

Task<std::vector<SourceFacts>> survey(World& world, std::vector<Address> candidates, Credentials credentials) {
  std::vector<SourceFacts> all;
  for (size_t i = 0; i < std::min(candidates.size(), kAskedMax); ++i) {
    auto facts = co_await ask(world, candidates[i], credentials);
    all.push_back(std::move(facts));
  }
  co_return all;
}

}  // namespace sidestream::replication
