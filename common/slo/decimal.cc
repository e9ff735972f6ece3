#include "common/slo/decimal.h"

#include <utility>

#include "absl/numeric/int128.h"
#include "absl/status/status.h"
#include "common/base/check.h"
#include "common/base/strings.h"

namespace weir {
namespace {

// Long enough for every decimal within the limits, padded with a few zeros; short
// enough to be quoted whole in an error.
constexpr size_t kMaxTextLength = 40;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

absl::Status Malformed(std::string_view text) {
  if (text.size() > kMaxTextLength) {
    return absl::InvalidArgumentError(StrCat("a decimal of ", text.size(), " characters; at most ",
                                             kMaxTextLength, " are read: write fewer digits"));
  }
  const bool exponent = text.find_first_of("eE") != std::string_view::npos;
  return absl::InvalidArgumentError(
      StrCat("\"", text,
             "\" is not a decimal; write digits, at most one point between digits, and '%' for ",
             "hundredths, such as 0.999, 99.9% or 14.4",
             exponent ? ": an exponent is not read, 1e-3 is written 0.001" : ""));
}

absl::Status TooLong(std::string_view text) {
  return absl::InvalidArgumentError(
      StrCat("\"", text, "\" has too many digits; at most ", Decimal::kMaxScale,
             " after the point (", Decimal::kMaxScale - 2,
             " in a percentage) and 18 in all are kept ", "exactly: round it to that"));
}

// A text's parts, still text.
struct Parts {
  bool negative = false;
  bool percent = false;
  std::string_view whole;
  std::string_view fraction;
};

// False where the text is not of the form.
bool Split(std::string_view text, Parts* parts) {
  if (text.size() > kMaxTextLength) return false;
  const auto digits = [&text] {
    size_t length = 0;
    while (length < text.size() && IsDigit(text[length])) ++length;
    const std::string_view found = text.substr(0, length);
    text.remove_prefix(length);
    return found;
  };
  const auto skip = [&text](char c) {
    if (text.empty() || text.front() != c) return false;
    text.remove_prefix(1);
    return true;
  };
  parts->negative = skip('-');
  parts->whole = digits();
  if (parts->whole.empty()) return false;
  if (skip('.')) {
    parts->fraction = digits();
    if (parts->fraction.empty()) return false;
  }
  parts->percent = skip('%');
  return text.empty();
}

}  // namespace

int64_t PowerOfTen(int exponent) {
  WEIR_CHECK(exponent >= 0 && exponent <= 18);
  int64_t power = 1;
  for (int i = 0; i < exponent; ++i) power *= 10;
  return power;
}

absl::StatusOr<Decimal> Decimal::Parse(std::string_view text) {
  Parts parts;
  if (!Split(text, &parts)) return Malformed(text);
  // At most 40 digits: below 2^133, but refused before 10^38 is passed.
  const absl::int128 most = absl::int128(kMaxUnits) * PowerOfTen(9) * 1'000'000'000;
  absl::int128 units = 0;
  int scale = static_cast<int>(parts.fraction.size()) + (parts.percent ? 2 : 0);
  for (const std::string_view part : {parts.whole, parts.fraction}) {
    for (const char digit : part) {
      units = units * 10 + (digit - '0');
      if (units > most) return TooLong(text);
    }
  }
  if (units == 0) return Decimal();
  while (scale > 0 && units % 10 == 0) {
    units /= 10;
    --scale;
  }
  if (scale > kMaxScale || units > kMaxUnits) return TooLong(text);
  const int64_t magnitude = static_cast<int64_t>(units);
  return Decimal(parts.negative ? -magnitude : magnitude, scale);
}

Decimal Decimal::Of(int64_t units, int scale) {
  WEIR_CHECK(units >= -kMaxUnits && units <= kMaxUnits && scale >= 0 && scale <= kMaxScale);
  while (scale > 0 && units % 10 == 0) {
    units /= 10;
    --scale;
  }
  return Decimal(units, scale);
}

Ratio Decimal::ToRatio() const { return Ratio(units_, PowerOfTen(scale_)); }

// 10^9 is a multiple of the denominator, so this is the digits themselves.
std::string Decimal::ToString() const { return ToRatio().ToString(); }

std::strong_ordering operator<=>(const Decimal& a, const Decimal& b) {
  // Each side is below 10^18 * 10^9 < 2^90.
  const absl::int128 left = absl::int128(a.units_) * PowerOfTen(b.scale_);
  const absl::int128 right = absl::int128(b.units_) * PowerOfTen(a.scale_);
  if (left == right) return std::strong_ordering::equal;
  return left < right ? std::strong_ordering::less : std::strong_ordering::greater;
}

}  // namespace weir
