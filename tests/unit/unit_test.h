// unit_test.h: doctest for the unit tests. Include it last: its CHECK takes the place of the one in common/check.h.
#pragma once

#include "common/check.h"

#undef CHECK
#include <doctest/doctest.h>
