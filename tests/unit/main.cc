// main.cc: the unit tests' main program, all of doctest's. `unit_tests --help` lists what it can do.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
