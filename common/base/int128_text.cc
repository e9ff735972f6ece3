#include "common/base/int128_text.h"

#include <charconv>

#include "common/base/strings.h"

namespace weir {

void AppendInt128(absl::int128 value, std::string* out) {
  if (value >= INT64_MIN && value <= INT64_MAX) {  // nearly always
    char buffer[24];
    const auto [end, error] =
        std::to_chars(buffer, buffer + sizeof buffer, static_cast<int64_t>(value));
    out->append(buffer, end);
    return;
  }
  const bool negative = value < 0;
  // Negation in unsigned arithmetic is right for the smallest value as well.
  absl::uint128 magnitude = absl::uint128(value);
  if (negative) magnitude = -magnitude;
  char digits[40];
  size_t first = sizeof digits;
  do {
    digits[--first] = static_cast<char>('0' + static_cast<int>(magnitude % 10));
    magnitude /= 10;
  } while (magnitude != 0);
  if (negative) digits[--first] = '-';
  out->append(digits + first, sizeof digits - first);
}

std::string Int128ToString(absl::int128 value) {
  std::string text;
  AppendInt128(value, &text);
  return text;
}

absl::StatusOr<absl::int128> Int128FromString(std::string_view text) {
  const auto invalid = [&] {
    return absl::InvalidArgumentError(
        StrCat("not a 128-bit decimal integer: '", text.substr(0, 64), "'"));
  };
  const bool negative = !text.empty() && text.front() == '-';
  const std::string_view digits = text.substr(negative ? 1 : 0);
  if (digits.empty() || digits.size() > 39) return invalid();
  // 39 nines exceed 2^128, so the running value is checked against the limit.
  const absl::uint128 limit = absl::uint128(absl::Int128Max()) + absl::uint128(negative ? 1 : 0);
  absl::uint128 magnitude = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return invalid();
    const absl::uint128 digit = static_cast<unsigned>(c - '0');
    if (magnitude > (limit - digit) / 10) return invalid();
    magnitude = magnitude * 10 + digit;
  }
  return static_cast<absl::int128>(negative ? -magnitude : magnitude);
}

}  // namespace weir
