// address_book_test.cc: who has how many clients here, and how long he is to be left unread.
#include "proxy/routing/address_book.h"

#include <fmt/format.h>

#include <optional>
#include <vector>

#include "tests/unit/unit_test.h"

namespace sidestream::routing {

TEST_CASE("address book: clients are counted by address, not by port; unix sockets are not") {
  AddressBook book;
  std::optional<AddressBook::Guest> first(book.enter("10.0.0.1:1", 0));
  CHECK(first->clients() == 1);
  {
    const auto second = book.enter("10.0.0.1:2", 0);
    CHECK(second.clients() == 2);
    CHECK(book.enter("10.0.0.2:1", 0).clients() == 1);
    CHECK(book.enter("[::1]:1", 0).clients() == 1);
  }
  CHECK(book.enter("10.0.0.1:3", 0).clients() == 2);
  first.reset();
  CHECK(book.enter("10.0.0.1:4", 0).clients() == 1);
  auto local = book.enter("unix", 0);
  CHECK(local.clients() == 0);
  CHECK(local.spend(1000, 1, 0) == 0);
}

TEST_CASE("address book: a burst is free, then an address goes on at its rate, all its clients together") {
  AddressBook book;
  auto a = book.enter("10.0.0.1:1", 0), b = book.enter("10.0.0.1:2", 0), other = book.enter("10.0.0.2:1", 0);
  CHECK(a.spend(100, 1000, 0) == 0);  // a tenth of a second
  CHECK(b.spend(50, 1000, 0) == 50'000);
  CHECK(a.spend(50, 1000, 0) == 100'000);
  CHECK(other.spend(100, 1000, 0) == 0);
  CHECK(a.spend(1, 1000, 1'000'000) == 0);  // all is paid for by then
}

TEST_CASE("address book: what is owed outlives the clients; what is paid is forgotten") {
  AddressBook book;
  CHECK(book.enter("10.0.0.1:1", 0).spend(1000, 1000, 0) == 900'000);
  CHECK(book.enter("10.0.0.1:2", 0).spend(0, 1000, 0) == 900'000);
  for (int i = 0; i < 10'000; ++i) (void)book.enter(fmt::format("10.1.{}.{}:1", i / 250, i % 250), 2'000'000);
  CHECK(book.size() < 200);
}

}  // namespace sidestream::routing
