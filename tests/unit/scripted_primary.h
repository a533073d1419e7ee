// scripted_primary.h: a primary whose every byte is known beforehand, for link tests: it answers in pieces of any size,
// and breaks off after any byte. What a real server would do with data is tests/support/fake_node.h's business.
//
// Happy path: handshake, PSYNC from kBase with a snapshot or from any byte of the stream without, then the stream.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proxy/replication/history.h"
#include "proxy/resp/request.h"
#include "tests/support/sim_world.h"

namespace sidestream::replication {

class ScriptedPrimary {
 public:
  static constexpr int64_t kBase = 1000;  // offset of the snapshot

  ScriptedPrimary(sim::SimWorld& world, std::string replid, std::string stream);
  Address address() const { return {"10.0.0.1", 6379, {}}; }

  size_t piece = 0;             ///< bytes per piece, 0: as they come
  int64_t cut_after = -1;       ///< the connection that sends this many bytes in all is closed, once
  bool knows_filter = true;     ///< rdb-filter-only and rdb-only: 7.0 and later
  bool sized = false;           ///< $len instead of $EOF
  bool active_backlog = false;  ///< what INFO says; the backlog begins at byte `first_byte`
  int64_t first_byte = kBase + 1;
  std::string replid2;
  int64_t second_offset = -1;
  std::string info_extra;   ///< more lines of INFO
  std::string psync_reply;  ///< instead of an honest one

  std::string replid;
  std::string stream;  ///< byte kBase + 1 and on
  std::string payload;
  int full_syncs = 0;
  int snapshots = 0;  ///< rdb-only
  int partial_syncs = 0;
  int64_t sent = 0;
  std::vector<std::string> asked;  ///< "PSYNC id byte"
  std::vector<int64_t> acks;

  int64_t end() const { return kBase + static_cast<int64_t>(stream.size()); }
  /// More of the stream, now.
  void append(const std::string& bytes);
  void drop_connections();

 private:
  struct Conversation {
    std::unique_ptr<ByteStream> link;
    std::string out;
    Signal more;
    bool filtered = false, rdb_only = false, closing = false;
    bool awaits_ack = false;
    int64_t streams_from = 0;  // next byte, 0: not streaming
    TaskSet tasks;
  };
  Task<void> accept_all();
  Task<void> read(Conversation& with);
  Task<void> write(Conversation& with);
  void answer(Conversation& with, const resp::Request& request);
  void answer_psync(Conversation& with, const resp::Request& request);
  void send(Conversation& with, const std::string& bytes);
  void send_stream(Conversation& with);
  std::string info() const;

  World world_;
  std::unique_ptr<Listener> listener_;
  std::vector<std::unique_ptr<Conversation>> conversations_;
  TaskSet tasks_;
};

}  // namespace sidestream::replication
