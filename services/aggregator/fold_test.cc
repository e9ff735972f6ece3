#include "services/aggregator/fold.h"

#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "common/base/random.h"
#include "common/model/tier.h"
#include "common/testing/status_matchers.h"
#include "common/testing/test_seed.h"

namespace weir::aggregator {
namespace {

using test::StatusIs;
using ::testing::ElementsAre;

constexpr int64_t kNano = 1'000'000'000;

std::string BytesOf(const Series& series) {
  std::string bytes;
  AppendSeries(series, &bytes);
  return bytes;
}

Series Named(std::string name, int number, Kind kind = Kind::kCounter) {
  return {.tenant = "t",
          .name = std::move(name),
          .kind = kind,
          .labels = {{"number", std::to_string(number)}}};
}

frame::Block Integers(std::vector<std::pair<int64_t, int64_t>> times_and_values) {
  frame::Block block;
  block.type = frame::ValueType::kInteger;
  for (const auto& [time, value] : times_and_values) {
    block.refs.push_back(0);
    block.times.push_back(time);
    block.bits.push_back(static_cast<uint64_t>(value));
  }
  return block;
}

// What a delta should hold, one map entry per cell, filled sample by sample.
class NaiveDelta {
 public:
  void Fold(const SeriesIndex& series, const std::vector<SeriesNumber>& numbers,
            const frame::Block& block) {
    for (size_t i = 0; i < numbers.size(); ++i) {
      auto& [aggregate, sketch] =
          cells_[{AlignDown(SecondsOfNanos(block.times[i]), 10), numbers[i]}];
      double value = std::bit_cast<double>(block.bits[i]);
      if (block.type == frame::ValueType::kInteger) {
        value = static_cast<double>(static_cast<int64_t>(block.bits[i]));
        aggregate.AddInteger(static_cast<int64_t>(block.bits[i]), block.times[i]);
      } else {
        aggregate.AddFloat(value, block.times[i]);
      }
      if (series[numbers[i]].kind == Kind::kDistribution) sketch.Add(value);
    }
  }

  void ExpectEqual(const Delta& delta) {
    ASSERT_EQ(delta.cell_count(), static_cast<int64_t>(cells_.size()));
    int64_t last_start = std::numeric_limits<int64_t>::min();
    size_t visited = 0;
    int64_t samples = 0;
    delta.ForEach([&](int64_t start, const Cell& cell, const Sketch* sketch) {
      ASSERT_GE(start, last_start);
      last_start = start;
      auto found = cells_.find({start, cell.series->number});
      ASSERT_NE(found, cells_.end());
      ASSERT_EQ(cell.aggregate, found->second.first);
      ASSERT_EQ(sketch != nullptr, cell.series->kind == Kind::kDistribution);
      if (sketch != nullptr) {
        ASSERT_EQ(*sketch, found->second.second);
      }
      samples += cell.aggregate.count;
      ++visited;
    });
    EXPECT_EQ(visited, cells_.size());
    EXPECT_EQ(samples, delta.sample_count());
  }

  void Clear() { cells_.clear(); }

