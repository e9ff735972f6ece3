#include "services/collector/delta_overlaps.h"

#include <gtest/gtest.h>

namespace weir::collector {
namespace {

TEST(DeltaOverlapsTest, IncreasesThatFollowOneAnotherDoNotOverlap) {
  DeltaOverlaps overlaps;
  EXPECT_EQ(overlaps.Note({{0, 10, 20}, {1, 10, 20}}), 0);
  EXPECT_EQ(overlaps.Note({{0, 20, 30}, {1, 25, 30}, {1000, 1, 2}}), 0);
  EXPECT_EQ(overlaps.Note({}), 0);
}

TEST(DeltaOverlapsTest, OneThatBeganBeforeTheEndOfAnotherOverlaps) {
  DeltaOverlaps overlaps;
  EXPECT_EQ(overlaps.Note({{7, 10, 20}, {7, 19, 30}}), 1);
  EXPECT_EQ(overlaps.Note({{7, 10, 20}}), 1) << "again";
  EXPECT_EQ(overlaps.Note({{7, 29, 31}}), 1) << "the latest end counts, not the last one";
  EXPECT_EQ(overlaps.Note({{8, 10, 20}}), 0) << "of another series";
}

}  // namespace
}  // namespace weir::collector
