// metrics.h: the state of the instance in Prometheus' text format. Gathered afresh at each scrape from the same facts
// as the status, so the two never disagree; labels are nodes and reasons, both bounded by the configuration and the
// code.
#pragma once

#include <string>

#include "proxy/admin/group.h"

namespace sidestream::admin {

std::string metrics_text(Group& group);

}  // namespace sidestream::admin
