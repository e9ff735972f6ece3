#include "common/slo/window_bins.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/random.h"
#include "common/testing/status_matchers.h"
#include "common/testing/test_seed.h"

namespace weir {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::weir::test::IsOk;
using ::weir::test::IsOkAndHolds;
using ::weir::test::StatusIs;

constexpr absl::Duration kDay = absl::Hours(24);

absl::Time Parsed(const char* text) {
  absl::Time t;
  std::string error;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, text, &t, &error)) << error;
  return t;
}

BinSpan Bins(int tier, const char* start, const char* end) {
  return {.tier = tier, .span = {.start = Parsed(start), .end = Parsed(end)}};
}

absl::Duration Width(int tier) { return absl::Seconds(IndicatorTiers()[tier].bin_seconds); }

TEST(WindowBinsTest, EveryWindowHasATierThatOutlivesIt) {
  EXPECT_THAT(TierOfWindow(absl::Minutes(5)), IsOkAndHolds(0));
  EXPECT_THAT(TierOfWindow(absl::Minutes(30)), IsOkAndHolds(0));
  EXPECT_THAT(TierOfWindow(absl::Hours(1)), IsOkAndHolds(0));
  EXPECT_THAT(TierOfWindow(absl::Hours(2)), IsOkAndHolds(1));
  EXPECT_THAT(TierOfWindow(absl::Hours(6)), IsOkAndHolds(1));
  EXPECT_THAT(TierOfWindow(kDay), IsOkAndHolds(1));
  EXPECT_THAT(TierOfWindow(3 * kDay), IsOkAndHolds(2));
  EXPECT_THAT(TierOfWindow(30 * kDay), IsOkAndHolds(2));
  EXPECT_THAT(TierOfWindow(90 * kDay), IsOkAndHolds(3));
}

