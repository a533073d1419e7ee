// http.h: the small HTTP/1.1 server behind the admin address, on the same loop as everything else, so that an answer
// from /livez is itself the proof that the loop turns.
//
// Happy path: a connection sends requests one after another, each goes to the route function, the reply follows, the
// connection stays open. Failure modes: malformed input gets 400, too much of it 413 or 431, then close; a silent
// connection is closed after kIdleMs; more than kConnectionsMax are closed at once. Bodies of requests are read and
// dropped: no route needs one.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/byte_stream.h"
#include "common/task.h"
#include "common/world.h"

namespace sidestream::admin {

struct HttpRequest {
  std::string method;
  std::string path;                   // without the query
  std::string query;                  // behind '?', not decoded
  std::string peer;                   // "host:port"
  std::string authorization, origin;  // headers
};

struct HttpReply {
  int status = 200;
  std::string type = "application/json";
  std::string body;
  std::string allow;         // with 405: the methods
  bool wants_token = false;  // with 401
  std::string policy;        // Content-Security-Policy
};

class HttpServer {
 public:
  using Route = std::function<Task<HttpReply>(HttpRequest)>;
  HttpServer(World& world, Route route, std::unique_ptr<Listener> listener);
  /// Serves what the listener accepts, or nobody new; not at once.
  void resume(), pause();

 private:
  Task<void> accept_loop();
  Task<void> converse(std::unique_ptr<ByteStream> stream);
  Task<void> bounded(std::unique_ptr<ByteStream> stream);

  World& world_;
  Route route_;
  std::unique_ptr<Listener> listener_;
  int connections_ = 0;
  TaskSet accepting_;
  TaskSet tasks_;
};

}  // namespace sidestream::admin
