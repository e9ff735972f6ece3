#include "common/slo/ratio.h"

#include <cstdint>

#include "common/base/check.h"
#include "common/base/int128_text.h"
#include "common/slo/decimal.h"

namespace weir {
namespace {

absl::int128 Magnitude(absl::int128 value) { return value < 0 ? -value : value; }

absl::int128 GreatestCommonDivisor(absl::int128 a, absl::int128 b) {
  while (b != 0) {
    const absl::int128 rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

// sign, whole and `digits` of a fraction as text, without zeros at the end.
std::string Compose(bool negative, absl::int128 whole, int64_t fraction, int digits) {
  std::string text = Int128ToString(whole);
  if (fraction != 0) {
    std::string tail(digits, '0');
    for (int i = digits - 1; i >= 0; --i, fraction /= 10) {
      tail[i] = static_cast<char>('0' + fraction % 10);
    }
    tail.erase(tail.find_last_not_of('0') + 1);
    text += "." + tail;
  }
  return negative && text != "0" ? "-" + text : text;
}

}  // namespace

Ratio::Ratio(absl::int128 numerator, absl::int128 denominator) {
  WEIR_CHECK(denominator > 0 && denominator <= kMaxTerm);
  WEIR_CHECK(numerator >= -kMaxTerm && numerator <= kMaxTerm);
  const absl::int128 common = GreatestCommonDivisor(Magnitude(numerator), denominator);
  numerator_ = numerator / common;
  denominator_ = denominator / common;
}

absl::int128 Ratio::Floor() const {
  const absl::int128 quotient = numerator_ / denominator_;
  return numerator_ < 0 && numerator_ % denominator_ != 0 ? quotient - 1 : quotient;
}

absl::int128 Ratio::Ceiling() const { return Floor() + (numerator_ % denominator_ != 0 ? 1 : 0); }

double Ratio::ToDouble() const {
  return static_cast<double>(numerator_) / static_cast<double>(denominator_);
}

std::string Ratio::ToString() const {
  constexpr int64_t kBillion = 1'000'000'000;
  if (denominator_ > kBillion || kBillion % static_cast<int64_t>(denominator_) != 0) {
    return Int128ToString(numerator_) + "/" + Int128ToString(denominator_);
  }
  const int64_t denominator = static_cast<int64_t>(denominator_);
  const absl::int128 magnitude = Magnitude(numerator_);
  // The rest is below the denominator, so this is below 10^9.
  const int64_t fraction = static_cast<int64_t>(magnitude % denominator) * (kBillion / denominator);
  return Compose(numerator_ < 0, magnitude / denominator, fraction, 9);
}

std::string Ratio::Rounded(int digits) const {
  WEIR_CHECK(digits >= 0 && digits <= 9);
  const absl::int128 magnitude = Magnitude(numerator_);
  absl::int128 whole = magnitude / denominator_;
  absl::int128 rest = magnitude % denominator_;
  int64_t fraction = 0;
  for (int i = 0; i < digits; ++i) {
    rest *= 10;  // Below 10 * 2^120 < 2^124.
    fraction = fraction * 10 + static_cast<int64_t>(rest / denominator_);
    rest %= denominator_;
  }
  if (rest * 2 >= denominator_) ++fraction;
  if (fraction == PowerOfTen(digits)) {
    fraction = 0;
    whole += 1;
  }
  return Compose(numerator_ < 0, whole, fraction, digits);
}

std::strong_ordering operator<=>(const Ratio& a, const Ratio& b) {
  // Compares whole parts; where they are equal, the rests compare the other way
  // round from their reciprocals, as in Euclid's algorithm.
  absl::int128 a_top = a.numerator_, a_bottom = a.denominator_;
  absl::int128 b_top = b.numerator_, b_bottom = b.denominator_;
  absl::int128 a_whole = a.Floor(), b_whole = b.Floor();
  bool reversed = false;
  while (true) {
    if (a_whole != b_whole) {
      return (a_whole < b_whole) != reversed ? std::strong_ordering::less
                                             : std::strong_ordering::greater;
    }
    const absl::int128 a_rest = a_top - a_whole * a_bottom;
    const absl::int128 b_rest = b_top - b_whole * b_bottom;
    if (a_rest == 0 || b_rest == 0) {
      if (a_rest == b_rest) return std::strong_ordering::equal;
      return (a_rest == 0) != reversed ? std::strong_ordering::less : std::strong_ordering::greater;
    }
    a_top = a_bottom;
    a_bottom = a_rest;
    b_top = b_bottom;
    b_bottom = b_rest;
    a_whole = a_top / a_bottom;
    b_whole = b_top / b_bottom;
    reversed = !reversed;
  }
}

absl::int128 MultiplyDivide(absl::int128 a, absl::int128 b, absl::int128 c) {
  WEIR_CHECK(a >= 0 && b >= 0 && c > 0 && c <= Ratio::kMaxTerm);
  // Long multiplication by the bits of b, keeping quotient and rest of what has
  // been multiplied so far: quotient * c + rest = a * (the bits seen).
  const absl::int128 a_quotient = a / c;
  const absl::int128 a_rest = a % c;
  absl::int128 quotient = 0;
  absl::int128 rest = 0;
  for (int bit = 126; bit >= 0; --bit) {
    quotient *= 2;
    rest *= 2;
    if (((b >> bit) & 1) != 0) {
      quotient += a_quotient;
      rest += a_rest;
    }
    // The rest is below 3c by now.
    quotient += rest / c;
    rest %= c;
  }
  return quotient;
}

}  // namespace weir
