#include "common/alias/value_rule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/base/random.h"
#include "common/testing/test_seed.h"

namespace weir {
namespace {

ValueRule Scale(double scale) {
  ValueRule rule;
  SetScale(scale, &rule);
  return rule;
}

TEST(ValueRuleTest, PercentsAndMillisecondsAreTheNearestDoubles) {
  const ValueRule percent = Scale(0.01);
  const ValueRule milli = Scale(0.001);
  for (int i = 0; i <= 100; ++i) {
    EXPECT_EQ(Scaled(percent, i), std::stod("0." + std::to_string(100 + i).substr(1)) + (i == 100));
    EXPECT_EQ(Scaled(milli, i), i / 1000.0);
  }
  EXPECT_EQ(Scaled(Scale(2.5), 4), 10);
}

TEST(ValueRuleTest, IntegersStayIntegersWhereTheyCan) {
  const ValueRule mebibytes = Scale(1048576);
  EXPECT_EQ(ScaledNumber(mebibytes, 3), PointValue(int64_t{3} << 20));
  EXPECT_EQ(ScaledNumber(mebibytes, -3), PointValue(-(int64_t{3} << 20)));
  // Too large for 64 bits: a double, not a wrong integer.
  EXPECT_EQ(ScaledNumber(mebibytes, int64_t{1} << 50), PointValue(std::ldexp(1.0, 70)));
  EXPECT_EQ(ScaledNumber(Scale(0.01), 75), PointValue(0.75));
  EXPECT_EQ(ScaledNumber(Scale(2.5), 2), PointValue(5.0));
  const int64_t most = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(ScaledNumber(Scale(1), most), PointValue(most));
  EXPECT_EQ(ScaledNumber(Scale(1e300), most), PointValue(static_cast<double>(most) * 1e300));
}

// A point's value alone, scaled.
std::optional<PointValue> ScaledValue(const ValueRule& rule, const PointValue& value) {
  std::optional<Point> scaled = ScaledPoint(rule, {.value = value});
  if (!scaled.has_value()) return std::nullopt;
  return std::move(scaled->value);
}

TEST(ValueRuleTest, AHistogramKeepsItsCountsAndScalesWhatIsAValue) {
  const Histogram milliseconds = {.count = 6,
                                  .sum = 700,
                                  .min = 5,
                                  .max = 400,
                                  .buckets = ExplicitBuckets{{10, 250}, {1, 2, 3}}};
  const auto scaled = ScaledValue(Scale(0.001), milliseconds);
  ASSERT_TRUE(scaled.has_value());
  EXPECT_EQ(*scaled, PointValue(Histogram{.count = 6,
                                          .sum = 0.7,
                                          .min = 0.005,
                                          .max = 0.4,
                                          .buckets = ExplicitBuckets{{0.01, 0.25}, {1, 2, 3}}}));
  // What was not sent is not made up.
  const Histogram bare = {.count = 2};
  EXPECT_EQ(ScaledValue(Scale(0.001), bare), PointValue(bare));
}

TEST(ValueRuleTest, ExponentialBucketsScaleByPowersOfTwoOnly) {
  const Histogram sent = {
      .count = 7,
      .sum = 21,
      .buckets = ExponentialBuckets{.scale = 3,
                                    .zero_count = 1,
                                    .zero_threshold = 0.25,
                                    .positive = {.offset = -4, .counts = {1, 2}},
                                    .negative = {.offset = 9, .counts = {3}}}};
  EXPECT_FALSE(ScaledValue(Scale(0.001), sent).has_value());
  const auto scaled = ScaledValue(Scale(4), sent);
  ASSERT_TRUE(scaled.has_value());
  const auto& histogram = std::get<Histogram>(*scaled);
  EXPECT_EQ(histogram.sum, 84);
  const auto& buckets = std::get<ExponentialBuckets>(histogram.buckets);
  EXPECT_EQ(buckets.positive.offset, -4 + 16);
  EXPECT_EQ(buckets.negative.offset, 9 + 16);
  EXPECT_EQ(buckets.zero_threshold, 1);
  EXPECT_EQ(buckets.positive.counts, (std::vector<int64_t>{1, 2}));
  EXPECT_TRUE(ValidateHistogram(histogram).ok());
  // There and back again is where it was.
  EXPECT_EQ(ScaledValue(Scale(0.25), *scaled), PointValue(sent));
  EXPECT_EQ(ScaledValue(Scale(1), sent), PointValue(sent));
}

TEST(ValueRuleTest, CoarseBucketsMoveByWholeBucketsOrNotAtAll) {
  // A bucket covers a factor of 2^4.
  Histogram sent = {.count = 1,
                    .buckets = ExponentialBuckets{.scale = -2, .positive = {.counts = {1}}}};
  EXPECT_FALSE(ScaledValue(Scale(2), sent).has_value());
  EXPECT_FALSE(ScaledValue(Scale(8), sent).has_value());
  const auto scaled = ScaledValue(Scale(1048576), sent);
  ASSERT_TRUE(scaled.has_value());
  const auto& buckets = std::get<ExponentialBuckets>(std::get<Histogram>(*scaled).buckets);
  EXPECT_EQ(buckets.positive.offset, 5);
  // An index no histogram can have.
  std::get<ExponentialBuckets>(sent.buckets).positive.offset = INT32_MAX;
  EXPECT_FALSE(ScaledValue(Scale(1048576), sent).has_value());
}

TEST(ValueRuleTest, EachBucketHoldsWhatItHeldBefore) {
  const uint64_t seed = test::TestSeed();
  SCOPED_TRACE(testing::Message() << "WEIR_TEST_SEED=" << seed);
  Random random(seed);
  for (int i = 0; i < 1000; ++i) {
    const int scale = static_cast<int>(random.Below(9)) - 2;
    const int power = 4 * (static_cast<int>(random.Below(11)) - 5);
    const auto offset = static_cast<int32_t>(random.Below(41)) - 20;
    const Histogram sent = {.count = 1,
                            .buckets = ExponentialBuckets{
                                .scale = scale, .positive = {.offset = offset, .counts = {1}}}};
    const auto scaled = ScaledValue(Scale(std::ldexp(1.0, power)), sent);
    ASSERT_TRUE(scaled.has_value()) << scale << " " << power;
    const auto& buckets = std::get<ExponentialBuckets>(std::get<Histogram>(*scaled).buckets);
    const auto lower = [&](int32_t index) { return std::exp2(std::ldexp(index, -scale)); };
    EXPECT_NEAR(lower(buckets.positive.offset) / (lower(offset) * std::ldexp(1.0, power)), 1, 1e-9)
        << scale << " " << power << " " << offset;
  }
}

TEST(ValueRuleTest, APartOfAHistogramKeepsItsCountAndScalesWhatIsAValue) {
  using Role = HistogramPart::Role;
  const auto scaled = [](const HistogramPart& part, const PointValue& value) {
    return ScaledPoint(Scale(0.001),
                       {.cumulative = true, .start_unix_nano = 7, .part = part, .value = value});
  };
  const auto expected = [](const HistogramPart& part, const PointValue& value) {
    return Point{.cumulative = true, .start_unix_nano = 7, .part = part, .value = value};
  };
  EXPECT_EQ(scaled({.role = Role::kBucket, .upper_bound = 250}, int64_t{3}),
            expected({.role = Role::kBucket, .upper_bound = 0.25}, int64_t{3}));
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(scaled({.role = Role::kBucket, .upper_bound = kInfinity, .gone = true}, int64_t{0}),
            expected({.role = Role::kBucket, .upper_bound = kInfinity, .gone = true}, int64_t{0}));
  EXPECT_EQ(scaled({.role = Role::kCount}, int64_t{4}),
            expected({.role = Role::kCount}, int64_t{4}));
  EXPECT_EQ(scaled({.role = Role::kSum}, 700.0), expected({.role = Role::kSum}, 0.7));
}

TEST(ValueRuleTest, ARangeHasBothItsEnds) {
  ValueRule ratio;
  ratio.least = 0;
  ratio.most = 1;
  EXPECT_TRUE(InRange(ratio, 0));
  EXPECT_TRUE(InRange(ratio, 1));
  EXPECT_FALSE(InRange(ratio, std::nextafter(1.0, 2.0)));
  EXPECT_FALSE(InRange(ratio, -1e-300));
  EXPECT_TRUE(InRange(ValueRule(), -1e300));
}

}  // namespace
}  // namespace weir
