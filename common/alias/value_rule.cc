#include "common/alias/value_rule.h"

#include <cmath>
#include <variant>

namespace weir {
namespace {

// The power of two that a rule's factor is, if it is one.
std::optional<int> PowerOfTwo(const ValueRule& rule) {
  int exponent = 0;
  const double factor = rule.divisor != 1 ? rule.divisor : rule.multiplier;
  if (std::frexp(factor, &exponent) != 0.5) return std::nullopt;
  --exponent;
  return rule.divisor != 1 ? -exponent : exponent;
}

// Bucket i covers (base^i, base^(i+1)] with base = 2^(2^-scale), so a factor of
// 2^power is one of base^(power * 2^scale).
std::optional<int64_t> IndexShift(int power, int scale) {
  if (scale >= 0) return int64_t{power} << scale;
  const int64_t buckets_per_power = int64_t{1} << -scale;
  if (power % buckets_per_power != 0) return std::nullopt;
  return power / buckets_per_power;
}

bool Shift(int64_t shift, ExponentialBuckets::Side* side) {
  if (side->counts.empty()) return true;
  const int64_t offset = side->offset + shift;
  if (offset < INT32_MIN || offset > INT32_MAX) return false;
  side->offset = static_cast<int32_t>(offset);
  return true;
}

bool ScaleBuckets(const ValueRule& rule, ExplicitBuckets* buckets) {
  for (double& bound : buckets->bounds) bound = Scaled(rule, bound);
  return true;
}

bool ScaleBuckets(const ValueRule& rule, ExponentialBuckets* buckets) {
  // Beyond these no histogram is admitted, and shifts would overflow.
  if (buckets->scale < -10 || buckets->scale > 20) return true;
  const std::optional<int> power = PowerOfTwo(rule);
  if (!power.has_value()) return false;
  const std::optional<int64_t> shift = IndexShift(*power, buckets->scale);
  if (!shift.has_value()) return false;
  buckets->zero_threshold = Scaled(rule, buckets->zero_threshold);
  return Shift(*shift, &buckets->positive) && Shift(*shift, &buckets->negative);
}

bool ScaleHistogram(const ValueRule& rule, Histogram* histogram) {
  for (std::optional<double>* number : {&histogram->sum, &histogram->min, &histogram->max}) {
    if (number->has_value()) *number = Scaled(rule, **number);
  }
  return std::visit([&](auto& buckets) { return ScaleBuckets(rule, &buckets); },
                    histogram->buckets);
}

}  // namespace

void SetScale(double scale, ValueRule* rule) {
  rule->multiplier = 1;
  rule->divisor = 1;
  const double inverse = std::round(1 / scale);
  if (scale < 1 && 1 / inverse == scale) {
    rule->divisor = inverse;
  } else {
    rule->multiplier = scale;
  }
}

PointValue ScaledNumber(const ValueRule& rule, int64_t value) {
  if (!rule.scales()) return value;
  // 2^53: whole doubles up to there are exactly the integers they look like.
  if (rule.divisor == 1 && rule.multiplier == std::floor(rule.multiplier) &&
      rule.multiplier <= 9007199254740992.0) {
    int64_t scaled = 0;
    if (!__builtin_mul_overflow(value, static_cast<int64_t>(rule.multiplier), &scaled)) {
      return scaled;
    }
  }
  return Scaled(rule, static_cast<double>(value));
}

double Scaled(const ValueRule& rule, double value) {
  return rule.divisor != 1 ? value / rule.divisor : value * rule.multiplier;
}

std::optional<Point> ScaledPoint(const ValueRule& rule, const Point& point) {
  Point scaled = point;
  if (!rule.scales()) return scaled;
  if (scaled.part.has_value() && scaled.part->role != HistogramPart::Role::kSum) {
    // 0 where it means nothing, and stays that.
    scaled.part->upper_bound = Scaled(rule, scaled.part->upper_bound);
  } else if (const auto* integer = std::get_if<int64_t>(&point.value)) {
    scaled.value = ScaledNumber(rule, *integer);
  } else if (const auto* number = std::get_if<double>(&point.value)) {
    scaled.value = Scaled(rule, *number);
  } else if (!ScaleHistogram(rule, &std::get<Histogram>(scaled.value))) {
    return std::nullopt;
  }
  return scaled;
}

bool InRange(const ValueRule& rule, double value) {
  return value >= rule.least && value <= rule.most;
}

}  // namespace weir
