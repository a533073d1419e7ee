// client_scripts.cc: EVAL, FCALL and their kin, SCRIPT and FUNCTION KILL.
//
// A script has a server's attention alone: a private connection. What only reads (by name, by its shebang, by what a
// server said of the function) goes to a replica under the read policy, in its _RO form, so that no server writes
// however it may have changed meanwhile. The request stays in the input until an answer came that counts: when the
// replica is behind, does not know the script or refuses it as a writer, the request is run again, at the primary; when
// the primary does not know a script that we do, the script is loaded and the request run again.
#include <utility>

#include "common/text.h"
#include "proxy/resp/writer.h"
#include "proxy/routing/client_session.h"
#include "proxy/routing/core.h"

namespace sidestream::routing {
namespace {

using resp::CommandClass;

constexpr std::string_view kReadOnly = "READONLY You can't write against a read only replica.";
constexpr std::string_view kReadOnlyFrame = "-READONLY You can't write against a read only replica.\r\n";
constexpr size_t kNameMax = 256;  // of a function, or a SHA-1; longer is the text of a script
constexpr std::string_view kDemoted = "-UNBLOCKED force unblock from blocking operation";
constexpr std::string_view kNoScript = "-NOSCRIPT";
constexpr std::string_view kNoFunction = "-ERR Function not found";
constexpr std::string_view kWriter = "-ERR Can not execute a script with write flag";
constexpr std::string_view kWriteInReader = "-ERR Write commands are not allowed from read-only scripts.";

std::string load_command(const std::string& body) { return resp::command({"SCRIPT", "LOAD", body}); }

}  // namespace

ClientSession::Taken ClientSession::script(const Entry& entry) {
  if (partial_ && core_.short_of_replicas && entry.writes) return answer_error(kNoReplicas);
  if (partial_) return private_command(entry, false);  // passed on as it comes, it cannot be run again
  const Taken taken = run_script(entry);
  if (taken == Taken::yes) {  // refused
    script_.reset();
    return taken;
  }
  return Taken::not_yet;
}

ClientSession::Taken ClientSession::run_script(const Entry& entry) {
  if (!script_) {
    script_ = std::make_unique<ScriptRun>();
    script_->is_function = entry.name.starts_with("fcall");
    if (request_.args[1].size() <= kNameMax) script_->name = request_.args[1];
    learn_script(entry);
  }
  const ScriptCall call = look_at_script(*core_.commands, core_.commons.scripts, entry, request_.args);
  if (face_ == Face::read_only && (call.effect == Effect::writes || call.reader == nullptr)) {
    return answer_error(kReadOnly);
  }
  if (face_ != Face::read_only && refused_for_want_of_replicas(entry, call)) return answer_error(kNoReplicas);
  if (lease_ == nullptr && replies_.owed() > 0) return pause(Pause::drained);
  if (lease_ == nullptr && call.effect != Effect::writes && !script_->at_primary && read_script(call)) {
    return Taken::not_yet;
  }
  script_->restrained = entry.writes && (face_ == Face::read_only || core_.short_of_replicas) && lease_ == nullptr;
  const Taken taken = script_->restrained ? read_script_at_primary(call) : private_command(entry, false);
  if (taken == Taken::not_yet || pause_ != Pause::reply) return taken;
  script_->sequence = replies_.last();
  script_->at_replica = false;
  return Taken::not_yet;
}

/// Stock refuses at once what says that it writes, and what says nothing at its first write. That one is run in its
/// reading form, and the server refuses the write; where there is no such form (before 7.0, or on a connection with a
/// state) it is refused too.
bool ClientSession::refused_for_want_of_replicas(const Entry& entry, const ScriptCall& call) const {
  if (!core_.short_of_replicas || !entry.writes || call.effect == Effect::reads) return false;
  if (call.reader == nullptr || lease_ != nullptr) return true;
  if (entry.name == "fcall") return call.effect == Effect::writes;
  return entry.name == "eval" && request_.args[1].starts_with("#!");
}

/// False: no replica may answer, or none can at once.
bool ClientSession::read_script(const ScriptCall& call) {
  const KeyFacts keys = keys_of(*call.reader, false);
  const ReadNeed need = need_of(core_.config, core_.freshness, {policy_, read_after_}, *call.reader, request_.args,
                                false, keys, core_.hashes);
  const Decision decision = core_.servers.route(need);
  if (decision.target < 0) return false;
  Target& target = core_.servers.target(decision.target);
  lease_ = borrow_from(target);
  if (lease_ == nullptr) return false;
  lease_use_ = LeaseUse::one_command;
  pause_ = Pause::reply;
  script_->at_replica = true;
  core_.count(decision.reason);
  KeyFacts any;
  any.bits = kAnyKey;
  read_at(target, *lease_, any, need.proof(), reading_form(*call.reader), 0);
  script_->sequence = replies_.last();
  return true;
}

/// On the port that never writes, and for want of replicas, what may be a writer is asked in its reading form there
/// too.
ClientSession::Taken ClientSession::read_script_at_primary(const ScriptCall& call) {
  if (!borrow_lease(LeaseUse::one_command)) return hold(false);
  ++core_.counters.reads_primary;
  pause_ = Pause::reply;
  lease_->send_private(reading_form(*call.reader), reply_to(expect(Lane::primary, {})), nullptr);
  return Taken::yes;
}

std::string_view ClientSession::reading_form(const Entry& reader) {
  std::vector<std::string_view> args(request_.args.begin(), request_.args.end());
  args[0] = reader.name;
  core_.encoded.clear();
  resp::append_command(core_.encoded, args);
  return core_.encoded;
}

/// Scripts that come by are remembered, before they are run.
void ClientSession::learn_script(const Entry& entry) {
  if (entry.cls != CommandClass::script && entry.cls != CommandClass::scripts) return;
  const Args args = request_.args;
  if (entry.name == "script|load") core_.commons.scripts.add(args[2]);
  if (entry.name != "eval" && entry.name != "eval_ro") return;
  if (!core_.commons.scripts.add(args[1]) || effect_of_script(args[1]) == Effect::writes) return;
  // It may run at replicas only, and the primary is who answers SCRIPT EXISTS.
  ServerConnection* primary = core_.servers.primary_shared(protocol_, db_, login_.guest);
  if (primary != nullptr) primary->send_silent(load_command(std::string(args[1])));
}

/// What the client gets of the reply; nothing: the request will be run again.
std::string_view ClientSession::script_reply(std::string_view frame) {
  ScriptRun& run = *script_;
  if (run.blocks) {
    const bool at_node = lease_ != nullptr && !lease_->plan().is_instance;
    run.again = frame.starts_with(kDemoted) || (at_node && frame == kReadOnlyFrame);
    return run.again ? std::string_view{} : frame;
  }
  const bool refused = frame.starts_with("-READONLY") || frame.starts_with(kWriter);
  const bool missing = frame.starts_with(kNoScript);
  const auto body = missing ? core_.commons.scripts.body(run.name) : nullptr;
  const bool loadable = body != nullptr && lease_ != nullptr && !run.loaded;
  if (loadable) {  // for this time or, at a replica, for the next
    lease_->send_silent(load_command(*body));
    run.loaded = !run.at_replica;
  }
  if (!run.at_replica) {
    const bool at_a_write = run.restrained && frame.starts_with(kWriteInReader);
    if (at_a_write || (refused && (run.restrained || core_.short_of_replicas))) return restrained_reply(frame);
    run.again = loadable;
    return loadable ? std::string_view{} : frame;
  }
  run.again = frame.empty() || refused || missing || frame.starts_with(kNoFunction);
  run.at_primary = run.again;
  if (run.is_function && refused) core_.commons.scripts.learn_function(run.name, Effect::writes);
  if (run.is_function && !run.again) core_.commons.scripts.learn_function(run.name, Effect::reads);
  return run.again ? std::string_view{} : frame;
}

/// What the server would say if it were it that wants no writes.
std::string_view ClientSession::restrained_reply(std::string_view frame) {
  if (face_ == Face::read_only) return frame.starts_with(kWriteInReader) ? frame : kReadOnlyFrame;
  const bool at_the_write = frame.starts_with(kWriteInReader);
  core_.encoded = "-" + std::string(kNoReplicas);
  core_.encoded += at_the_write ? frame.substr(kWriteInReader.size()) : std::string_view("\r\n");
  return core_.encoded;
}

/// The reply has been passed on: the request is done with, unless it is to be run again.
void ClientSession::finish_script() {
  if (script_->again) return;
  script_.reset();
  input_.consume(parser_.consumed());
  if (hold_until_us_ != 0) end_hold();
  if (reply_mode_ == ReplyMode::skip_next) reply_mode_ = ReplyMode::on;
}

// --- every server --------------------------------------------------------------------------------------------------

/// SCRIPT LOAD and FLUSH: the primary's reply counts. Replicas get the same unasked; who is away now says NOSCRIPT
/// later, and is helped then.
ClientSession::Taken ClientSession::script_everywhere(const Entry& entry) {
  if (entry.name.ends_with("|kill")) return kill_scripts();
  if (may_not_write(entry) || face_ == Face::read_only) return answer_error(kReadOnly);
  const Taken taken = private_command(entry, false);
  if (taken == Taken::yes) tell_scripts(entry);
  return taken;
}

void ClientSession::tell_scripts(const Entry& entry) {
  const bool flush = entry.name == "script|flush";
  if (flush) core_.commons.scripts.forget_scripts();
  if (entry.name == "script|load") learn_script(entry);
  if (flush || entry.name == "script|load") core_.servers.tell_replicas(wire_request(), flush);
}

/// Whoever runs one.
ClientSession::Taken ClientSession::kill_scripts() {
  if (replies_.owed() > 0) return pause(Pause::drained);
  pause_ = Pause::step;
  tasks_.add(kill_scripts_at_servers(std::string(wire_request())));
  return Taken::yes;
}

Task<void> ClientSession::kill_scripts_at_servers(std::string request) {
  const std::vector<std::string> frames = co_await core_.ask_servers(std::move(request));
  // One success is success; else one that cannot be killed counts more than those that run nothing.
  std::string said = "-MASTERDOWN no server can be asked just now; try again.\r\n";
  const auto weight = [](const std::string& frame) {
    if (frame.starts_with('+')) return 3;
    return frame.starts_with("-MASTERDOWN") ? 0 : frame.starts_with("-NOTBUSY") ? 1 : 2;
  };
  for (const std::string& frame : frames) {
    if (weight(frame) > weight(said)) said = frame;
  }
  finish_step(said);
}

}  // namespace sidestream::routing
