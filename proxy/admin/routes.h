// routes.h: what is served at the admin address: probes, status, configuration, and the one thing that may be changed
// by HTTP, a drain.
//
// Failure modes: an unknown path is 404, a wrong method 405 with Allow; what changes something is only for loopback
// peers.
#pragma once

#include "proxy/admin/group.h"
#include "proxy/admin/http.h"

namespace sidestream::admin {

Task<HttpReply> route(Group& group, HttpRequest request);

}  // namespace sidestream::admin
