// all_clients.cc: see all_clients.h.
#include "proxy/routing/all_clients.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "common/text.h"
#include "proxy/resp/writer.h"
#include "proxy/routing/client_session.h"
#include "proxy/routing/core.h"

namespace sidestream::routing {
namespace {

using resp::error;
using resp::integer;
using resp::simple;

constexpr std::string_view kSyntax = "ERR syntax error";

bool is_client_type(std::string_view type) {
  return iequals(type, "normal") || iequals(type, "master") || iequals(type, "slave") || iequals(type, "replica") ||
         iequals(type, "pubsub");
}

bool has_type(const ClientSession& session, std::string_view type) {
  if (iequals(type, "normal")) return !session.subscribed();
  return iequals(type, "pubsub") && session.subscribed();
}

/// One server has done all that came before CLIENT PAUSE when it answers +OK, and who compares offsets then relies on
/// it.
Task<bool> writes_answered(Core& core, int64_t deadline_ms) {
  constexpr int64_t kStepMs = 1;
  auto quiet = std::make_shared<bool>();
  for (;;) {
    *quiet = true;
    Visit visit = [quiet](Core& each) { *quiet = *quiet && each.quiet(); };
    co_await core.everywhere(std::move(visit));
    if (*quiet || core.world.clock.now_ms() >= deadline_ms) co_return *quiet;
    co_await core.world.clock.sleep(kStepMs);
  }
}

/// What CLIENT KILL selects by; what is empty selects everybody.
struct KillFilter {
  std::optional<uint64_t> id;
  std::string address, local_address, type, user;
  bool skip_me = true;

  /// Empty, or the error.
  std::string parse(std::span<const std::string> options, const Users& users) {
    for (size_t i = 0; i < options.size(); i += 2) {
      if (i + 1 >= options.size()) return error(kSyntax);
      const std::string& option = options[i];
      const std::string& value = options[i + 1];
      if (iequals(option, "id")) {
        const auto number = parse_int(value);
        if (!number || *number < 1) return error("ERR client-id should be greater than 0");
        id = static_cast<uint64_t>(*number);
      } else if (iequals(option, "type")) {
        if (!is_client_type(value)) return error("ERR Unknown client type '" + value + "'");
        type = to_lower(value);
      } else if (iequals(option, "addr")) {
        address = value;
      } else if (iequals(option, "laddr")) {
        local_address = value;
      } else if (iequals(option, "user")) {
        if (users.find(value) == nullptr) return error("ERR No such user '" + value + "'");
        user = value;
      } else if (iequals(option, "skipme")) {
        if (!iequals(value, "yes") && !iequals(value, "no")) return error(kSyntax);
        skip_me = iequals(value, "yes");
      } else {
        return error(kSyntax);
      }
    }
    return {};
  }

  /// CLIENT KILL TYPE of something that is not a client here.
  bool means_links() const {
    const bool links = type == "master" || type == "slave" || type == "replica";
    return links && !id && address.empty() && local_address.empty() && user.empty();
  }

