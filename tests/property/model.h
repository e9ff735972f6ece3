// What every window ought to show, worked out the slow way.
//
// The model hears of every measurement in the order in which the aggregator folds
// it, and keeps all of them. Running totals become increases by the rules of
// services/aggregator/cumulative.h, written anew from that text: one map from
// (series, start) to the last point. A bin is the list of what fell into it; no
// tier, no derivation, no row and no sketch is known here.
//
// What a bin must be is told as far as the headers promise it: counts and integer
// sums exactly, float sums up to rounding, extremes and quantiles as the spans in
// which they may lie (a histogram tells no more of its values).
//
// Thread safety: thread-compatible.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/time/time.h"
#include "common/model/aggregate.h"
#include "common/model/series.h"
#include "common/point/point.h"

namespace weir::property {

// One measurement as a collector's log has it. Numbers that are not `as_point` are
// samples; everything else travels as a Point.
struct Sent {
  int series = 0;
  int64_t time_unix_nano = 0;
  bool as_point = false;
  Point point;
};

// Values known to lie in [low, high], and how many.
struct Values {
  double low = 0;
  double high = 0;
  int64_t count = 0;
};

// What one measurement adds to the bin of its time.
struct Contribution {
  int series = 0;
  int64_t time_unix_nano = 0;
  int64_t count = 0;
  int64_t float_count = 0;
  absl::int128 integer_sum = 0;
  // Absent where a histogram has none and the product estimates it.
  std::optional<double> float_sum = 0;
  // The value that first and last may show; absent as the sum.
  std::optional<double> value;
  // The least and the greatest each of the extremes may be said to be.
  Values min;
  Values max;
  std::vector<Values> values;
  // Of its values: the largest relative error with which a histogram tells one,
  // and the scale of exponential buckets.
  double coarse_error = 0;
  int scale = 5;
  double zero_threshold = 0;
  bool number = false;  // one value, known to the last bit
};

// How often what happened to cumulative points.
struct CumulativeCounts {
  int64_t increases = 0;
  int64_t firsts = 0;
  int64_t resets = 0;
  int64_t baselines = 0;
  int64_t late = 0;
};

struct ModelOptions {
  absl::Duration max_first_age = absl::Minutes(10);
  size_t max_starts = 4;
};

class Model {
 public:
  Model(std::vector<Kind> kinds, ModelOptions options)
      : kinds_(std::move(kinds)), options_(options) {}

  // The aggregator folds this next.
  void Fold(const Sent& sent);

  // A point to come back to: what a flush takes.
  struct Mark {
    size_t contributions = 0;
    std::map<std::pair<int, int64_t>, std::pair<int64_t, std::shared_ptr<const PointValue>>> last;
  };
  Mark Here() const { return {contributions_.size(), last_}; }
  // Forgets what came after `mark`, and the counts.
  void GoBack(const Mark& mark);

  const std::vector<Contribution>& contributions() const { return contributions_; }
  const CumulativeCounts& counts() const { return counts_; }

 private:
  std::optional<PointValue> Advance(int series, int64_t time, const Point& point);

  const std::vector<Kind> kinds_;
  const ModelOptions options_;
  std::vector<Contribution> contributions_;
  // (series, start) -> time and value of its last point.
  std::map<std::pair<int, int64_t>, std::pair<int64_t, std::shared_ptr<const PointValue>>> last_;
  CumulativeCounts counts_;
};

// What an answer says of a bin.
struct Said {
  const Aggregate& aggregate;
  const std::vector<double>& quantiles;
  double relative_error = 0;
};

// What is wrong about it; empty when it is what these contributions make.
std::string Disagreement(const Said& said, const std::vector<const Contribution*>& bin,
                         const std::vector<double>& asked_quantiles);

// For people: "3", "2.5", "{n=4 sum=9 1:2 2:2}".
std::string Describe(const PointValue& value);

}  // namespace weir::property
