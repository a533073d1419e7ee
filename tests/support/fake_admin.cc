// fake_admin.cc: the commands a fake node answers without its data: connection state, transactions, INFO, ROLE, CONFIG.
#include <algorithm>

#include "common/text.h"
#include "proxy/resp/writer.h"
#include "tests/support/fake_node.h"

namespace sidestream::sim {
namespace {

using resp::append_bulk;
using resp::append_error;
using resp::append_integer;
using resp::append_simple;

const char* const kConfig[][2] = {
    {"appendonly", "no"},
    {"databases", "16"},
    {"maxmemory-policy", "noeviction"},
    {"notify-keyspace-events", ""},
    {"proto-max-bulk-len", "536870912"},
    {"repl-timeout", "60"},
    {"replica-priority", "100"},
    {"replica-read-only", "yes"},
    {"save", ""},
    {"slave-read-only", "yes"},
    {"timeout", "0"},
};

}  // namespace

FakeNode::Answer FakeNode::answer_of(const std::string& name) {
  static const std::map<std::string, Answer> answers = {
      {"auth", &FakeNode::on_auth},           {"client", &FakeNode::on_client},
      {"command", &FakeNode::on_command},     {"config", &FakeNode::on_config},
      {"debug", &FakeNode::on_debug},         {"discard", &FakeNode::on_discard},
      {"exec", &FakeNode::on_exec},           {"hello", &FakeNode::on_hello},
      {"info", &FakeNode::on_info},           {"multi", &FakeNode::on_multi},
      {"ping", &FakeNode::on_ping},           {"psync", &FakeNode::on_psync},
      {"quit", &FakeNode::on_quit},           {"replconf", &FakeNode::on_replconf},
      {"replicaof", &FakeNode::on_replicaof}, {"reset", &FakeNode::on_reset},
      {"role", &FakeNode::on_role},           {"select", &FakeNode::on_select},
      {"slaveof", &FakeNode::on_replicaof},   {"sync", &FakeNode::on_psync},
      {"unwatch", &FakeNode::on_unwatch},     {"wait", &FakeNode::on_wait},
      {"watch", &FakeNode::on_watch},
  };
  return answers.at(name);
}

void FakeNode::on_auth(Session& session, const Words& args) {
  if (options_.password.empty()) {
    return append_error(session.out,
                        "ERR AUTH <password> called without any password configured for the default user. Are you sure "
                        "your configuration is correct?");
  }
  session.authenticated = args.back() == options_.password && (args.size() == 2 || args[1] == "default");
  if (session.authenticated)
    append_simple(session.out, "OK");
  else
    append_error(session.out, "WRONGPASS invalid username-password pair or user is disabled.");
}

void FakeNode::on_client(Session& session, const Words& args) {
  const std::string sub = to_lower(args[1]);
  if (sub == "id") return append_integer(session.out, session.id);
  if (sub == "getname") return append_bulk(session.out, session.name);
  if (sub == "pause" && args.size() == 4) {
    paused_until_ms_ = now_ms() + parse_int(args[2]).value_or(0);
  } else if (sub == "unpause" && args.size() == 2) {
    paused_until_ms_ = 0;
    changed_.notify_all();
  } else if (sub == "setname" && args.size() == 3)
    session.name = args[2];
  else if (sub != "setinfo" && sub != "no-evict" && sub != "no-touch") {
    return append_error(session.out, "ERR unknown subcommand '" + args[1] + "'. Try CLIENT HELP.");
  }
  append_simple(session.out, "OK");
}

void FakeNode::on_command(Session& session, const Words& args) {
  const std::string sub = args.size() < 2 ? std::string() : to_lower(args[1]);
  if (sub.empty()) return append_command_reply(session.out);
  if (sub == "count") return append_integer(session.out, std::ssize(all_commands()));
  if (sub == "docs") return resp::append_map(session.out, 0, session.protocol);
  append_error(session.out, "ERR unknown subcommand '" + args[1] + "'. Try COMMAND HELP.");
}

void FakeNode::on_config(Session& session, const Words& args) {
  const std::string sub = to_lower(args[1]);
  if (sub == "set" && args.size() >= 4 && args.size() % 2 == 0) {
    for (size_t i = 2; i + 1 < args.size(); i += 2) config_[to_lower(args[i])] = args[i + 1];
    return append_simple(session.out, "OK");
  }
  if (sub == "resetstat" || sub == "rewrite") return append_simple(session.out, "OK");
  if (sub != "get" || args.size() < 3) {
    return append_error(session.out, "ERR unknown subcommand '" + args[1] + "'. Try CONFIG HELP.");
  }
  std::map<std::string, std::string> all(config_);
  for (const auto& [key, value] : kConfig) all.emplace(key, value);
  std::erase_if(all, [&](const auto& entry) {
    return std::none_of(args.begin() + 2, args.end(),
                        [&](const std::string& pattern) { return glob_match(pattern, entry.first, true); });
  });
  resp::append_map(session.out, std::ssize(all), session.protocol);
  for (const auto& [key, value] : all) {
    append_bulk(session.out, key);
    append_bulk(session.out, value);
  }
}

void FakeNode::on_debug(Session& session, const Words& args) {
  if (to_lower(args[1]) == "digest") return append_simple(session.out, fmt::format("{:040x}", data_.digest()));
  append_error(session.out, "ERR unknown subcommand or wrong number of arguments for '" + args[1] + "'.");
}

void FakeNode::on_multi(Session& session, const Words&) {
  if (session.multi) return append_error(session.out, "ERR MULTI calls can not be nested");
  session.multi = true;
  append_simple(session.out, "OK");
}

void FakeNode::on_discard(Session& session, const Words&) {
  if (!session.multi) return append_error(session.out, "ERR DISCARD without MULTI");
  session.multi = session.multi_failed = false;
  session.queued.clear();
  session.watched.clear();
  append_simple(session.out, "OK");
}

void FakeNode::on_exec(Session& session, const Words&) {
  if (!session.multi) return append_error(session.out, "ERR EXEC without MULTI");
  const auto queued = std::exchange(session.queued, {});
  const auto watched = std::exchange(session.watched, {});
  const bool failed = session.multi_failed;
  session.multi = session.multi_failed = false;
  if (failed) return append_error(session.out, "EXECABORT Transaction discarded because of previous errors.");
  for (const auto& [key, version] : watched) {
    if (data_.version(key.first, key.second) == version) continue;
    return session.protocol == 3 ? resp::append_null(session.out, 3) : static_cast<void>(session.out += "*-1\r\n");
  }
  if (is_replica() && std::any_of(queued.begin(), queued.end(),
                                  [](const Words& args) { return find_command(to_lower(args[0]))->writes(); })) {
    return append_error(session.out, "READONLY You can't write against a read only replica.");
  }
  resp::append_array(session.out, std::ssize(queued));
  for (const Words& args : queued) call(session, *find_command(to_lower(args[0])), args);
}

void FakeNode::on_watch(Session& session, const Words& args) {
  if (session.multi) return append_error(session.out, "ERR WATCH inside MULTI is not allowed");
  for (size_t i = 1; i < args.size(); ++i) {
    session.watched.emplace(std::pair(session.db, args[i]), data_.version(session.db, args[i]));
  }
  append_simple(session.out, "OK");
}

void FakeNode::on_unwatch(Session& session, const Words&) {
  session.watched.clear();
  append_simple(session.out, "OK");
}

void FakeNode::on_hello(Session& session, const Words& args) {
  if (args.size() > 1 && args[1] != "2" && args[1] != "3") {
    return append_error(session.out, "NOPROTO unsupported protocol version");
  }
  for (size_t i = 2; i < args.size(); ++i) {
    if (to_lower(args[i]) == "setname" && i + 1 < args.size()) session.name = args[++i];
    if (to_lower(args[i]) != "auth" || i + 2 >= args.size()) continue;
    session.authenticated = options_.password.empty() || args[i + 2] == options_.password;
    i += 2;
    if (session.authenticated) continue;
    return append_error(session.out, "WRONGPASS invalid username-password pair or user is disabled.");
  }
  if (!session.authenticated) {
    return append_error(
        session.out,
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> "
        "AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol "
        "version at the same time");
  }
  if (args.size() > 1) session.protocol = args[1] == "3" ? 3 : 2;
  std::string& out = session.out;
  resp::append_map(out, 7, session.protocol);
  for (const auto& word : {"server", "redis", "version", "7.0.15", "proto"}) append_bulk(out, word);
  append_integer(out, session.protocol);
  append_bulk(out, "id");
  append_integer(out, session.id);
  for (const auto& word : {"mode", "standalone", "role"}) append_bulk(out, word);
  append_bulk(out, is_replica() ? "replica" : "master");
  append_bulk(out, "modules");
  resp::append_array(out, 0);
}

void FakeNode::on_ping(Session& session, const Words& args) {
  if (args.size() > 1)
    append_bulk(session.out, args[1]);
  else
    append_simple(session.out, "PONG");
}

void FakeNode::on_quit(Session& session, const Words&) {
  append_simple(session.out, "OK");
  session.quit = true;
}

void FakeNode::on_reset(Session& session, const Words&) {
  session.multi = session.multi_failed = false;
  session.queued.clear();
  session.watched.clear();
  session.db = 0;
  session.protocol = 2;
  session.name.clear();
  session.authenticated = options_.password.empty();
  append_simple(session.out, "RESET");
}

void FakeNode::on_select(Session& session, const Words& args) {
  const auto db = parse_int(args[1]);
  if (!db) return append_error(session.out, "ERR value is not an integer or out of range");
  if (*db < 0 || *db >= FakeData::kDatabases) return append_error(session.out, "ERR DB index is out of range");
  session.db = static_cast<int>(*db);
  append_simple(session.out, "OK");
}

void FakeNode::on_replicaof(Session& session, const Words& args) {
  if (to_lower(args[1]) == "no" && to_lower(args[2]) == "one") {
    promote();
    return append_simple(session.out, "OK");
  }
  const auto port = parse_int(args[2]);
  if (!port || *port < 0 || *port > 65535) return append_error(session.out, "ERR Invalid master port");
  const Address wanted{args[1], static_cast<int>(*port), {}};
  if (wanted == primary_) return append_simple(session.out, "OK Already connected to specified master");
  replicaof(wanted);
  append_simple(session.out, "OK");
}

void FakeNode::on_role(Session& session, const Words&) {
  std::string& out = session.out;
  static constexpr const char* kStates[] = {"none", "connect", "connecting", "handshake", "sync", "connected"};
  if (is_replica()) {
    resp::append_array(out, 5);
    append_bulk(out, "slave");
    append_bulk(out, primary_.host);
    append_integer(out, primary_.port);
    append_bulk(out, kStates[static_cast<int>(link_)]);
    return append_integer(out, link_up() ? offset_ : -1);
  }
  std::vector<const Session*> online;
  for (const auto& [id, seat] : seats_) {
    if (seat.session->stage == Stage::online) online.push_back(seat.session.get());
  }
  resp::append_array(out, 3);
  append_bulk(out, "master");
  append_integer(out, offset_);
  resp::append_array(out, std::ssize(online));
  for (const Session* replica : online) {
    resp::append_array(out, 3);
    append_bulk(out, replica->ip);
    append_bulk(out, std::to_string(replica->listening_port));
    append_bulk(out, std::to_string(replica->ack));
  }
}

void FakeNode::on_wait(Session& session, const Words& args) {
  const auto count = parse_int(args[1]);
  const auto ms = parse_int(args[2]);
  if (!count) return append_error(session.out, "ERR value is not an integer or out of range");
  if (!ms) return append_error(session.out, "ERR timeout is not an integer or out of range");
  if (*ms < 0) return append_error(session.out, "ERR timeout is negative");
  if (is_replica()) {
    return append_error(session.out,
                        "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a "
                        "replica is configured to be writable (which is not the default) writes to replicas are just "
                        "local and are not propagated.");
  }
  const int64_t there = acknowledged_by(session.written);
  if (there >= *count || session.multi || &session == &console_) return append_integer(session.out, there);
  session.wait_count = *count;
  session.wait_until_us = *ms == 0 ? INT64_MAX : world_.clock().now_us() + *ms * 1000;
  if (replicas() > 0) produce("*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n", data_.digest());
}

void FakeNode::on_info(Session& session, const Words& args) {
  const auto wanted = [&](std::string_view section) {
    return args.size() == 1 || std::any_of(args.begin() + 1, args.end(), [&](const std::string& word) {
             return iequals(word, section) || iequals(word, "all") || iequals(word, "everything") ||
                    iequals(word, "default");
           });
  };
  std::vector<std::string> sections;
  if (wanted("server")) {
    sections.push_back(
        fmt::format("# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nos:Linux\r\n"
                    "arch_bits:64\r\nprocess_id:1\r\nrun_id:{}\r\ntcp_port:{}\r\nuptime_in_seconds:1\r\n",
                    run_id_, options_.port));
  }
  if (wanted("clients")) sections.push_back(fmt::format("# Clients\r\nconnected_clients:{}\r\n", seats_.size()));
  if (wanted("persistence")) {
    sections.push_back(fmt::format("# Persistence\r\nloading:{}\r\nasync_loading:0\r\n", loading_ ? 1 : 0));
  }
  if (wanted("stats")) {
    sections.push_back(fmt::format("# Stats\r\nsync_full:{}\r\nsync_partial_ok:{}\r\nsync_partial_err:{}\r\n",
                                   counters_.full_served, counters_.partial_served, counters_.partial_refused));
  }
  if (wanted("replication")) sections.push_back(info_replication());
  if (wanted("keyspace")) {
    std::string text = "# Keyspace\r\n";
    for (int db = 0; db < FakeData::kDatabases; ++db) {
      if (data_.size(db) > 0) text += fmt::format("db{}:keys={},expires=0,avg_ttl=0\r\n", db, data_.size(db));
    }
    sections.push_back(std::move(text));
  }
  std::string text;
  for (const auto& section : sections) text += (text.empty() ? "" : "\r\n") + section;
  resp::append_text(session.out, text, session.protocol);
}

std::string FakeNode::info_replication() const {
  std::string text = fmt::format("# Replication\r\nrole:{}\r\n", is_replica() ? "slave" : "master");
  if (is_replica()) {
    text += fmt::format("master_host:{}\r\nmaster_port:{}\r\nmaster_link_status:{}\r\n", primary_.host, primary_.port,
                        link_up() ? "up" : "down");
    text +=
        fmt::format("master_last_io_seconds_ago:{}\r\nmaster_sync_in_progress:{}\r\n",
                    link_up() ? (world_.clock().now_ms() - primary_io_ms_) / 1000 : -1, link_ == Link::sync ? 1 : 0);
    text += fmt::format("slave_read_repl_offset:{0}\r\nslave_repl_offset:{0}\r\n", offset_);
    if (!link_up()) text += "master_link_down_since_seconds:1\r\n";
    text += "slave_priority:100\r\nslave_read_only:1\r\nreplica_announced:1\r\n";
  }
  text += fmt::format("connected_slaves:{}\r\n", replicas());
  int n = 0;
  for (const auto& [id, seat] : seats_) {
    const Session& s = *seat.session;
    if (s.stage == Stage::client) continue;
    const char* state = s.stage == Stage::online ? "online" : s.stage == Stage::sending ? "send_bulk" : "wait_bgsave";
    text +=
        fmt::format("slave{}:ip={},port={},state={},offset={},lag=0\r\n", n++, s.ip, s.listening_port, state, s.ack);
  }
  const size_t held = backlog_ ? backlog_->size() : 0;
  text +=
      fmt::format("master_failover_state:no-failover\r\nmaster_replid:{}\r\nmaster_replid2:{}\r\n", replid_, replid2_);
  text += fmt::format("master_repl_offset:{}\r\nsecond_repl_offset:{}\r\n", offset_, second_offset_);
  return text + fmt::format(
                    "repl_backlog_active:{}\r\nrepl_backlog_size:{}\r\nrepl_backlog_first_byte_offset:{}\r\n"
                    "repl_backlog_histlen:{}\r\n",
                    backlog_ ? 1 : 0, options_.backlog_bytes, backlog_ ? offset_ - static_cast<int64_t>(held) + 1 : 0,
                    held);
}

}  // namespace sidestream::sim
