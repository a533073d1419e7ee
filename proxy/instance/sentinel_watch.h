// sentinel_watch.h: whom the Sentinels name as the primary of `sentinel.master-name`, and how many of them.
//
// Happy path: each Sentinel of `sentinel.addresses` is asked once a second, and all at once when one of them announces
// +switch-master. The address that `sentinel.quorum` of them name (0: a majority) is the primary.
// Failure modes: a Sentinel that is silent, or does not know the name, has no vote, one log line when that begins;
// without enough equal votes what was known stays known, and agreed_within() tells how old it is.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/signal.h"
#include "common/world.h"
#include "config/config.h"
#include "proxy/admin/group.h"
#include "proxy/replication/node_connection.h"

namespace sidestream::instance {

class SentinelWatch {
 public:
  /// Told after each answer and each loss, from inside the watch's own loops: look, do not wait.
  class Owner {
   public:
    virtual void sentinels_changed() = 0;

   protected:
    ~Owner() = default;
  };
  struct Named {
    Address primary;
    int64_t epoch = 0;   // of Sentinel's configuration: grows with each failover
    std::string run_id;  // of its process, as Sentinel saw it last; empty: it has not
    friend bool operator==(const Named&, const Named&) = default;
  };

  /// All outlive the watch.
  SentinelWatch(World& world, const Config& config, Owner& owner);
  void start();

  /// The last primary that enough Sentinels agreed on.
  const std::optional<Named>& named() const { return named_; }
  /// Whether enough Sentinels agreed on named() in answers to questions asked not longer than `ms` ago.
  bool agreed_within(int64_t ms) const;
  /// When the questions were sent; -1: they never agreed.
  int64_t agreed_ms() const { return agreed_ms_; }
  /// Only what is asked from now on counts.
  void ask_anew();
  /// The address by which Sentinels see us; empty before the first connection.
  const std::string& our_host() const { return our_host_; }
  size_t votes_needed() const;
  std::vector<admin::SentinelFacts> facts() const;
  /// Why nobody is named, or no longer; empty when all is well.
  std::string trouble() const;

 private:
  /// One Sentinel. Outlives its loops, which are the watch's tasks.
  struct Post {
    Address address;
    Named vote;
    int64_t asked_ms = -1;  // when the question was sent that `vote` answers; -1: no vote
    std::string trouble = "has not answered yet";
    Signal ask_now;
  };

  Task<void> ask_forever(Post& post);
  Task<Result<void>> converse(Post& post, replication::NodeConnection& connection);
  Task<Result<Named>> ask(replication::NodeConnection& connection);
  Task<void> listen_forever(Post& post);
  Task<Result<void>> listen(Post& post);
  void lost(Post& post, const Error& error);
  void count_votes();
  replication::Credentials credentials() const;

  World& world_;
  const Config& config_;
  Owner& owner_;
  std::vector<std::unique_ptr<Post>> posts_;
  std::optional<Named> named_;
  int64_t agreed_ms_ = -1;
  int64_t asked_from_ms_ = 0;
  std::string our_host_;
  TaskSet tasks_;
};

}  // namespace sidestream::instance
