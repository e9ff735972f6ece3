// Aliases where they are applied: in the table of series and in admission.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/alias/alias_table.h"
#include "common/testing/status_matchers.h"
#include "services/collector/admission.h"

namespace weir::collector {
namespace {

using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'750'000'000);
constexpr int64_t kNowNano = 1'750'000'000'000'000'000;

AliasTable Table() {
  return AliasTable::Create({{.name = "cache",
                              .unit = "ratio",
                              .kind = Kind::kGauge,
                              .least = 0,
                              .most = 1,
                              .sources = {{.name = "cache_ratio"},
                                          {.name = "cache_percent", .scale = 0.01},
                                          {.name = "cache_pool", .overlap = true}}},
                             {.name = "memory",
                              .unit = "bytes",
                              .kind = Kind::kGauge,
                              .sources = {{.name = "memory_mib", .scale = 1048576}}},
                             {.name = "energy",
                              .unit = "joules",
                              .kind = Kind::kCounter,
                              .sources = {{.name = "energy_mj", .scale = 0.001}}},
                             {.name = "latency",
                              .unit = "seconds",
                              .kind = Kind::kDistribution,
                              .sources = {{.name = "latency_ms", .scale = 0.001}}}})
      .value();
}

class AliasTest : public ::testing::Test {
 protected:
  AliasTest() {
    limits_.value_rules = aliases_.value_rules();
    builder_.Start(limits_, kNow);
  }

  SeriesHandle Intern(const std::string& name, Kind kind = Kind::kGauge,
                      std::vector<Label> labels = {{"pod", "a"}}) {
    return table_.Intern({.tenant = "t", .name = name, .kind = kind, .labels = labels});
  }
  Series SeriesOf(const SeriesHandle& handle) const {
    return ParseSeries(table_.Definition(handle.number)).value();
  }
  // The values taken in so far, in order.
  std::vector<PointValue> Take() {
    std::vector<PointValue> values;
    const AdmittedBatch batch = builder_.Build();
    for (const AdmittedSample& sample : batch.samples) {
      switch (sample.type) {
        case frame::ValueType::kInteger:
          values.push_back(static_cast<int64_t>(sample.bits));
          break;
        case frame::ValueType::kFloat:
          values.push_back(std::bit_cast<double>(sample.bits));
          break;
        case frame::ValueType::kPoint:
          values.push_back(ParsePoint(batch.PointOf(sample)).value().value);
          break;
      }
    }
    return values;
  }

