#include "common/point/point.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "common/base/random.h"
#include "common/testing/status_matchers.h"
#include "common/testing/test_seed.h"

namespace weir {
namespace {

using test::IsOk;
using test::StatusIs;
using ::testing::HasSubstr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// What an SDK keeps: all values since a start, as either kind of histogram.
class Recorder {
 public:
  explicit Recorder(std::vector<double> bounds) : bounds_(std::move(bounds)) {}

  void Record(double value) { values_.push_back(value); }
  void Reset() { values_.clear(); }

  Histogram Explicit() const {
    Histogram histogram = Totals();
    ExplicitBuckets buckets = {.bounds = bounds_};
    buckets.counts.resize(bounds_.size() + 1);
    for (const double value : values_) {
      size_t i = 0;
      while (i < bounds_.size() && value > bounds_[i]) ++i;
      ++buckets.counts[i];
    }
    histogram.buckets = std::move(buckets);
    return histogram;
  }

  Histogram Exponential(int scale) const {
    Histogram histogram = Totals();
    ExponentialBuckets buckets = {.scale = scale};
    std::map<int, int64_t> positive;
    std::map<int, int64_t> negative;
    for (const double value : values_) {
      if (value == 0) {
        ++buckets.zero_count;
        continue;
      }
      // Half-way between boundaries, so that rounding cannot matter.
      const int index =
          static_cast<int>(std::ceil(std::ldexp(std::log2(std::fabs(value)), scale))) - 1;
      ++(value > 0 ? positive : negative)[index];
    }
    buckets.positive = SideOf(positive);
    buckets.negative = SideOf(negative);
    histogram.buckets = std::move(buckets);
    return histogram;
  }

 private:
  static ExponentialBuckets::Side SideOf(const std::map<int, int64_t>& counts) {
    if (counts.empty()) return {};
    ExponentialBuckets::Side side = {.offset = counts.begin()->first};
    side.counts.resize(static_cast<size_t>(counts.rbegin()->first - side.offset) + 1);
    for (const auto& [index, count] : counts)
      side.counts[static_cast<size_t>(index - side.offset)] = count;
    return side;
  }

  Histogram Totals() const {
    Histogram histogram = {.count = static_cast<int64_t>(values_.size()), .sum = 0};
    for (const double value : values_) {
      histogram.sum = *histogram.sum + value;
      histogram.min = std::min(histogram.min.value_or(value), value);
      histogram.max = std::max(histogram.max.value_or(value), value);
    }
    return histogram;
  }

