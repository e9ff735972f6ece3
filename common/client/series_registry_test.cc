#include "common/client/series_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace weir::client {
namespace {

TEST(SeriesRegistryTest, TheSameSeriesHasTheSameNumber) {
  SeriesRegistry registry(10, {});
  const SeriesRef first = registry.Intern("a", Kind::kGauge, {}, {{"x", "1"}, {"y", "2"}});
  EXPECT_EQ(registry.Intern("a", Kind::kGauge, {{"x", "1"}}, {{"y", "2"}}).value, first.value);
  EXPECT_NE(registry.Intern("a", Kind::kCounter, {}, {{"x", "1"}, {"y", "2"}}).value, first.value);
  EXPECT_NE(registry.Intern("a", Kind::kGauge, {}, {{"x", "1"}}).value, first.value);
}

TEST(SeriesRegistryTest, LabelsOfACallWinOverOwnAndThoseOverCommonOnes) {
  SeriesRegistry registry(10, {{"a", "common"}, {"b", "common"}, {"c", "common"}});
  const SeriesRef ref =
      registry.Intern("n", Kind::kGauge, {{"a", "own"}, {"b", "own"}}, {{"a", "call"}});
  const Series series = registry.Get(ref.number());
  const std::vector<Label> expected = {{"a", "call"}, {"b", "own"}, {"c", "common"}};
  EXPECT_EQ(series.labels, expected);
}

TEST(SeriesRegistryTest, WhatWouldSpoilAWholeBatchIsRefused) {
  SeriesRegistry registry(10, {});
  const std::string bytes = "\xff";
  const std::string large(70'000, 'x');
  for (const SeriesRef ref : {registry.Intern(bytes, Kind::kGauge, {}, {}),
                              registry.Intern("n", Kind::kGauge, {}, {{bytes, "v"}}),
                              registry.Intern("n", Kind::kGauge, {}, {{"l", bytes}}),
                              registry.Intern("n", Kind::kGauge, {}, {{"l", large}}),
                              registry.Intern("n", Kind::kGauge, {}, {{"l", "1"}, {"l", "2"}})}) {
    ASSERT_TRUE(ref.dropped());
    EXPECT_EQ(ref.reason(), DropReason::kSeriesInvalid);
  }
}

TEST(SeriesRegistryTest, TheLimitStopsNewSeriesAndNotOldOnes) {
  SeriesRegistry registry(2, {});
  const SeriesRef first = registry.Intern("1", Kind::kGauge, {}, {});
  registry.Intern("2", Kind::kGauge, {}, {});
  const SeriesRef third = registry.Intern("3", Kind::kGauge, {}, {});
  ASSERT_TRUE(third.dropped());
  EXPECT_EQ(third.reason(), DropReason::kTooManySeries);
  EXPECT_EQ(registry.Intern("1", Kind::kGauge, {}, {}).value, first.value);
  EXPECT_FALSE(registry.InternOwn("4", Kind::kGauge, {}).dropped());
}

TEST(IsUtf8Test, TakesWhatProtobufTakes) {
  for (const char* text : {"", "plain", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x8c\x8a",
                           "\xed\x9f\xbf", "\xee\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(IsUtf8(text)) << text;
  }
  for (const char* text :
       {"\x80", "\xc3", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xe2\x82", "\xed\xa0\x80",
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3(", "\xff"}) {
    EXPECT_FALSE(IsUtf8(text));
  }
}

}  // namespace
}  // namespace weir::client