TEST(WindowBinsTest, AWindowIsWholeBins) {
  EXPECT_THAT(TierOfWindow(absl::Seconds(65)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("use 1m or 1m10s")));
  EXPECT_THAT(TierOfWindow(absl::Seconds(5)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("use 10s")));
  EXPECT_THAT(TierOfWindow(absl::Hours(25) + absl::Minutes(1)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("use 1d1h or 1d1h15m")));
  EXPECT_THAT(TierOfWindow(100 * kDay),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 99d")));
  for (const absl::Duration window : {absl::ZeroDuration(), -kDay, absl::InfiniteDuration()}) {
    EXPECT_THAT(TierOfWindow(window), StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(WindowBinsTest, AnHourIsTenSecondBins) {
  EXPECT_THAT(*BinsOfWindow(absl::Hours(1), Parsed("2026-03-01T12:00:50Z")),
              ElementsAre(Bins(0, "2026-03-01T11:00:50Z", "2026-03-01T12:00:50Z")));
}

TEST(WindowBinsTest, ALongWindowEndsAtTheInstantAllTheSame) {
  EXPECT_THAT(*BinsOfWindow(absl::Hours(6), Parsed("2026-03-01T12:00:50Z")),
              ElementsAre(Bins(1, "2026-03-01T06:00:00Z", "2026-03-01T12:00:00Z"),
                          Bins(0, "2026-03-01T12:00:00Z", "2026-03-01T12:00:50Z")));
  EXPECT_THAT(*BinsOfWindow(3 * kDay, Parsed("2026-03-04T12:14:50Z")),
              ElementsAre(Bins(2, "2026-03-01T12:00:00Z", "2026-03-04T12:00:00Z"),
                          Bins(1, "2026-03-04T12:00:00Z", "2026-03-04T12:14:00Z"),
                          Bins(0, "2026-03-04T12:14:00Z", "2026-03-04T12:14:50Z")));
  EXPECT_THAT(*BinsOfWindow(3 * kDay, Parsed("2026-03-04T12:15:00Z")),
              ElementsAre(Bins(2, "2026-03-01T12:15:00Z", "2026-03-04T12:15:00Z")));
}

TEST(WindowBinsTest, EvaluationsAreAtMultiplesOfTheFinestBin) {
  EXPECT_EQ(EvaluationStep(), absl::Seconds(10));
  EXPECT_THAT(BinsOfWindow(absl::Hours(1), Parsed("2026-03-01T12:00:55Z")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a multiple of 10s")));
}

TEST(WindowBinsTest, BinsAreGaplessWholeAndReachTheOldEndWithinOneBin) {
  Random random(test::TestSeed());
  for (int i = 0; i < 20'000; ++i) {
    const int tier = static_cast<int>(random.Below(4));
    const int64_t count =
        1 + static_cast<int64_t>(random.Below(IndicatorTiers()[tier].window_seconds /
                                              IndicatorTiers()[tier].bin_seconds));
    const absl::Duration window = count * Width(tier);
    // Before 1970 too: alignment rounds towards the past.
    const absl::Time t =
        absl::FromUnixSeconds(10 * (static_cast<int64_t>(random.Below(400'000'000)) - 100'000'000));
    const absl::StatusOr<int> read = TierOfWindow(window);
    if (!read.ok()) {
      // A multiple of a finer bin than windows of this length are read from.
      ASSERT_THAT(read, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a multiple")));
      continue;
    }
    const std::vector<BinSpan> bins = *BinsOfWindow(window, t);
    ASSERT_FALSE(bins.empty());
    EXPECT_EQ(bins.front().tier, *read);
    EXPECT_EQ(bins.back().span.end, t);
    const absl::Duration excess = (t - window) - bins.front().span.start;
    EXPECT_GE(excess, absl::ZeroDuration());
    EXPECT_LT(excess, Width(*read));
    for (size_t part = 0; part < bins.size(); ++part) {
      const TimeSpan& span = bins[part].span;
      EXPECT_LT(span.start, span.end);
      for (const absl::Time edge : {span.start, span.end}) {
        EXPECT_EQ(
            AlignDown(absl::ToUnixSeconds(edge), IndicatorTiers()[bins[part].tier].bin_seconds),
            absl::ToUnixSeconds(edge));
      }
      if (part > 0) {
        EXPECT_EQ(bins[part - 1].span.end, span.start);
        EXPECT_GT(bins[part - 1].tier, bins[part].tier);
      }
    }
    // As late as half a retention, or a day, the bins are still there.
    const absl::Duration kept = absl::Seconds(IndicatorTiers()[*read].retention_seconds);
    if (*read > 0 && t == bins.front().span.end) {
      EXPECT_THAT(CheckKept(bins, t + std::min(kept / 2, kDay) - absl::Hours(1)), IsOk());
    }
    EXPECT_THAT(CheckKept(bins, t + absl::Minutes(40)), IsOk());
  }
}

TEST(WindowBinsTest, WhatIsNotKeptIsSaid) {
  const std::vector<BinSpan> bins = *BinsOfWindow(absl::Hours(1), Parsed("2026-03-01T12:00:00Z"));
  EXPECT_THAT(CheckKept(bins, Parsed("2026-03-01T13:00:00Z")), IsOk());
  EXPECT_THAT(CheckKept(bins, Parsed("2026-03-01T13:01:00Z")),
              StatusIs(absl::StatusCode::kOutOfRange,
                       HasSubstr("bins of 10s are kept for 2h, at 2026-03-01T13:01:00+00:00")));
}

TEST(WindowBinsTest, ACalendarPeriodBeginsWhereItBegins) {
  // Midnight in Kathmandu is 18:15 UTC the day before.
  EXPECT_THAT(*BinsOfSpan({.start = Parsed("2026-03-01T00:00:00+05:45"),
                           .end = Parsed("2026-03-10T12:00:10Z")},
                          Parsed("2026-03-10T12:00:20Z")),
              ElementsAre(Bins(2, "2026-02-28T18:15:00Z", "2026-03-10T12:00:00Z"),
                          Bins(0, "2026-03-10T12:00:00Z", "2026-03-10T12:00:10Z")));
  // Two months back only hours are left.
  EXPECT_THAT(*BinsOfSpan({.start = Parsed("2026-01-01T00:00:00+05:45"),
                           .end = Parsed("2026-03-10T12:00:00Z")},
                          Parsed("2026-03-10T12:00:20Z")),
              ElementsAre(Bins(3, "2025-12-31T18:00:00Z", "2026-03-10T12:00:00Z")));
  // Minutes after it began.
  EXPECT_THAT(
      *BinsOfSpan({.start = Parsed("2026-03-01T00:00:00Z"), .end = Parsed("2026-03-01T00:05:10Z")},
                  Parsed("2026-03-01T00:05:20Z")),
      ElementsAre(Bins(0, "2026-03-01T00:00:00Z", "2026-03-01T00:05:10Z")));
}

TEST(WindowBinsTest, ASpanThatCannotBeAnsweredIsRefused) {
  const absl::Time now = Parsed("2026-03-10T12:00:20Z");
  EXPECT_THAT(BinsOfSpan({.start = now, .end = now}, now),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must be later")));
  EXPECT_THAT(BinsOfSpan({.start = Parsed("2025-01-01T00:00:00Z"), .end = now}, now),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("older than the oldest bins")));
  // The new end would need 10 s bins of last week.
  EXPECT_THAT(
      BinsOfSpan({.start = Parsed("2026-03-01T00:00:00Z"), .end = Parsed("2026-03-03T00:00:10Z")},
                 now),
      StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("cannot be exact any more")));
}

}  // namespace
}  // namespace weir
