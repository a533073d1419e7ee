// address_book.h: how many clients each address has here, and how many commands they have sent lately, together. For
// limits.clients-per-address and commands-per-address; may be used from any loop.
//
// Happy path: enter() for each client that comes; its Guest leaves when it is destroyed. spend() tells how long the
// client is to be left unread so that its address keeps to its rate: a bucket that fills evenly and holds kBurstUs.
// Failure modes: none. What is owed outlives the clients of an address, so that connecting anew does not help. Unix
// sockets have no address and no limit.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace sidestream::routing {

class AddressBook {
  struct Entry {
    explicit Entry(AddressBook& owner) : book(owner) {}
    AddressBook& book;  // written once: guests of other loops read it without the lock
    std::atomic<size_t> clients{0};
    std::atomic<int64_t> due_us{0};  // when all that was spent is paid for
  };

 public:
  static constexpr int64_t kBurstUs = 100'000;

  class Guest {
   public:
    Guest() = default;
    Guest(Guest&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
    Guest& operator=(Guest&&) = delete;
    ~Guest() {
      if (entry_ != nullptr) entry_->book.leave(*entry_);
    }
    /// Of this address, this one included; 0: no address.
    size_t clients() const { return entry_ != nullptr ? entry_->clients.load(std::memory_order_relaxed) : 0; }
    /// Microseconds until the address has paid for `commands` more.
    int64_t spend(int64_t commands, int64_t per_second, int64_t now_us);

   private:
    friend class AddressBook;
    explicit Guest(Entry& entry) : entry_(&entry) {}
    Entry* entry_ = nullptr;
  };

  /// `peer`: "host:port" or "unix".
  Guest enter(std::string_view peer, int64_t now_us);
  /// Addresses that are remembered.
  size_t size() const;

 private:
  void leave(Entry& entry);
  void forget_paid(int64_t now_us);

  mutable std::mutex mutex_;
  std::unordered_map<std::string, Entry> entries_;  // its nodes stay where they are
  size_t look_at_ = 64;                             // entries at which those nobody needs are dropped
};

}  // namespace sidestream::routing