 private:
  std::map<std::pair<int64_t, SeriesNumber>, std::pair<Aggregate, Sketch>> cells_;
};

// Random blocks; `spread_seconds` is how far event times lie back.
void FoldRandomBlocks(Random& random, SeriesIndex& series, int64_t spread_seconds, int blocks,
                      Delta* delta, NaiveDelta* naive) {
  for (int i = 0; i < blocks; ++i) {
    frame::Block block;
    block.type = random.OneIn(2) ? frame::ValueType::kInteger : frame::ValueType::kFloat;
    std::vector<SeriesNumber> numbers;
    const size_t size = random.Between(1, 700);
    for (size_t j = 0; j < size; ++j) {
      if (random.OneIn(50)) {
        // A series that comes while bins are open already.
        const int number = static_cast<int>(random.Below(100'000));
        ASSERT_TRUE(series
                        .Intern(static_cast<int>(random.Below(4)),
                                BytesOf(Named("m", number, static_cast<Kind>(1 + number % 4))))
                        .ok());
      }
      numbers.push_back(static_cast<SeriesNumber>(random.Below(series.size())));
      block.refs.push_back(numbers.back());
      block.times.push_back(1'700'000'000 * kNano -
                            static_cast<int64_t>(random.Below(spread_seconds * kNano)));
      block.bits.push_back(block.type == frame::ValueType::kInteger
                               ? random()
                               : std::bit_cast<uint64_t>(random.Fraction() * 1e6 - 1e5));
    }
    delta->Fold(series, numbers, block);
    naive->Fold(series, numbers, block);
  }
}

class FoldRandomTest : public ::testing::TestWithParam<int64_t> {};

TEST_P(FoldRandomTest, ADeltaHoldsWhatANaiveMapHoldsRoundAfterRound) {
  const uint64_t seed = test::TestSeed(1);
  SCOPED_TRACE(testing::Message() << "WEIR_TEST_SEED=" << seed);
  Random random(seed);
  SeriesIndex series({});
  ASSERT_TRUE(series.Intern(0, BytesOf(Named("m", 0, Kind::kDistribution))).ok());
  Delta delta(10);
  NaiveDelta naive;
  for (int round = 0; round < 5; ++round) {
    FoldRandomBlocks(random, series, GetParam(), 40, &delta, &naive);
    ASSERT_NO_FATAL_FAILURE(naive.ExpectEqual(delta));
    delta.Clear();
    naive.Clear();
    ASSERT_TRUE(delta.empty());
    ASSERT_NO_FATAL_FAILURE(naive.ExpectEqual(delta));
  }
}

// Current data; a few bins; thousands of bins.
INSTANTIATE_TEST_SUITE_P(Spreads, FoldRandomTest, ::testing::Values(8, 60, 400 * 86'400));

TEST(FoldTest, BinsAreHalfOpenAlsoBefore1970) {
  SeriesIndex series({});
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber number, series.Intern(0, BytesOf(Named("m", 1))));
  Delta delta(10);
  const frame::Block block = Integers(
      {{10 * kNano - 1, 1}, {10 * kNano, 2}, {20 * kNano - 1, 4}, {-1, 8}, {-10 * kNano, 16}});
  delta.Fold(series, std::vector<SeriesNumber>(5, number), block);
  std::vector<std::pair<int64_t, int64_t>> sums;
  delta.ForEach([&](int64_t start, const Cell& cell, const Sketch*) {
    sums.emplace_back(start, static_cast<int64_t>(cell.aggregate.integer_sum));
  });
  EXPECT_THAT(sums, ElementsAre(std::pair(-10, 24), std::pair(0, 1), std::pair(10, 6)));
}

TEST(FoldTest, TheFirstAndLastInstantsThereAreLandInTheirOwnBins) {
  SeriesIndex series({});
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber number, series.Intern(0, BytesOf(Named("m", 1))));
  Delta delta(10);
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  const frame::Block block = Integers({{kMin, 1}, {kMax, 2}, {kMin, 4}, {kMax, 8}, {0, 16}});
  delta.Fold(series, std::vector<SeriesNumber>(5, number), block);
  std::vector<std::pair<int64_t, int64_t>> sums;
  delta.ForEach([&](int64_t start, const Cell& cell, const Sketch*) {
    sums.emplace_back(start, static_cast<int64_t>(cell.aggregate.integer_sum));
  });
  EXPECT_THAT(sums, ElementsAre(std::pair(-9'223'372'040, 5), std::pair(0, 16),
                                std::pair(9'223'372'030, 10)));
}

TEST(FoldTest, LateDataOverThousandsOfBinsTakesMemoryForItsCellsOnly) {
  SeriesIndex series({});
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(series.Intern(0, BytesOf(Named("m", i))).ok());
  Delta delta(10);
  for (int bin = 0; bin < 5'000; ++bin) {
    const SeriesNumber number = bin * 4;
    delta.Fold(series, {&number, 1}, Integers({{bin * 10 * kNano, 1}}));
  }
  EXPECT_EQ(delta.cell_count(), 5'000);
  // A dense vector for each bin would be 400 MB.
  EXPECT_LT(delta.memory_bytes(), 2u << 20);
  EXPECT_GT(delta.memory_bytes(), 5'000 * sizeof(Cell) - 1);
}

TEST(FoldTest, SketchesCountTowardsMemory) {
  SeriesIndex series({});
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber number,
                            series.Intern(0, BytesOf(Named("m", 1, Kind::kDistribution))));
  Delta delta(10);
  delta.Fold(series, {&number, 1}, Integers({{0, 1}}));
  const size_t before = delta.memory_bytes();
  for (int64_t value = 1; value < 1'000'000'000; value *= 2) {
    delta.Fold(series, {&number, 1}, Integers({{0, value}}));
  }
  EXPECT_GT(delta.memory_bytes(), before);
  delta.Clear();
  EXPECT_EQ(delta.memory_bytes(), 0u);
}

TEST(SeriesIndexTest, TheSameSeriesHasOneNumberPerSlot) {
  SeriesIndex series({});
  const std::string bytes = BytesOf(Named("m", 1));
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber first, series.Intern(3, bytes));
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber again, series.Intern(3, bytes));
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber other_slot, series.Intern(4, bytes));
  EXPECT_EQ(first, again);
  EXPECT_NE(first, other_slot);
  EXPECT_EQ(series[first].slot, 3);
  EXPECT_EQ(series[other_slot].slot, 4);
  EXPECT_EQ(series[first].id, IdOfSeries(Named("m", 1)));
  EXPECT_EQ(series[first].id, series[other_slot].id);
  EXPECT_EQ(series[first].bytes, bytes);
  EXPECT_EQ(series[first].kind, Kind::kCounter);
  EXPECT_FALSE(series[first].stored);
}

TEST(SeriesIndexTest, BytesThatAreNoSeriesAreRefused) {
  SeriesIndex series({});
  EXPECT_THAT(series.Intern(0, "no series"), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_EQ(series.size(), 0u);
}

TEST(SeriesIndexTest, StoredSeriesKeepNoBytesAndAreKnownToIntern) {
  SeriesIndex series({});
  series.AddStored(2, IdOfSeries(Named("m", 1)), Named("m", 1));
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber stored, series.Intern(2, BytesOf(Named("m", 1))));
  EXPECT_EQ(stored, 0u);
  EXPECT_TRUE(series[stored].stored);
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber fresh, series.Intern(2, BytesOf(Named("m", 2))));
  EXPECT_FALSE(series[fresh].stored);
  series.MarkStored(fresh);
  EXPECT_TRUE(series[fresh].stored);
  EXPECT_TRUE(series[fresh].bytes.empty());
}

TEST(SeriesIndexTest, SeriesPastTheMetricsLimitShareAnOverflowSeriesPerSlotAndKind) {
  SeriesIndex series({.max_series_per_tenant = 100, .max_series_per_metric = 2});
  ASSERT_TRUE(series.Intern(0, BytesOf(Named("m", 1))).ok());
  ASSERT_TRUE(series.Intern(0, BytesOf(Named("m", 2))).ok());
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber third, series.Intern(0, BytesOf(Named("m", 3))));
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber fourth, series.Intern(0, BytesOf(Named("m", 4))));
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber elsewhere, series.Intern(1, BytesOf(Named("m", 5))));
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber gauge,
                            series.Intern(0, BytesOf(Named("m", 6, Kind::kGauge))));
  EXPECT_EQ(third, fourth);
  EXPECT_NE(third, elsewhere);
  EXPECT_EQ(series[third].id, series[elsewhere].id);
  EXPECT_EQ(series[elsewhere].slot, 1);
  EXPECT_NE(series[third].id, series[gauge].id);
  EXPECT_EQ(series.overflowed_count(), 4);
  WEIR_ASSERT_OK_AND_ASSIGN(const Series overflow, ParseSeries(series[third].bytes));
  EXPECT_EQ(overflow, (Series{.tenant = "t",
                              .name = "m",
                              .kind = Kind::kCounter,
                              .labels = {{std::string(kOverflowLabel), "true"}}}));
  // Known series and other metrics are as before.
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber known, series.Intern(0, BytesOf(Named("m", 1))));
  EXPECT_EQ(known, 0u);
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber other, series.Intern(0, BytesOf(Named("other", 1))));
  EXPECT_EQ(series[other].id, IdOfSeries(Named("other", 1)));
}

