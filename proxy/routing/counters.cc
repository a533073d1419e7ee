// counters.cc: reasons in words, and sums over the cores.
#include "proxy/routing/counters.h"

#include <algorithm>

namespace sidestream::routing {

std::string_view reason_text(Reason reason) {
  static constexpr std::array<std::string_view, static_cast<size_t>(Reason::kCount)> kTexts = {
      "write",
      "always the primary's",
      "policy primary",
      "no write to these keys known",
      "past the last write to these keys",
      "a write to these keys is under way",
      "no replica is known to be past the last write to these keys",
      "its keys cannot be told",
      "within max-lag",
      "no replica within max-lag",
      "policy eventual",
      "no replica is online",
      "nothing better is left, replica-serve-stale-data",
      "earlier commands of this client for these keys are in flight there",
      "the scan began there",
      "nobody can answer now, it waits",
  };
  return kTexts[static_cast<size_t>(reason)];
}

Counters& Counters::operator+=(const Counters& other) {
  reads_replica += other.reads_replica;
  reads_primary += other.reads_primary;
  writes += other.writes;
  held_writes += other.held_writes;
  retried_reads += other.retried_reads;
  unknown_outcomes += other.unknown_outcomes;
  unacknowledged_writes += other.unacknowledged_writes;
  for (size_t i = 0; i < by_class.size(); ++i) by_class[i] += other.by_class[i];
  for (size_t i = 0; i < by_reason.size(); ++i) by_reason[i] += other.by_reason[i];
  return *this;
}

ClientCounts& ClientCounts::operator+=(const ClientCounts& other) {
  connected += other.connected;
  blocked += other.blocked;
  held += other.held;
  pubsub += other.pubsub;
  accepted += other.accepted;
  rejected += other.rejected;
  denied += other.denied;
  over_address += other.over_address;
  delayed += other.delayed;
  over_query_buffer += other.over_query_buffer;
  failed_logins += other.failed_logins;
  refused_by_rules += other.refused_by_rules;
  over_output_buffer += other.over_output_buffer;
  slow_readers += other.slow_readers;
  return *this;
}

TargetCounts& TargetCounts::operator+=(const TargetCounts& other) {
  reads += other.reads;
  writes += other.writes;
  known = std::max(known, other.known);
  connections += other.connections;
  idle += other.idle;
  took += other.took;
  if (last_error.empty()) last_error = other.last_error;
  return *this;
}

}  // namespace sidestream::routing
