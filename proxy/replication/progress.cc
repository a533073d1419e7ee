// progress.cc: see progress.h.
#include "proxy/replication/progress.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/text.h"

namespace sidestream::replication {

double Progress::percent() const {
  return total > 0 ? std::min(100.0, 100.0 * static_cast<double>(done) / static_cast<double>(total)) : 0.0;
}

std::string Progress::text() const {
  std::string text = total > 0 ? fmt::format("{:.0f}% of {}", percent(), human_bytes(total)) : human_bytes(done);
  if (rate > 0) text += fmt::format(", {}/s", human_bytes(rate));
  if (eta_ms >= 0) text += fmt::format(", {} s left", (eta_ms + 999) / 1000);
  return text;
}

Progress progress(int64_t done, int64_t total, int64_t began_us, int64_t now_us) {
  Progress result{done, total, 0, -1};
  const int64_t elapsed_us = now_us - began_us;
  if (began_us == 0 || elapsed_us <= 0) return result;
  const double rate = static_cast<double>(done) * 1e6 / static_cast<double>(elapsed_us);
  result.rate = static_cast<int64_t>(rate);
  if (total >= done && total > 0 && rate > 0)
    result.eta_ms = static_cast<int64_t>(static_cast<double>(total - done) * 1000 / rate);
  return result;
}

}  // namespace sidestream::replication