TEST(SeriesIndexTest, StoredSeriesCountAgainstTheLimits) {
  SeriesIndex series({.max_series_per_tenant = 1});
  series.AddStored(0, IdOfSeries(Named("m", 1)), Named("m", 1));
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber second, series.Intern(0, BytesOf(Named("m", 2))));
  EXPECT_NE(series[second].id, IdOfSeries(Named("m", 2)));
}

TEST(SeriesIndexTest, EndlessMetricNamesEndInOneSeriesPerKind) {
  SeriesIndex series({.max_series_per_tenant = 5, .max_overflow_series_per_tenant = 3});
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(series.Intern(0, BytesOf(Named("metric" + std::to_string(i), 1))).ok());
  }
  EXPECT_EQ(series.size(), 5u + 3 + 1);
  WEIR_ASSERT_OK_AND_ASSIGN(const Series last, ParseSeries(series[8].bytes));
  EXPECT_EQ(last.name, kOverflowLabel);
}

TEST(SeriesIndexTest, ASeriesPastTheLimitCountsOnceHoweverOftenItIsDefined) {
  SeriesIndex series({.max_series_per_tenant = 100, .max_series_per_metric = 1});
  ASSERT_TRUE(series.Intern(0, BytesOf(Named("m", 0))).ok());
  for (int round = 0; round < 3; ++round) {
    for (int i = 1; i <= 5; ++i) ASSERT_TRUE(series.Intern(0, BytesOf(Named("m", i))).ok());
  }
  EXPECT_EQ(series.overflowed_count(), 5);
  EXPECT_EQ(series.last_overflowed_metric(), "m");
}

