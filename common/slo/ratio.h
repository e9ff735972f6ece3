// A ratio of two integers, exact and reduced: 72/5 is 14.4.
//
// What is computed from decimals and counts stays exact until it is shown: a burn
// rate is bad * 10^9 / (total * allowed), whose terms need up to 93 bits.
//
// Invariants: denominator > 0; |numerator| and denominator are at most 2^120; the
// two have no common factor, so that equal values have equal members.
// Thread safety: values, thread-compatible; functions are pure.
#pragma once

#include <compare>
#include <string>

#include "absl/numeric/int128.h"

namespace weir {

class Ratio {
 public:
  // 2^120: what leaves room to multiply a remainder by ten, and is far from any
  // ratio of two counts and a few decimals.
  static constexpr absl::int128 kMaxTerm = absl::MakeInt128(int64_t{1} << 56, 0);

  constexpr Ratio() = default;  // 0
  // REQUIRES: denominator > 0, and both within the limit.
  Ratio(absl::int128 numerator, absl::int128 denominator);

  absl::int128 numerator() const { return numerator_; }
  absl::int128 denominator() const { return denominator_; }

  // Rounded towards minus and plus infinity.
  absl::int128 Floor() const;
  absl::int128 Ceiling() const;

  // For display: within two units in the last place of the value.
  double ToDouble() const;

  // The value itself: as a decimal where nine digits after the point suffice
  // ("14.4", "-0.5", "3"), else as the two terms ("14/15").
  std::string ToString() const;

  // The value rounded to `digits` after the point, half away from zero, trailing
  // zeros dropped: 14/15 is "0.93". REQUIRES: 0 <= digits <= 9.
  std::string Rounded(int digits) const;

  friend bool operator==(const Ratio&, const Ratio&) = default;
  // By continued fractions: no product, so nothing can overflow.
  friend std::strong_ordering operator<=>(const Ratio& a, const Ratio& b);

 private:
  absl::int128 numerator_ = 0;
  absl::int128 denominator_ = 1;
};

// floor(a * b / c) where the product may pass 128 bits.
// REQUIRES: a, b >= 0; 0 < c <= Ratio::kMaxTerm; the result is below 2^127.
absl::int128 MultiplyDivide(absl::int128 a, absl::int128 b, absl::int128 c);

}  // namespace weir
