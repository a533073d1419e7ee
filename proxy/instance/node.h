// node.h: one stock server that belongs to us (or the upstream we follow): watched once a second, told what to do,
// asked on behalf of others.
//
// Happy path: connect, PING and INFO each second; what it says is its view; when the plan says `follow` and it follows
// somebody else, REPLICAOF us. A second connection serves questions of others (INFO for clients, CONFIG). Failure
// modes: refused, silent or wrong password: unreachable, one log line, connected again every second; a REPLICAOF that
// is refused is reported in `trouble` and tried again with the next look.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/signal.h"
#include "common/world.h"
#include "config/config.h"
#include "proxy/instance/topology.h"
#include "proxy/replication/node_connection.h"
#include "proxy/resp/reply.h"

namespace sidestream::instance {

class Node {
 public:
  /// Told when something about a node changed, from inside its own loop.
  class Owner {
   public:
    virtual void node_changed() = 0;
    virtual int follow_port() const = 0;     ///< what nodes are told to follow, besides the address they see us by
    virtual bool follow_by_tls() const = 0;  ///< and what is spoken there
   protected:
    ~Owner() = default;
  };

  /// `owner`, `world` and `config` outlive the node. An upstream is only watched, never commanded.
  Node(World& world, const Config& config, NodeConfig identity, bool is_upstream, Owner& owner);
  void start();

  const NodeConfig& identity() const { return identity_; }
  /// Another weight or zone.
  void set_identity(NodeConfig identity) { identity_ = std::move(identity); }
  /// What it needs to connect to us has changed.
  void introduce_anew() {
    introduced_ = false;
    look_.notify_all();
  }
  const std::string& name() const { return view_.name; }
  const NodeView& view() const { return view_; }
  /// Numeric "host:port" it was reached at; its replication link comes from there. Empty before the first connection.
  const std::string& reached_at() const { return reached_at_; }
  /// The address by which it sees us; empty before the first connection.
  const std::string& our_host() const { return our_host_; }
  /// Whom it is told to follow when it is told to follow us.
  Address follow_address() const;
  bool is_instance() const { return is_instance_; }
  /// Not silent but absent: nobody listens there, or it closed on us.
  bool is_gone() const { return gone_; }
  bool link_up() const { return link_up_; }  ///< master_link_status, of a replica
  /// It followed us with its link up not longer ago: a link that is made anew is no reason to give the node up.
  bool linked_within(int64_t ms) const;
  bool heard_within(int64_t ms) const;
  /// What is known of it was true at this time or later (clock, microseconds); 0: nothing is known.
  int64_t looked_us() const { return looked_us_; }
  /// Its last answer to PING, RESP; empty before the first.
  const std::string& ping_reply() const { return ping_reply_; }
  const std::string& trouble() const { return trouble_; }
  /// Its INFO as of the last look; empty before the first.
  const std::string& last_info() const { return infos_[0].text; }
  const std::string& version() const { return version_; }
  int databases() const { return databases_; }
  /// Its reply to COMMAND; nil until it was read. `table_serial` grows with each reading.
  const resp::Value& command_reply() const { return command_reply_; }
  uint64_t table_serial() const { return table_serial_; }

  /// The plan's word; acted on by the node's own loop.
  void set_duty(Duty duty);
  Duty duty() const { return duty_; }
  void set_consented(bool consented) { view_.consented = consented; }
  /// The process that runs now is known to have our history.
  void set_trusted() { view_.restarted = false; }
  /// Makes the server follow us, or nobody. On the second connection. Errc::refused with its words.
  Task<Result<void>> command_to_follow();
  Task<Result<void>> command_to_lead();

  /// A question on the second connection, in turn with others. Bounded by limits of its own; Errc::timed_out.
  Task<Result<resp::Value>> ask(std::vector<std::string> args);
  /// INFO fetched after this call, if it comes within `patience_ms`; else the last one, or nothing.
  Task<std::string> info(bool everything, int64_t patience_ms);
  /// Somebody waits for an answer of ask() or info(): the node has to live until then.
  bool is_waited_for() const { return waiting_ > 0; }
  /// On a connection of the caller's: what a server needs to know before it can follow us. It may well lead on.
  Task<Result<void>> let_it_in(replication::NodeConnection& connection);
  /// On a connection of the caller's, after let_it_in(): it follows us from now on, and if it was `frozen` (CLIENT
  /// PAUSE) thaws in the same moment, so that nobody writes in between. Errc::refused with its words.
  Task<Result<void>> demote(replication::NodeConnection& connection, bool frozen);
  /// Looks again now rather than in a second.
  void look_again() { look_.notify_all(); }

 private:
  struct CachedInfo {
    std::string text;
    uint64_t asked = 0;     // fetches begun
    uint64_t answered = 0;  // the last one that came back
    bool running = false;
    bool again = false;
  };

  Task<void> watch();
  Task<Result<void>> watch_connection(replication::NodeConnection& connection);
  Task<Result<void>> learn(replication::NodeConnection& connection);
  Task<Result<void>> look(replication::NodeConnection& connection);
  Task<Result<void>> make_it_follow(replication::NodeConnection& connection);
  Task<Result<void>> set_if_other(replication::NodeConnection& connection, std::string name, std::string value);
  std::vector<std::string> follow_words() const;
  std::string follow_password() const;
  Task<void> fetch_info(bool everything);
  Task<Result<void>> open_desk();
  void take_info(const std::string& info);
  void lost(const Error& error);
  replication::Credentials credentials() const;

  World& world_;
  const Config& config_;
  NodeConfig identity_;
  bool is_upstream_;
  Owner& owner_;

  NodeView view_;
  std::string reached_at_;
  std::string our_host_;  // the address by which it sees us
  std::string run_id_;    // of its process
  bool is_instance_ = false;
  bool link_up_ = false;
  bool introduced_ = false;  // it knows what it needs to connect to us, as far as we know
  bool gone_ = false;
  int64_t heard_ms_ = -1;
  int64_t looked_us_ = 0;
  int64_t linked_ms_ = -1;  // followed us with its link up
  std::string ping_reply_;
  std::string trouble_;
  std::string version_;
  int databases_ = 16;
  resp::Value command_reply_;
  uint64_t table_serial_ = 0;
  Duty duty_ = Duty::unknown;

  std::array<CachedInfo, 2> infos_;  // default, everything
  Signal info_came_;
  Signal look_;
  std::unique_ptr<replication::NodeConnection> desk_;
  bool desk_busy_ = false;
  Signal desk_free_;
  int waiting_ = 0;
  TaskSet tasks_;
};

}  // namespace sidestream::instance
