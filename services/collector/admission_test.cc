#include "services/collector/admission.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/base/random.h"
#include "common/testing/test_seed.h"

namespace weir::collector {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);
const int64_t kNowNano = absl::ToUnixNanos(kNow);

Series Good() {
  return {
      .tenant = "t", .name = "ttft_seconds", .kind = Kind::kGauge, .labels = {{"model", "gpt-5"}}};
}

std::optional<Reject> ReasonOf(Series series) {
  const auto error = AdmitSeries({}, &series);
  if (!error.has_value()) return std::nullopt;
  EXPECT_FALSE(error->message.empty());
  return error->reason;
}

TEST(AdmissionTest, LabelsAreSortedAndEmptyOnesLeftOut) {
  Series series = Good();
  series.labels = {{"z", "1"}, {"a", "2"}, {"m", ""}};
  EXPECT_FALSE(AdmitSeries({}, &series).has_value());
  EXPECT_EQ(series.labels, (std::vector<Label>{{"a", "2"}, {"z", "1"}}));
}

TEST(AdmissionTest, EachLimitOfASeriesHasItsReason) {
  Series series = Good();
  series.name = "";
  EXPECT_EQ(ReasonOf(series), Reject::kNameInvalid);
  series.name = std::string(257, 'n');
  EXPECT_EQ(ReasonOf(series), Reject::kNameInvalid);
  series.name = std::string("a\0b", 3);
  EXPECT_EQ(ReasonOf(series), Reject::kNameInvalid);

  series = Good();
  series.kind = static_cast<Kind>(0);
  EXPECT_EQ(ReasonOf(series), Reject::kKindInvalid);
  series.kind = static_cast<Kind>(5);
  EXPECT_EQ(ReasonOf(series), Reject::kKindInvalid);

  series = Good();
  series.labels = {{"", "v"}};
  EXPECT_EQ(ReasonOf(series), Reject::kLabelInvalid);
  series.labels = {{"l", std::string(1025, 'v')}};
  EXPECT_EQ(ReasonOf(series), Reject::kLabelInvalid);
  series.labels = {{"l", "\xff"}};
  EXPECT_EQ(ReasonOf(series), Reject::kLabelInvalid);
  series.labels = {{"l", "1"}, {"l", "2"}};
  EXPECT_EQ(ReasonOf(series), Reject::kLabelInvalid);

  series.labels.clear();
  for (int i = 0; i < 33; ++i) series.labels.push_back({"l" + std::to_string(i), "v"});
  EXPECT_EQ(ReasonOf(series), Reject::kTooManyLabels);
  series.labels.clear();
  for (int i = 0; i < 9; ++i) {
    series.labels.push_back({"l" + std::to_string(i), std::string(1000, 'v')});
  }
  EXPECT_EQ(ReasonOf(series), Reject::kTooManyLabels);
}

