#include "common/model/overflow_tally.h"

#include <gtest/gtest.h>

namespace weir {
namespace {

SeriesId Id(uint64_t number) { return {.high = number, .low = 7}; }

TEST(OverflowTallyTest, ASeriesCountsOnceAndByItsMetric) {
  OverflowTally tally;
  EXPECT_EQ(tally.Add(Id(1), "a"), "a");
  EXPECT_EQ(tally.Add(Id(1), "a"), std::nullopt);
  EXPECT_EQ(tally.Add(Id(2), "a"), "a");
  EXPECT_EQ(tally.Add(Id(3), "b"), "b");
  EXPECT_EQ(tally.count(), 3);
  EXPECT_EQ(tally.CountOf("a"), 2);
  EXPECT_EQ(tally.CountOf("b"), 1);
  EXPECT_EQ(tally.CountOf("c"), 0);
  EXPECT_FALSE(tally.cut());
}

TEST(OverflowTallyTest, PastWhatItRemembersItCountsNoMoreAndSaysSo) {
  OverflowTally tally(/*max_series=*/2);
  for (uint64_t i = 0; i < 2; ++i) EXPECT_EQ(tally.Add(Id(i), "a"), "a");
  EXPECT_EQ(tally.Add(Id(0), "a"), std::nullopt);
  EXPECT_FALSE(tally.cut());
  EXPECT_EQ(tally.Add(Id(2), "a"), std::nullopt);
  EXPECT_TRUE(tally.cut());
  EXPECT_EQ(tally.count(), 2);
}

TEST(OverflowTallyTest, EndlessMetricNamesShareOneCount) {
  OverflowTally tally(/*max_series=*/1000, /*max_metrics=*/3);
  for (uint64_t i = 0; i < 100; ++i) tally.Add(Id(i), "m" + std::to_string(i));
  EXPECT_EQ(tally.Add(Id(100), "m100"), kOverflowLabel);
  EXPECT_EQ(tally.metrics().size(), 4u);
  EXPECT_EQ(tally.CountOf("m2"), 1);
  EXPECT_EQ(tally.CountOf("m3"), 0);
  EXPECT_EQ(tally.CountOf(kOverflowLabel), 98);
}

}  // namespace
}  // namespace weir
