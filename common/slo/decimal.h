// A decimal exactly as it was written: "0.999", "99.9%", "14.4".
//
// Goals, factors and thresholds are what somebody wrote down, and doubles cannot
// hold most of them: (1 - 0.9999) * 10000 is 0.9999999999998899 in doubles, so
// that a goal of 99.99 % would forgive none of 10,000 requests where it allows one.
//
//   value = units / 10^scale      "0.999" is 999 / 10^3, "99.9%" is the same value
//
// Invariants: |units| < 10^18, 0 <= scale <= 9, and units has no trailing zero
// that the scale could drop, so that equal values have equal members.
// Thread safety: values, thread-compatible; functions are pure.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/slo/ratio.h"

namespace weir {

class Decimal {
 public:
  static constexpr int kMaxScale = 9;                            // digits after the point
  static constexpr int64_t kMaxUnits = 999'999'999'999'999'999;  // digits in all: 18

  constexpr Decimal() = default;  // 0

  // Reads an optional '-', digits, optionally a point and digits, and optionally
  // '%', which divides by 100. Zeros that change nothing are dropped.
  //
  // Errors: InvalidArgument, quoting the text: not of that form (exponents, signs
  // of '+', spaces and separators are not), or more digits than the limits above.
  static absl::StatusOr<Decimal> Parse(std::string_view text);

  // units / 10^scale. REQUIRES: the limits above.
  static Decimal Of(int64_t units, int scale);

  int64_t units() const { return units_; }
  int scale() const { return scale_; }

  Ratio ToRatio() const;
  // The one canonical form: "0.999", "14.4", "-3", never a percentage. Parse reads
  // it back to the same value.
  std::string ToString() const;

  friend bool operator==(const Decimal&, const Decimal&) = default;
  friend std::strong_ordering operator<=>(const Decimal& a, const Decimal& b);

 private:
  constexpr Decimal(int64_t units, int scale) : units_(units), scale_(scale) {}

  int64_t units_ = 0;
  int scale_ = 0;
};

// 10^exponent, for exponents from 0 to 18.
int64_t PowerOfTen(int exponent);

}  // namespace weir
