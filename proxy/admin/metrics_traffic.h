// metrics_traffic.h: the metrics of clients and their commands, of the process, and of what it says in its log.
#pragma once

#include "proxy/admin/group.h"
#include "proxy/admin/scrape.h"

namespace sidestream::admin {

/// How many commands went where, how long their servers took, and who waits.
void add_commands(Scrape& scrape, Group& group);
/// CPU, memory, descriptors, event loops, log lines.
void add_process(Scrape& scrape, Group& group);

}  // namespace sidestream::admin
