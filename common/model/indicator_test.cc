#include "common/model/indicator.h"

#include <gtest/gtest.h>

namespace weir {
namespace {

// printf '\x04acme\x0cavailability' | sha256sum
TEST(IndicatorTest, IdNeverChanges) {
  EXPECT_EQ(IdOfIndicator("acme", "availability").ToHex(), "2226e49d990bb5c6ba822d612b2c752e");
}

TEST(IndicatorTest, TenantAndNameDoNotRunIntoOneAnother) {
  EXPECT_NE(IdOfIndicator("ab", "c"), IdOfIndicator("a", "bc"));
  EXPECT_NE(IdOfIndicator("", "a"), IdOfIndicator("a", ""));
  EXPECT_NE(IdOfIndicator("a", "b"), IdOfIndicator("b", "a"));
}

TEST(IndicatorTest, TiersNestAndCoarserOnesAreKeptLonger) {
  for (size_t i = 0; i < kIndicatorTiers.size(); ++i) {
    EXPECT_EQ(kIndicatorTiers[i].kept_seconds % kIndicatorTiers[i].bin_seconds, 0);
    if (i == 0) continue;
    EXPECT_EQ(kIndicatorTiers[i].bin_seconds % kIndicatorTiers[i - 1].bin_seconds, 0);
    EXPECT_GT(kIndicatorTiers[i].bin_seconds, kIndicatorTiers[i - 1].bin_seconds);
    EXPECT_GT(kIndicatorTiers[i].kept_seconds, kIndicatorTiers[i - 1].kept_seconds);
  }
}

}  // namespace
}  // namespace weir