TEST(AdmissionTest, TextIsUtf8WithoutNul) {
  for (const std::string_view good : {"", "plain", "gr\xc3\xbc\xc3\x9f", "\xe6\xb0\xb4",
                                      "\xf0\x9f\x8c\x8a", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(AcceptableText(good)) << good;
  }
  for (const std::string_view bad :
       {std::string_view("\0", 1), std::string_view("\x80"), std::string_view("\xc3"),
        std::string_view("\xc0\xaf"),          // overlong
        std::string_view("\xe0\x80\xaf"),      // overlong
        std::string_view("\xed\xa0\x80"),      // surrogate
        std::string_view("\xf4\x90\x80\x80"),  // above U+10FFFF
        std::string_view("\xf8\x88\x80\x80\x80"), std::string_view("a\xe6\xb0")}) {
    EXPECT_FALSE(AcceptableText(bad));
  }
}

// Eight characters are looked at at once, so where one lies must not matter.
TEST(AdmissionTest, WhatIsWrongWithTextIsFoundWhereverItLies) {
  const std::string text(40, 'a');
  for (size_t at = 0; at <= text.size(); ++at) {
    for (const char one : {'\x01', '\x7f'}) {
      EXPECT_TRUE(AcceptableText(std::string(text).insert(at, 1, one))) << at;
    }
    EXPECT_TRUE(AcceptableText(std::string(text).insert(at, "\xf0\x9f\x8c\x8a"))) << at;
    for (const char one : {'\x00', '\x80', '\x81', '\xc3', '\xff'}) {
      EXPECT_FALSE(AcceptableText(std::string(text).insert(at, 1, one))) << at;
    }
  }
}

class BatchBuilderTest : public ::testing::Test {
 protected:
  SeriesHandle Intern(const std::string& name, Kind kind = Kind::kGauge) {
    Series series = {.tenant = "t", .name = name, .kind = kind};
    return table_.Intern(series);
  }
  SeriesTable table_{4, 1000};
  BatchBuilder builder_;
};

TEST_F(BatchBuilderTest, ABadSampleIsRejectedAloneAndItsNeighboursKept) {
  const SeriesHandle gauge = Intern("g");
  const SeriesHandle counter = Intern("c", Kind::kCounter);
  builder_.Start({}, kNow);
  EXPECT_TRUE(builder_.AddFloat(gauge, kNowNano, 1.5));
  EXPECT_FALSE(builder_.AddFloat(gauge, kNowNano, std::numeric_limits<double>::quiet_NaN()));
  EXPECT_FALSE(builder_.AddFloat(gauge, kNowNano, std::numeric_limits<double>::infinity()));
  EXPECT_FALSE(builder_.AddFloat(counter, kNowNano, -1));
  EXPECT_FALSE(builder_.AddInteger(counter, kNowNano, -1));
  EXPECT_TRUE(builder_.AddInteger(gauge, kNowNano, -1));
  EXPECT_EQ(builder_.sample_count(), 2);
  EXPECT_EQ(builder_.rejections().count(), 4);
  ASSERT_EQ(builder_.rejections().list().size(), 2u);
  EXPECT_EQ(builder_.rejections().list()[0].reason, Reject::kValueNotFinite);
  EXPECT_EQ(builder_.rejections().list()[0].count, 2);
  EXPECT_EQ(builder_.rejections().list()[1].reason, Reject::kValueNegative);
  EXPECT_EQ(builder_.Build().sample_count(), 2);
}

TEST_F(BatchBuilderTest, TimesOutsideTheBoundsAreRejectedNotClamped) {
  const SeriesHandle gauge = Intern("g");
  const Limits limits = {.max_future = absl::Minutes(10), .max_age = absl::Hours(1)};
  builder_.Start(limits, kNow);
  const int64_t minute = 60'000'000'000;
  EXPECT_TRUE(builder_.AddFloat(gauge, kNowNano + 10 * minute, 1));
  EXPECT_FALSE(builder_.AddFloat(gauge, kNowNano + 10 * minute + 1, 1));
  EXPECT_TRUE(builder_.AddFloat(gauge, kNowNano - 60 * minute, 1));
  EXPECT_FALSE(builder_.AddFloat(gauge, kNowNano - 60 * minute - 1, 1));
  EXPECT_FALSE(builder_.AddFloat(gauge, INT64_MIN, 1));
  EXPECT_FALSE(builder_.AddFloat(gauge, INT64_MAX, 1));
  EXPECT_FALSE(builder_.AddFloat(gauge, 0, 1));
}

// Columns are either added exactly as one by one, or not at all.
template <typename Value, typename RandomValue>
void CheckColumns(SeriesTable& table, uint64_t seed, RandomValue random_value) {
  Random random(seed);
  const auto one_in = [&](uint64_t n) { return n > 0 && random.Below(n) == 0; };
  int whole = 0;
  for (int round = 0; round < 2000; ++round) {
    const uint64_t flaws = one_in(2) ? 12 << random.Below(6) : 0;  // half of the rounds have none
    std::vector<SeriesHandle> series(random.Below(20) + (flaws == 0 ? 1 : 0));
    for (SeriesHandle& handle : series) {
      if (one_in(flaws)) continue;  // not admitted
      handle = table.Intern({.tenant = "t",
                             .name = "m" + std::to_string(random.Below(20)),
                             .kind = one_in(4) ? Kind::kCounter : Kind::kGauge});
    }
    const Limits limits = {.max_future = absl::Minutes(10), .max_age = absl::Hours(1)};
    BatchBuilder one_by_one;
    BatchBuilder at_once;
    one_by_one.Start(limits, kNow);
    at_once.Start(limits, kNow);
    // What is in the batch already stays there.
    const int64_t before = static_cast<int64_t>(random.Below(3));
    for (int64_t i = 0; i < before; ++i) {
      const SeriesHandle handle = table.Intern({.tenant = "t", .name = "before"});
      one_by_one.AddInteger(handle, kNowNano, i);
      at_once.AddInteger(handle, kNowNano, i);
    }
    std::vector<uint32_t> refs(random.Below(200));
    std::vector<int64_t> deltas(refs.size());
    std::vector<Value> values(refs.size());
    bool all = true;
    int64_t time = kNowNano;
    for (size_t i = 0; i < refs.size(); ++i) {
      refs[i] = static_cast<uint32_t>(random.Below(series.size() + (one_in(flaws) ? 3 : 0)));
      if (series.empty()) refs[i] = 0;
      deltas[i] = static_cast<int64_t>(random.Below(2'000'000)) - 1'000'000;
      if (one_in(flaws)) deltas[i] = static_cast<int64_t>(random());
      values[i] = random_value(random, one_in(flaws));
      time = static_cast<int64_t>(static_cast<uint64_t>(time) + static_cast<uint64_t>(deltas[i]));
      if (refs[i] >= series.size() || series[refs[i]].number == kNoSeries) {
        all = false;
      } else if constexpr (std::is_same_v<Value, double>) {
        all &= one_by_one.AddFloat(series[refs[i]], time, values[i]);
      } else {
        all &= one_by_one.AddInteger(series[refs[i]], time, values[i]);
      }
    }
    const bool added = at_once.TryAddColumns<Value>(series, refs, kNowNano, deltas, values);
    EXPECT_EQ(at_once.rejections().count(), 0);
    if (!added) {
      EXPECT_EQ(at_once.sample_count(), before);
      EXPECT_NE(flaws, 0u) << "nothing was wrong with round " << round;
      one_by_one.Build();
      for (int64_t i = 0; i < before; ++i) {
        one_by_one.AddInteger(table.Intern({.tenant = "t", .name = "before"}), kNowNano, i);
      }
    } else {
      ++whole;
      ASSERT_TRUE(all) << "round " << round;
    }
    const AdmittedBatch expected = one_by_one.Build();
    const AdmittedBatch actual = at_once.Build();
    ASSERT_EQ(actual.sample_count(), expected.sample_count());
    for (size_t i = 0; i < expected.samples.size(); ++i) {
      EXPECT_EQ(actual.samples[i].series, expected.samples[i].series);
      EXPECT_EQ(actual.samples[i].slot, expected.samples[i].slot);
      EXPECT_EQ(actual.samples[i].event_unix_nano, expected.samples[i].event_unix_nano);
      EXPECT_EQ(actual.samples[i].bits, expected.samples[i].bits);
      EXPECT_EQ(actual.samples[i].type, expected.samples[i].type);
    }
  }
  EXPECT_GT(whole, 500);
}

TEST_F(BatchBuilderTest, FloatColumnsAreAddedAsTheirSamplesWouldBe) {
  const uint64_t seed = weir::test::TestSeed();
  CheckColumns<double>(table_, seed, [](Random& random, bool flawed) {
    if (!flawed) return static_cast<double>(random.Below(1000)) / 8;
    constexpr double kFlawed[] = {-1, -0.0, std::numeric_limits<double>::quiet_NaN(),
                                  std::numeric_limits<double>::infinity()};
    return kFlawed[random.Below(4)];
  });
}

TEST_F(BatchBuilderTest, IntegerColumnsAreAddedAsTheirSamplesWouldBe) {
  const uint64_t seed = weir::test::TestSeed();
  CheckColumns<int64_t>(table_, seed, [](Random& random, bool flawed) {
    return static_cast<int64_t>(flawed ? random() : random() >> 1);
  });
}

TEST(SeriesTableTest, AMetricThatOverflowsKeepsDoingSoUnderItsNameWhenOthersNoLongerCan) {
  SeriesTable table(4, 1);
  const auto name_of = [&](const std::string& name, const std::string& user) {
    const Series series = {.tenant = "t", .name = name, .labels = {{"user", user}}};
    return ParseSeries(table.Definition(table.Intern(series).number))->name;
  };
  EXPECT_EQ(name_of("m", "a"), "m");
  EXPECT_EQ(name_of("m", "b"), "m");
  EXPECT_EQ(name_of("late", "c"), kOverflowLabel);
  EXPECT_EQ(name_of("m", "d"), "m");
  EXPECT_EQ(table.size(), 3);
}

TEST(SeriesTableTest, SeriesPastTheLimitShareTheOverflowSeriesOfTheirMetric) {
  std::vector<std::string> told;
  SeriesTable table(4, 2, [&](const std::string& metric) { told.push_back(metric); });
  const auto intern = [&](const std::string& name, const std::string& value) {
    return table.Intern({.tenant = "t", .name = name, .labels = {{"user", value}}}).number;
  };
  const SeriesNumber first = intern("m", "a");
  intern("m", "b");
  const SeriesNumber third = intern("m", "c");
  EXPECT_EQ(intern("m", "d"), third);
  EXPECT_EQ(intern("m", "a"), first);
  EXPECT_EQ(intern("m", "d"), third);
  EXPECT_EQ(table.overflowed_count(), 2);
  EXPECT_EQ(told, (std::vector<std::string>{"m", "m"}));
  const absl::StatusOr<Series> overflow = ParseSeries(table.Definition(third));
  ASSERT_TRUE(overflow.ok());
  EXPECT_EQ(*overflow, OverflowOf(*overflow));
  EXPECT_EQ(overflow->name, "m");
}

}  // namespace
}  // namespace weir::collector
