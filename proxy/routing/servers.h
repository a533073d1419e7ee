// servers.h: the primary and the replicas that may be read, as the sessions see them.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "proxy/routing/target.h"

namespace sidestream::routing {

class Servers {
 public:
  Servers(World& world, const Config& config, FreshnessMap& freshness, ReplySink& sink, PoolOwner& owner);
  ~Servers();

  void set_primary(std::optional<PrimaryFacts> facts);
  void set_targets(std::vector<TargetFacts> facts);
  void new_history();
  /// A server that was left, and does not answer anybody: what was sent there gets no answer any more.
  void give_up(const Address& former);
  void tick();
  /// No write of a shared connection is unanswered, also at a primary that is left.
  bool quiet() const;
  /// Everything down at once; the end.
  void drop_all();

  /// nullptr: unknown.
  Target* primary() { return primary_.get(); }
  const Target* primary() const { return primary_.get(); }
  /// Ready for a request; nullptr: not now.
  ServerConnection* primary_shared(int protocol, int db, const std::shared_ptr<const Guest>& guest = nullptr) const {
    return primary_ ? primary_->pool(guest).shared(protocol, db) : nullptr;
  }
  size_t size() const { return targets_.size(); }
  Target& target(int index) const { return *targets_[static_cast<size_t>(index)]; }
  /// A borrowed connection whose borrower goes: closed at once.
  static void drop(ServerConnection& connection) {
    connection.borrower = {};
    connection.close();
  }
  /// A borrowed connection: to be borrowed again if its server is still one of ours.
  void give_back(ServerConnection& connection);
  /// SCRIPT LOAD or FLUSH, to every replica that is no instance of its own; nobody waits for the answers. Who cannot
  /// hear it now is flushed later; a script that is missing is loaded when it is asked for.
  void tell_replicas(std::string_view request, bool flush);
  /// By the number that cursors use; -1: gone.
  int index_of(int number) const;

  /// Which primary of all there were: it changes with its address.
  uint64_t primary_serial() const { return primaries_; }
  /// What `count` replicas have applied, as far as is known; -1: there are fewer. Who was that primary does not count.
  ReplOffset applied_by(size_t count, uint64_t except_primary) const;
  /// Asks every replica that has answered the last time. The answers are fences: `first_fence` plus its number.
  void ask_acks(uint64_t first_fence);
  void acks_answered(uint64_t number);

  Decision route(const ReadNeed& need);
  Decision peek(const ReadNeed& need) const { return peek_read(need, conditions(), views_); }

 private:
  Conditions conditions() const;
  std::unique_ptr<Target> take(const TargetFacts& facts);
  int free_number();
  void leave(std::unique_ptr<Target> target);
  void ask_how_far();
  void flush_scripts();

  World& world_;
  const Config& config_;
  FreshnessMap& freshness_;
  ReplySink& sink_;
  PoolOwner& owner_;
  std::optional<PrimaryFacts> primary_facts_;
  std::unique_ptr<Target> primary_;
  uint64_t primaries_ = 0;      // so far
  std::deque<Address> latest_;  // of them
  std::vector<std::unique_ptr<Target>> targets_;
  std::vector<TargetView*> views_;  // of targets_, same order
  int last_number_ = 0;
  int64_t asked_ms_ = 0;  // how far the replicas are

  struct Leaving {
    std::unique_ptr<Target> target;
    int64_t until_ms;
  };
  std::vector<Leaving> leaving_;  // left behind, still answering what was sent
};

}  // namespace sidestream::routing
