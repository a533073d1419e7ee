// script_cache_test.cc: what scripts promise, what is kept of them, and that it is bounded.
#include "proxy/routing/script_cache.h"

#include "proxy/routing/limits.h"
#include "tests/unit/unit_test.h"

namespace sidestream::routing {
namespace {

TEST_CASE("scripts: only the shebang's flag promises to read") {
  CHECK(effect_of_script("return 1") == Effect::writes);
  CHECK(effect_of_script("-- #!lua flags=no-writes\nreturn 1") == Effect::writes);
  CHECK(effect_of_script("#!lua\nreturn 1") == Effect::writes);
  CHECK(effect_of_script("#!lua flags=allow-stale\nreturn 1") == Effect::writes);
  CHECK(effect_of_script("#!lua flags=no-writes") == Effect::reads);
  CHECK(effect_of_script("#!lua flags=allow-stale,no-writes\nreturn 1") == Effect::reads);
  CHECK(effect_of_script("#!lua name=x flags=no-writes\nreturn 1") == Effect::reads);
  CHECK(effect_of_script("#!lua\n-- flags=no-writes\nreturn 1") == Effect::writes);
}

TEST_CASE("scripts: found by the name that servers give them") {
  CHECK(sha1_hex("return 1") == "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
  CHECK(sha1_hex("") == "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  ScriptCache cache;
  CHECK(cache.add("return 1"));
  CHECK_FALSE(cache.add("return 1"));
  const std::string sha = sha1_hex("return 1");
  REQUIRE(cache.body(sha) != nullptr);
  CHECK(*cache.body(sha) == "return 1");
  CHECK(cache.body("E0E1F9FABFC9D4800C877A703B823AC0578FF8DB") != nullptr);
  CHECK(cache.body("nosuch") == nullptr);
  cache.forget_scripts();
  CHECK(cache.body(sha) == nullptr);
}

TEST_CASE("scripts: bounded in size, bytes and number") {
  ScriptCache cache;
  CHECK_FALSE(cache.add(std::string(limits::kScriptBytesMax + 1, 'x')));
  CHECK(cache.add("first"));
  for (size_t i = 1; i < limits::kScriptsMax; ++i) cache.add("return " + std::to_string(i));
  CHECK(cache.body(sha1_hex("first")) != nullptr);
  cache.add("one more");
  CHECK(cache.body(sha1_hex("first")) == nullptr);
  CHECK(cache.body(sha1_hex("return 1")) != nullptr);
  for (size_t i = 0; i <= limits::kScriptsBytesMax / limits::kScriptBytesMax; ++i) {
    cache.add(std::string(limits::kScriptBytesMax - 1, 'x') + static_cast<char>('a' + i));
  }
  CHECK(cache.body(sha1_hex("one more")) == nullptr);
}

TEST_CASE("functions: what was learnt holds until libraries change") {
  ScriptCache cache;
  CHECK(cache.effect_of_function("f") == Effect::unknown);
  cache.learn_function("f", Effect::reads);
  cache.learn_function("g", Effect::writes);
  CHECK(cache.effect_of_function("f") == Effect::reads);
  CHECK(cache.effect_of_function("g") == Effect::writes);
  cache.forget_functions();
  CHECK(cache.effect_of_function("f") == Effect::unknown);
  for (size_t i = 0; i < limits::kFunctionsKnownMax * 2; ++i) cache.learn_function(std::to_string(i), Effect::reads);
  CHECK(cache.effect_of_function("0") == Effect::unknown);
}

}  // namespace
}  // namespace sidestream::routing
