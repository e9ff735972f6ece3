#include "services/aggregator/cumulative.h"

#include <gtest/gtest.h>

#include <map>

#include "common/base/random.h"
#include "common/testing/test_seed.h"

namespace weir::aggregator {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kNow = 1'750'000'000 * kSecond;

class CumulativeTableTest : public ::testing::Test {
 protected:
  CumulativeTableTest() {
    std::string bytes;
    AppendSeries({.tenant = "t", .name = "m", .kind = Kind::kCounter}, &bytes);
    series_ = index_.Intern(0, bytes).value();
  }

  // What a counter's point adds; -1 for nothing.
  int64_t Advance(int64_t start, int64_t time, int64_t value) {
    const auto increase =
        table_.Advance(series_, /*monotonic=*/true, time,
                       {.cumulative = true, .start_unix_nano = start, .value = value}, &outcome_);
    return increase.has_value() ? std::get<int64_t>(*increase) : -1;
  }

  SeriesIndex index_{SeriesLimits{}};
  SeriesNumber series_ = 0;
  CumulativeTable table_{CumulativeOptions{}};
  CumulativeOutcome outcome_ = CumulativeOutcome::kIncrease;
};

TEST_F(CumulativeTableTest, PointsOfOneStartCountByTheirDifference) {
  EXPECT_EQ(Advance(kNow - kMinute, kNow, 10), 10);
  EXPECT_EQ(outcome_, CumulativeOutcome::kFirst);
  EXPECT_EQ(Advance(kNow - kMinute, kNow + kSecond, 25), 15);
  EXPECT_EQ(outcome_, CumulativeOutcome::kIncrease);
  EXPECT_EQ(Advance(kNow - kMinute, kNow + 2 * kSecond, 25), 0);
}

TEST_F(CumulativeTableTest, TheFirstPointOfAnOldStartIsABaseline) {
  EXPECT_EQ(Advance(kNow - 10 * kMinute, kNow, 10), 10) << "ten minutes count";
  CumulativeTable other{CumulativeOptions{}};
  std::swap(table_, other);
  EXPECT_EQ(Advance(kNow - 10 * kMinute - 1, kNow, 10), -1);
  EXPECT_EQ(outcome_, CumulativeOutcome::kBaseline);
  EXPECT_EQ(Advance(kNow - 10 * kMinute - 1, kNow + kSecond, 12), 2);
}

TEST_F(CumulativeTableTest, AnUnknownStartBeginsWithABaselineAndAFallIsAReset) {
  EXPECT_EQ(Advance(0, kNow, 100), -1);
  EXPECT_EQ(Advance(0, kNow + kSecond, 130), 30);
  EXPECT_EQ(Advance(0, kNow + 2 * kSecond, 7), 7);
  EXPECT_EQ(outcome_, CumulativeOutcome::kReset);
  EXPECT_EQ(Advance(0, kNow + 3 * kSecond, 8), 1);
}

TEST_F(CumulativeTableTest, AStartThatIsThePointsOwnTimeIsNotKnown) {
  EXPECT_EQ(Advance(kNow, kNow, 100), -1);
  EXPECT_EQ(outcome_, CumulativeOutcome::kBaseline);
  EXPECT_EQ(Advance(kNow, kNow + kSecond, 130), 30);
}

TEST_F(CumulativeTableTest, ACertainStartCountsThoughItIsThePointsOwnTime) {
  const auto advance = [&](int64_t time, int64_t value) {
    return table_.Advance(
        series_, /*monotonic=*/true, time,
        {.cumulative = true, .start_unix_nano = kNow, .certain_start = true, .value = value},
        &outcome_);
  };
  EXPECT_EQ(advance(kNow, 100), PointValue(int64_t{100}));
  EXPECT_EQ(advance(kNow + kSecond, 130), PointValue(int64_t{30}));
}

TEST_F(CumulativeTableTest, ARestartCountsInFullHoweverLongAgoItWas) {
  Advance(kNow - kMinute, kNow, 10);
  EXPECT_EQ(Advance(kNow + kSecond, kNow + 60 * kMinute, 4), 4);
  EXPECT_EQ(outcome_, CumulativeOutcome::kFirst);
}

TEST_F(CumulativeTableTest, ClientsThatShareASeriesAreFollowedByTheirStarts) {
  EXPECT_EQ(Advance(kNow - kMinute, kNow, 100), 100);
  EXPECT_EQ(Advance(kNow - 2 * kMinute, kNow + 1, 7), 7) << "another, and young enough";
  EXPECT_EQ(Advance(kNow - kMinute, kNow + 2, 101), 1);
  EXPECT_EQ(Advance(kNow - 2 * kMinute, kNow + 3, 9), 2);
}

TEST_F(CumulativeTableTest, ASeriesWhoseStartWasNotKnownMayBeTheSameStill) {
  Advance(0, kNow, 100);
  EXPECT_EQ(Advance(kNow - kMinute, kNow + 1, 101), -1);
  EXPECT_EQ(outcome_, CumulativeOutcome::kBaseline);
}

TEST_F(CumulativeTableTest, ALatePointAddsNothing) {
  Advance(kNow - kMinute, kNow, 10);
  EXPECT_EQ(Advance(kNow - kMinute, kNow, 10), -1);
  EXPECT_EQ(outcome_, CumulativeOutcome::kLate);
  EXPECT_EQ(Advance(kNow - kMinute, kNow - kSecond, 4), -1);
  EXPECT_EQ(outcome_, CumulativeOutcome::kLate);
  EXPECT_EQ(Advance(kNow - kMinute, kNow + kSecond, 11), 1);
}

TEST_F(CumulativeTableTest, ClientsThatShareASeriesAreNoticed) {
  Advance(kNow, kNow + kMinute, 1);
  Advance(kNow + kMinute, kNow + 2 * kMinute, 1);
  EXPECT_EQ(table_.overlap_count(), 0) << "a restart";
  Advance(kNow + kMinute + kSecond, kNow + 3 * kMinute, 1);
  EXPECT_EQ(table_.overlap_count(), 1);
  Advance(kNow + kMinute + kSecond, kNow + 4 * kMinute, 1);
  EXPECT_EQ(table_.overlap_count(), 1) << "once for each start";
}

TEST_F(CumulativeTableTest, HistogramsOfTheOtherSortAreABaseline) {
  const auto advance = [&](int64_t time, Histogram value) {
    return table_
        .Advance(series_, true, time,
                 {.cumulative = true, .start_unix_nano = kNow - kMinute, .value = std::move(value)},
                 &outcome_)
        .has_value();
  };
  EXPECT_TRUE(advance(kNow, {.count = 3, .buckets = ExponentialBuckets{.zero_count = 3}}));
  EXPECT_FALSE(advance(kNow + 1, {.count = 5}));
  EXPECT_EQ(outcome_, CumulativeOutcome::kBaseline);
  EXPECT_TRUE(advance(kNow + 2, {.count = 6}));
  EXPECT_EQ(outcome_, CumulativeOutcome::kIncrease);
}

TEST_F(CumulativeTableTest, OnlySoManyStartsAreFollowedTheQuietestGoesFirst) {
  for (int64_t i = 0; i < 6; ++i) Advance(kNow + i * kMinute, kNow + i * kMinute + kSecond, 1);
  EXPECT_EQ(table_.size(), 4);
  const CumulativeChanges changes = table_.TakeChanges(index_);
  EXPECT_EQ(changes.rows.size(), 4u);
  ASSERT_EQ(changes.dropped.size(), 2u);
  EXPECT_EQ(changes.dropped[0].start_unix_nano, kNow);
  EXPECT_EQ(changes.dropped[1].start_unix_nano, kNow + kMinute);
  EXPECT_TRUE(table_.TakeChanges(index_).rows.empty());
}

// A table rebuilt from what flushes wrote goes on as the one that was kept.
TEST_F(CumulativeTableTest, WhatFlushesWroteIsTheTable) {
  Random random(test::TestSeed());
  std::map<std::pair<SeriesNumber, int64_t>, CumulativeChanges::Row> store;
  CumulativeTable restored{CumulativeOptions{}};
  std::vector<SeriesNumber> numbers;
  for (int i = 0; i < 5; ++i) {
    std::string bytes;
    AppendSeries({.tenant = "t", .name = std::to_string(i), .kind = Kind::kCounter}, &bytes);
    numbers.push_back(index_.Intern(0, bytes).value());
  }
  for (int round = 0; round < 5000; ++round) {
    const SeriesNumber series = numbers[random.Below(numbers.size())];
    const Point point = {.cumulative = true,
                         .start_unix_nano = static_cast<int64_t>(random.Below(8)) * kMinute,
                         .value = static_cast<int64_t>(random.Below(100))};
    const int64_t time = round * kSecond / 4 + static_cast<int64_t>(random.Below(30)) * kSecond;
    CumulativeOutcome kept_outcome;
    CumulativeOutcome restored_outcome;
    const auto kept = table_.Advance(series, true, time, point, &kept_outcome);
    const auto again = restored.Advance(series, true, time, point, &restored_outcome);
    ASSERT_EQ(kept_outcome, restored_outcome) << "round " << round;
    ASSERT_EQ(kept, again);
    if (random.Below(20) != 0) continue;
    const CumulativeChanges changes = table_.TakeChanges(index_);
    for (const CumulativeChanges::Row& row : changes.rows) {
      store.insert_or_assign({row.series->number, row.start_unix_nano}, row);
    }
    for (const CumulativeChanges::Key& key : changes.dropped) {
      store.erase({key.series->number, key.start_unix_nano});
    }
    EXPECT_EQ(static_cast<int64_t>(store.size()), table_.size());
    restored = CumulativeTable{CumulativeOptions{}};
    for (const auto& [key, row] : store) {
      ASSERT_TRUE(
          restored.Restore(key.first, row.start_unix_nano, row.time_unix_nano, row.point).ok());
    }
  }
}

TEST_F(CumulativeTableTest, ARowThatIsNotAPointOfItsStartIsRefused) {
  std::string point;
  AppendPoint({.cumulative = true, .start_unix_nano = 5, .value = int64_t{1}}, &point);
  EXPECT_TRUE(absl::IsDataLoss(table_.Restore(series_, 6, kNow, point)));
  EXPECT_TRUE(absl::IsDataLoss(table_.Restore(series_, 5, kNow, "damage")));
  EXPECT_TRUE(table_.Restore(series_, 5, kNow, point).ok());
}

}  // namespace
}  // namespace weir::aggregator
