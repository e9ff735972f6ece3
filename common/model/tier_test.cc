#include "common/model/tier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace weir {
namespace {

using ::testing::HasSubstr;

std::vector<Tier> TwoTiers() {
  return {{.window = "5m", .window_seconds = 300, .bin_seconds = 10, .retention_seconds = 3600},
          {.window = "1h", .window_seconds = 3600, .bin_seconds = 60, .retention_seconds = 86400}};
}

TEST(TierTest, TheDefaultTableIsTheDesigns) {
  const TierTable table = TierTable::Default();
  ASSERT_EQ(table.size(), 5);
  const struct {
    const char* window;
    int64_t bin_seconds;
    absl::Duration retention;
  } kExpected[] = {{"5m", 10, absl::Hours(1)},
                   {"1h", 60, absl::Hours(24)},
                   {"24h", 900, absl::Hours(7 * 24)},
                   {"30d", 3600, absl::Hours(100 * 24)},
                   {"1y", 86400, absl::Hours(400 * 24)}};
  for (int tier = 0; tier < table.size(); ++tier) {
    EXPECT_EQ(table[tier].window, kExpected[tier].window);
    EXPECT_EQ(table[tier].bin_seconds, kExpected[tier].bin_seconds);
    EXPECT_EQ(absl::Seconds(table[tier].retention_seconds), kExpected[tier].retention);
  }
}

TEST(TierTest, AnUnknownWindowNamesTheValidOnes) {
  const TierTable table = TierTable::Default();
  EXPECT_EQ(table.FindWindow("24h").value(), 2);
  const absl::Status status = table.FindWindow("7m").status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("5m, 1h, 24h, 30d, 1y"));
}

TEST(TierTest, TablesThatWouldLoseDataAreRefused) {
  EXPECT_TRUE(TierTable::Create(TwoTiers()).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(TierTable::Create({}).status()));
  const std::function<void(std::vector<Tier>&)> kFaults[] = {
      [](auto& tiers) { tiers[0].window = ""; },
      [](auto& tiers) { tiers[1].window = "5m"; },
      [](auto& tiers) { tiers[0].bin_seconds = 0; },
      [](auto& tiers) { tiers[0].bin_seconds = -10; },
      [](auto& tiers) { tiers[0].bin_seconds = 7; },
      [](auto& tiers) { tiers[0].window_seconds = 0; },
      [](auto& tiers) { tiers[0].bin_seconds = 50; },
      [](auto& tiers) { tiers[1].bin_seconds = 10; },
      [](auto& tiers) { tiers[1].bin_seconds = 75; },
      [](auto& tiers) { tiers[0].retention_seconds = 299; },
      [](auto& tiers) { tiers[1].retention_seconds = 3600; },
      [](auto& tiers) { tiers[1].retention_seconds = int64_t{1} << 60; },
      [](auto& tiers) { std::swap(tiers[0], tiers[1]); },
  };
  for (size_t i = 0; i < std::size(kFaults); ++i) {
    std::vector<Tier> tiers = TwoTiers();
    kFaults[i](tiers);
    EXPECT_TRUE(absl::IsInvalidArgument(TierTable::Create(tiers).status())) << "fault " << i;
  }
}

TEST(TierTest, FloorsAreAlignedToTheNextCoarserBin) {
  const TierTable table = TierTable::Default();
  const absl::Time now = absl::FromUnixSeconds(1'750'000'075);
  // An hour ago is 1749996475, which is 55 s into its minute.
  EXPECT_EQ(table.FloorSeconds(0, now), 1'749'996'420);
  EXPECT_EQ(table.FloorSeconds(0, now) % 60, 0);
  EXPECT_EQ(table.FloorSeconds(1, now) % 900, 0);
  EXPECT_EQ(table.FloorSeconds(4, now) % 86400, 0);
}

TEST(TierTest, FloorsKeepAtLeastTheRetentionAndAtMostOneCoarserBinMore) {
  const TierTable table = TierTable::Default();
  for (int64_t second = 1'750'000'000; second < 1'750'200'000; second += 37) {
    for (int tier = 0; tier < table.size(); ++tier) {
      const int64_t coarser = table[std::min(tier + 1, table.size() - 1)].bin_seconds;
      const int64_t kept = second - table.FloorSeconds(tier, absl::FromUnixSeconds(second));
      EXPECT_GE(kept, table[tier].retention_seconds);
      EXPECT_LT(kept, table[tier].retention_seconds + coarser);
    }
  }
}

TEST(TierTest, BinsAreHalfOpenAlsoBefore1970) {
  EXPECT_EQ(AlignDown(0, 10), 0);
  EXPECT_EQ(AlignDown(9, 10), 0);
  EXPECT_EQ(AlignDown(10, 10), 10);
  EXPECT_EQ(AlignDown(-1, 10), -10);
  EXPECT_EQ(AlignDown(-10, 10), -10);
  EXPECT_EQ(AlignDown(-11, 10), -20);
  EXPECT_EQ(SecondsOfNanos(999'999'999), 0);
  EXPECT_EQ(SecondsOfNanos(1'000'000'000), 1);
  EXPECT_EQ(SecondsOfNanos(-1), -1);
  EXPECT_EQ(SecondsOfNanos(-1'000'000'000), -1);
  EXPECT_EQ(SecondsOfNanos(-1'000'000'001), -2);
}

}  // namespace
}  // namespace weir
