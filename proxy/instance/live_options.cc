// live_options.cc: options that change while everything runs: whether they can, and what follows from it.
#include "common/log.h"
#include "common/secrets.h"
#include "config/options.h"
#include "config/users.h"
#include "proxy/instance/instance.h"

namespace sidestream::instance {
namespace {

constexpr size_t kFollowPasswordDigits = 32;

}  // namespace

Result<void> Instance::may_take(const Option& option, const Config& fresh) {
  if (option.name != "nodes") return {};
  if (failover_->state() != Failover::State::none) {
    return Error{Errc::refused, "nodes: a failover is going on; try again when it is over"};
  }
  return steering_->may_have(fresh.nodes);
}

void Instance::take(std::span<const Option* const> changed, const Config& fresh) {
  const bool other_users = config_.accounts != fresh.accounts;
  config_.accounts = fresh.accounts;
  // All of them first: between an old password and new users nobody must find the door open.
  for (const Option* option : changed) sidestream::copy(*option, fresh, config_);
  for (const Option* option : changed) {
    log_notice("config", "{} changed by a reload", option->name);
    apply_option(option->name);
  }
  if (other_users) apply_option("users");  // those of files too
}

/// Our nodes attach as replicas. Where the default user must not, they log in as one whom only we and they know.
void Instance::name_follow_user() {
  config_.follow_user.clear();
  if (config_.accounts.empty() || !config_.requirepass.empty()) return;
  if (config_.follow_password.empty()) config_.follow_password = random_hex(kFollowPasswordDigits);
  config_.follow_user = kFollowUser;
}

Result<admin::Reloaded> Instance::reload() {
  if (!reload_) return Error{Errc::refused, "nothing to reload from"};
  auto ours = in_charge();
  RETURN_IF_ERROR(ours);
  auto reloaded = reload_();
  reload_facts_.good = reloaded.ok();
  reload_facts_.trouble = reloaded.ok() ? "" : reloaded.error().detail;
  if (reloaded.ok()) reload_facts_.good_wall_ms = world_.clock.wall_ms();
  return reloaded;
}

void Instance::apply_option(std::string_view name) {
  name_follow_user();
  plane_->config_changed();
  set_front_door();
  if (name == "repl-backlog-size") relay_->resize_backlog();
  if (name.starts_with("min-replicas-")) steering_->count_good_replicas();
  if (name == "masteruser" || name == "masterauth") relay_->set_credentials({config_.masteruser, config_.masterauth});
  if (name == "requirepass" || name == "users") steering_->introduce_anew();
  if (name.starts_with("announce-") || name == "tls.nodes") steering_->lead_nodes_to(follow_address());
  if (name == "nodes") steering_->take_nodes();
  if (name == "deny-commands" || name == "faults") steering_->feed_commands_anew();
  if (name.starts_with("log.")) {
    const auto level = parse_log_level(config_.log.level);
    auto set = set_log({level.value(), config_.log.format == "json", config_.log.file});
    if (!set.ok()) log_error("log", "the former settings stay: {}", set.error().detail);
  }
  steering_->relay_changed();
}

}  // namespace sidestream::instance
