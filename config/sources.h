// sources.h: one configuration out of all places that have a say: flag before environment before file before default,
// and what was changed at run time before all of them. Remembers who had the last word on each option.
//
// Happy path: load(inputs), `problems` is empty, `config` is checked and complete. To reload, call load() again with
// the same inputs. Failure modes: every mistake of every source is in `problems`, not only the first.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/options.h"

namespace sidestream {

/// Environment variables, or options by name.
using Texts = std::map<std::string, std::string, std::less<>>;

/// In the order of precedence.
enum class Source { preset, file, environment, flag, state };

struct Origin {
  Source source = Source::preset;
  std::string where;  // "sidestream.yaml:3:7", "SIDESTREAM_DIR", "--dir"
};

struct Problem {
  Origin origin;
  std::string text;
  /// "sidestream.yaml:3:7: threads: wanted ..."
  std::string line() const { return origin.where + ": " + text; }
};

/// One option from the command line.
struct Flag {
  std::string name;  // of the option
  std::string text;
  std::string where;  // as the user typed it: "--node"
};

struct Inputs {
  std::string file;         // path; empty: none
  Texts environment;        // of the process, also for ${NAME} in the file
  std::vector<Flag> flags;  // the last of several wins
  Texts state;              // option -> text, changed at run time and kept in `dir`
};

struct Loaded {
  Config config;
  std::map<const Option*, Origin> origins;  // absent: default
  std::vector<Problem> problems;
  std::vector<std::string> warnings;  // a variable that looks like a misspelt option; a state entry that no longer fits

  Origin origin(const Option& option) const;
  void blame(Origin origin, std::string text) { problems.push_back({std::move(origin), std::move(text)}); }
  /// set() with bookkeeping: notes the origin, or the problem.
  void apply(const Option& option, std::string_view text, Origin origin);
};

Loaded load(const Inputs& inputs);
/// The files that hold secrets and certificates: what may be replaced at any time.
std::vector<std::string> watched_files(const Config& config);

/// "SIDESTREAM_LOG_LEVEL" for log.level.
std::string variable_of(const Option& option);
/// The environment of this process.
Texts process_environment();

}  // namespace sidestream
