// 128-bit identifiers that cannot be confused with one another.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace weir {

namespace internal {
std::string Id128ToHex(uint64_t high, uint64_t low);
absl::Status Id128FromHex(std::string_view hex, uint64_t* high, uint64_t* low);
}  // namespace internal

// `Tag` is an empty struct that names what is identified.
// Thread safety: a value, thread-compatible.
template <typename Tag>
struct Id128 {
  uint64_t high = 0;
  uint64_t low = 0;

  // 16 bytes, most significant first: byte order and numeric order agree.
  std::string ToBytes() const {
    std::string bytes(16, '\0');
    for (int i = 0; i < 8; ++i) {
      bytes[i] = static_cast<char>(high >> (56 - 8 * i));
      bytes[8 + i] = static_cast<char>(low >> (56 - 8 * i));
    }
    return bytes;
  }
  // REQUIRES: bytes.size() == 16.
  static Id128 FromBytes(std::string_view bytes) {
    Id128 id;
    for (int i = 0; i < 8; ++i) {
      id.high = id.high << 8 | static_cast<unsigned char>(bytes[i]);
      id.low = id.low << 8 | static_cast<unsigned char>(bytes[8 + i]);
    }
    return id;
  }

  // 32 lower-case hexadecimal digits.
  std::string ToHex() const { return internal::Id128ToHex(high, low); }
  // Errors: InvalidArgument unless `hex` is 32 hexadecimal digits.
  static absl::StatusOr<Id128> FromHex(std::string_view hex) {
    Id128 id;
    absl::Status status = internal::Id128FromHex(hex, &id.high, &id.low);
    if (!status.ok()) return status;
    return id;
  }

  bool zero() const { return high == 0 && low == 0; }

  friend auto operator<=>(const Id128&, const Id128&) = default;
  template <typename H>
  friend H AbslHashValue(H state, const Id128& id) {
    return H::combine(std::move(state), id.high, id.low);
  }
};

// One WAL directory, for ever: drawn at random when the directory is created.
struct WalTag {};
using WalId = Id128<WalTag>;

}  // namespace weir
