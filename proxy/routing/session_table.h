// session_table.h: every client, found by place and id; the only owner of sessions.
#pragma once

#include <memory>
#include <vector>

#include "proxy/routing/client_session.h"

namespace sidestream::routing {

class SessionTable {
 public:
  SessionTable() : reap_node_(*this) {}

  ClientSession& add(Core& core, std::unique_ptr<ByteStream> stream, Face face, bool reserved, uint64_t id,
                     AddressBook::Guest guest);
  /// nullptr: gone, or about to go.
  ClientSession* find(uint32_t place, uint64_t id) const {
    const auto* session = place < places_.size() ? places_[place].get() : nullptr;
    return session != nullptr && session->id() == id ? places_[place].get() : nullptr;
  }
  ClientSession* find(uint64_t id) const;
  /// It is found no more, and destroyed in a turn of its own.
  void remove(ClientSession& session);
  /// In order of their ids.
  std::vector<ClientSession*> all() const;
  size_t size() const { return count_; }
  void clear();

 private:
  struct ReapNode : ReadyNode {
    explicit ReapNode(SessionTable& t)
        : ReadyNode([](ReadyNode& node) { static_cast<ReapNode&>(node).table.removed_.clear(); }), table(t) {}
    SessionTable& table;
  };
  std::vector<std::unique_ptr<ClientSession>> places_;
  std::vector<uint32_t> free_;
  std::vector<std::unique_ptr<ClientSession>> removed_;
  size_t count_ = 0;
  ReapNode reap_node_;
};

}  // namespace sidestream::routing
