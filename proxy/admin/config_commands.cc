// config_commands.cc: see config_commands.h.
#include "proxy/admin/config_commands.h"

#include <algorithm>
#include <map>

#include "common/log.h"
#include "common/text.h"
#include "config/options.h"
#include "proxy/resp/writer.h"

namespace sidestream::admin {
namespace {

using resp::error;
using resp::simple;

/// What INFO and clients call it; "replicaof" and its like print an empty text when unset, as stock does.
void add_ours(const Config& config, std::string_view pattern, std::map<std::string, std::string>& found) {
  for (const Option& option : options()) {
    for (const std::string_view name : {option.redis_name, option.redis_alias}) {
      if (!name.empty() && glob_match(pattern, name, true)) found[std::string(name)] = sidestream::get(config, option);
    }
  }
}

}  // namespace

Task<std::string> ConfigCommands::answer(std::vector<std::string> args, int protocol) {
  const std::string sub = args.size() > 1 ? to_lower(args[1]) : "";
  if (sub == "get" && args.size() > 2) co_return co_await get(std::move(args), protocol);
  if (sub == "set" && args.size() > 3 && args.size() % 2 == 0) co_return co_await set(std::move(args));
  if (sub == "rewrite" && args.size() == 2) co_return co_await rewrite();
  co_return co_await forward(std::move(args));  // RESETSTAT, HELP, and stock's own errors for the rest
}

Task<std::string> ConfigCommands::get(std::vector<std::string> args, int protocol) {
  std::map<std::string, std::string> found;
  const auto is_ours = [](const std::string& name) { return find_redis_option(name) != nullptr; };
  if (!std::all_of(args.begin() + 2, args.end(), is_ours)) {  // else answered from memory, also while the node is down
    auto lead = co_await group_.ask_lead(args);
    if (lead.ok() && lead.value().type == resp::Value::Type::array) {
      const auto& pairs = lead.value().elements;
      for (size_t i = 0; i + 1 < pairs.size(); i += 2) found[pairs[i].text] = pairs[i + 1].text;
    }
  }
  for (size_t i = 2; i < args.size(); ++i) add_ours(group_.config(), args[i], found);
  std::string out;
  resp::append_map(out, static_cast<int64_t>(found.size()), protocol);
  for (const auto& [name, value] : found) {
    resp::append_bulk(out, name);
    resp::append_bulk(out, value);
  }
  co_return out;
}

Task<std::string> ConfigCommands::set(std::vector<std::string> args) {
  std::vector<Assignment> ours;
  std::vector<std::string> theirs = {args[0], args[1]};
  Config trial = group_.config();
  for (size_t i = 2; i + 1 < args.size(); i += 2) {
    const Option* option = find_redis_option(args[i]);
    if (option == nullptr) {
      theirs.insert(theirs.end(), {args[i], args[i + 1]});
      continue;
    }
    const std::string failed = "ERR CONFIG SET failed (possibly related to argument '" + args[i] + "') - ";
    if (option->reload != Reload::live) co_return error(failed + "can't set immutable config");
    auto result = sidestream::set(trial, *option, args[i + 1]);
    if (!result.ok()) co_return error(failed + result.error().detail);
    ours.push_back({option, args[i + 1]});
  }
  auto fits = check(ours, trial);
  if (!fits.ok()) co_return error("ERR CONFIG SET failed - " + fits.error().detail);
  if (theirs.size() > 2) {
    const std::string refused = co_await forward(std::move(theirs));
    if (refused.starts_with("-")) co_return refused;
  }
  for (const Assignment& assignment : ours) {
    CHECK(sidestream::set(group_.config(), *assignment.option, assignment.text).ok());
    log_notice("config", "{} changed by CONFIG SET", assignment.option->name);
    group_.option_changed(assignment.option->name);
  }
  co_return simple("OK");
}

/// Each value may be right by itself and wrong beside the others, or at this moment.
Result<void> ConfigCommands::check(const std::vector<Assignment>& ours, const Config& trial) {
  const auto before = conflicts(group_.config());
  for (const Conflict& conflict : conflicts(trial)) {
    const auto is_old = [&](const Conflict& each) { return each.text == conflict.text; };
    if (std::any_of(before.begin(), before.end(), is_old)) continue;
    return Error{Errc::config, std::string(conflict.option) + ": " + conflict.text};
  }
  for (const Assignment& assignment : ours) {
    auto allowed = group_.may_take(*assignment.option, trial);
    RETURN_IF_ERROR(allowed);
  }
  return {};
}

Task<std::string> ConfigCommands::rewrite() {
  auto saved = co_await group_.save_state();
  co_return saved.ok() ? simple("OK") : error("ERR Rewriting config file: " + saved.error().detail);
}

Task<std::string> ConfigCommands::forward(std::vector<std::string> args) {
  const bool to_all = args.size() > 1 && (iequals(args[1], "set") || iequals(args[1], "resetstat"));
  Task<Result<resp::Value>> asked = to_all ? group_.ask_all(args) : group_.ask_lead(args);
  auto reply = co_await asked;
  if (!reply.ok()) co_return error("ERR " + reply.error().detail);
  std::string out;
  const resp::Value& value = reply.value();
  if (value.type == resp::Value::Type::array) {
    resp::append_array(out, static_cast<int64_t>(value.elements.size()));
    for (const resp::Value& line : value.elements) resp::append_simple(out, line.text);
  } else if (value.is_error()) {
    resp::append_error(out, value.text);
  } else {
    resp::append_simple(out, value.text);
  }
  co_return out;
}

}  // namespace sidestream::admin
