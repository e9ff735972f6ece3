#include "common/rpc/snappy.h"

#include <snappy-c.h>

#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/rpc/error.h"
#include "common/rpc/inflate.h"

namespace weir::rpc {
namespace {

// Nothing says more with fewer bytes than a copy of 64 bytes in three.
constexpr int64_t kCopiedBytes = 64;
constexpr int64_t kBytesPerCopy = 3;

absl::Status Damaged(std::string_view how) {
  return Error(absl::StatusCode::kInvalidArgument, v1::UNDECODABLE,
               StrCat("the body is no block of snappy: ", how));
}

}  // namespace

absl::StatusOr<int64_t> DecompressedSize(std::string_view block, int64_t max_bytes) {
  size_t claimed = 0;
  if (snappy_uncompressed_length(block.data(), block.size(), &claimed) != SNAPPY_OK) {
    return Damaged("it does not begin with its length");
  }
  // At most 2^32, which is what the format has.
  const auto size = static_cast<int64_t>(claimed);
  if (size > max_bytes) return MessageTooLarge(max_bytes);
  const int64_t copies = static_cast<int64_t>(block.size()) / kBytesPerCopy + 1;
  if (size > kCopiedBytes * copies) return Damaged("it is too short for what it says it holds");
  return size;
}

absl::Status DecompressSnappy(std::string_view block, int64_t max_bytes, std::string* out) {
  out->clear();
  WEIR_ASSIGN_OR_RETURN(const int64_t size, DecompressedSize(block, max_bytes));
  out->resize(static_cast<size_t>(size));
  size_t written = out->size();
  if (snappy_uncompress(block.data(), block.size(), out->data(), &written) != SNAPPY_OK) {
    out->clear();
    return Damaged("it is cut or damaged");
  }
  return absl::OkStatus();
}

}  // namespace weir::rpc
