// local_commands.cc: see local_commands.h.
#include "proxy/admin/local_commands.h"

#include <algorithm>
#include <climits>

#include "common/log.h"
#include "common/text.h"
#include "config/options.h"
#include "proxy/admin/info.h"
#include "proxy/admin/status.h"
#include "proxy/resp/writer.h"

namespace sidestream::admin {
namespace {

using resp::error;
using resp::simple;

constexpr int64_t kLookForTokenEveryMs = 5;

constexpr std::string_view kHelp[] = {
    "SIDESTREAM <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "STATUS",
    "    The state of the instance as JSON, as at /api/v1/status.",
    "NODES",
    "    One line a node: address, role, state, offset, lag.",
    "AUDIT",
    "    What audit-rate found: a line a replica with counts, and a line for each of up to 16 keys whose value is not",
    "    the primary's.",
    "RESYNC <host>:<port>",
    "    That replica gets all data anew, from the server we follow, and is read again then.",
    "LATENCY",
    "    How long the servers took to answer, by route, class and node.",
    "SLOWLOG [<count> | RESET]",
    "    The last requests that took longer than slow-log.above: when (ms since 1970), command, node, microseconds",
    "    there, microseconds it waited here for a node, client.",
    "EXPLAIN <command> [<arg> ...]",
    "    Where that command would go now, and why. It is not run.",
    "READS <fresh|bounded|eventual|primary>",
    "    The read policy of this connection.",
    "TOKEN",
    "    What stands for the last write of this connection (of everybody, if it wrote nothing).",
    "READAFTER <token> [<ms>]",
    "    No later read of this connection is older than the token. Waits so long for its write to arrive here.",
    "ACCEPT",
    "    Follow the upstream that is held because its new history is empty or far smaller. What is held here is lost.",
    "REJECT",
    "    Never follow that history, and wait for the former one.",
    "REVIVE",
    "    Give back what is held here: a replica of ours takes over, or the upstream is filled and promoted again.",
    "LOST [UNTOUCHED]",
    "    Writes that unplanned changes of the primary lost: how many, the latest (offset, database, command), and "
    "their",
    "    keys (database, key, writes lost, whether it was overwritten since). UNTOUCHED writes files of those commands",
    "    whose keys were not, for redis-cli --pipe.",
    "DRAIN",
    "    Hand over the role of the primary if somebody can take it, let clients finish, and exit.",
    "FAULT [CUT <UPSTREAM | REPLICAS> | THROTTLE <UPSTREAM | REPLICAS | host:port> <bytes/s>]",
    "    With fault-injection only: the faults in force; or breaks the links to the upstream or of all replicas; or "
    "lets",
    "    no more through the link of one, from now on. 0: as fast as it goes.",
    "HELP",
    "    Print this help.",
};

/// [count, bytes that nobody has any more, [[offset, database or -1, word ...] ...],
///  [[database or -1, key, writes lost, untouched | overwritten | unknown] ...]]
std::string lost_writes_reply(Group& group) {
  const SwitchFacts facts = group.switch_facts();
  const std::vector<LostWrite> writes = group.lost_writes();
  std::string out;
  resp::append_array(out, 4);
  resp::append_integer(out, static_cast<int64_t>(facts.lost_writes));
  resp::append_integer(out, facts.lost_bytes_unseen);
  resp::append_array(out, std::ssize(writes));
  for (const LostWrite& write : writes) {
    resp::append_array(out, std::ssize(write.args) + 2);
    resp::append_integer(out, write.offset.value);
    resp::append_integer(out, write.db);
    for (const std::string& word : write.args) resp::append_bulk(out, word);
  }
  const std::vector<LostKey> keys = group.lost_keys();
  resp::append_array(out, std::ssize(keys));
  for (const LostKey& key : keys) {
    resp::append_array(out, 4);
    resp::append_integer(out, key.db);
    resp::append_bulk(out, key.key);
    resp::append_integer(out, static_cast<int64_t>(key.writes));
    resp::append_bulk(out, key.since);
  }
  return out;
}

/// The words behind FAILOVER, but ABORT. Errc::refused with stock's words.
Result<FailoverOrder> parse_failover(const std::vector<std::string>& args) {
  const auto refused = [](const char* words) { return Error{Errc::refused, words}; };
  constexpr const char* kNoNumber = "value is not an integer or out of range";
  FailoverOrder order;
  bool timed = false;
  for (size_t i = 1; i < args.size(); ++i) {
    if (iequals(args[i], "timeout") && i + 1 < args.size() && !timed) {
      const auto ms = parse_int(args[++i]);
      if (!ms) return refused(kNoNumber);
      if (*ms <= 0) return refused("FAILOVER timeout must be greater than 0");
      order.timeout_ms = std::min<int64_t>(*ms, int64_t{1} << 40);
      timed = true;
    } else if (iequals(args[i], "to") && i + 2 < args.size() && !order.to) {
      const auto port = parse_int(args[i + 2]);
      if (!port) return refused(kNoNumber);
      order.to = Address{args[i + 1], static_cast<int>(std::clamp<int64_t>(*port, -1, 65'536)), ""};
      i += 2;
    } else if (iequals(args[i], "force") && !order.force) {
      order.force = true;
    } else {
      return refused("syntax error");
    }
  }
  return order;
}

/// Refusals for what a proxy must not pass on.
std::optional<std::string> refusal(std::string_view command) {
  if (command == "shutdown") {
    return error(
        "ERR SHUTDOWN is not passed on: stop this instance with SIGTERM (or SIDESTREAM DRAIN), and a node on its own "
        "port");
  }
  if (command == "module") return error("ERR MODULE LOAD and UNLOAD are not passed on: use the node's own port");
  if (command == "readonly" || command == "readwrite" || command == "asking" || command == "cluster") {
    return error("ERR This instance has cluster support disabled");
  }
  return std::nullopt;
}

/// An instance that follows us sends its writes over such connections, and settles them all by the ROLE of any of them:
/// it must come from the primary itself.
bool asks_for_fence(const routing::Caller& caller) { return caller.read_policy == ReadPolicy::primary; }

std::string unknown_command(std::span<const std::string_view> args) {
  std::string text = "ERR unknown command '" + std::string(args[0].substr(0, 128)) + "', with args beginning with: ";
  size_t room = 128;
  for (size_t i = 1; i < args.size() && room > 0; ++i) {
    const auto part = args[i].substr(0, room);
    text += "'" + std::string(part) + "' ";
    room -= part.size();
  }
  return error(text);
}

}  // namespace

LocalCommands::LocalCommands(Group& group) : group_(group), config_(group) {
  commands_ = {{"info", &LocalCommands::info},         {"wait", &LocalCommands::wait},
               {"role", &LocalCommands::role},         {"replicaof", &LocalCommands::replicaof},
               {"slaveof", &LocalCommands::replicaof}, {"failover", &LocalCommands::failover},
               {"config", &LocalCommands::config},     {"sidestream", &LocalCommands::sidestream},
               {"acl", &LocalCommands::acl_load},      {"waitaof", &LocalCommands::waitaof}};
}

std::optional<std::string> LocalCommands::at_once(const routing::Caller& caller,
                                                  std::span<const std::string_view> args) {
  const std::string name = to_lower(args[0]);
  if (name == "sentinel") return unknown_command(args);
  if (auto refused = refusal(name)) return refused;
  if (name == "role" && !asks_for_fence(caller) && !caller.has_written) {
    return role_reply(replication_facts(group_, caller.face));
  }
  if (name == "info") {
    const std::vector<std::string> sections(args.begin() + 1, args.end());
    const SectionWish wish = parse_sections(sections);
    const bool counts = wish.wants("sidestream", false) && group_.config().threads > 1;  // other loops have to be asked
    if (!wish.only_ours() || counts) return std::nullopt;
    std::string out;
    resp::append_text(out, full_info(sections, caller.face, ""), caller.protocol);
    return out;
  }
  return std::nullopt;
}

Task<routing::Answer> LocalCommands::answer(routing::Caller caller, std::vector<std::string> args) {
  const std::string name = to_lower(args[0]);
  const auto found = commands_.find(name);
  if (found == commands_.end()) {
    const std::vector<std::string_view> views(args.begin(), args.end());
    co_return unknown_command(views);
  }
  const Command command = found->second;
  co_return co_await (this->*command)(std::move(caller), std::move(args));
}

Task<routing::Answer> LocalCommands::role(routing::Caller caller, std::vector<std::string>) {
  ReplicationFacts facts = replication_facts(group_, caller.face);
  auto fence = co_await group_.plane().fence_all();
  if (!fence.ok() && asks_for_fence(caller)) co_return error(fence.error().detail);
  if (fence.ok()) {
    facts.offset = std::max(facts.offset, fence.value().value);
    facts.applied_offset = std::max(facts.applied_offset, fence.value().value);
  }
  co_return role_reply(facts);
}

std::string LocalCommands::full_info(const std::vector<std::string>& args, routing::Face face,
                                     const std::string& lead_text) {
  const SectionWish wish = parse_sections(args);
  std::vector<Section> shown;
  const auto add_replication = [&] {
    if (!wish.wants("replication", true)) return;
    for (Section& section : split_sections(replication_section(replication_facts(group_, face)))) {
      shown.push_back(std::move(section));
    }
  };
  bool replication_done = false;
  for (Section& section : split_sections(lead_text)) {
    const std::string title = to_lower(section.title);
    if (title == "replication") {
      add_replication();
      replication_done = true;
      continue;
    }
    const bool in_defaults = title != "commandstats" && title != "latencystats" && title != "debug";
    if (!wish.wants(title, in_defaults)) continue;
    if (title == "server") {
      set_field(section, "run_id", group_.run_id());
      set_field(section, "tcp_port", std::to_string(group_.node_port()));
    }
    if (title == "clients") {
      const auto clients = group_.plane().clients();
      set_field(section, "connected_clients", std::to_string(clients.connected));
      set_field(section, "blocked_clients", std::to_string(clients.blocked));
      set_field(section, "maxclients", std::to_string(group_.config().limits.maxclients));
    }
    if (title == "stats") {  // from 7.2 on all three are there
      const auto clients = group_.plane().clients();
      set_field(section, "rejected_connections", std::to_string(clients.rejected));
      set_field(section, "client_query_buffer_limit_disconnections", std::to_string(clients.over_query_buffer));
      set_field(section, "client_output_buffer_limit_disconnections", std::to_string(clients.over_output_buffer));
      const replication::RelayCounters& syncs = group_.relay().counters();
      set_field(section, "sync_full", std::to_string(syncs.full_syncs));
      set_field(section, "sync_partial_ok", std::to_string(syncs.partial_syncs));
      set_field(section, "sync_partial_err", std::to_string(syncs.partial_syncs_refused));
    }
    shown.push_back(std::move(section));
  }
  if (!replication_done) add_replication();
  if (wish.wants("sidestream", false)) {
    for (Section& section : split_sections(sidestream_section(group_))) shown.push_back(std::move(section));
  }
  return join_sections(shown);
}

Task<routing::Answer> LocalCommands::info(routing::Caller caller, std::vector<std::string> args) {
  args.erase(args.begin());
  const SectionWish wish = parse_sections(args);
  const bool everything = wish.everything || !wish.names.empty();
  co_await group_.plane().look_around();
  const std::string lead = co_await group_.lead_info(everything);
  std::string out;
  resp::append_text(out, full_info(args, caller.face, lead), caller.protocol);
  co_return out;
}

Task<routing::Answer> LocalCommands::replicaof(routing::Caller caller, std::vector<std::string> args) {
  if (caller.face != routing::Face::node) {
    co_return error("ERR REPLICAOF is refused on this port: use the instance's node port (`listen`)");
  }
  if (iequals(args[1], "no") && iequals(args[2], "one")) {
    // Sentinel's word. REPLICAOF NO ONE, which people type, parts from the upstream without asking, as stock does.
    if (iequals(args[0], "slaveof")) {
      auto handed = co_await group_.request_handover();
      if (!handed.ok()) co_return error("ERR " + handed.error().detail);
      if (handed.value()) co_return simple("OK");
    }
    const std::optional<Address> nobody;
    auto changed = co_await group_.change_role(nobody);
    co_return changed.ok() ? simple("OK") : error("ERR " + changed.error().detail);
  }
  const auto port = parse_int(args[2]);
  if (!port || *port < 0 || *port > 65535) co_return error("ERR Invalid master port");
  const std::optional<Address> master = Address{args[1], static_cast<int>(*port), ""};
  const auto current = group_.master();
  const bool is_known = current && iequals(current->host, master->host) && current->port == master->port;
  if (is_known && !group_.is_changing_role()) {
    co_return simple("OK Already connected to specified master");
  }
  auto changed = co_await group_.change_role(master);
  co_return changed.ok() ? simple("OK") : error("ERR " + changed.error().detail);
}

Task<routing::Answer> LocalCommands::failover(routing::Caller caller, std::vector<std::string> args) {
  if (caller.face != routing::Face::node) {
    co_return error("ERR FAILOVER is refused on this port: use the instance's node port (`listen`)");
  }
  if (args.size() == 2 && iequals(args[1], "abort")) {
    auto aborted = co_await group_.abort_failover();
    co_return aborted.ok() ? simple("OK") : error("ERR " + aborted.error().detail);
  }
  auto order = parse_failover(args);
  if (!order.ok()) co_return error("ERR " + order.error().detail);
  auto begun = group_.begin_failover(std::move(order).value());
  co_return begun.ok() ? simple("OK") : error("ERR " + begun.error().detail);
}

/// SIDESTREAM TAKEOVER replid offset: the last word of an instance that hands the primary's role over to us.
Task<routing::Answer> LocalCommands::take_over(std::vector<std::string> args) {
  const auto id = replication::ReplId::parse(args[2]);
  const auto at = parse_int(args[3]);
  if (!id || !at || *at < 0) co_return error("ERR TAKEOVER wants the id of a history and the offset where it ends");
  const ReplOffset end{*at};
  auto taken = co_await group_.take_over(*id, end);
  co_return taken.ok() ? simple("OK") : error("ERR " + taken.error().detail);
}

Task<routing::Answer> LocalCommands::config(routing::Caller caller, std::vector<std::string> args) {
  const int protocol = caller.protocol;
  co_return co_await config_.answer(std::move(args), protocol);
}

Task<routing::Answer> LocalCommands::token(routing::Caller caller) {
  Task<Result<ReplOffset>> asked =
      caller.has_written ? group_.plane().fence(std::move(caller)) : group_.plane().fence_all();
  auto offset = co_await asked;
  if (!offset.ok()) co_return error(offset.error().detail);
  std::string out;
  const std::string history = group_.relay().history().replid.text();
  resp::append_bulk(out, history + ":" + std::to_string(offset.value().value));
  co_return out;
}

/// Of a write of this very history: once it has arrived here, or at once where nothing is waited for, reads that need
/// it go to who has it.
Task<routing::Answer> LocalCommands::read_after(std::vector<std::string> args) {
  const size_t colon = args[2].find(':');
  const auto id = replication::ReplId::parse(std::string_view(args[2]).substr(0, colon));
  const std::string_view digits = colon == std::string::npos ? "" : std::string_view(args[2]).substr(colon + 1);
  const auto offset = parse_int(digits);
  if (!id || !offset || *offset < 0) co_return error("ERR not a token: one looks like <replid>:<offset>");
  const auto wait_ms = args.size() > 3 ? parse_int(args[3]) : 0;
  if (!wait_ms || *wait_ms < 0) co_return error("ERR timeout is not an integer or out of range");
  const ReplOffset wanted{*offset};
  const auto ours = [&] { return group_.relay().history().contains(*id, wanted); };
  const auto arrived = [&] { return ours() && group_.relay().offset() >= wanted; };
  Clock& clock = group_.world().clock;
  const int64_t deadline_ms = clock.now_ms() + std::min<int64_t>(*wait_ms, INT_MAX);
  while (!arrived() && clock.now_ms() < deadline_ms) co_await clock.sleep(kLookForTokenEveryMs);
  if (!ours()) {
    const std::string history = group_.relay().history().replid.text();
    co_return error("ERR the token is of another history than this instance's, " + history);
  }
  if (*wait_ms > 0 && !arrived()) {
    const std::string here = std::to_string(group_.relay().offset().value);
    co_return error("TRYAGAIN the write of this token has not arrived here yet, this instance is at " + here);
  }
  routing::Answer answer("+OK\r\n");
  answer.read_floor = wanted;
  co_return answer;
}

/// ACCEPT and REJECT; nothing: it is another word.
std::optional<std::string> LocalCommands::decide(std::string_view word) {
  if (word != "accept" && word != "reject") return std::nullopt;
  replication::WipeGuard& guard = group_.relay().guard();
  const bool done = word == "accept" ? guard.accept() : guard.reject();
  if (!done) return error("ERR no upstream is held: there is nothing to decide");
  return simple("OK");
}

/// Of ACL, the client plane leaves only LOAD to us.
Task<routing::Answer> LocalCommands::acl_load(routing::Caller, std::vector<std::string>) {
  auto loaded = group_.reload();
  co_return loaded.ok() ? simple("OK") : error("ERR " + loaded.error().detail);
}

Task<routing::Answer> LocalCommands::revive() {
  auto revived = co_await group_.revive();
  co_return revived.ok() ? simple("OK " + revived.value()) : error("ERR " + revived.error().detail);
}

Task<routing::Answer> LocalCommands::slow_log(std::vector<std::string> args) {
  const bool forget = args.size() == 3 && iequals(args[2], "reset");
  const auto most = args.size() == 3 && !forget ? parse_int(args[2]) : INT_MAX;
  if (!most || *most < 0) co_return error("ERR count should be a number, or RESET");
  auto slow = co_await group_.plane().slow_requests(forget);
  if (forget) co_return simple("OK");
  std::string out;
  const auto shown = std::min(slow.size(), static_cast<size_t>(*most));
  resp::append_array(out, static_cast<int64_t>(shown));
  for (size_t i = 0; i < shown; ++i) {
    const routing::SlowRequest& request = slow[i];
    resp::append_array(out, 6);
    resp::append_integer(out, request.wall_ms);
    resp::append_bulk(out, request.command);
    resp::append_bulk(out, request.server);
    resp::append_integer(out, request.server_us);
    resp::append_integer(out, request.proxy_us);
    resp::append_bulk(out, request.client);
  }
  co_return out;
}

/// `replica`: as SIDESTREAM NODES and AUDIT name it.
std::string LocalCommands::resync(const std::string& replica) {
  const auto address = parse_address(replica);
  if (!address.ok()) return error("ERR " + address.error().detail);
  const auto begun = group_.resync(address.value());
  return begun.ok() ? simple("OK") : error("ERR " + begun.error().detail);
}

Task<routing::Answer> LocalCommands::export_untouched() {
  auto paths = co_await group_.export_untouched();
  if (!paths.ok()) co_return error("ERR " + paths.error().detail);
  std::string out;
  resp::append_array(out, std::ssize(paths.value()));
  for (const std::string& path : paths.value()) resp::append_bulk(out, path);
  co_return out;
}

std::string LocalCommands::fault(const std::vector<std::string>& args) {
  if (!group_.config().fault_injection) {
    return error("ERR nothing goes wrong on purpose here: fault-injection is off, and is set in the file only");
  }
  if (args.size() == 2) {
    std::vector<std::string> faults = group_.config().faults;
    const replication::Throttles& throttles = group_.relay().throttles();
    const auto add = [&](const std::string& link, int64_t rate) {
      faults.push_back("throttle " + link + " " + std::to_string(rate));
    };
    if (throttles.upstream != 0) add("UPSTREAM", throttles.upstream);
    if (throttles.replicas != 0) add("REPLICAS", throttles.replicas);
    for (const auto& [replica, rate] : throttles.by_replica) add(replica, rate);
    std::string out;
    resp::append_array(out, std::ssize(faults));
    for (const std::string& each : faults) resp::append_bulk(out, each);
    return out;
  }
  if (args.size() == 5 && iequals(args[2], "throttle")) return throttle(args[3], args[4]);
  const bool cut = args.size() == 4 && iequals(args[2], "cut");
  if (cut && iequals(args[3], "upstream")) {
    if (!group_.relay().disconnect_upstream()) return error("ERR there is no connection to the upstream now");
    return simple("OK");
  }
  if (cut && iequals(args[3], "replicas")) {
    group_.relay().kick_replicas("cut by SIDESTREAM FAULT");
    return simple("OK");
  }
  return error(
      "ERR wanted FAULT, FAULT CUT <UPSTREAM | REPLICAS> or FAULT THROTTLE <UPSTREAM | REPLICAS | host:port> "
      "<bytes/s>; "
      "what happens to commands: CONFIG SET faults");
}

std::string LocalCommands::throttle(const std::string& link, const std::string& bytes) {
  const auto rate = parse_bytes(bytes);
  if (!rate || *rate < 0) return error("ERR wanted bytes per second, as in 100kb; 0 lifts it");
  replication::Throttles throttles = group_.relay().throttles();
  const auto replicas = group_.relay().replicas();
  const auto is_it = [&](const auto& replica) { return replica.host + ":" + std::to_string(replica.port) == link; };
  if (iequals(link, "upstream")) {
    throttles.upstream = *rate;
  } else if (iequals(link, "replicas")) {
    throttles.replicas = *rate;
    throttles.by_replica.clear();
  } else if (*rate > 0 && std::none_of(replicas.begin(), replicas.end(), is_it)) {
    return error("ERR no replica " + printable(link) + " is attached; INFO replication has their addresses");
  } else if (!throttles.set(link, *rate)) {
    return error("ERR more replicas are throttled one by one than is good: THROTTLE REPLICAS 0 first");
  }
  group_.relay().set_throttles(std::move(throttles));
  return simple("OK");
}

Task<routing::Answer> LocalCommands::sidestream(routing::Caller caller, std::vector<std::string> args) {
  const std::string sub = args.size() > 1 ? to_lower(args[1]) : "help";
  if (sub == "fault") co_return fault(args);
  if (sub == "slowlog" && args.size() < 4) co_return co_await slow_log(std::move(args));
  if (sub == "status" || sub == "nodes" || sub == "latency") co_await group_.plane().look_around();
  std::string out;
  if (sub == "status" && args.size() == 2) {
    resp::append_bulk(out, status_json(group_));
  } else if (sub == "nodes" && args.size() == 2) {
    resp::append_text(out, nodes_text(group_), caller.protocol);
  } else if (sub == "audit" && args.size() == 2) {
    resp::append_text(out, audit_text(group_), caller.protocol);
  } else if (sub == "resync" && args.size() == 3) {
    out = resync(args[2]);
  } else if (sub == "latency" && args.size() == 2) {
    resp::append_text(out, latency_text(group_), caller.protocol);
  } else if (sub == "explain" && args.size() > 2) {
    const std::vector<std::string_view> command(args.begin() + 2, args.end());
    resp::append_bulk(out, group_.plane().explain(command, caller));
  } else if (sub == "reads" && args.size() == 3) {
    const auto policy = parse_read_policy(to_lower(args[2]));
    if (!policy.ok()) co_return error("ERR " + policy.error().detail);
    routing::Answer answer("+OK\r\n");
    answer.read_policy = policy.value();
    co_return answer;
  } else if (sub == "token" && args.size() == 2) {
    co_return co_await token(std::move(caller));
  } else if (sub == "readafter" && (args.size() == 3 || args.size() == 4)) {
    co_return co_await read_after(std::move(args));
  } else if (sub == "lost" && args.size() == 2) {
    out = lost_writes_reply(group_);
  } else if (sub == "lost" && args.size() == 3 && iequals(args[2], "untouched")) {
    co_return co_await export_untouched();
  } else if (sub == "succeeded" && args.size() == 5 && caller.face == routing::Face::node) {
    const auto id = replication::ReplId::parse(args[2]);
    const auto port = parse_int(args[4]);
    if (!id || !port) co_return error("ERR SUCCEEDED wants the id of a history, and a host and port");
    auto heard = group_.succeeded_by(*id, Address{args[3], static_cast<int>(*port), ""});
    co_return heard.ok() ? simple("OK") : error("ERR " + heard.error().detail);
  } else if (sub == "takeover" && args.size() == 4 && caller.face == routing::Face::node) {
    co_return co_await take_over(std::move(args));
  } else if (sub == "revive" && args.size() == 2) {
    co_return co_await revive();
  } else if (auto decided = args.size() == 2 ? decide(sub) : std::nullopt) {
    co_return std::move(*decided);
  } else if (sub == "drain" && args.size() == 2) {
    group_.drain();
    resp::append_simple(out, "OK");
  } else if (sub == "help") {
    resp::append_array(out, std::size(kHelp));
    for (const std::string_view line : kHelp) resp::append_simple(out, line);
  } else {
    co_return error("ERR unknown subcommand or wrong number of arguments for '" + args[1] + "'. Try SIDESTREAM HELP.");
  }
  co_return out;
}

}  // namespace sidestream::admin