  std::vector<double> bounds_;
  std::vector<double> values_;
};

Histogram HistogramOf(const PointValue& value) { return std::get<Histogram>(value); }

TEST(PointTest, NumbersIncreaseByTheirDifference) {
  EXPECT_EQ(Increase(int64_t{3}, int64_t{10}, true), PointValue(int64_t{7}));
  EXPECT_EQ(Increase(3.5, 10.0, true), PointValue(6.5));
  EXPECT_EQ(Increase(int64_t{3}, 10.5, true), PointValue(7.5));
  EXPECT_EQ(Increase(int64_t{10}, int64_t{3}, false), PointValue(int64_t{-7}));
  EXPECT_EQ(Increase(int64_t{10}, int64_t{10}, true), PointValue(int64_t{0}));
  // Not even the extremes are wrong by more than a double is.
  EXPECT_EQ(
      Increase(std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max(), false),
      PointValue(0x1p64));
  EXPECT_EQ(
      Increase(-std::numeric_limits<double>::max(), std::numeric_limits<double>::max(), false),
      PointValue(std::numeric_limits<double>::max()));
}

TEST(PointTest, AnIncreaseHasTheBoundsThatBothHave) {
  const auto buckets = [](const std::optional<PointValue>& increase) {
    return std::get<ExplicitBuckets>(std::get<Histogram>(increase.value()).buckets);
  };
  const auto recorded = [](const std::vector<double>& bounds, const std::vector<double>& values) {
    Recorder recorder(bounds);
    for (const double value : values) recorder.Record(value);
    return recorder.Explicit();
  };
  const Histogram before = recorded({1, 2, 4}, {0.5, 1.5, 9});
  const std::vector<double> after = {0.5, 1.5, 9, 0.5, 3, 3, 9};
  // A bound that came, one that went, both.
  EXPECT_EQ(buckets(Increase(before, recorded({1, 2, 3, 4}, after), true)),
            (ExplicitBuckets{.bounds = {1, 2, 4}, .counts = {1, 0, 2, 1}}));
  EXPECT_EQ(buckets(Increase(before, recorded({1, 4}, after), true)),
            (ExplicitBuckets{.bounds = {1, 4}, .counts = {1, 2, 1}}));
  EXPECT_EQ(buckets(Increase(before, recorded({0.1, 2, 8}, after), true)),
            (ExplicitBuckets{.bounds = {2}, .counts = {1, 3}}));
  // None in common: the count and the sum are still known.
  const auto increase = Increase(before, recorded({7}, after), true);
  EXPECT_EQ(buckets(increase), ExplicitBuckets{});
  EXPECT_EQ(std::get<Histogram>(increase.value()).count, 4);
  EXPECT_EQ(std::get<Histogram>(increase.value()).sum, 15.5);
  // What fell between common bounds began anew.
  EXPECT_EQ(Increase(before, recorded({2}, {3, 3, 3, 3}), true), std::nullopt);
}

TEST(PointTest, BucketsThatWereNotReadAtOneTimeDoNotBeginAnew) {
  const auto histogram = [](std::vector<int64_t> counts) {
    int64_t count = 0;
    for (const int64_t each : counts) count += each;
    return Histogram{.count = count,
                     .buckets = ExplicitBuckets{.bounds = {1, 2}, .counts = std::move(counts)}};
  };
  // Three came after the first bucket was read, and before the last one was.
  const auto increase = Increase(histogram({10, 0, 3}), histogram({13, 0, 1}), true);
  ASSERT_TRUE(increase.has_value());
  EXPECT_EQ(std::get<Histogram>(*increase).count, 1);
  EXPECT_EQ(std::get<ExplicitBuckets>(std::get<Histogram>(*increase).buckets).counts,
            (std::vector<int64_t>{1, 0, 0}));
  EXPECT_EQ(Increase(histogram({10, 0, 3}), histogram({9, 5, 3}), true), std::nullopt);
}

TEST(PointTest, PartsOfAHistogramSurvive) {
  using Role = HistogramPart::Role;
  for (const Point& point : {
           Point{.cumulative = true,
          .part = HistogramPart{.role = Role::kBucket, .upper_bound = kInfinity},
          .value = kMaxPartCount},
           Point{.cumulative = true,
           .start_unix_nano = 7,
           .part = HistogramPart{.role = Role::kBucket, .upper_bound = -0.25, .gone = true},
           .value = int64_t{0}},
           Point{.cumulative = true, .part = HistogramPart{.role = Role::kSum}, .value = -1.5},
           Point{.cumulative = true,
           .part = HistogramPart{.role = Role::kCount},
           .value = int64_t{3}},
       }) {
    std::string bytes;
    AppendPoint(point, &bytes);
    const auto parsed = ParsePoint(bytes);
    ASSERT_THAT(parsed.status(), IsOk());
    EXPECT_EQ(*parsed, point);
    for (size_t i = 0; i < bytes.size(); ++i) {
      EXPECT_THAT(ParsePoint(bytes.substr(0, i)).status(), StatusIs(absl::StatusCode::kDataLoss));
    }
  }
}

TEST(PointTest, PartsThatCannotBeAreDamage) {
  using Role = HistogramPart::Role;
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const auto point_of = [](HistogramPart part, PointValue value) {
    return Point{.cumulative = true, .part = part, .value = std::move(value)};
  };
  for (const Point& point : {
           point_of({.role = Role::kBucket, .upper_bound = 1}, int64_t{-1}),
           point_of({.role = Role::kBucket, .upper_bound = 1}, 1.0),
           point_of({.role = Role::kCount}, kMaxPartCount + 1),
           point_of({.role = Role::kBucket, .upper_bound = kNan}, int64_t{1}),
           point_of({.role = Role::kBucket, .upper_bound = -kInfinity}, int64_t{1}),
           point_of({.role = static_cast<Role>(3)}, int64_t{1}),
           Point{.part = HistogramPart{.role = Role::kCount}, .value = int64_t{1}},
       }) {
    std::string bytes;
    AppendPoint(point, &bytes);
    EXPECT_THAT(ParsePoint(bytes).status(), StatusIs(absl::StatusCode::kDataLoss));
  }
}

TEST(PointTest, WhatFellBeganAnewAndOtherFormsDoNotCompare) {
  EXPECT_EQ(Increase(int64_t{10}, int64_t{3}, true), std::nullopt);
  EXPECT_EQ(Increase(10.0, 3.0, true), std::nullopt);
  Recorder recorder({1, 2});
  recorder.Record(1.5);
  const Histogram histogram = recorder.Explicit();
  EXPECT_TRUE(Comparable(int64_t{10}, 3.0));
  EXPECT_FALSE(Comparable(int64_t{10}, histogram));
  EXPECT_FALSE(Comparable(histogram, int64_t{10}));
  EXPECT_FALSE(Comparable(histogram, recorder.Exponential(3)));
  EXPECT_TRUE(Comparable(recorder.Exponential(2), recorder.Exponential(3)));
  // As many values, but not the same ones.
  Recorder third({1, 2});
  third.Record(3);
  EXPECT_EQ(Increase(histogram, third.Explicit(), true), std::nullopt);
  EXPECT_EQ(Increase(recorder.Exponential(3), third.Exponential(3), true), std::nullopt);
}

// Any chain of cumulative histograms increases by what was recorded in between,
// through changes of scale as an SDK makes them and resets.
TEST(PointTest, IncreasesAddUpToWhatWasRecorded) {
  Random random(test::TestSeed());
  for (int round = 0; round < 300; ++round) {
    Recorder recorder({-2, 0, 0.5, 1, 4, 64});
    Aggregate expected;
    Aggregate from_explicit;
    Aggregate from_exponential;
    Sketch expected_sketch;
    Sketch explicit_sketch;
    Sketch exponential_sketch;
    int scale = 6;
    PointValue explicit_before;
    PointValue exponential_before;
    bool first = true;
    for (int step = 0; step < 20; ++step) {
      if (random.Below(10) == 0) {
        recorder.Reset();
        first = true;
      }
      if (random.Below(8) == 0 && scale > 0) --scale;
      const bool signs = random.Below(2) == 0;
      for (uint64_t n = random.Below(20); n > 0; --n) {
        double value = std::exp2(static_cast<double>(random.Below(1'000'003)) / 1'000'003 * 12 - 4);
        if (random.Below(10) == 0) value = 0;
        if (signs && random.Below(3) == 0) value = -value;
        recorder.Record(value);
        expected.AddFloat(value, step);
        expected_sketch.Add(value);
      }
      const Histogram classic = recorder.Explicit();
      const Histogram exponential = recorder.Exponential(scale);
      ASSERT_THAT(ValidateHistogram(classic), IsOk());
      ASSERT_THAT(ValidateHistogram(exponential), IsOk());
      // `first`: all of it is new.
      const auto increase =
          first ? std::optional(PointValue(classic)) : Increase(explicit_before, classic, true);
      ASSERT_TRUE(increase.has_value());
      ASSERT_THAT(ValidateHistogram(HistogramOf(*increase)), IsOk());
      Observe(HistogramOf(*increase), step, &from_explicit, &explicit_sketch);
      const auto finer = first ? std::optional(PointValue(exponential))
                               : Increase(exponential_before, exponential, true);
      ASSERT_TRUE(finer.has_value()) << "round " << round << " step " << step;
      ASSERT_THAT(ValidateHistogram(HistogramOf(*finer)), IsOk());
      Observe(HistogramOf(*finer), step, &from_exponential, &exponential_sketch);
      explicit_before = classic;
      exponential_before = exponential;
      first = false;
    }
    EXPECT_EQ(from_explicit.count, expected.count);
    EXPECT_EQ(from_exponential.count, expected.count);
    if (expected.count == 0) continue;
    EXPECT_NEAR(from_explicit.float_sum, expected.float_sum, 1e-6);
    EXPECT_NEAR(from_exponential.float_sum, expected.float_sum, 1e-6);
    EXPECT_EQ(explicit_sketch.count(), expected.count);
    EXPECT_EQ(exponential_sketch.count(), expected.count);
    for (const double q : {0.0, 0.1, 0.5, 0.9, 0.99, 1.0}) {
      const double truth = expected_sketch.Quantile(q);
      const double error = exponential_sketch.RelativeError() + expected_sketch.RelativeError() +
                           exponential_sketch.RelativeError() * expected_sketch.RelativeError();
      EXPECT_NEAR(exponential_sketch.Quantile(q), truth, std::fabs(truth) * error + 1e-12)
          << "q " << q << " at scale " << exponential_sketch.scale();
    }
  }
}

TEST(PointTest, AWiderZeroThresholdTakesInTheBucketsBelowIt) {
  Histogram before = {.count = 5, .sum = 10};
  before.buckets = ExponentialBuckets{
      .scale = 0, .zero_count = 1, .positive = {.offset = -2, .counts = {3, 0, 1}}};
  Histogram after = {.count = 7, .sum = 14};
  after.buckets = ExponentialBuckets{
      .scale = 0, .zero_count = 5, .zero_threshold = 0.5, .positive = {.offset = 0, .counts = {2}}};
  const auto increase = Increase(before, after, true);
  ASSERT_TRUE(increase.has_value());
  const auto buckets = std::get<ExponentialBuckets>(HistogramOf(*increase).buckets);
  EXPECT_EQ(buckets.zero_count, 1);
  EXPECT_THAT(buckets.positive.counts, ::testing::ElementsAre(1));
}

TEST(PointTest, AnExtremeThatMovedWasMetInBetween) {
  Recorder recorder({1});
  recorder.Record(5);
  const Histogram before = recorder.Explicit();
  recorder.Record(9);
  Histogram increase = HistogramOf(*Increase(before, recorder.Explicit(), true));
  EXPECT_EQ(increase.max, 9);
  EXPECT_EQ(increase.min, std::nullopt);
  recorder.Record(7);
  increase = HistogramOf(*Increase(recorder.Explicit(), recorder.Explicit(), true));
  EXPECT_EQ(increase.count, 0);
}

TEST(PointTest, ExplicitBucketsTellTheErrorTheyMake) {
  const auto sketch_of = [](ExplicitBuckets buckets, std::optional<double> min = {},
                            std::optional<double> max = {}) {
    Histogram histogram = {.min = min, .max = max, .buckets = std::move(buckets)};
    for (const int64_t count : std::get<ExplicitBuckets>(histogram.buckets).counts)
      histogram.count += count;
    EXPECT_THAT(ValidateHistogram(histogram), IsOk());
    Aggregate aggregate;
    Sketch sketch;
    Observe(histogram, 0, &aggregate, &sketch);
    EXPECT_EQ(aggregate.count, histogram.count);
    return sketch;
  };
  // (1, 3]: 1.5, wrong by half at the most.
  Sketch sketch = sketch_of({.bounds = {1, 3}, .counts = {0, 4, 0}});
  EXPECT_NEAR(sketch.Quantile(0.5), 1.5, 0.03);
  EXPECT_NEAR(sketch.RelativeError(), 0.5, 0.02);
  // Nothing is known of what lies past the last bound, or of how near to zero.
  EXPECT_EQ(sketch_of({.bounds = {1, 3}, .counts = {0, 4, 1}}).RelativeError(), 1);
  EXPECT_EQ(sketch_of({.bounds = {1, 3}, .counts = {1, 4, 0}}).RelativeError(), 1);
  // Not even that they are not below zero, when the greatest is.
  EXPECT_EQ(sketch_of({.bounds = {1}, .counts = {2, 0}}, {}, 0).RelativeError(), 1);
  sketch = sketch_of({.bounds = {1}, .counts = {2, 0}}, {}, -4);
  EXPECT_NEAR(sketch.Quantile(1), -4, 0.05);
  EXPECT_EQ(sketch.RelativeError(), 1);
  // Extremes say more.
  sketch = sketch_of({.bounds = {1, 3}, .counts = {0, 0, 5}}, 4.0, 6.0);
  EXPECT_NEAR(sketch.RelativeError(), 0.2, 0.02);
  sketch = sketch_of({.bounds = {1}, .counts = {0, 5}}, 4.0, 4.0);
  EXPECT_NEAR(sketch.RelativeError(), 0.011, 0.001);
  EXPECT_NEAR(sketch.Quantile(1), 4, 0.05);
  // Below zero too.
  sketch = sketch_of({.bounds = {-3, -1}, .counts = {0, 4, 0}});
  EXPECT_NEAR(sketch.Quantile(0.5), -1.5, 0.03);
  EXPECT_NEAR(sketch.RelativeError(), 0.5, 0.02);
  // The whole range of doubles, and values that contradict the bounds.
  constexpr double kMax = std::numeric_limits<double>::max();
  sketch_of({.bounds = {-kMax, 5e-324, kMax}, .counts = {1, 1, 1, 1}});
  sketch_of({.bounds = {1, 2}, .counts = {1, 1, 1}}, 100.0, 200.0);
  sketch_of({.bounds = {1, 2}, .counts = {1, 1, 1}}, -200.0, -100.0);
  sketch_of({.bounds = {}, .counts = {3}});
}

// The least value is 3.9, in (2.8, 4], whose middle is 3.3: the greatest is not 3.3, or
// a query had no range in which to keep its quantiles.
TEST(PointTest, AnEstimatedExtremeDoesNotContradictTheOneThatWasSent) {
  Histogram histogram = {.count = 1, .min = 3.9};
  histogram.buckets = ExponentialBuckets{.scale = 1, .positive = {.offset = 3, .counts = {1}}};
  for (const bool negative : {false, true}) {
    if (negative) {
      auto& buckets = std::get<ExponentialBuckets>(histogram.buckets);
      std::swap(buckets.positive, buckets.negative);
      histogram.max = -*std::exchange(histogram.min, std::nullopt);
    }
    ASSERT_THAT(ValidateHistogram(histogram), IsOk());
    Aggregate aggregate;
    Sketch sketch;
    Observe(histogram, 0, &aggregate, &sketch);
    EXPECT_EQ(aggregate.min, negative ? -3.9 : 3.9);
    EXPECT_EQ(aggregate.max, negative ? -3.9 : 3.9);
  }
}

// Counts come from clients: no number of them ends the process that adds them up.
TEST(PointTest, CountsStopAtTheLargest) {
  Histogram histogram = {.count = INT64_MAX - 1};
  histogram.buckets = ExponentialBuckets{.positive = {.offset = 3, .counts = {INT64_MAX - 1}}};
  ASSERT_THAT(ValidateHistogram(histogram), IsOk());
  Aggregate aggregate;
  Sketch sketch;
  for (int i = 0; i < 3; ++i) Observe(histogram, i, &aggregate, &sketch);
  sketch.Add(1.5, INT64_MAX);
  EXPECT_EQ(aggregate.count, INT64_MAX);
  EXPECT_EQ(aggregate.float_count, INT64_MAX);
  EXPECT_EQ(sketch.count(), INT64_MAX - 1);
  EXPECT_GT(sketch.Quantile(1), 1);
}

TEST(PointTest, WhatWasSentIsCheckedAndTheReasonNamed) {
  const auto why = [](const Histogram& histogram) { return ValidateHistogram(histogram); };
  const auto classic = [](std::vector<double> bounds, std::vector<int64_t> counts, int64_t count) {
    return Histogram{
        .count = count,
        .buckets = ExplicitBuckets{.bounds = std::move(bounds), .counts = std::move(counts)}};
  };
  const auto invalid = [](const std::string& what) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what));
  };
  EXPECT_THAT(why(classic({1}, {1, 2}, 3)), IsOk());
  EXPECT_THAT(why(classic({}, {}, 3)), IsOk());
  EXPECT_THAT(why(classic({1}, {1, 2}, 4)), invalid("a count of 4 with 3"));
  EXPECT_THAT(why(classic({1}, {1}, 1)), invalid("1 bucket counts for 1 bounds"));
  EXPECT_THAT(why(classic({1}, {}, 0)), invalid("0 bucket counts"));
  EXPECT_THAT(why(classic({2, 1}, {1, 1, 1}, 3)), invalid("must rise"));
  EXPECT_THAT(why(classic({1, 1}, {1, 1, 1}, 3)), invalid("must rise"));
  EXPECT_THAT(why(classic({kInfinity}, {1, 1}, 2)), invalid("must be finite"));
  EXPECT_THAT(why(classic({std::nan("")}, {1, 1}, 2)), invalid("must be finite"));
  EXPECT_THAT(why(classic({1}, {-1, 1}, 0)), invalid("count -1"));
  EXPECT_THAT(why(classic({1}, {INT64_MAX, 1}, 0)), invalid("2^63"));
  EXPECT_THAT(why({.count = -1}), invalid("a count of -1"));
  EXPECT_THAT(why({.count = 1, .sum = kInfinity}), invalid("sum inf"));
  EXPECT_THAT(why({.count = 1, .min = 2, .max = 1}), invalid("min 2 above max 1"));
  std::vector<double> bounds(kMaxHistogramBuckets);
  for (size_t i = 0; i < bounds.size(); ++i) bounds[i] = static_cast<double>(i);
  EXPECT_THAT(why(classic(bounds, std::vector<int64_t>(bounds.size() + 1), 0)), invalid("at most"));

  const auto exponential = [](ExponentialBuckets buckets, int64_t count) {
    return Histogram{.count = count, .buckets = std::move(buckets)};
  };
  EXPECT_THAT(why(exponential({.scale = 20, .positive = {.offset = 7, .counts = {1}}}, 1)), IsOk());
  EXPECT_THAT(why(exponential({.scale = 21}, 0)), invalid("scale 21"));
  EXPECT_THAT(why(exponential({.scale = -11}, 0)), invalid("scale -11"));
  EXPECT_THAT(why(exponential({.zero_count = -1}, 0)), invalid("zero count"));
  EXPECT_THAT(why(exponential({.zero_threshold = -1}, 0)), invalid("zero threshold"));
  EXPECT_THAT(
      why(exponential({.scale = 0, .positive = {.offset = INT32_MAX, .counts = {1, 1}}}, 2)),
      invalid("where no double lies"));
  EXPECT_THAT(why(exponential({.scale = 0, .negative = {.offset = INT32_MIN, .counts = {1}}}, 1)),
              invalid("where no double lies"));
}

