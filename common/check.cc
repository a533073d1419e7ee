// check.cc: the end of a process that found itself in the wrong.
#include "common/check.h"

#include <cstdio>
#include <cstdlib>

namespace sidestream {

void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "sidestream: check failed: %s at %s:%d\n", condition, file, line);
  std::abort();
}

}  // namespace sidestream
