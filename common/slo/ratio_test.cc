#include "common/slo/ratio.h"

#include <gtest/gtest.h>

namespace weir {
namespace {

TEST(RatioTest, IsReducedSoEqualValuesAreEqual) {
  EXPECT_EQ(Ratio(144, 10), Ratio(72, 5));
  EXPECT_EQ(Ratio(144, 10).denominator(), 5);
  EXPECT_EQ(Ratio(0, 7), Ratio());
  EXPECT_EQ(Ratio(-6, 4).numerator(), -3);
}

TEST(RatioTest, IsWrittenAsADecimalWhereItIsOne) {
  EXPECT_EQ(Ratio(72, 5).ToString(), "14.4");
  EXPECT_EQ(Ratio(14, 15).ToString(), "14/15");
  EXPECT_EQ(Ratio(-1, 2).ToString(), "-0.5");
  EXPECT_EQ(Ratio(3, 1).ToString(), "3");
  EXPECT_EQ(Ratio(1, 1'000'000'000).ToString(), "0.000000001");
  EXPECT_EQ(Ratio(1, 1024).ToString(), "1/1024");
  EXPECT_EQ(Ratio(Ratio::kMaxTerm, 1).ToString(), "1329227995784915872903807060280344576");
}

TEST(RatioTest, RoundsHalfAwayFromZeroAndDropsZeros) {
  EXPECT_EQ(Ratio(14, 15).Rounded(2), "0.93");
  EXPECT_EQ(Ratio(1, 8).Rounded(2), "0.13");
  EXPECT_EQ(Ratio(-1, 8).Rounded(2), "-0.13");
  EXPECT_EQ(Ratio(999, 1000).Rounded(2), "1");
  EXPECT_EQ(Ratio(-1, 1000).Rounded(2), "0");
  EXPECT_EQ(Ratio(5, 2).Rounded(0), "3");
  EXPECT_EQ(Ratio(1, 3).Rounded(9), "0.333333333");
  EXPECT_EQ(Ratio(1, Ratio::kMaxTerm).Rounded(9), "0");
  EXPECT_EQ(Ratio(Ratio::kMaxTerm - 1, Ratio::kMaxTerm).Rounded(9), "1");
}

TEST(RatioTest, FloorsAndCeilings) {
  EXPECT_EQ(Ratio(7, 2).Floor(), 3);
  EXPECT_EQ(Ratio(7, 2).Ceiling(), 4);
  EXPECT_EQ(Ratio(-7, 2).Floor(), -4);
  EXPECT_EQ(Ratio(-7, 2).Ceiling(), -3);
  EXPECT_EQ(Ratio(-4, 2).Floor(), -2);
  EXPECT_EQ(Ratio(4, 2).Ceiling(), 2);
}

TEST(RatioTest, ComparesTermsWhoseProductsPass128Bits) {
  const absl::int128 m = Ratio::kMaxTerm;
  EXPECT_LT(Ratio(m - 2, m - 1), Ratio(m - 1, m));
  EXPECT_LT(Ratio(m, m - 1), Ratio(m - 1, m - 2));
  EXPECT_LT(Ratio(-(m - 1), m), Ratio(-(m - 2), m - 1));
  EXPECT_LT(Ratio(-1, 3), Ratio(1, 1'000'000));
  EXPECT_LT(Ratio(1, 3), Ratio(1, 2));
  EXPECT_LT(Ratio(3, 1), Ratio(7, 2));
  EXPECT_GT(Ratio(7, 2), Ratio(3, 1));
  EXPECT_LE(Ratio(2, 4), Ratio(1, 2));
}

TEST(RatioTest, DoublesAreForDisplay) {
  EXPECT_DOUBLE_EQ(Ratio(72, 5).ToDouble(), 14.4);
  EXPECT_DOUBLE_EQ(Ratio(-1, 3).ToDouble(), -1.0 / 3);
}

TEST(RatioTest, ProductsMayPass128BitsBeforeTheyAreDivided) {
  const absl::int128 big = absl::int128(1) << 126;
  EXPECT_EQ(MultiplyDivide(big, Ratio::kMaxTerm, Ratio::kMaxTerm), big);
  EXPECT_EQ(MultiplyDivide(7, 5, 3), 11);
  EXPECT_EQ(MultiplyDivide(0, 5, 3), 0);
  EXPECT_EQ(MultiplyDivide(5, 0, 3), 0);
}

TEST(RatioDeathTest, TermsOutsideTheLimitAreBugs) {
  EXPECT_DEATH(Ratio(1, 0), "check failed");
  EXPECT_DEATH(Ratio(1, -1), "check failed");
  EXPECT_DEATH(Ratio(Ratio::kMaxTerm + 1, 1), "check failed");
}

}  // namespace
}  // namespace weir