  const AliasTable aliases_ = Table();
  Limits limits_;
  SeriesTable table_{4, 1000, nullptr, &aliases_};
  BatchBuilder builder_;
};

TEST_F(AliasTest, EveryNameOfAMetricIsOneSeries) {
  const SeriesHandle ratio = Intern("cache_ratio");
  const SeriesHandle percent = Intern("cache_percent");
  const SeriesHandle canonical = Intern("cache");
  EXPECT_EQ(ratio.number, percent.number);
  EXPECT_EQ(ratio.number, canonical.number);
  EXPECT_EQ(ratio.slot, canonical.slot);
  EXPECT_EQ(SeriesOf(ratio).name, "cache");
  EXPECT_EQ(SeriesOf(ratio).labels, (std::vector<Label>{{"pod", "a"}}));
  EXPECT_EQ(table_.size(), 1);
  EXPECT_EQ(ratio.rule, canonical.rule);
  EXPECT_NE(percent.rule, ratio.rule);
  // What was looked up once has the same rule the next time.
  EXPECT_EQ(Intern("cache_percent").rule, percent.rule);
  EXPECT_EQ(Intern("cache").rule, canonical.rule);
}

TEST_F(AliasTest, ASourceThatOverlapsKeepsItsNameAsALabel) {
  const SeriesHandle pool = Intern("cache_pool", Kind::kGauge, {{"a", "1"}, {"z", "2"}});
  EXPECT_NE(pool.number, Intern("cache_ratio", Kind::kGauge, {{"a", "1"}, {"z", "2"}}).number);
  EXPECT_EQ(SeriesOf(pool).name, "cache");
  EXPECT_EQ(
      SeriesOf(pool).labels,
      (std::vector<Label>{{"a", "1"}, {std::string(kSourceNameLabel), "cache_pool"}, {"z", "2"}}));
  // Whoever sends the label does not decide what it says.
  EXPECT_EQ(Intern("cache_pool", Kind::kGauge,
                   {{"a", "1"}, {std::string(kSourceNameLabel), "x"}, {"z", "2"}})
                .number,
            pool.number);
}

TEST_F(AliasTest, OtherNamesAndKindsAreAsTheyWere) {
  const SeriesHandle other = Intern("other");
  EXPECT_EQ(other.rule, 0);
  EXPECT_EQ(SeriesOf(other).name, "other");
  const SeriesHandle counter = Intern("cache_percent", Kind::kCounter);
  EXPECT_EQ(counter.rule, 0);
  EXPECT_EQ(SeriesOf(counter).name, "cache_percent");
}

TEST_F(AliasTest, ValuesAreScaledAndIntegersStaySoWhereTheyCan) {
  EXPECT_TRUE(builder_.AddInteger(Intern("cache_percent"), kNowNano, 75));
  EXPECT_TRUE(builder_.AddFloat(Intern("cache_percent"), kNowNano, 12.5));
  EXPECT_TRUE(builder_.AddFloat(Intern("cache_ratio"), kNowNano, 0.25));
  EXPECT_TRUE(builder_.AddInteger(Intern("memory_mib"), kNowNano, 2));
  EXPECT_TRUE(builder_.AddFloat(Intern("latency_ms", Kind::kDistribution), kNowNano, 250));
  EXPECT_EQ(Take(), (std::vector<PointValue>{0.75, 0.125, 0.25, int64_t{2} << 20, 0.25}));
  EXPECT_EQ(builder_.rejections().count(), 0);
}

TEST_F(AliasTest, AValueOutOfRangeIsRejectedAloneWithItsReason) {
  EXPECT_FALSE(builder_.AddFloat(Intern("cache_ratio"), kNowNano, 75));
  EXPECT_FALSE(builder_.AddInteger(Intern("cache_percent"), kNowNano, 101));
  EXPECT_FALSE(builder_.AddFloat(Intern("cache"), kNowNano, -0.001));
  EXPECT_TRUE(builder_.AddInteger(Intern("cache_percent"), kNowNano, 100));
  ASSERT_EQ(builder_.rejections().list().size(), 1u);
  const Rejected& rejected = builder_.rejections().list()[0];
  EXPECT_EQ(rejected.reason, Reject::kValueOutOfRange);
  EXPECT_EQ(rejected.count, 3);
  EXPECT_THAT(rejected.message, HasSubstr("value 75 of 'cache'; allowed are 0 to 1"));
  // Other reasons stay what they were.
  EXPECT_FALSE(builder_.AddFloat(Intern("cache"), kNowNano, std::nan("")));
  EXPECT_FALSE(builder_.AddFloat(Intern("memory_mib"), kNowNano, 1e308));
  EXPECT_FALSE(builder_.AddInteger(Intern("energy_mj", Kind::kCounter), kNowNano, -1));
  ASSERT_EQ(builder_.rejections().list().size(), 3u);
  EXPECT_EQ(builder_.rejections().list()[1].reason, Reject::kValueNotFinite);
  EXPECT_EQ(builder_.rejections().list()[1].count, 2);
  EXPECT_EQ(builder_.rejections().list()[2].reason, Reject::kValueNegative);
  EXPECT_EQ(Take(), std::vector<PointValue>{1.0});
}

TEST_F(AliasTest, RunningTotalsAndHistogramsAreScaledAsTheyCome) {
  const SeriesHandle energy = Intern("energy_mj", Kind::kCounter);
  EXPECT_TRUE(builder_.AddPoint(
      energy, kNowNano, {.cumulative = true, .start_unix_nano = 1, .value = int64_t{2500}}));
  const Histogram sent = {.count = 3, .sum = 30, .buckets = ExplicitBuckets{{5, 10}, {1, 1, 1}}};
  EXPECT_TRUE(
      builder_.AddPoint(Intern("latency_ms", Kind::kDistribution), kNowNano, {.value = sent}));
  EXPECT_EQ(Take(), (std::vector<PointValue>{
                        2.5, Histogram{.count = 3,
                                       .sum = 0.03,
                                       .buckets = ExplicitBuckets{{0.005, 0.01}, {1, 1, 1}}}}));
  // Bounds that fall together when they are scaled are no histogram any more.
  const Histogram narrow = {
      .count = 1,
      .buckets = ExplicitBuckets{{std::numeric_limits<double>::denorm_min(),
                                  2 * std::numeric_limits<double>::denorm_min()},
                                 {1, 0, 0}}};
  EXPECT_FALSE(
      builder_.AddPoint(Intern("latency_ms", Kind::kDistribution), kNowNano, {.value = narrow}));
  EXPECT_EQ(builder_.rejections().list()[0].reason, Reject::kHistogramInvalid);
}

TEST_F(AliasTest, ScalingChangesAPointsValueAndNothingElse) {
  const Point sent = {.cumulative = true,
                      .start_unix_nano = kNowNano,
                      .certain_start = true,
                      .value = int64_t{2500}};
  ASSERT_TRUE(builder_.AddPoint(Intern("energy_mj", Kind::kCounter), kNowNano, sent));
  const AdmittedBatch batch = builder_.Build();
  Point expected = sent;
  expected.value = 2.5;
  EXPECT_EQ(ParsePoint(batch.PointOf(batch.samples[0])).value(), expected);
}

TEST_F(AliasTest, PartsOfAHistogramAreScaledAsTheWholeOneIs) {
  using Role = HistogramPart::Role;
  const SeriesHandle latency = Intern("latency_ms", Kind::kDistribution);
  const auto add = [&](const HistogramPart& part, const PointValue& value) {
    return builder_.AddPoint(latency, kNowNano, {.cumulative = true, .part = part, .value = value});
  };
  EXPECT_TRUE(add({.role = Role::kBucket, .upper_bound = 250}, int64_t{3}));
  EXPECT_TRUE(add({.role = Role::kSum}, 700.0));
  EXPECT_TRUE(add({.role = Role::kCount}, int64_t{4}));
  const AdmittedBatch batch = builder_.Build();
  std::vector<Point> points;
  for (const AdmittedSample& sample : batch.samples) {
    points.push_back(ParsePoint(batch.PointOf(sample)).value());
  }
  const auto expected = [](const HistogramPart& part, const PointValue& value) {
    return Point{.cumulative = true, .part = part, .value = value};
  };
  EXPECT_EQ(points,
            (std::vector<Point>{expected({.role = Role::kBucket, .upper_bound = 0.25}, int64_t{3}),
                                expected({.role = Role::kSum}, 0.7),
                                expected({.role = Role::kCount}, int64_t{4})}));
  // What no bound can be.
  EXPECT_FALSE(add({.role = Role::kBucket, .upper_bound = -std::numeric_limits<double>::infinity()},
                   int64_t{3}));
  EXPECT_EQ(builder_.rejections().list()[0].reason, Reject::kHistogramInvalid);
  SeriesHandle past_the_limit = latency;
  past_the_limit.overflow = true;
  EXPECT_FALSE(builder_.AddPoint(
      past_the_limit, kNowNano,
      {.cumulative = true, .part = HistogramPart{.role = Role::kCount}, .value = int64_t{1}}));
  EXPECT_EQ(builder_.rejections().list()[1].reason, Reject::kSeriesLimit);
}

TEST_F(AliasTest, AnExponentialHistogramThatCannotBeScaledIsKeptUnderItsOwnName) {
  const Series series = {.tenant = "t", .name = "latency_ms", .kind = Kind::kDistribution};
  const Histogram sent = {.count = 1,
                          .buckets = ExponentialBuckets{.scale = 2, .positive = {.counts = {1}}}};
  const SeriesHandle aliased = table_.Intern(series);
  EXPECT_FALSE(builder_.ScalesExactly(aliased, {.value = sent}));
  EXPECT_FALSE(builder_.AddPoint(aliased, kNowNano, {.value = sent}));
  const SeriesHandle own = table_.InternUnaliased(series);
  EXPECT_EQ(own.rule, 0);
  EXPECT_EQ(SeriesOf(own).name, "latency_ms");
  EXPECT_TRUE(builder_.AddPoint(own, kNowNano, {.value = sent}));
  EXPECT_EQ(Take(), std::vector<PointValue>{sent});
  // Each stays what it is.
  EXPECT_EQ(table_.InternUnaliased(series).number, own.number);
  EXPECT_EQ(table_.Intern(series).number, aliased.number);
  EXPECT_EQ(SeriesOf(aliased).name, "latency");
  EXPECT_TRUE(builder_.ScalesExactly(own, {.value = sent}));
  const SeriesHandle other = table_.InternUnaliased({.tenant = "t", .name = "other"});
  EXPECT_EQ(other.number, table_.Intern({.tenant = "t", .name = "other"}).number);
}

TEST_F(AliasTest, PastTheLimitAnAliasIsSummedUpInItsMetricsUnit) {
  std::vector<std::string> told;
  SeriesTable small(
      4, 1, [&](const std::string& metric) { told.push_back(metric); }, &aliases_);
  const auto intern = [&](const std::string& name, const std::string& pod) {
    return small.Intern({.tenant = "t", .name = name, .labels = {{"pod", pod}}});
  };
  intern("cache_percent", "a");
  for (int round = 0; round < 2; ++round) {
    const SeriesHandle percent = intern("cache_percent", "b");
    const SeriesHandle ratio = intern("cache_ratio", "c");
    EXPECT_TRUE(percent.overflow);
    EXPECT_EQ(percent.number, ratio.number);
    EXPECT_NE(percent.rule, ratio.rule);
    EXPECT_EQ(ParseSeries(small.Definition(percent.number))->name, "cache");
    EXPECT_TRUE(builder_.AddInteger(percent, kNowNano, 50));
    EXPECT_TRUE(builder_.AddFloat(ratio, kNowNano, 0.5));
  }
  EXPECT_EQ(told, (std::vector<std::string>{"cache", "cache"}));
  EXPECT_EQ(Take(), (std::vector<PointValue>{0.5, 0.5, 0.5, 0.5}));
}

}  // namespace
}  // namespace weir::collector
