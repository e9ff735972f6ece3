#include "services/collector/series_cache.h"

#include <gtest/gtest.h>

#include <string>

namespace weir::collector {
namespace {

SeriesCache::Entry EntryOf(SeriesNumber number) { return {.series = {.number = number}}; }

TEST(SeriesCacheTest, FindsWhatWasInserted) {
  SeriesCache cache;
  EXPECT_FALSE(cache.Find("a").has_value());
  cache.Insert("a", EntryOf(7));
  cache.Insert("b", EntryOf(8));
  ASSERT_TRUE(cache.Find("a").has_value());
  EXPECT_EQ(cache.Find("a")->series.number, 7u);
  EXPECT_EQ(cache.Find("b")->series.number, 8u);
  EXPECT_FALSE(cache.Find("").has_value());
}

TEST(SeriesCacheTest, HoldsNoMoreThanItMay) {
  SeriesCache cache(16 << 10);
  int found = 0;
  for (SeriesNumber i = 0; i < 10'000; ++i) {
    const std::string key = "series " + std::to_string(i);
    cache.Insert(key, EntryOf(i));
    ASSERT_EQ(cache.Find(key)->series.number, i) << "the newest is always there";
  }
  for (SeriesNumber i = 0; i < 10'000; ++i) {
    const auto entry = cache.Find("series " + std::to_string(i));
    if (!entry.has_value()) continue;
    ++found;
    EXPECT_EQ(entry->series.number, i);
  }
  EXPECT_LT(found, (16 << 10) / 80);
}

TEST(SeriesCacheTest, NumbersOfContextsAreNeverUsedAgain) {
  SeriesCache cache(16 << 10);
  EXPECT_EQ(cache.NumberOf("a"), cache.NumberOf("a"));
  uint64_t last = cache.NumberOf("a");
  for (int i = 0; i < 1000; ++i) {
    const uint64_t number = cache.NumberOf("context " + std::to_string(i));
    EXPECT_GT(number, last);
    last = number;
  }
  EXPECT_GT(cache.NumberOf("a"), last) << "it was forgotten";
}

}  // namespace
}  // namespace weir::collector
