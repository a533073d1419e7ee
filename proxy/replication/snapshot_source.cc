// snapshot_source.cc: see snapshot_source.h.
#include "proxy/replication/snapshot_source.h"

#include <utility>

namespace sidestream::replication {
namespace {

Task<Result<void>> fill(NodeConnection& server, PayloadHeader header, std::shared_ptr<Snapshot> snapshot) {
  TransferProgress progress;
  auto received = co_await receive_payload(server, std::move(header), snapshot, false, progress);
  if (!received.ok()) {
    snapshot->fail(received.error());
    co_return std::move(received);
  }
  co_return snapshot->complete();
}

/// Fails the snapshot when the fetch is cancelled: its readers must not wait for ever.
struct CancelGuard {
  std::shared_ptr<Snapshot> snapshot;
  ~CancelGuard() { snapshot->fail(Error{Errc::closed, "the fetch was cancelled"}); }
};

}  // namespace

Task<Result<void>> fetch_snapshot(World& world, Spool& spool, SnapshotTaker& taker, Address source,
                                  Credentials credentials, Announcement announcement, int64_t timeout_ms) {
  const std::string source_name = source.text();
  auto opened = co_await NodeConnection::open(world, std::move(source), std::move(credentials), timeout_ms);
  CO_RETURN_IF_ERROR(opened);
  NodeConnection& server = *opened.value();
  auto introduced = co_await introduce(server, std::move(announcement));
  CO_RETURN_IF_ERROR(introduced);
  auto knows = co_await set_option(server, "rdb-only", "1");
  CO_RETURN_IF_ERROR(knows);
  const int64_t asked_at_us = world.clock.now_us();
  // Never with an id and offset: a matching one would be continued, and a snapshot-only client is never fed.
  auto reply = co_await request_sync(server, "?", -1);
  CO_RETURN_IF_ERROR(reply);
  const ReplId replid = reply.value().replid;
  const ReplOffset offset = reply.value().offset;
  if (reply.value().kind != PsyncReply::Kind::full_resync) {
    co_return Error{Errc::protocol, "asked for a snapshot, got a partial resync"};
  }
  auto wanted = taker.snapshot_offered(replid, offset);
  CO_RETURN_IF_ERROR(wanted);
  auto header = co_await read_payload_header(server);
  CO_RETURN_IF_ERROR(header);
  auto created = co_await spool.create(replid, offset, header.value().size);
  CO_RETURN_IF_ERROR(created);
  const CancelGuard guard{created.value()};
  created.value()->asked_at_us = asked_at_us;
  created.value()->source = source_name;
  taker.snapshot_arriving(created.value());
  auto filled = co_await fill(server, std::move(header).value(), created.value());
  co_return std::move(filled);
}

}  // namespace sidestream::replication
