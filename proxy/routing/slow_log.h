// slow_log.h: the last requests that took long, with who was to blame: the server, or we who made them wait for one.
// Names of commands only: keys and values belong to nobody who operates this.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace sidestream::routing {

struct SlowRequest {
  int64_t wall_ms = 0;  // when it was over
  std::string command;  // its name, upper case
  std::string server;   // "host:port"; empty: it got to none
  std::string client;   // "host:port"; empty: it has gone
  int64_t server_us = 0;
  int64_t proxy_us = 0;  // waited here for a server
};

class SlowLog {
 public:
  /// Forgets the oldest beyond limits::kSlowRequestsMax.
  void add(SlowRequest request);
  /// The latest first.
  const std::deque<SlowRequest>& all() const { return requests_; }
  void clear() { requests_.clear(); }

 private:
  std::deque<SlowRequest> requests_;
};

/// The name in a multibulk request as it goes to servers, upper case and fit for people.
std::string command_name(std::string_view request);

}  // namespace sidestream::routing
