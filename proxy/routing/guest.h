// guest.h: a user whose own name and password open his server connections (`auth: pass-through`), so that the nodes'
// ACL decides what he may do.
//
// Happy path: sessions that logged in alike share a Guest, and by its id the pools of every target. When the last of
// them leaves, the pools go down. Failure modes: none of its own; a server that refuses him says so to the login.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

namespace sidestream::routing {

struct Guest {
  uint64_t id;
  std::string user, password;
};

class Guests {
 public:
  std::shared_ptr<const Guest> enter(const std::string& user, const std::string& password) {
    std::erase_if(present_, [](const auto& each) { return each.second.expired(); });
    auto& place = present_[{user, password}];
    auto guest = place.lock();
    if (!guest) place = guest = std::make_shared<const Guest>(Guest{++last_, user, password});
    return guest;
  }

 private:
  std::map<std::pair<std::string, std::string>, std::weak_ptr<const Guest>> present_;
  uint64_t last_ = 0;
};

}  // namespace sidestream::routing
