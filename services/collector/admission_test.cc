#include "services/collector/admission.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

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

class BatchBuilderTest : public ::testing::Test {
 protected:
  SeriesHandle Intern(const std::string& name, Kind kind = Kind::kGauge) {
    Series series = {.tenant = "t", .name = name, .kind = kind};
    return table_.Intern(series);
  }
  SeriesTable table_{4, 1000};
  BatchBuilder builder_{table_};
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
  EXPECT_EQ(builder_.Build().sample_count, 2);
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

TEST_F(BatchBuilderTest, PartsAreInTheSlotsOfTheirSeries) {
  std::vector<uint64_t> expected(4, 0);
  builder_.Start({}, kNow);
  for (int i = 0; i < 5000; ++i) {
    const SeriesHandle handle = Intern("series" + std::to_string(i % 37));
    builder_.AddFloat(handle, kNowNano + i, i);
    ++expected[handle.slot];
  }
  const AdmittedBatch batch = builder_.Build();
  EXPECT_EQ(batch.sample_count, 5000);
  std::vector<uint64_t> found(4, 0);
  frame::Block block;
  for (const SlotPart& part : batch.parts) {
    ByteReader reader(batch.BlocksOf(part));
    while (!reader.empty()) {
      ASSERT_TRUE(frame::ReadBlock(&reader, &block).ok());
      found[static_cast<size_t>(part.slot)] += block.size();
      for (const uint32_t ref : block.refs) EXPECT_EQ(table_.Definition(ref).slot, part.slot);
    }
    EXPECT_EQ(part.sample_count, expected[static_cast<size_t>(part.slot)]);
  }
  EXPECT_EQ(found, expected);
}

TEST(SeriesTableTest, SeriesPastTheLimitShareTheOverflowSeriesOfTheirMetric) {
  SeriesTable table(4, 2);
  const auto intern = [&](const std::string& name, const std::string& value) {
    return table.Intern({.tenant = "t", .name = name, .labels = {{"user", value}}}).number;
  };
  const SeriesNumber first = intern("m", "a");
  intern("m", "b");
  const SeriesNumber third = intern("m", "c");
  EXPECT_EQ(intern("m", "d"), third);
  EXPECT_EQ(intern("m", "a"), first);
  EXPECT_EQ(table.overflowed_count(), 2);
  const absl::StatusOr<Series> overflow = ParseSeries(table.Definition(third).bytes);
  ASSERT_TRUE(overflow.ok());
  EXPECT_EQ(*overflow, OverflowOf(*overflow));
  EXPECT_EQ(overflow->name, "m");
}

}  // namespace
}  // namespace weir::collector
