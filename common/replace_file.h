// replace_file.h: a small file that is there as a whole or as it was before, whatever happens in between.
//
// Happy path: written beside the old one, synced, put in its place. Failure modes: Errc::io; the old one stays.
#pragma once

#include <string>

#include "common/files.h"

namespace sidestream {

/// Makes the directory if it is missing.
Task<Result<void>> replace_file(Files& files, std::string directory, std::string name, std::string bytes);

}  // namespace sidestream
