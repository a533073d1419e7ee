// history_test.cc: who may continue, as a table: each row is one request to one primary, as stock answers it (and
// "ahead").
#include "proxy/replication/history.h"

#include "tests/unit/unit_test.h"

namespace sidestream::replication {
namespace {

const std::string kNow(40, 'a');
const std::string kBefore(40, 'b');
const std::string kOther(40, 'c');
const std::string kNone(40, '0');

ReplId id(const std::string& text) { return *ReplId::parse(text); }

struct Row {
  std::string replid;
  int64_t next_byte;
  Continuation expected;
};

// Offset 50; bytes 11 to 50 are held; the id changed behind byte 29, so byte 30 may still be asked for by the old one.
const History kHistory{id(kNow), id(kBefore), 30};
const BacklogRange kHeld{11, 40};

const Row kRows[] = {
    {kNow, 10, Continuation::no},
    {kNow, 11, Continuation::yes},
    {kNow, 30, Continuation::yes},
    {kNow, 50, Continuation::yes},
    {kNow, 51, Continuation::yes},  // exactly the next byte
    {kNow, 52, Continuation::ahead},
    {kNow, INT64_MAX, Continuation::ahead},
    {kNow, 0, Continuation::no},
    {kNow, -1, Continuation::no},
    {kBefore, 10, Continuation::no},
    {kBefore, 11, Continuation::yes},
    {kBefore, 29, Continuation::yes},
    {kBefore, 30, Continuation::yes},
    {kBefore, 31, Continuation::no},
    {kBefore, 52, Continuation::no},
    {kOther, 11, Continuation::no},
    {kOther, 51, Continuation::no},
    {"?", -1, Continuation::no},
    {"?", 11, Continuation::no},
    {"", 11, Continuation::no},
    {kNow + "a", 11, Continuation::no},
    {std::string(40, 'A'), 51, Continuation::yes},  // primaries compare without case
    {std::string(40, 'B'), 30, Continuation::yes},
};

TEST_CASE("can_continue") {
  for (const Row& row : kRows) {
    CAPTURE(row.replid);
    CAPTURE(row.next_byte);
    CHECK(can_continue({true, row.replid, row.next_byte, false}, kHistory, kHeld) == row.expected);
  }
}

TEST_CASE("can_continue: SYNC knows no histories") {
  CHECK(can_continue({false, kNow, 51, false}, kHistory, kHeld) == Continuation::no);
}

TEST_CASE("can_continue: an empty backlog continues at the next byte only") {
  const BacklogRange empty{51, 0};
  CHECK(can_continue({true, kNow, 51, false}, kHistory, empty) == Continuation::yes);
  CHECK(can_continue({true, kNow, 50, false}, kHistory, empty) == Continuation::no);
  CHECK(can_continue({true, kNow, 52, false}, kHistory, empty) == Continuation::ahead);
}

TEST_CASE("can_continue: zeros are no history") {
  const History single{id(kNow), ReplId(), -1};
  CHECK(can_continue({true, kNone, 11, false}, single, kHeld) == Continuation::no);
  CHECK(can_continue({true, kNone, 11, false}, History(), kHeld) == Continuation::no);
}

TEST_CASE("a shift keeps what was, up to the fork") {
  History history{id(kBefore), id(kOther), 7};
  history.shift(id(kNow), ReplOffset{29});
  CHECK(history.replid == id(kNow));
  CHECK(history.replid2 == id(kBefore));
  CHECK(history.second_offset == 30);
  CHECK(history.contains(id(kBefore), ReplOffset{29}));
  CHECK_FALSE(history.contains(id(kBefore), ReplOffset{30}));
  CHECK(history.contains(id(kNow), ReplOffset{1000}));
  CHECK_FALSE(history.contains(id(kOther), ReplOffset{1}));
  CHECK_FALSE(history.contains(ReplId(), ReplOffset{1}));
}

TEST_CASE("who has all of a history up to an offset: who is there, or went on from it") {
  CHECK(holds_all(kHistory, ReplOffset{50}, id(kNow), ReplOffset{50}));
  CHECK_FALSE(holds_all(kHistory, ReplOffset{49}, id(kNow), ReplOffset{50}));
  CHECK(holds_all(kHistory, ReplOffset{50}, id(kBefore), ReplOffset{29}));
  CHECK_FALSE(holds_all(kHistory, ReplOffset{50}, id(kBefore), ReplOffset{30}));  // it forked before that
  CHECK_FALSE(holds_all(kHistory, ReplOffset{50}, id(kOther), ReplOffset{1}));
  CHECK_FALSE(holds_all(History{}, ReplOffset{50}, ReplId(), ReplOffset{0}));
}

TEST_CASE("ids") {
  CHECK(ReplId::parse(kNow)->text() == kNow);
  CHECK(ReplId::parse(kNone)->empty());
  CHECK(ReplId().text() == kNone);
  CHECK_FALSE(ReplId::parse(std::string(39, 'a')));
  CHECK_FALSE(ReplId::parse(std::string(41, 'a')));
  CHECK_FALSE(ReplId::parse(std::string(40, 'g')));
}

}  // namespace
}  // namespace sidestream::replication