Point RandomPoint(Random& random) {
  Point point = {.cumulative = random.Below(2) == 0};
  if (point.cumulative) {
    point.start_unix_nano = static_cast<int64_t>(random() >> 1);
    point.certain_start = random.Below(2) == 0;
  }
  Recorder recorder({-1, 0, 1, 10});
  for (uint64_t n = random.Below(30); n > 0; --n) {
    recorder.Record(static_cast<double>(random.Below(1000)) / 16 - 10);
  }
  switch (random.Below(5)) {
    case 0:
      point.value = static_cast<int64_t>(random() >> random.Below(64));
      break;
    case 1:
      point.value = static_cast<double>(random()) / 3;
      break;
    case 2:
      point.value = recorder.Explicit();
      break;
    case 3:
      point.value = Histogram{.count = 5};
      break;
    default:
      point.value = recorder.Exponential(static_cast<int>(random.Below(17)) - 10);
  }
  return point;
}

TEST(PointTest, BytesComeBackAsThePointThatWasWritten) {
  Random random(test::TestSeed());
  for (int round = 0; round < 2000; ++round) {
    const Point point = RandomPoint(random);
    std::string bytes;
    AppendPoint(point, &bytes);
    const absl::StatusOr<Point> back = ParsePoint(bytes);
    ASSERT_THAT(back, IsOk());
    EXPECT_EQ(*back, point);
    EXPECT_TRUE(absl::IsDataLoss(ParsePoint(bytes + "x").status()));
    EXPECT_TRUE(absl::IsDataLoss(ParsePoint(bytes.substr(0, bytes.size() - 1)).status()));
  }
}

TEST(PointTest, NoBytesDoHarm) {
  Random random(test::TestSeed());
  int parsed = 0;
  for (int round = 0; round < 50'000; ++round) {
    std::string bytes;
    AppendPoint(RandomPoint(random), &bytes);
    for (uint64_t n = random.Below(4); n > 0; --n) {
      bytes[random.Below(bytes.size())] = static_cast<char>(random());
    }
    const absl::StatusOr<Point> point = ParsePoint(bytes);
    if (!point.ok()) {
      EXPECT_TRUE(absl::IsDataLoss(point.status()));
      continue;
    }
    ++parsed;
    const auto* histogram = std::get_if<Histogram>(&point->value);
    if (histogram == nullptr) continue;
    Aggregate aggregate;
    Sketch sketch;
    Observe(*histogram, 0, &aggregate, &sketch);
    EXPECT_EQ(sketch.count(), histogram->count);
    EXPECT_TRUE(std::isfinite(aggregate.m2) && std::isfinite(aggregate.mean));
    (void)Increase(*histogram, *histogram, true);
  }
  EXPECT_GT(parsed, 5'000);
}

}  // namespace
}  // namespace weir
