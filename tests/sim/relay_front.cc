// relay_front.cc: see relay_front.h.
#include "tests/sim/relay_front.h"

#include <algorithm>

#include "common/text.h"
#include "proxy/resp/request.h"
#include "proxy/resp/writer.h"

namespace sidestream::sim {

RelayFront::RelayFront(SimWorld& world, Chronicle& chronicle, Config config, std::string host)
    : world_(world),
      chronicle_(chronicle),
      config_(std::move(config)),
      host_(std::move(host)),
      seams_(world.at(host_)),
      largest_(config_.repl_backlog_size) {}

RelayFront::~RelayFront() { tasks_.cancel_all(); }

void RelayFront::boot(const Address& upstream) {
  auto listener = seams_.network.listen(address());
  CHECK(listener.ok());
  listener_ = std::move(listener).value();
  replication::RelayObserver& observer = *this;
  relay_ = std::make_unique<replication::Relay>(seams_, config_, observer, seams_.random.hex40());
  relay_->set_announce(kPort, {});
  upstream_ = upstream;
  tasks_.add(serve());
}

void RelayFront::crash() {
  if (!running()) return;
  world_.host(host_).crash();
  tasks_.cancel_all();
  relay_.reset();
  listener_.reset();
  snapshot_answers_.clear();
  commands_of_.clear();
  prepared_ = false;
}

void RelayFront::follow(Address upstream) {
  upstream_ = upstream;
  if (!prepared_) return;
  world_.trace("relay {}: follows {}", host_, upstream.text());
  relay_->follow(std::move(upstream), replication::Credentials{config_.masteruser, config_.masterauth});
}

Task<void> RelayFront::serve() {
  for (;;) {
    auto prepared = co_await relay_->start();
    if (prepared.ok()) break;
    co_await world_.clock().sleep(100);
  }
  prepared_ = true;
  follow(upstream_);
  for (;;) {
    auto stream = co_await listener_->accept();
    if (!stream.ok()) co_return;
    tasks_.add(greet(std::move(stream).value()));
  }
}

Task<void> RelayFront::greet(std::unique_ptr<ByteStream> stream) {
  replication::ReplicaHello hello;
  bool trusted = config_.requirepass.empty();
  std::string buffer;
  resp::RequestParser parser;
  resp::Request request;
  char chunk[4096];
  for (;;) {
    auto n = co_await stream->read(chunk);
    if (!n.ok() || n.value() == 0) co_return;
    buffer.append(chunk, n.value());
    while (!buffer.empty()) {
      const auto state = parser.next(buffer, request);
      if (state == resp::RequestParser::State::bad) co_return;
      if (state == resp::RequestParser::State::incomplete) break;
      const bool psync = iequals(request.name(), "PSYNC");
      if (trusted && (psync || iequals(request.name(), "SYNC"))) {
        replication::SyncRequest wanted;
        wanted.psync = psync;
        if (psync && request.args.size() == 3) {
          wanted.replid = request.args[1];
          wanted.next_byte = parse_int(request.args[2]).value_or(-1);
        }
        relay_->adopt(std::move(stream), std::move(hello), std::move(wanted), buffer.substr(parser.consumed()));
        co_return;
      }
      if (!request.args.empty()) stream->write(answer(request.args, hello, trusted));
      buffer.erase(0, parser.consumed());
    }
  }
}

std::string RelayFront::answer(std::span<const std::string_view> args, replication::ReplicaHello& hello,
                               bool& trusted) const {
  std::string reply;
  if (iequals(args[0], "AUTH")) {
    trusted = args.back() == config_.requirepass;
    return trusted ? "+OK\r\n" : "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
  }
  if (!trusted) return "-NOAUTH Authentication required.\r\n";
  if (iequals(args[0], "PING")) return "+PONG\r\n";
  if (iequals(args[0], "INFO")) {
    resp::append_bulk(reply, info());
  } else if (iequals(args[0], "REPLCONF")) {
    auto applied = replication::apply_replconf(args, hello);
    if (replication::replconf_is_silent(args)) return reply;
    if (applied.ok()) return "+OK\r\n";
    resp::append_error(reply, applied.error().detail);
  } else {
    resp::append_error(reply, "ERR unknown command");
  }
  return reply;
}

std::string RelayFront::info() const {
  const auto upstream = relay_->upstream();
  std::string text =
      fmt::format("# Server\r\nredis_version:7.0.15\r\nrun_id:{}\r\n\r\n# Replication\r\nrole:slave\r\n", host_);
  text += fmt::format("master_host:{}\r\nmaster_port:{}\r\n", upstream.address.host, upstream.address.port);
  if (!relay_->has_history()) return text + "repl_backlog_active:0\r\n";
  const auto& history = relay_->history();
  const auto range = relay_->backlog_range();
  text +=
      fmt::format("master_replid:{}\r\nmaster_replid2:{}\r\nmaster_repl_offset:{}\r\nsecond_repl_offset:{}\r\n",
                  history.replid.text(), history.replid2.text(), relay_->safe_boundary().value, history.second_offset);
  return text + fmt::format("repl_backlog_active:1\r\nrepl_backlog_first_byte_offset:{}\r\nrepl_backlog_histlen:{}\r\n",
                            range.first_byte, range.histlen);
}

void RelayFront::stream_command(std::span<const std::string_view> args, bool truncated, ReplOffset end) {
  const std::string replid = relay_->history().replid.text();
  if (replid == commands_of_ && end <= commands_end_) {
    world_.fail(
        fmt::format("relay {}: a command ends at {}, the one before at {}", host_, end.value, commands_end_.value));
  }
  commands_of_ = replid;
  commands_end_ = end;
  if (truncated || args.empty()) return;
  std::string bytes;
  resp::append_command(bytes, args);
  chronicle_.received("relay " + host_ + " (commands)", replid, end.value - static_cast<int64_t>(bytes.size()), bytes);
}

/// What was cut off its end is seen again.
void RelayFront::upstream_changed() {
  if (relay_ != nullptr) commands_end_ = std::min(commands_end_, relay_->offset());
}

void RelayFront::replica_changed(uint64_t link_id) {
  for (const auto& replica : relay_->replicas()) {
    if (replica.id != link_id || replica.state != "send_bulk") continue;
    snapshot_answers_[replica.host + ":" + std::to_string(replica.port)] = {relay_->history(), relay_->backlog_range()};
  }
}

/// Stock's predicate once more, written from the protocol and not from our sources.
void RelayFront::judge(const SyncEvent& event) {
  if (event.primary != address() || !event.reply.starts_with("+FULLRESYNC") || event.asked_id == "?") return;
  const auto found = snapshot_answers_.find(event.who);
  if (found == snapshot_answers_.end()) return;
  const auto& [history, range] = found->second;
  const bool current = iequals(event.asked_id, history.replid.text());
  const bool previous = iequals(event.asked_id, history.replid2.text()) && event.asked_byte <= history.second_offset;
  const bool held = event.asked_byte >= range.first_byte && event.asked_byte <= range.first_byte + range.histlen;
  if ((current || previous) && held) {
    world_.fail(fmt::format("{}: needless full resync: asked {} {}, the relay held {} to {}", event.who, event.asked_id,
                            event.asked_byte, range.first_byte, range.first_byte + range.histlen - 1));
  }
}

void RelayFront::inspect() {
  largest_ = std::max(largest_, config_.repl_backlog_size);
  if (!running() || !relay_->has_history()) return;
  const std::string replid = relay_->history().replid.text();
  const auto range = relay_->backlog_range();
  if (!chronicle_.knows(replid) || relay_->offset().value > chronicle_.end(replid)) {
    world_.fail(fmt::format("relay {}: claims offset {} of {}", host_, relay_->offset().value, replid));
  }
  if (relay_->safe_boundary() > relay_->offset()) world_.fail("relay " + host_ + ": boundary beyond its offset");
  // Reads go straight into blocks: one is being filled, one is being left behind.
  const auto bound =
      config_.repl_backlog_size + replication::Backlog::kKeptBytesMax + 3 * std::max<int64_t>(largest_ / 8, 16 * 1024);
  const int64_t disk = config_.repl_backlog_disk_size;
  if (relay_->backlog_disk_bytes() > disk + std::max<int64_t>(disk / 16, 16 * 1024) + (int64_t{256} << 10)) {
    world_.fail(fmt::format("relay {}: {} bytes on disk", host_, relay_->backlog_disk_bytes()));
  }
  const bool packs = config_.repl_backlog_compress == "zstd";  // then the disk has room for more history than bytes
  if ((!packs && range.histlen > disk + config_.repl_backlog_size + (disk > 0 ? 2 << 20 : 0)) ||
      static_cast<int64_t>(relay_->backlog_memory_bytes()) > bound) {
    world_.fail(fmt::format("relay {}: backlog of {} bytes in {} bytes of memory", host_, range.histlen,
                            relay_->backlog_memory_bytes()));
  }
}

bool RelayFront::caught_up_with(const FakeNode& primary) const {
  return running() && relay_->has_history() && relay_->history().replid.text() == primary.replid() &&
         relay_->offset().value == primary.offset();
}

std::string RelayFront::describe() const {
  if (!running()) return "relay " + host_ + " down";
  const auto upstream = relay_->upstream();
  return fmt::format("relay {} upstream {} {} ({}) id {} at {}", host_, upstream.address.text(), upstream.state,
                     upstream.last_error, relay_->history().replid.text().substr(0, 8), relay_->offset().value);
}

}  // namespace sidestream::sim
