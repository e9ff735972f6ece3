// Snappy's block format, decompressed within bounds: how remote write comes.
//
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace weir::rpc {

// How many bytes a block says that it decompresses to, which is how many
// DecompressSnappy allocates.
// Errors: InvalidArgument (UNDECODABLE) when it does not say, or says more than any
// block of its length holds; ResourceExhausted (MESSAGE_TOO_LARGE) for more than
// `max_bytes`.
absl::StatusOr<int64_t> DecompressedSize(std::string_view block, int64_t max_bytes);

// Replaces `*out` with what `block` decompresses to; there is one allocation.
// Errors: as DecompressedSize; InvalidArgument (UNDECODABLE) for a damaged block.
absl::Status DecompressSnappy(std::string_view block, int64_t max_bytes, std::string* out);

}  // namespace weir::rpc
