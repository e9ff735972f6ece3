// How the values of an aliased series become those of its canonical metric: a
// factor, and a range that values must be in.
//
//   75 of DCGM_FI_DEV_GPU_UTIL  ──/ 100──>  0.75 of gpu.utilization, within [0, 1]
//
// A factor whose inverse is whole divides instead: 29 / 100 is the double nearest
// to 0.29, 29 * 0.01 is not.
//
// Thread safety: values, thread-compatible; functions are pure.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "common/point/point.h"

namespace weir {

struct ValueRule {
  std::string metric;  // whose rule it is, for whoever reads a rejection
  double multiplier = 1;
  double divisor = 1;  // one of the two is 1
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();

  bool scales() const { return multiplier != 1 || divisor != 1; }
  friend bool operator==(const ValueRule&, const ValueRule&) = default;
};

// Sets multiplier and divisor. REQUIRES: `scale` is finite and above 0.
void SetScale(double scale, ValueRule* rule);

// `value`, scaled. Integers stay integers where the factor is whole and the result
// is one of 64 bits; else they become doubles. A double may become infinite.
PointValue ScaledNumber(const ValueRule& rule, int64_t value);
double Scaled(const ValueRule& rule, double value);

// A point, scaled: a number, or a histogram with its bounds, sum and extremes; a part
// of one likewise, which is a bucket's bound and the sum. Counts are as they were.
// nullopt for exponential buckets that would not be exact: their bounds are powers of
// one base, so only a factor that is one too, a power of two, moves them onto each
// other.
std::optional<Point> ScaledPoint(const ValueRule& rule, const Point& point);

// Whether a value, scaled already, is in the rule's range.
bool InRange(const ValueRule& rule, double value);

}  // namespace weir
