// attach_plan.cc: see attach_plan.h. The table of cases is tests/unit/attach_plan_test.cc.
#include "proxy/replication/attach_plan.h"

#include <algorithm>

#include "proxy/resp/reply.h"

namespace sidestream::replication {
namespace {

constexpr int64_t kMovingShare = 8;  // of a full backlog

int64_t number(std::string_view info, std::string_view name, int64_t missing) {
  return parse_int(resp::info_field(info, name)).value_or(missing);
}

ReplId id(std::string_view info, std::string_view name) {
  return ReplId::parse(resp::info_field(info, name)).value_or(ReplId());
}

AttachPlan plan_anew(const std::optional<UpstreamFacts>& facts, int64_t backlog_bytes) {
  AttachPlan plan;
  if (!facts || !facts->backlog_active || facts->history.replid.empty()) return plan;
  plan.kind = AttachPlan::Kind::fresh_backlog;
  plan.replid = facts->history.replid;
  // A backlog that is full, or about to be, drops bytes until we ask: the oldest one would cost a full resync.
  const int64_t end = facts->offset.next_byte();
  const int64_t size = std::max(facts->backlog_bytes, end - facts->first_byte);  // more than it says: it is on disk too
  const int64_t lasting = facts->backlog_bytes > 0 ? end - size + size / kMovingShare : 0;
  plan.next_byte = std::max({facts->first_byte, lasting, end - backlog_bytes});
  plan.in_sync_from = facts->offset;
  return plan;
}

}  // namespace

std::string server_version(std::string_view info) {
  // Valkey's redis_version is a constant that only says what it is compatible with.
  return std::string(resp::info_field(info, "redis_version")) + "/" +
         std::string(resp::info_field(info, "valkey_version"));
}

std::optional<int64_t> count_keys(std::string_view info) {
  constexpr std::string_view kTitle = "# Keyspace";
  constexpr std::string_view kKeys = ":keys=";
  const size_t title = info.find(kTitle);
  if (title == std::string_view::npos || number(info, "loading", 0) != 0) return std::nullopt;
  info.remove_prefix(title + kTitle.size());
  info = info.substr(0, info.find("\r\n#"));
  int64_t keys = 0;
  for (size_t at = info.find(kKeys); at != std::string_view::npos; at = info.find(kKeys)) {
    info.remove_prefix(at + kKeys.size());
    keys += parse_int(info.substr(0, info.find(','))).value_or(0);
  }
  return keys;
}

UpstreamFacts parse_upstream_facts(std::string_view info) {
  UpstreamFacts facts;
  facts.run_id = resp::info_field(info, "run_id");
  facts.version = server_version(info);
  facts.is_primary = resp::info_field(info, "role") != "slave";
  facts.primary.host = resp::info_field(info, "master_host");
  facts.primary.port = static_cast<int>(std::clamp<int64_t>(number(info, "master_port", 0), 0, 65535));
  facts.history.replid = id(info, "master_replid");
  facts.history.replid2 = id(info, "master_replid2");
  facts.history.second_offset = number(info, "second_repl_offset", -1);
  facts.offset.value = number(info, "master_repl_offset", 0);
  facts.first_byte = number(info, "repl_backlog_first_byte_offset", 0);
  facts.backlog_bytes = number(info, "repl_backlog_size", 0);
  // A first byte beyond the end is what a server without a backlog, or a broken one, would say.
  facts.backlog_active = number(info, "repl_backlog_active", 0) == 1 && facts.first_byte > 0 &&
                         facts.first_byte <= facts.offset.next_byte();
  facts.keys = count_keys(info);
  return facts;
}

AttachPlan plan_attach(const std::optional<Holdings>& held, const std::optional<UpstreamFacts>& facts,
                       int64_t backlog_bytes) {
  if (!held) return plan_anew(facts, backlog_bytes);
  if (held->unusable) return AttachPlan{};
  AttachPlan plan{AttachPlan::Kind::go_on, held->history.replid, held->offset.next_byte(), {}, 0};
  if (!facts) return plan;
  const bool promoted = facts->history.replid2 == held->history.replid && facts->history.replid != held->history.replid;
  if (promoted && facts->history.second_offset < plan.next_byte &&
      facts->history.second_offset >= held->backlog.first_byte) {
    plan.kind = AttachPlan::Kind::rewind;
    plan.next_byte = facts->history.second_offset;
  } else if (facts->history.replid == held->history.replid && facts->offset < held->offset) {
    plan.kind = AttachPlan::Kind::wait;
    plan.behind_bytes = held->offset - facts->offset;
  }
  return plan;
}

}  // namespace sidestream::replication
