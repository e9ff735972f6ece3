#include "common/base/check.h"

#include <unistd.h>

#include <cstdlib>

#include "common/base/strings.h"

namespace weir::internal {

void CheckFailed(const char* file, int line, const char* expression, std::string_view detail) {
  const std::string text = StrCat(file, ":", line, ": check failed: ", expression,
                                  detail.empty() ? "" : ": ", detail, "\n");
  // Nothing can be done about a failed write: the next line ends the process.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text.data(), text.size());
  std::abort();
}

}  // namespace weir::internal
