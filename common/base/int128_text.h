// Exact 128-bit sums as decimal text: how stores and answers carry them.
#pragma once

#include <string>
#include <string_view>

#include "absl/numeric/int128.h"
#include "absl/status/statusor.h"

namespace weir {

// "-170141183460469231731687303715884105728" at its longest.
std::string Int128ToString(absl::int128 value);

// Appends the digits; the flush path formats a row without an allocation.
void AppendInt128(absl::int128 value, std::string* out);

// Errors: InvalidArgument unless `text` is an optional '-' and 1 to 39 digits
// within 128 bits.
absl::StatusOr<absl::int128> Int128FromString(std::string_view text);

}  // namespace weir
