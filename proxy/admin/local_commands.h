// local_commands.h: the commands that the instance answers itself, and nobody behind it ever sees as typed.
//
// Happy path: at_once() answers what memory knows; answer() the rest, which may ask nodes or wait. Failure modes: wrong
// arguments get stock's words; what cannot be offered gets an error that says so and why.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/admin/config_commands.h"
#include "proxy/admin/group.h"
#include "proxy/routing/caller.h"

namespace sidestream::admin {

class LocalCommands {
 public:
  explicit LocalCommands(Group& group);
  std::optional<std::string> at_once(const routing::Caller& caller, std::span<const std::string_view> args);
  Task<routing::Answer> answer(routing::Caller caller, std::vector<std::string> args);

 private:
  using Command = Task<routing::Answer> (LocalCommands::*)(routing::Caller, std::vector<std::string>);
  Task<routing::Answer> info(routing::Caller caller, std::vector<std::string> args);
  Task<routing::Answer> wait(routing::Caller caller, std::vector<std::string> args);
  Task<routing::Answer> waitaof(routing::Caller caller, std::vector<std::string> args);
  Task<routing::Answer> role(routing::Caller caller, std::vector<std::string> args);
  Task<routing::Answer> replicaof(routing::Caller caller, std::vector<std::string> args);
  Task<routing::Answer> failover(routing::Caller caller, std::vector<std::string> args);
  Task<routing::Answer> take_over(std::vector<std::string> args);
  Task<routing::Answer> config(routing::Caller caller, std::vector<std::string> args);
  Task<routing::Answer> token(routing::Caller caller);
  Task<routing::Answer> read_after(std::vector<std::string> args);
  std::optional<std::string> decide(std::string_view word);
  Task<routing::Answer> revive();
  Task<routing::Answer> acl_load(routing::Caller caller, std::vector<std::string> args);
  Task<routing::Answer> slow_log(std::vector<std::string> args);
  std::string resync(const std::string& replica);
  Task<routing::Answer> export_untouched();
  std::string fault(const std::vector<std::string>& args);
  std::string throttle(const std::string& link, const std::string& bytes);
  Task<routing::Answer> sidestream(routing::Caller caller, std::vector<std::string> args);

  std::string full_info(const std::vector<std::string>& args, routing::Face face, const std::string& lead_text);

  // wait_commands.cc
  int64_t replicas_that(const std::function<bool(const replication::ReplicaStatus&)>& confirm) const;
  int64_t replicas_past(ReplOffset offset) const, replicas_synced(ReplOffset offset) const;
  Task<Result<bool>> synced_at_primary(replication::NodeConnection& primary);
  using PrimaryConnection = std::unique_ptr<replication::NodeConnection>;
  Task<Result<PrimaryConnection>> ask_primary_behind(routing::Caller caller, bool needs_aof);

  Group& group_;
  ConfigCommands config_;
  std::map<std::string, Command, std::less<>> commands_;
};

}  // namespace sidestream::admin
