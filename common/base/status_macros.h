// WEIR_RETURN_IF_ERROR and WEIR_ASSIGN_OR_RETURN, shaped like those of later
// Abseils, so that they can be deleted one day.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define WEIR_RETURN_IF_ERROR(expression)       \
  do {                                         \
    ::absl::Status weir_status = (expression); \
    if (!weir_status.ok()) [[unlikely]]        \
      return weir_status;                      \
  } while (false)

#define WEIR_STATUS_CONCAT_INNER(a, b) a##b
#define WEIR_STATUS_CONCAT(a, b) WEIR_STATUS_CONCAT_INNER(a, b)

// WEIR_ASSIGN_OR_RETURN(const int n, ParseCount(text));
#define WEIR_ASSIGN_OR_RETURN(lhs, expression) \
  WEIR_ASSIGN_OR_RETURN_INNER(WEIR_STATUS_CONCAT(weir_statusor_, __LINE__), lhs, expression)
#define WEIR_ASSIGN_OR_RETURN_INNER(statusor, lhs, expression) \
  auto statusor = (expression);                                \
  if (!statusor.ok()) [[unlikely]]                             \
    return std::move(statusor).status();                       \
  lhs = std::move(statusor).value()