  bool fits(const ClientSession& session, uint64_t me) const {
    if (id && session.id() != *id) return false;
    if (!address.empty() && session.peer() != address) return false;
    if (!local_address.empty() && session.local() != local_address) return false;
    if (!type.empty() && !has_type(session, type)) return false;
    if (!user.empty() && session.login().user->name() != user) return false;
    return !skip_me || session.id() != me;
  }
};

Task<std::string> pause(Core& core, std::vector<std::string> args) {
  int64_t until_ms = 0;
  bool writes_only = false;
  if (iequals(args[1], "pause")) {
    const auto ms = parse_int(args[2]);
    if (!ms) co_return error("ERR timeout is not an integer or out of range");
    if (*ms < 0) co_return error("ERR timeout is negative");
    writes_only = args.size() == 4 && iequals(args[3], "write");
    if (args.size() == 4 && !writes_only && !iequals(args[3], "all")) {
      co_return error("ERR CLIENT PAUSE mode must be WRITE or ALL");
    }
    constexpr int64_t kLongestMs = int64_t{1} << 40;
    until_ms = core.world.clock.now_ms() + std::min(*ms, kLongestMs);
  }
  Visit visit = [until_ms, writes_only](Core& each) { each.pause_clients(until_ms, !writes_only); };
  co_await core.everywhere(std::move(visit));
  if (until_ms == 0) co_return simple("OK");
  const int64_t patience_ms = core.world.clock.now_ms() + core.config.hold.timeout_ms;
  const bool answered = co_await writes_answered(core, std::min(until_ms, patience_ms));
  if (!answered) co_return error("ERR paused, but writes that were sent before are not answered yet; ask again");
  co_return simple("OK");
}

Task<std::string> list(Core& core, int protocol, std::vector<std::string> args) {
  std::string type;
  std::vector<uint64_t> ids;
  if (args.size() == 4 && iequals(args[2], "type")) {
    type = args[3];
    if (!is_client_type(type)) co_return error("ERR Unknown client type '" + type + "'");
  } else if (args.size() > 3 && iequals(args[2], "id")) {
    for (size_t i = 3; i < args.size(); ++i) {
      const auto id = parse_int(args[i]);
      if (!id) co_return error("ERR Invalid client ID");
      ids.push_back(static_cast<uint64_t>(*id));
    }
  } else if (args.size() != 2) {
    co_return error(kSyntax);
  }
  auto lines = std::make_shared<std::map<uint64_t, std::string>>();
  Visit visit = [lines, type, ids](Core& each) {
    const int64_t now_ms = each.world.clock.now_ms();
    for (const ClientSession* session : each.sessions.all()) {
      if (!type.empty() && !has_type(*session, type)) continue;
      if (!ids.empty() && std::find(ids.begin(), ids.end(), session->id()) == ids.end()) continue;
      (*lines)[session->id()] = session->describe(now_ms) + "\n";
    }
  };
  co_await core.everywhere(std::move(visit));
  std::string text;
  for (const auto& [id, line] : *lines) text += line;
  std::string frame;
  resp::append_text(frame, text, protocol);
  co_return frame;
}

Task<AllClientsAnswer> kill(Core& core, Asker asker, std::vector<std::string> args) {
  KillFilter filter;
  const bool old_form = args.size() == 3;
  if (old_form) {
    filter.address = args[2];
    filter.skip_me = false;
  } else {
    const std::span<const std::string> options = std::span<const std::string>(args).subspan(2);
    std::string refused = filter.parse(options, *core.users);
    if (!refused.empty()) co_return AllClientsAnswer{refused};
  }
  struct Killed {
    int64_t count = 0;
    bool asker = false;
  };
  auto killed = std::make_shared<Killed>();
  Visit visit = [killed, filter, asker](Core& each) {
    for (ClientSession* session : each.sessions.all()) {
      if (!filter.fits(*session, asker.id) || (asker.reconfigures && !session->concerned_by_role())) continue;
      ++killed->count;
      session->id() == asker.id ? void(killed->asker = true) : session->kill();
    }
    if (each.index == 0 && filter.means_links()) {
      killed->count += static_cast<int64_t>(each.host.kill_links(filter.type));
    }
  };
  co_await core.everywhere(std::move(visit));
  if (!old_form) co_return AllClientsAnswer{integer(killed->count), killed->asker};
  co_return AllClientsAnswer{killed->count > 0 ? simple("OK") : error("ERR No such client"), killed->asker};
}

}  // namespace

Task<AllClientsAnswer> ask_all_clients(Core& core, Asker asker, std::vector<std::string> args) {
  if (iequals(args[1], "kill")) co_return co_await kill(core, asker, std::move(args));
  const bool lists = iequals(args[1], "list");
  auto reply = lists ? list(core, asker.protocol, std::move(args)) : pause(core, std::move(args));
  std::string frame = co_await reply;
  co_return AllClientsAnswer{std::move(frame)};
}

}  // namespace sidestream::routing
