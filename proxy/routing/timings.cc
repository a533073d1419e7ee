// timings.cc: sums over the cores.
#include "proxy/routing/timings.h"

namespace sidestream::routing {

Timings::Route& Timings::Route::operator+=(const Route& other) {
  for (size_t i = 0; i < took.size(); ++i) took[i] += other.took[i];
  errors += other.errors;
  return *this;
}

Timings& Timings::operator+=(const Timings& other) {
  for (size_t i = 0; i < routes.size(); ++i) routes[i] += other.routes[i];
  held += other.held;
  loop_lag += other.loop_lag;
  return *this;
}

}  // namespace sidestream::routing
