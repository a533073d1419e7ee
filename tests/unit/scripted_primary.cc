// scripted_primary.cc: see scripted_primary.h.
#include "tests/unit/scripted_primary.h"

#include "common/text.h"
#include "proxy/replication/psync.h"
#include "proxy/resp/writer.h"

namespace sidestream::replication {
namespace {
const std::string kMark = "00000000000000000000000000000000000000ff";
}

ScriptedPrimary::ScriptedPrimary(sim::SimWorld& world, std::string id, std::string bytes)
    : replid(std::move(id)), stream(std::move(bytes)), world_(world.at("10.0.0.1")) {
  payload = empty_rdb(*ReplId::parse(replid), ReplOffset{kBase});
  payload.insert(payload.size() - 9, "\xfa\x03pad\x14" + kMark.substr(0, 20));  // as if the mark began inside
  listener_ = world_.network.listen(address()).value();
  tasks_.add(accept_all());
}

Task<void> ScriptedPrimary::accept_all() {
  for (;;) {
    auto link = co_await listener_->accept();
    if (!link.ok()) continue;
    conversations_.push_back(std::make_unique<Conversation>());
    Conversation& with = *conversations_.back();
    with.link = std::move(link).value();
    with.tasks.add(write(with));
    with.tasks.add(read(with));
  }
}

Task<void> ScriptedPrimary::read(Conversation& with) {
  std::string buffer;
  std::string room(1000, '\0');
  resp::RequestParser parser;
  resp::Request request;
  for (;;) {
    while (!buffer.empty() && parser.next(buffer, request) == resp::RequestParser::State::ok) {
      if (!request.args.empty()) answer(with, request);
      buffer.erase(0, parser.consumed());
    }
    auto n = co_await with.link->read(room);
    if (!n.ok() || n.value() == 0) co_return;
    buffer.append(room, 0, n.value());
  }
}

Task<void> ScriptedPrimary::write(Conversation& with) {
  for (;;) {
    while (with.out.empty() && !with.closing) co_await with.more.wait();
    size_t size = piece == 0 ? with.out.size() : std::min(piece, with.out.size());
    const bool cut = cut_after >= sent && cut_after - sent <= static_cast<int64_t>(size);
    if (cut) size = static_cast<size_t>(cut_after - sent);
    with.link->write(std::string_view(with.out).substr(0, size));
    with.out.erase(0, size);
    sent += static_cast<int64_t>(size);
    if (cut) cut_after = -1;
    if (cut || (with.closing && with.out.empty())) {
      with.link->close_write();
      co_return;
    }
    co_await world_.clock.sleep(1);
  }
}

void ScriptedPrimary::send(Conversation& with, const std::string& bytes) {
  with.out += bytes;
  with.more.notify_all();
}

void ScriptedPrimary::send_stream(Conversation& with) {
  if (with.streams_from == 0 || with.awaits_ack || with.streams_from > end()) return;
  send(with, stream.substr(static_cast<size_t>(with.streams_from - kBase - 1)));
  with.streams_from = end() + 1;
}

void ScriptedPrimary::append(const std::string& bytes) {
  stream += bytes;
  for (auto& with : conversations_) send_stream(*with);
}

void ScriptedPrimary::drop_connections() { conversations_.clear(); }

std::string ScriptedPrimary::info() const {
  return "role:master\r\nmaster_replid:" + replid +
         "\r\nmaster_replid2:" + ReplId::parse(replid2).value_or(ReplId()).text() +
         "\r\nmaster_repl_offset:" + std::to_string(end()) + "\r\nsecond_repl_offset:" + std::to_string(second_offset) +
         "\r\nrepl_backlog_active:" + (active_backlog ? "1" : "0") +
         "\r\nrepl_backlog_first_byte_offset:" + std::to_string(active_backlog ? first_byte : 0) + "\r\n" + info_extra;
}

void ScriptedPrimary::answer(Conversation& with, const resp::Request& request) {
  const auto& args = request.args;
  std::string reply = "+OK\r\n";
  if (iequals(args[0], "PING")) {
    reply = "+PONG\r\n";
  } else if (iequals(args[0], "INFO")) {
    reply.clear();
    resp::append_bulk(reply, info());
  } else if (iequals(args[0], "PSYNC")) {
    answer_psync(with, request);
    return;
  } else if (const auto ack = parse_ack(args)) {
    acks.push_back(ack->value);
    if (with.awaits_ack) with.awaits_ack = false;
    send_stream(with);
    return;
  } else if (args.size() == 3 && iequals(args[1], "rdb-filter-only")) {
    if (knows_filter) with.filtered = true;
    if (!knows_filter) reply = "-ERR Unrecognized REPLCONF option: rdb-filter-only\r\n";
  } else if (args.size() == 3 && iequals(args[1], "rdb-only")) {
    if (knows_filter) with.rdb_only = true;
    if (!knows_filter) reply = "-ERR Unrecognized REPLCONF option: rdb-only\r\n";
  }
  send(with, reply);
}

void ScriptedPrimary::answer_psync(Conversation& with, const resp::Request& request) {
  const std::string id(request.args[1]);
  const int64_t next_byte = parse_int(request.args[2]).value_or(-1);
  asked.push_back("PSYNC " + id + " " + std::to_string(next_byte));
  if (!psync_reply.empty()) {
    send(with, psync_reply);
    return;
  }
  const History history{*ReplId::parse(replid), ReplId::parse(replid2).value_or(ReplId()), second_offset};
  const BacklogRange held{first_byte, end() + 1 - first_byte};
  if (can_continue({true, id, next_byte, false}, history, held) == Continuation::yes) {
    ++partial_syncs;
    with.streams_from = next_byte;
    send(with, "\n+CONTINUE " + replid + "\r\n");
    send_stream(with);
    return;
  }
  ++(with.rdb_only ? snapshots : full_syncs);
  with.closing = with.rdb_only;
  with.streams_from = with.rdb_only ? 0 : kBase + 1;
  with.awaits_ack = !sized;
  const std::string header = sized ? "$" + std::to_string(payload.size()) : "$EOF:" + kMark;
  send(with, "\n\n+FULLRESYNC " + replid + " " + std::to_string(kBase) + "\r\n\n" + header + "\r\n" + payload +
                 (sized ? "" : kMark));
  send_stream(with);
}

}  // namespace sidestream::replication
