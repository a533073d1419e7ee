// replace_file.cc: see replace_file.h.
#include "common/replace_file.h"

#include <utility>

namespace sidestream {

Task<Result<void>> replace_file(Files& files, std::string directory, std::string name, std::string bytes) {
  const std::string wanted = directory + "/" + name;
  const std::string fresh = wanted + ".new";
  auto made = co_await files.make_directory(std::move(directory));
  CO_RETURN_IF_ERROR(made);
  auto file = co_await files.open(fresh, Files::Mode::create);
  CO_RETURN_IF_ERROR(file);
  auto written = co_await file.value()->write_at(0, bytes);
  CO_RETURN_IF_ERROR(written);
  auto synced = co_await file.value()->sync();
  CO_RETURN_IF_ERROR(synced);
  co_return co_await files.rename(fresh, wanted);
}

}  // namespace sidestream
