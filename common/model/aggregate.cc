#include "common/model/aggregate.h"

#include <cmath>

namespace weir {
namespace {

// Counts of histograms come from clients, and may be anything.
int64_t Sum(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<int64_t>::max() : sum;
}

}  // namespace

void Aggregate::Merge(const Aggregate& other) {
  if (other.count == 0) return;
  if (count == 0) {
    *this = other;
    return;
  }
  const double own_count = static_cast<double>(count);
  const double other_count = static_cast<double>(other.count);
  const double total_count = own_count + other_count;
  const double distance = Bounded(other.mean - mean);
  // Shares are at most 1, so no product below overflows before it must.
  mean = Bounded(mean + distance * (other_count / total_count));
  m2 = Bounded(m2 + other.m2 + distance * (distance * (own_count * (other_count / total_count))));

  count = Sum(count, other.count);
  float_count = Sum(float_count, other.float_count);
  integer_sum += other.integer_sum;
  float_sum = Bounded(float_sum + other.float_sum);
  min = other.min < min ? other.min : min;
  max = other.max > max ? other.max : max;
  if (other.first_unix_nano < first_unix_nano ||
      (other.first_unix_nano == first_unix_nano && other.first < first)) {
    first = other.first;
    first_unix_nano = other.first_unix_nano;
  }
  if (other.last_unix_nano > last_unix_nano ||
      (other.last_unix_nano == last_unix_nano && other.last > last)) {
    last = other.last;
    last_unix_nano = other.last_unix_nano;
  }
}

double Aggregate::stddev() const { return std::sqrt(m2 / static_cast<double>(count)); }

}  // namespace weir
