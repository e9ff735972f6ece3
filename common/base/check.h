// WEIR_CHECK: an invariant whose breach would corrupt data or money.
//
// Always on, in every build. Never used for what a request, a file or the
// network controls: that is an error, and errors are values.
#pragma once

#include <string>
#include <string_view>

namespace weir::internal {

// Prints `file:line: check failed: expression: detail` to standard error and
// aborts. Writes with one system call, so lines of two threads do not mix.
[[noreturn]] void CheckFailed(const char* file, int line, const char* expression,
                              std::string_view detail);

}  // namespace weir::internal

#define WEIR_CHECK(condition)                                            \
  do {                                                                   \
    if (!(condition)) [[unlikely]] {                                     \
      ::weir::internal::CheckFailed(__FILE__, __LINE__, #condition, ""); \
    }                                                                    \
  } while (false)

// As WEIR_CHECK, with a sentence (anything convertible to std::string_view)
// that is evaluated only when the check fails.
#define WEIR_CHECK_MSG(condition, detail)                                    \
  do {                                                                       \
    if (!(condition)) [[unlikely]] {                                         \
      ::weir::internal::CheckFailed(__FILE__, __LINE__, #condition, detail); \
    }                                                                        \
  } while (false)

// Aborts unless `expression`, an absl::Status, is OK.
#define WEIR_CHECK_OK(expression)                                    \
  do {                                                               \
    const auto weir_check_status = (expression);                     \
    if (!weir_check_status.ok()) [[unlikely]] {                      \
      ::weir::internal::CheckFailed(__FILE__, __LINE__, #expression, \
                                    weir_check_status.ToString());   \
    }                                                                \
  } while (false)
