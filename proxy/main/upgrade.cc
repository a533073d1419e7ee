// upgrade.cc: see the header. Each parcel begins with a letter that says what it is.
#include "proxy/main/upgrade.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "common/clock.h"
#include "common/log.h"
#include "common/text.h"

extern char** environ;

namespace sidestream {
namespace {

constexpr std::string_view kTag = "upgrade";
constexpr const char* kVariable = "INHERIT_SIDESTREAM";
constexpr int64_t kFormat = 1;  // of what goes through the passage
constexpr int kStartMs = 10'000;
constexpr int64_t kServeMs = 25'000;

enum class What : char {
  listener = 'l',  // its address, with the socket
  legacy = 'b',    // the last thing before the next process sets itself up
  listening = 'h',
  yours = 'y',  // replication and `dir`
  serving = 's',
  client = 'c',
};

Parcel parcel(What what, std::string_view text = {}, OwnedDescriptor descriptor = {}) {
  return {std::string(1, static_cast<char>(what)).append(text), std::move(descriptor)};
}

/// Errc::protocol: it is something else.
Result<std::string> content(const Parcel& parcel, What what) {
  if (parcel.text.starts_with(static_cast<char>(what))) return parcel.text.substr(1);
  return Error{Errc::protocol, "the other process speaks another version"};
}

Task<Result<void>> await(World& world, Passage& passage, What what, int64_t timeout_ms) {
  auto coming = passage.receive();
  auto came = co_await with_timeout(world.clock, timeout_ms, "the new process", std::move(coming));
  CO_RETURN_IF_ERROR(came);
  auto right = content(came.value(), what);
  CO_RETURN_IF_ERROR(right);
  co_return Result<void>();
}

/// Where the program came from; another one may lie there by now.
std::string program_path() {
  std::array<char, 4096> path{};
  const ssize_t n = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  std::string text(path.data(), n > 0 ? static_cast<size_t>(n) : 0);
  constexpr std::string_view kReplaced = " (deleted)";
  if (text.ends_with(kReplaced)) text.resize(text.size() - kReplaced.size());
  return text;
}

/// Its process id, with `passage` open in it. Errc::io.
Result<int> start_program(const std::vector<std::string>& arguments, int passage) {
  const std::string program = program_path();
  std::vector<std::string> environment = {fmt::format("{}={}", kVariable, passage)};
  for (char** each = environ; *each != nullptr; ++each) {
    if (!std::string_view(*each).starts_with("WATCHDOG_PID=")) environment.emplace_back(*each);
  }
  std::vector<char*> argv, envp;
  for (const std::string& each : arguments) argv.push_back(const_cast<char*>(each.c_str()));
  for (const std::string& each : environment) envp.push_back(const_cast<char*>(each.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  pid_t child = 0;
  const int failed = ::posix_spawn(&child, program.c_str(), nullptr, nullptr, argv.data(), envp.data());
  if (failed != 0) return Error{Errc::io, "cannot start " + program + ": " + std::strerror(failed)};
  log_notice(kTag, "process {} was started from {}", child, program);
  return static_cast<int>(child);
}

Result<instance::Legacy> parse_legacy(const std::string& text, bool& was_ready) try {
  const auto all = nlohmann::json::parse(text);
  if (all.at("format") != kFormat) return Error{Errc::protocol, "the former process hands over in another format"};
  was_ready = all.at("ready").get<bool>();
  return instance::Legacy{all.at("run-id"), all.at("last-client"), all.at("options").get<Texts>()};
} catch (const nlohmann::json::exception& e) {
  return Error{Errc::protocol, e.what()};
}

}  // namespace

// --- the next process ----------------------------------------------------------------------------------------------

Result<std::optional<Inheritance>> receive_inheritance() {
  const char* variable = std::getenv(kVariable);
  if (variable == nullptr) return std::optional<Inheritance>();
  const auto fd = parse_int(variable);
  ::unsetenv(kVariable);  // it is no option, and not for our own children
  if (!fd) return Error{Errc::protocol, std::string(kVariable) + " is for the program itself"};
  Inheritance all;
  all.passage = OwnedDescriptor(static_cast<int>(*fd));
  ::fcntl(all.passage.get(), F_SETFD, FD_CLOEXEC);
  for (;;) {
    auto received = receive_parcel(all.passage.get(), kStartMs);
    RETURN_IF_ERROR(received);
    Parcel& one = received.value();
    if (auto address = content(one, What::listener); address.ok()) {
      all.listeners.push_back({std::move(address).value(), std::move(one.descriptor)});
      continue;
    }
    auto text = content(one, What::legacy);
    RETURN_IF_ERROR(text);
    auto legacy = parse_legacy(text.value(), all.was_ready);
    RETURN_IF_ERROR(legacy);
    all.legacy = std::move(legacy).value();
    return std::optional<Inheritance>(std::move(all));
  }
}

Task<Result<void>> take_over(instance::Instance& instance, UvWorld& world, Inheritance inheritance,
                             std::function<void()> serving) {
  const auto passage = world.passage(std::move(inheritance.passage));
  auto told = co_await passage->send(parcel(What::listening));
  CO_RETURN_IF_ERROR(told);
  auto ours = co_await await(world.world(), *passage, What::yours, kServeMs);
  CO_RETURN_IF_ERROR(ours);
  instance.share_writes();
  auto started = co_await instance.start();
  CO_RETURN_IF_ERROR(started);
  auto ready = co_await instance.ready_to_serve(inheritance.was_ready);
  CO_RETURN_IF_ERROR(ready);
  auto said = co_await passage->send(parcel(What::serving));
  CO_RETURN_IF_ERROR(said);
  serving();
  size_t clients = 0;
  for (;;) {
    auto received = co_await passage->receive();
    if (!received.ok()) break;  // all has come
    auto text = content(received.value(), What::client);
    auto client = text.ok() ? routing::PassedClient::parse(text.value()) : text.error();
    if (!client.ok()) {
      log_error(kTag, "a client was lost: {}", client.error().detail);
      continue;
    }
    PassedStream stream{std::move(received.value().descriptor), {}};
    instance.adopt_client(std::move(stream), std::move(client).value());
    ++clients;
  }
  log_notice(kTag, "taken over: {} clients came along", clients);
  co_await instance.elder_gone();
  co_return Result<void>();
}

// --- the former process --------------------------------------------------------------------------------------------

Upgrade::Upgrade(std::vector<std::string> arguments, instance::Instance& instance, UvWorld& world,
                 ServiceNotice& notice, std::function<void()> done)
    : arguments_(std::move(arguments)), instance_(instance), world_(world), notice_(notice), done_(std::move(done)) {
  std::erase(arguments_, "--forget-state");  // it was for our own start
}

Result<void> Upgrade::begin() {
  if (!running_.empty()) return Error{Errc::refused, "an upgrade is going on already"};
  if (::getpid() == 1) {
    return Error{
        Errc::refused,
        "this is process 1 of a container, which ends with it: replace the container instead (drain hands over)"};
  }
  instance_.upgrade_state() = {"starting", ""};
  running_.add(run());
  return {};
}

Task<void> Upgrade::run() {
  auto done = co_await hand_over();
  if (!done.ok()) {
    give_up(done.error().detail);
    auto resumed = co_await instance_.resume();
    if (!resumed.ok()) log_error(kTag, "{}", resumed.error().detail);
    co_return;
  }
  log_notice(kTag, "process {} goes on, this one ends", child_);
  done_();
}

void Upgrade::give_up(const std::string& why) {
  log_error(kTag, "given up, all is as before: {}", why);
  instance_.upgrade_state() = {"failed", why};
  sending_.cancel_all();
  clients_.clear();
  passage_.reset();
  world_.give_listeners_away(false);
  end_child();
}

void Upgrade::end_child() {
  if (child_ <= 0) return;
  ::kill(child_, SIGKILL);
  ::waitpid(std::exchange(child_, -1), nullptr, 0);
}

Task<Result<void>> Upgrade::hand_over() {
  auto ends = make_passage();
  CO_RETURN_IF_ERROR(ends);
  auto child = start_program(arguments_, ends.value().second.get());
  CO_RETURN_IF_ERROR(child);
  child_ = child.value();
  ends.value().second = OwnedDescriptor();
  passage_ = world_.passage(std::move(ends.value().first));
  World& world = world_.world();
  auto introduced = co_await introduce(*passage_);
  CO_RETURN_IF_ERROR(introduced);
  auto retired = co_await instance_.retire();
  CO_RETURN_IF_ERROR(retired);
  auto given = co_await passage_->send(parcel(What::yours));
  CO_RETURN_IF_ERROR(given);
  auto serves = co_await await(world, *passage_, What::serving, kServeMs);
  CO_RETURN_IF_ERROR(serves);
  world_.give_listeners_away(true);
  instance_.upgrade_state().state = "passing";
  broken_ = false;
  sending_.add(send_clients());
  instance::Instance::TakeClient take = [this](PassedStream stream, routing::PassedClient client) {
    clients_.push_back(parcel(What::client, client.text(), std::move(stream.socket)));
    more_clients_.notify_all();
  };
  co_await instance_.pass_clients(std::move(take));
  while (!clients_.empty() && !broken_) co_await world.clock.sleep(1);
  if (broken_) co_return Error{Errc::closed, "the new process ended while clients were passed on"};
  notice_.main_process_is(child_);
  co_return Result<void>();
}

/// Until the next process has set itself up with what it got.
Task<Result<void>> Upgrade::introduce(Passage& passage) {
  for (PassedListener& each : world_.listeners()) {
    auto sent = co_await passage.send(parcel(What::listener, each.address, std::move(each.socket)));
    CO_RETURN_IF_ERROR(sent);
  }
  const instance::Legacy legacy = instance_.legacy();
  const nlohmann::json all = {{"format", kFormat},
                              {"run-id", legacy.run_id},
                              {"last-client", legacy.last_client},
                              {"options", legacy.options},
                              {"ready", instance_.group().readiness().ready}};
  auto sent = co_await passage.send(parcel(What::legacy, all.dump()));
  CO_RETURN_IF_ERROR(sent);
  auto listens = co_await await(world_.world(), passage, What::listening, kStartMs);
  if (listens.ok()) co_return Result<void>();
  co_return Error{Errc::closed, "the new process did not start (it says why on standard error or in its log): " +
                                    listens.error().detail};
}

Task<void> Upgrade::send_clients() {
  for (;;) {
    while (clients_.empty()) co_await more_clients_.wait();
    Parcel next = std::move(clients_.front());
    auto sent = co_await passage_->send(std::move(next));
    clients_.pop_front();
    if (sent.ok()) continue;
    broken_ = true;
    co_return;
  }
}

}  // namespace sidestream
