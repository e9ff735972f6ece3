// A point of a log or a store: what parses is written as bytes that parse again,
// is observed, and increases by nothing over itself.
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "common/point/point.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weir;
  const auto point = ParsePoint(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!point.ok()) return 0;
  std::string bytes;
  AppendPoint(*point, &bytes);
  const auto same = ParsePoint(bytes);
  WEIR_CHECK(same.ok() && *same == *point);
  WEIR_CHECK(Increase(point->value, point->value, /*monotonic=*/true).has_value());
  const auto* histogram = std::get_if<Histogram>(&point->value);
  if (histogram == nullptr) return 0;
  Aggregate aggregate;
  Sketch sketch;
  for (int i = 0; i < 3; ++i) Observe(*histogram, i, &aggregate, &sketch);
  WEIR_CHECK(std::isfinite(aggregate.mean) && std::isfinite(aggregate.m2));
  WEIR_CHECK(std::isfinite(aggregate.min) && std::isfinite(aggregate.max));
  if (sketch.count() > 0) WEIR_CHECK(sketch.Quantile(0) <= sketch.Quantile(1));
  return 0;
}
