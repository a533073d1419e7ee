// client_faults.cc: requests that are looked at more closely, because their command is denied or shall fail now and
// then (config/faults.h). Both have one mark in the command table, so that all other requests cost nothing more.
#include <algorithm>

#include "common/text.h"
#include "config/faults.h"
#include "proxy/routing/client_session.h"
#include "proxy/routing/core.h"
#include "proxy/routing/special_commands.h"

namespace sidestream::routing {

bool is_denied(const Config& config, const resp::CommandEntry& entry) {
  const std::string_view name = entry.name;
  return std::any_of(config.deny_commands.begin(), config.deny_commands.end(), [&](const std::string& each) {
    return iequals(each, name) || iequals(each, name.substr(0, name.find('|')));
  });
}

std::vector<std::string> special_commands(const Config& config, const resp::CommandTable& table) {
  std::vector<std::string> names = config.deny_commands;
  for (const std::string& text : config.faults) {
    const auto fault = parse_fault(text);
    if (!fault.ok()) continue;  // load() and CONFIG SET let none through
    names.insert(names.end(), fault.value().commands.begin(), fault.value().commands.end());
    if (!fault.value().commands.empty()) continue;
    for (const auto& [name, entry] : table.commands()) {
      if (name != "config" && name != "sidestream") names.emplace_back(name);  // the way back
    }
  }
  return names;
}

/// Nothing: it is run as any other.
std::optional<ClientSession::Taken> ClientSession::special(const Entry& entry) {
  if (is_denied(core_.config, entry)) {
    const std::string refusal = "NOPERM '" + entry.name + "' is denied by the configuration (deny-commands)";
    return in_transaction() ? refuse_queued(refusal) : answer_error(refusal);
  }
  if (std::exchange(delayed_, false)) return std::nullopt;
  return inject(entry);
}

/// A request that is delayed stays in the input, like one that waits for a server, and what the client sends behind it
/// waits too.
std::optional<ClientSession::Taken> ClientSession::inject(const Entry& entry) {
  for (const std::string& text : core_.config.faults) {
    const auto parsed = parse_fault(text);
    if (!parsed.ok() || !parsed.value().concerns(entry.name)) continue;
    const Fault& fault = parsed.value();
    if (core_.world.random.below(1000) >= static_cast<uint64_t>(fault.share_permille)) continue;
    if (!fault.error.empty()) return in_transaction() ? refuse_queued(fault.error) : answer_error(fault.error);
    delayed_ = true;
    tasks_.add(go_on_after(fault.delay_ms));
    return pause(Pause::step);
  }
  return std::nullopt;
}

Task<void> ClientSession::go_on_after(int64_t delay_ms) {
  co_await core_.world.clock.sleep(delay_ms);
  resume();
}

}  // namespace sidestream::routing
