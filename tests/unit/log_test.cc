// log_test.cc: lines under content that nobody chose: one event, one line, valid JSON; and events as people see them
// later.
#include "common/log.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "tests/unit/unit_test.h"

using namespace sidestream;

namespace {

/// Logging goes to a file of the test's own as long as it lives.
class LogFile {
 public:
  explicit LogFile(bool json) {
    std::string name = (std::filesystem::temp_directory_path() / "sidestream-log-XXXXXX").string();
    const int fd = mkstemp(name.data());
    REQUIRE(fd >= 0);
    close(fd);
    path_ = name;
    REQUIRE(set_log({LogLevel::trace, json, path_}).ok());
  }
  ~LogFile() {
    CHECK(set_log({LogLevel::error, false, ""}).ok());
    std::filesystem::remove(path_);
  }
  std::vector<std::string> lines() const {
    std::ifstream file(path_);
    std::vector<std::string> all;
    for (std::string line; std::getline(file, line);) all.push_back(line);
    return all;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string random_bytes(std::mt19937_64& random, size_t most) {
  std::string bytes(random() % most, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

}  // namespace

TEST_CASE("log: every JSON line parses, whatever is in it") {
  std::mt19937_64 random(11);
  const LogFile file(true);
  for (int i = 0; i < 500; ++i) log_line(LogLevel::verbose, random_bytes(random, 40), random_bytes(random, 200) + "x");
  const auto lines = file.lines();
  REQUIRE(lines.size() == 500);
  for (const std::string& line : lines) {
    const auto parsed = nlohmann::json::parse(line, nullptr, false);
    REQUIRE(parsed.is_object());
    for (const char* field : {"ts", "level", "tag", "msg"}) CHECK(parsed[field].is_string());
    CHECK(parsed["level"] == "verbose");
  }
}

TEST_CASE("log: a text line is one line, whatever a peer calls itself") {
  const LogFile file(false);
  log_warning("10.0.0.1:5\nerror  forged", "name \r\n2026 error instance: {}", "forged");
  REQUIRE(file.lines().size() == 1);
  CHECK(file.lines()[0].find("name \\x0d\\x0a2026 error instance: forged") != std::string::npos);
}

TEST_CASE("log: the same words over and over are cut off and counted") {
  const LogFile file(false);
  const uint64_t before = log_counts().dropped;
  for (int i = 0; i < 1000; ++i) log_warning(std::to_string(i), "a mistake that a thousand clients make");
  CHECK(file.lines().size() < 50);
  CHECK(file.lines().size() + log_counts().dropped - before == 1000);
}

TEST_CASE("log: events are kept from notice on, whatever the level, within a bound") {
  const LogFile file(false);
  REQUIRE(set_log({LogLevel::error, false, file.path()}).ok());
  log_notice("here", "first event of this test");
  const uint64_t number = log_events(0).back().number;
  CHECK(log_events(0).back().text == "first event of this test");
  CHECK(file.lines().empty());
  log_verbose("here", "not an event");
  CHECK(log_events(number).empty());
  for (size_t i = 0; i < kLogEventsMax + 10; ++i) log_warning("here", "event {}", i);
  const auto events = log_events(number);
  CHECK(events.size() == kLogEventsMax);
  CHECK(events.back().number == number + kLogEventsMax + 10);
  CHECK(events.front().number + kLogEventsMax == events.back().number + 1);
}

TEST_CASE("log: a file that was moved away is opened anew") {
  const LogFile file(false);
  log_error("here", "before");
  std::filesystem::rename(file.path(), file.path() + ".1");
  REQUIRE(reopen_log().ok());
  log_error("here", "behind");
  CHECK(file.lines().size() == 1);
  std::filesystem::remove(file.path() + ".1");
}
