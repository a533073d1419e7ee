// main.cc: the unit tests' main program. `unit_tests --help` lists what it can do; SIDESTREAM_TEST_LOG=1 shows the log.
#define DOCTEST_CONFIG_IMPLEMENT
#include <cstdlib>

#include "common/log.h"
#include "tests/unit/unit_test.h"

int main(int argc, char** argv) {
  sidestream::LogSettings log;
  if (std::getenv("SIDESTREAM_TEST_LOG") == nullptr) log.file = "/dev/null";  // not the level: the lines are made
  if (!sidestream::set_log(log).ok()) return 1;
  return doctest::Context(argc, argv).run();
}