TEST(SeriesIndexTest, UsageNamesTheMetricsWithTheMostSeriesOverflowedOnesIncluded) {
  SeriesIndex series({.max_series_per_tenant = 7,
                      .max_series_per_metric = 4,
                      .max_overflow_series_per_tenant = 1});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(series.Intern(0, BytesOf(Named("few", i))).ok());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(series.Intern(0, BytesOf(Named("many", i))).ok());
  // No room is left, not even for an overflow series of its own.
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(series.Intern(0, BytesOf(Named("late", i))).ok());

  const SeriesUsage usage = series.Usage({.tenant = "t"});
  EXPECT_EQ(usage.series_count, 7);
  EXPECT_EQ(usage.metric_count, 2);
  EXPECT_EQ(usage.overflowed_count, 8);
  EXPECT_FALSE(usage.overflowed_cut);
  EXPECT_EQ(usage.limits.max_series_per_metric, 4);
  ASSERT_EQ(usage.metrics.size(), 4u);
  EXPECT_EQ(usage.metrics[0].name, "many");
  EXPECT_EQ(usage.metrics[0].series_count, 4);
  EXPECT_EQ(usage.metrics[0].overflowed_count, 6);
  EXPECT_TRUE(usage.metrics[0].overflowing);
  EXPECT_EQ(usage.metrics[1].name, "few");
  EXPECT_EQ(usage.metrics[1].series_count, 3);
  EXPECT_FALSE(usage.metrics[1].overflowing);
  EXPECT_EQ(usage.metrics[2].name, "late");
  EXPECT_EQ(usage.metrics[2].series_count, 0);
  EXPECT_EQ(usage.metrics[2].overflowed_count, 2);
  EXPECT_TRUE(usage.metrics[2].overflowing);
  EXPECT_EQ(usage.metrics[3].name, kOverflowLabel);

  const SeriesUsage one = series.Usage({.tenant = "t", .name = "late"});
  ASSERT_EQ(one.metrics.size(), 1u);
  EXPECT_EQ(one.metrics[0].name, "late");
  EXPECT_EQ(series.Usage({.tenant = "t", .limit = 1}).metrics.size(), 1u);
  EXPECT_EQ(series.Usage({.tenant = "nobody"}).series_count, 0);
}

TEST(SeriesIndexTest, AnOverflowSeriesOfACollectorIsNoSeriesOfItsMetric) {
  SeriesIndex series({.max_series_per_tenant = 100, .max_series_per_metric = 1});
  const Series overflow = OverflowOf(Named("m", 1));
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber number, series.Intern(0, BytesOf(overflow)));
  EXPECT_EQ(series[number].id, IdOfSeries(overflow));
  EXPECT_TRUE(series[number].overflow);
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber own, series.Intern(0, BytesOf(Named("m", 1))));
  EXPECT_EQ(series[own].id, IdOfSeries(Named("m", 1)));
  const SeriesUsage usage = series.Usage({.tenant = "t"});
  EXPECT_EQ(usage.series_count, 1);
  EXPECT_EQ(usage.overflowed_count, 0);
  ASSERT_EQ(usage.metrics.size(), 1u);
  EXPECT_EQ(usage.metrics[0].series_count, 1);
  EXPECT_TRUE(usage.metrics[0].overflowing);
}

TEST(SeriesIndexTest, OneTenantsLimitIsNotAnothers) {
  SeriesIndex series({.max_series_per_tenant = 1});
  ASSERT_TRUE(series.Intern(0, BytesOf(Named("m", 1))).ok());
  Series other = Named("m", 1);
  other.tenant = "u";
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber number, series.Intern(0, BytesOf(other)));
  EXPECT_EQ(series[number].id, IdOfSeries(other));
}

TEST(SeriesIndexTest, OverflowKeepsTheTotals) {
  const uint64_t seed = test::TestSeed(7);
  SCOPED_TRACE(testing::Message() << "WEIR_TEST_SEED=" << seed);
  Random random(seed);
  SeriesIndex series({.max_series_per_tenant = 40, .max_series_per_metric = 15});
  Delta delta(10);
  absl::int128 sent = 0;
  for (int i = 0; i < 2'000; ++i) {
    const Series sampled =
        Named("m" + std::to_string(random.Below(5)), static_cast<int>(random.Below(100)));
    WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber number,
                              series.Intern(SlotOf(IdOfSeries(sampled), 4), BytesOf(sampled)));
    const auto value = static_cast<int64_t>(random());
    sent += value;
    delta.Fold(series, {&number, 1},
               Integers({{static_cast<int64_t>(random.Below(100 * kNano)), value}}));
  }
  absl::int128 kept = 0;
  int64_t count = 0;
  delta.ForEach([&](int64_t, const Cell& cell, const Sketch*) {
    kept += cell.aggregate.integer_sum;
    count += cell.aggregate.count;
  });
  EXPECT_EQ(kept, sent);
  EXPECT_EQ(count, 2'000);
  EXPECT_LE(series.size(), 40u + 5 * 4);
}

}  // namespace
}  // namespace weir::aggregator
