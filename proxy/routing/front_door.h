// front_door.h: who is let in, before the first byte is read.
//
// Happy path: admit() says yes, and whether the client has one of the slots that are kept for Sentinel, replicas and
// operators. Failure modes: a refused client is told why and what to do, and has kLastWordsMs to read it: a socket that
// is closed with unread bytes is reset and takes our last words with it, and TLS must be through first. More than
// kSeenOffMax at a time are closed at once.
#pragma once

#include <memory>
#include <string>

#include "common/byte_stream.h"
#include "common/task.h"
#include "proxy/routing/address_book.h"
#include "proxy/routing/facts.h"

namespace sidestream::routing {

struct Core;

class FrontDoor {
 public:
  explicit FrontDoor(Core& core) : core_(core) {}

  struct Admission {
    std::string refusal;    // a RESP error; empty: come in
    bool reserved = false;  // see ClientSession
    AddressBook::Guest guest;
  };
  Admission admit(const std::string& peer, Face face);
  void turn_away(std::unique_ptr<ByteStream> stream, const std::string& words);

 private:
  static constexpr size_t kSeenOffMax = 64;
  static constexpr int64_t kLastWordsMs = 500;
  Task<void> see_off(std::unique_ptr<ByteStream> stream);

  Core& core_;
  size_t seen_off_ = 0;
  TaskSet tasks_;
};

}  // namespace sidestream::routing
