#include "common/base/id128.h"

#include "absl/strings/str_format.h"
#include "common/base/strings.h"

namespace weir::internal {

std::string Id128ToHex(uint64_t high, uint64_t low) {
  return absl::StrFormat("%016x%016x", high, low);
}

absl::Status Id128FromHex(std::string_view hex, uint64_t* high, uint64_t* low) {
  const auto invalid = [&] {
    return absl::InvalidArgumentError(
        StrCat("an id is 32 hexadecimal digits, got ", hex.size(), " characters"));
  };
  if (hex.size() != 32) return invalid();
  uint64_t words[2] = {0, 0};
  for (size_t i = 0; i < 32; ++i) {
    const char c = hex[i];
    int digit;
    if (c >= '0' && c <= '9') {
      digit = c - '0';
    } else if (c >= 'a' && c <= 'f') {
      digit = c - 'a' + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = c - 'A' + 10;
    } else {
      return invalid();
    }
    words[i / 16] = words[i / 16] << 4 | static_cast<uint64_t>(digit);
  }
  *high = words[0];
  *low = words[1];
  return absl::OkStatus();
}

}  // namespace weir::internal
