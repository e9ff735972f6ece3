// What a bin knows of its samples, besides their distribution.
//
// mean and m2 follow Welford's update and Chan, Golub and LeVeque's merge
// ("Updating formulae and a pairwise algorithm for computing sample variances",
// 1979): with d = mean_b - mean_a and n = n_a + n_b,
//   mean = mean_a + d * n_b / n        m2 = m2_a + m2_b + d^2 * n_a * n_b / n
// A sum of squares would cancel catastrophically.
//
// Every field stays finite, whatever is added: a float sum, mean or m2 that
// would overflow stops at the largest double. An infinity would turn into NaN
// at the next merge, and a NaN in a row cannot be stored or compared. Counts stop
// at 2^63 - 1.
//
// Merging is commutative and associative, exactly for counts, integer sums,
// extremes, first and last, and up to rounding for float sums, mean and m2.
//
// Thread safety: values, thread-compatible.
#pragma once

#include <cstdint>
#include <limits>

#include "absl/numeric/int128.h"

namespace weir {

// Pointer-free: cells of the fold are arrays of these.
struct Aggregate {
  int64_t count = 0;
  // How many of `count` were sent as floating point; the sum is exact when 0.
  int64_t float_count = 0;
  absl::int128 integer_sum = 0;  // of the samples sent as integers, exact
  double float_sum = 0;          // of the others
  double min = 0;                // meaningless while count is 0, as are all below
  double max = 0;
  double mean = 0;
  double m2 = 0;     // sum of squared distances from the mean
  double first = 0;  // the value with the lowest event time; of equals, the smaller
  double last = 0;   // the value with the highest event time; of equals, the larger
  int64_t first_unix_nano = 0;
  int64_t last_unix_nano = 0;

  // REQUIRES: value is finite.
  void AddInteger(int64_t value, int64_t event_unix_nano) {
    integer_sum += value;
    Observe(static_cast<double>(value), event_unix_nano);
  }
  void AddFloat(double value, int64_t event_unix_nano) {
    float_sum = Bounded(float_sum + value);
    ++float_count;
    Observe(value, event_unix_nano);
  }

  void Merge(const Aggregate& other);

  // All samples' sum; exact only when float_count is 0 and it fits a double.
  double sum() const { return static_cast<double>(integer_sum) + float_sum; }
  // Population standard deviation. REQUIRES: count > 0.
  double stddev() const;

  friend bool operator==(const Aggregate&, const Aggregate&) = default;

 private:
  static double Bounded(double value) {
    constexpr double kLargest = std::numeric_limits<double>::max();
    value = value < kLargest ? value : kLargest;
    return value > -kLargest ? value : -kLargest;
  }

  void Observe(double value, int64_t event_unix_nano) {
    if (count == 0) {
      *this = {.count = 1,
               .float_count = float_count,
               .integer_sum = integer_sum,
               .float_sum = float_sum,
               .min = value,
               .max = value,
               .mean = value,
               .m2 = 0,
               .first = value,
               .last = value,
               .first_unix_nano = event_unix_nano,
               .last_unix_nano = event_unix_nano};
      return;
    }
    ++count;
    min = value < min ? value : min;
    max = value > max ? value : max;
    const double distance = Bounded(value - mean);
    mean += distance / static_cast<double>(count);
    m2 = Bounded(m2 + distance * (value - mean));
    if (event_unix_nano < first_unix_nano ||
        (event_unix_nano == first_unix_nano && value < first)) {
      first = value;
      first_unix_nano = event_unix_nano;
    }
    if (event_unix_nano > last_unix_nano || (event_unix_nano == last_unix_nano && value > last)) {
      last = value;
      last_unix_nano = event_unix_nano;
    }
  }
};

}  // namespace weir
