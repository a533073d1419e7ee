// config_file.h: the YAML file. Only here is yaml-cpp, and it only finds scalars and their places: numbers, sizes and
// the rest are read from the scalars' texts by the option table.
//
//   file    = mapping of NAME : value, sections as nested mappings
//   scalar  = text with "${" NAME [ ":-" default | ":?" message ] "}", and "$${" for a literal "${"
//
// `${NAME}` needs the variable, `:-` gives a text for one that is missing or empty, `:?` words for the error.
// Failure modes: every mistake is a problem with FILE:LINE:COLUMN (from 1); a text that is no YAML gives one.
#pragma once

#include <string>
#include <string_view>

#include "config/sources.h"

namespace sidestream {

/// Reads the file at `path` into `into`.
void load_file(const std::string& path, const Texts& environment, Loaded& into);
/// The same for text at hand; `name` stands in the problems.
void load_yaml(const std::string& name, const std::string& text, const Texts& environment, Loaded& into);
/// A whole regular file, at most `max_bytes`. Errc::io with the system's words.
Result<std::string> read_whole_file(const std::string& path, size_t max_bytes);

}  // namespace sidestream
