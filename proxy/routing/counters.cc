// counters.cc: reasons in words.
#include "proxy/routing/counters.h"

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

}  // namespace sidestream::routing
