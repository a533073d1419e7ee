// sources.cc: the layers, from the weakest to the strongest, then the password files, then what only shows when all
// values are known.
#include "config/sources.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "common/text.h"
#include "config/config_file.h"
#include "config/tls_config.h"
#include "config/users.h"

namespace sidestream {
namespace {

constexpr std::string_view kPrefix = "SIDESTREAM_";
constexpr size_t kMaxSecretBytes = 4096;

void apply_environment(const Texts& environment, Loaded& loaded) {
  std::vector<std::string> names;
  for (const Option& option : options()) {
    const std::string name = variable_of(option);
    const auto found = environment.find(name);
    if (found != environment.end()) loaded.apply(option, found->second, {Source::environment, name});
    names.push_back(name);
  }
  // Others may stand there for good: Kubernetes sets SIDESTREAM_SERVICE_HOST for a service of our name.
  for (const auto& [name, text] : environment) {
    if (!name.starts_with(kPrefix) || std::find(names.begin(), names.end(), name) != names.end()) continue;
    const std::string meant = name.size() > 64 ? "" : closest(name, names);
    if (!meant.empty()) loaded.warnings.push_back(fmt::format("{} is no option and ignored; {} is one", name, meant));
  }
}

void apply_flags(const std::vector<Flag>& flags, Loaded& loaded) {
  for (const Flag& flag : flags) {
    const Origin origin{Source::flag, flag.where};
    const Option* option = find_option(flag.name);
    if (option != nullptr && option->secret) {
      loaded.blame(origin,
                   fmt::format("{} on a command line can be read by everybody on this machine (ps); put it into "
                               "the environment ({}), the configuration, or a file that the configuration names",
                               option->name, variable_of(*option)));
    } else if (option != nullptr) {
      loaded.apply(*option, flag.text, origin);
    } else {
      loaded.blame(origin, fmt::format("unknown option '{}'{}", printable(flag.name), did_you_mean(flag.name)));
    }
  }
}

/// What we wrote ourselves must not keep us from starting: what no longer fits is left out, with a warning.
void apply_state(const Texts& state, Loaded& loaded) {
  for (const auto& [name, text] : state) {
    const Option* option = find_option(name);
    auto done =
        option == nullptr ? Result<void>(Error{Errc::config, "unknown option"}) : set(loaded.config, *option, text);
    if (done.ok()) {
      loaded.origins[option] = {Source::state, "kept from run time"};
    } else {
      loaded.warnings.push_back(fmt::format("kept from run time, but ignored: {}: {}", name, done.error().detail));
    }
  }
}

/// `requirepass` or `requirepass-file`, whichever the stronger source gave.
void read_secret(std::string_view name, Loaded& loaded) {
  const Option& plain = *find_option(name);
  const Option& file = *find_option(fmt::format("{}-file", name));
  const std::string path = get(loaded.config, file);
  if (path.empty()) return;
  const Origin origin = loaded.origin(file);
  const Source other = loaded.origin(plain).source;
  if (other > origin.source) return;
  if (other == origin.source) {
    return loaded.blame(origin, fmt::format("{}: {} is given as well; leave one of them out", file.name, name));
  }
  auto secret = read_whole_file(path, kMaxSecretBytes);
  if (!secret.ok()) {
    return loaded.blame(origin,
                        fmt::format("{}: '{}' cannot be read: {}", file.name, printable(path), secret.error().detail));
  }
  std::string_view text = secret.value();
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text.ends_with('\r')) text.remove_suffix(1);
  if (text.empty()) return loaded.blame(origin, fmt::format("{}: '{}' is empty", file.name, printable(path)));
  loaded.apply(plain, text, origin);
}

/// It is used all the same: whether that matters is for the other side to say.
void warn_of_expired(std::string_view option, const TlsInForce::Context& context, Loaded& loaded) {
  if (context == nullptr || context->expires_s() == 0 || context->expires_s() > std::time(nullptr)) return;
  loaded.warnings.push_back(fmt::format("{}: the certificate has expired; who checks it will not connect", option));
}

/// Certificates that cannot be used are found before the first client finds them.
void check_certificates(Loaded& loaded) {
  TlsInForce scratch;
  auto usable = load_tls(loaded.config, scratch);
  warn_of_expired("tls.listen-cert", scratch.server(), loaded);
  warn_of_expired("tls.node-cert", scratch.client(), loaded);
  if (usable.ok()) return;
  for (const std::string_view name :
       {"tls.listen-cert", "tls.listen-key", "tls.client-ca", "tls.node-cert", "tls.node-key", "tls.node-ca"}) {
    const std::string path = get(loaded.config, name);
    if (path.empty() || usable.error().detail.find("'" + path + "'") == std::string::npos) continue;
    return loaded.blame(loaded.origin(*find_option(name)), fmt::format("{}: {}", name, usable.error().detail));
  }
  loaded.blame(loaded.origin(*find_option("tls.node-ca")), fmt::format("tls: {}", usable.error().detail));
}

}  // namespace

Origin Loaded::origin(const Option& option) const {
  const auto found = origins.find(&option);
  return found == origins.end() ? Origin{Source::preset, "default"} : found->second;
}

void Loaded::apply(const Option& option, std::string_view text, Origin origin) {
  auto done = set(config, option, text);
  if (!done.ok()) return blame(std::move(origin), fmt::format("{}: {}", option.name, done.error().detail));
  origins[&option] = std::move(origin);
}

Loaded load(const Inputs& inputs) {
  Loaded loaded;
  if (!inputs.file.empty()) load_file(inputs.file, inputs.environment, loaded);
  apply_environment(inputs.environment, loaded);
  apply_flags(inputs.flags, loaded);
  apply_state(inputs.state, loaded);
  read_secret("masterauth", loaded);
  read_secret("requirepass", loaded);
  read_secret("admin-token", loaded);
  load_users(loaded);
  if (!loaded.problems.empty()) return loaded;  // of half a configuration they would be misleading
  for (const Conflict& conflict : conflicts(loaded.config)) {
    Origin origin = loaded.origin(*find_option(conflict.option));
    if (origin.source == Source::preset) origin.where = inputs.file.empty() ? "configuration" : inputs.file + ":1:1";
    loaded.blame(std::move(origin), fmt::format("{}: {}", conflict.option, conflict.text));
  }
  if (loaded.problems.empty()) check_certificates(loaded);
  return loaded;
}

std::vector<std::string> watched_files(const Config& config) {
  std::vector<std::string> files = {config.masterauth_file,  config.requirepass_file, config.aclfile,
                                    config.admin_token_file, config.tls.listen_cert,  config.tls.listen_key,
                                    config.tls.client_ca,    config.tls.node_ca,      config.tls.node_cert,
                                    config.tls.node_key};
  for (const UserConfig& user : config.users) {
    files.insert(files.end(), user.password_files.begin(), user.password_files.end());
  }
  return files;
}

std::string variable_of(const Option& option) {
  std::string name = to_upper(option.name);
  std::replace_if(name.begin(), name.end(), [](char c) { return c == '-' || c == '.'; }, '_');
  return std::string(kPrefix) + name;
}

Texts process_environment() {
  Texts texts;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view line = *entry;
    const size_t equals = line.find('=');
    if (equals != std::string_view::npos) texts.emplace(line.substr(0, equals), line.substr(equals + 1));
  }
  return texts;
}

}  // namespace sidestream
