// session_table.cc: places are used again, ids never. See the header.
#include "proxy/routing/session_table.h"

#include <algorithm>
#include <utility>

namespace sidestream::routing {

ClientSession& SessionTable::add(Core& core, std::unique_ptr<ByteStream> stream, Face face, bool reserved, uint64_t id,
                                 AddressBook::Guest guest) {
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(places_.size()));
    places_.emplace_back();
  }
  const uint32_t place = free_.back();
  free_.pop_back();
  places_[place] =
      std::make_unique<ClientSession>(core, std::move(stream), face, id, place, reserved, std::move(guest));
  ++count_;
  return *places_[place];
}

ClientSession* SessionTable::find(uint64_t id) const {
  for (const auto& session : places_) {
    if (session && session->id() == id) return session.get();
  }
  return nullptr;
}

void SessionTable::remove(ClientSession& session) {
  const uint32_t place = session.place();
  if (places_[place].get() != &session) return;
  removed_.push_back(std::move(places_[place]));
  free_.push_back(place);
  --count_;
  ReadyQueue::current().post(reap_node_);
}

std::vector<ClientSession*> SessionTable::all() const {
  std::vector<ClientSession*> sessions;
  for (const auto& session : places_) {
    if (session) sessions.push_back(session.get());
  }
  std::sort(sessions.begin(), sessions.end(), [](const auto* a, const auto* b) { return a->id() < b->id(); });
  return sessions;
}

void SessionTable::clear() {
  removed_.clear();
  for (auto& session : places_) session.reset();
  free_.clear();
  places_.clear();
  count_ = 0;
}

}  // namespace sidestream::routing
