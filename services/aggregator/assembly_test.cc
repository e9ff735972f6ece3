#include "services/aggregator/assembly.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>

#include "common/base/random.h"
#include "common/testing/status_matchers.h"
#include "common/testing/test_seed.h"

namespace weir::aggregator {
namespace {

using test::IsOk;
using test::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Outcome = HistogramAssembly::Outcome;
using Role = HistogramPart::Role;

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kBegin = 1'750'000'000 * kSecond;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

Point Bucket(double upper_bound, int64_t count) {
  return {.cumulative = true,
          .part = HistogramPart{.role = Role::kBucket, .upper_bound = upper_bound},
          .value = count};
}
Point Sum(double sum) {
  return {.cumulative = true, .part = HistogramPart{.role = Role::kSum}, .value = sum};
}
Point Count(int64_t count) {
  return {.cumulative = true, .part = HistogramPart{.role = Role::kCount}, .value = count};
}
Point Gone(Point part) {
  part.part->gone = true;
  return part;
}

struct Taken {
  int64_t time = 0;
  Histogram histogram;
  friend bool operator==(const Taken&, const Taken&) = default;
};

class AssemblyTest : public ::testing::Test {
 protected:
  Outcome Add(int64_t time, const Point& point) {
    return assembly_.Add(options_, time, point, [&](int64_t at, const Point& histogram) {
      EXPECT_TRUE(histogram.cumulative);
      EXPECT_THAT(ValidateHistogram(std::get<Histogram>(histogram.value)), IsOk());
      taken_.push_back({at, std::get<Histogram>(histogram.value)});
      starts_.push_back(histogram.start_unix_nano);
    });
  }
  // Scrapes `times` of the same parts, none of which anything is thought of.
  void Establish() {
    for (int64_t time = kBegin - 3; time < kBegin; ++time) {
      for (const Point& part : {Bucket(1, 0), Bucket(kInfinity, 0), Sum(0), Count(0)}) {
        Add(time, part);
      }
    }
    taken_.clear();
    starts_.clear();
  }
  std::vector<int64_t> TakenTimes() const {
    std::vector<int64_t> times;
    for (const Taken& taken : taken_) times.push_back(taken.time);
    return times;
  }

  AssemblyOptions options_;
  HistogramAssembly assembly_;
  std::vector<Taken> taken_;
  std::vector<int64_t> starts_;
};

TEST_F(AssemblyTest, ThePartsOfAScrapeBecomeOneHistogram) {
  Establish();
  for (const Point& part : {Bucket(1, 3), Sum(12.5), Bucket(kInfinity, 5)}) {
    EXPECT_EQ(Add(kBegin, part), Outcome::kTaken);
    EXPECT_THAT(taken_, IsEmpty());
  }
  EXPECT_EQ(Add(kBegin, Count(5)), Outcome::kTaken);
  EXPECT_THAT(
      taken_,
      ElementsAre(Taken{
          kBegin,
          {.count = 5, .sum = 12.5, .buckets = ExplicitBuckets{.bounds = {1}, .counts = {3, 2}}}}));
}

TEST_F(AssemblyTest, TheFirstScrapeWaitsForTwoLaterOnes) {
  Add(1, Bucket(1, 1));
  Add(1, Bucket(kInfinity, 1));
  Add(2, Bucket(1, 2));
  // Of another request, which came late.
  Add(1, Bucket(2, 1));
  Add(2, Bucket(kInfinity, 2));
  Add(2, Bucket(2, 2));
  EXPECT_THAT(taken_, IsEmpty());
  Add(3, Bucket(1, 3));
  EXPECT_THAT(TakenTimes(), ElementsAre(1, 2));
  EXPECT_EQ(std::get<ExplicitBuckets>(taken_[0].histogram.buckets).bounds,
            (std::vector<double>{1, 2}));
}

TEST_F(AssemblyTest, AScrapeWaitsForThePartThatIsBehind) {
  Establish();
  for (int64_t i = 0; i < 5; ++i) {
    Add(kBegin + i, Bucket(1, i));
    Add(kBegin + i, Bucket(kInfinity, i));
    Add(kBegin + i, Count(i));
  }
  EXPECT_THAT(taken_, IsEmpty());
  for (int64_t i = 0; i < 5; ++i) Add(kBegin + i, Sum(static_cast<double>(i)));
  EXPECT_THAT(TakenTimes(), ElementsAre(kBegin, kBegin + 1, kBegin + 2, kBegin + 3, kBegin + 4));
}

TEST_F(AssemblyTest, APartThatEndedIsNotWaitedFor) {
  Establish();
  Add(kBegin, Bucket(1, 3));
  Add(kBegin, Bucket(kInfinity, 5));
  Add(kBegin, Count(5));
  EXPECT_THAT(taken_, IsEmpty());
  Add(kBegin, Gone(Sum(0)));
  EXPECT_THAT(TakenTimes(), ElementsAre(kBegin));
  EXPECT_EQ(taken_[0].histogram.sum, std::nullopt);
  // And when it is back it is.
  Add(kBegin + 1, Sum(7));
  Add(kBegin + 1, Bucket(1, 3));
  Add(kBegin + 1, Bucket(kInfinity, 5));
  EXPECT_EQ(taken_.size(), 1);
  Add(kBegin + 1, Count(5));
  EXPECT_EQ(taken_.size(), 2);
}

TEST_F(AssemblyTest, ASeriesOfWhichEverythingEndedLeavesNothingBehind) {
  Add(1, Bucket(1, 3));
  Add(1, Bucket(kInfinity, 5));
  Add(2, Gone(Bucket(1, 0)));
  EXPECT_THAT(taken_, IsEmpty());
  Add(2, Gone(Bucket(kInfinity, 0)));
  EXPECT_THAT(TakenTimes(), ElementsAre(1));
}

TEST_F(AssemblyTest, AfterAFailedScrapeItIsLearnedAnewWhichPartsThereAre) {
  Establish();
  const std::vector<Point> parts = {Bucket(1, 3), Bucket(kInfinity, 5), Sum(2), Count(5)};
  for (const Point& part : parts) Add(kBegin, Gone(part));
  for (int64_t time = kBegin + 1; time < kBegin + 5; ++time) {
    for (const Point& part : parts) EXPECT_EQ(Add(time, part), Outcome::kTaken);
  }
  EXPECT_THAT(TakenTimes(), ElementsAre(kBegin + 1, kBegin + 2, kBegin + 3, kBegin + 4));
  for (const Taken& taken : taken_) EXPECT_EQ(taken.histogram.sum, 2);
}

TEST_F(AssemblyTest, AfterALongSilenceToo) {
  Establish();
  const int64_t later = kBegin + 2 * absl::ToInt64Nanoseconds(options_.max_silence);
  for (int64_t time = later; time < later + 4; ++time) {
    for (const Point& part : {Bucket(1, 3), Bucket(kInfinity, 5), Sum(2), Count(5)}) {
      EXPECT_EQ(Add(time, part), Outcome::kTaken);
    }
  }
  EXPECT_THAT(TakenTimes(), ElementsAre(later, later + 1, later + 2, later + 3));
}

TEST_F(AssemblyTest, APartThatWasLateIsWaitedForFromThenOn) {
  Establish();
  for (const Point& part : {Bucket(1, 3), Bucket(kInfinity, 5), Sum(2), Count(5)}) {
    Add(kBegin, part);
  }
  EXPECT_EQ(Add(kBegin, Bucket(2, 4)), Outcome::kLate) << "of a slower connection";
  for (const Point& part : {Bucket(1, 3), Bucket(kInfinity, 5), Sum(2), Count(5)}) {
    Add(kBegin + 1, part);
  }
  EXPECT_THAT(TakenTimes(), ElementsAre(kBegin));
  EXPECT_EQ(Add(kBegin + 1, Bucket(2, 4)), Outcome::kTaken);
  EXPECT_THAT(TakenTimes(), ElementsAre(kBegin, kBegin + 1));
}

TEST_F(AssemblyTest, AMarkerOfTheSeriesBeforeSaysNothing) {
  Establish();
  Add(kBegin, Bucket(1, 3));
  EXPECT_EQ(Add(kBegin, Gone(Bucket(1, 0))), Outcome::kLate) << "le=1 became le=1.0";
  for (const Point& part : {Bucket(kInfinity, 5), Sum(2), Count(5)}) Add(kBegin, part);
  for (const Point& part : {Bucket(kInfinity, 5), Sum(2), Count(5)}) Add(kBegin + 1, part);
  EXPECT_THAT(TakenTimes(), ElementsAre(kBegin)) << "the bucket is waited for";
}

TEST_F(AssemblyTest, NoMoreValuesWaitThanMay) {
  Establish();
  options_.max_waiting_values = 10;
  for (int64_t i = 0; i < 6; ++i) Add(kBegin + i, Bucket(kInfinity, i));
  EXPECT_FALSE(taken_.empty());
}

TEST_F(AssemblyTest, ASilentPartIsNotWaitedForAnyLonger) {
  Establish();
  const int64_t silence = absl::ToInt64Nanoseconds(options_.max_silence);
  for (const int64_t time : {kBegin, kBegin + silence / 2, kBegin + silence - 1}) {
    Add(time, Bucket(1, 1));
    Add(time, Bucket(kInfinity, 1));
    Add(time, Count(1));
  }
  EXPECT_THAT(taken_, IsEmpty());
  Add(kBegin + silence, Count(1));
  EXPECT_EQ(taken_.size(), 3);
}

TEST_F(AssemblyTest, NoMoreScrapesWaitThanMay) {
  Establish();
  options_.max_waiting = 3;
  for (int64_t i = 0; i < 5; ++i) Add(kBegin + i, Bucket(kInfinity, i));
  EXPECT_THAT(TakenTimes(), ElementsAre(kBegin, kBegin + 1));
  EXPECT_EQ(Add(kBegin, Bucket(1, 0)), Outcome::kLate);
  EXPECT_EQ(Add(kBegin + 2, Bucket(1, 2)), Outcome::kTaken);
  EXPECT_EQ(Add(kBegin + 2, Bucket(1, 1)), Outcome::kLate) << "it is there already";
}

TEST_F(AssemblyTest, TheCountIsThatOfTheLastBucket) {
  Establish();
  for (const Point& part : {Bucket(1, 4), Bucket(kInfinity, 7), Sum(1), Count(9)})
    Add(kBegin, part);
  // A target that counted on while it was scraped.
  for (const Point& part : {Bucket(1, 9), Bucket(kInfinity, 8), Sum(1), Count(9)}) {
    Add(kBegin + 1, part);
  }
  ASSERT_EQ(taken_.size(), 2);
  EXPECT_EQ(taken_[0].histogram.count, 7);
  EXPECT_EQ(taken_[1].histogram.count, 9);
}

TEST_F(AssemblyTest, WithoutTheLastBucketTheCountWillDo) {
  for (int64_t time = 1; time < 4; ++time) {
    Add(time, Bucket(1, 4));
    Add(time, Count(6));
  }
  ASSERT_FALSE(taken_.empty());
  EXPECT_EQ(std::get<ExplicitBuckets>(taken_[0].histogram.buckets),
            (ExplicitBuckets{.bounds = {1}, .counts = {4, 2}}));
}

TEST_F(AssemblyTest, WithoutAnyCountItIsNoHistogram) {
  for (int64_t time = 1; time < 4; ++time) {
    Add(time, Bucket(1, 4));
    Add(time, Sum(6));
  }
  EXPECT_THAT(taken_, IsEmpty());
  EXPECT_GT(assembly_.TakeIncomplete(), 0);
  EXPECT_EQ(assembly_.TakeIncomplete(), 0);
}

TEST_F(AssemblyTest, TheStartIsThatOfItsParts) {
  Establish();
  for (Point part : {Bucket(1, 4), Bucket(kInfinity, 7), Sum(1), Count(7)}) {
    part.start_unix_nano = kBegin - kSecond;
    Add(kBegin, part);
  }
  EXPECT_THAT(starts_, ElementsAre(kBegin - kSecond));
}

TEST_F(AssemblyTest, AHistogramHasOnlySoManyParts) {
  for (int64_t time = 1; time < 5; ++time) {
    for (size_t i = 0; i < HistogramAssembly::kMaxBounds; ++i) {
      EXPECT_EQ(Add(time, Bucket(static_cast<double>(i), 0)), Outcome::kTaken);
    }
    EXPECT_EQ(Add(time, Bucket(-1, 0)), Outcome::kTooMany);
    for (const Point& part : {Bucket(kInfinity, 2), Sum(1), Count(2)}) {
      EXPECT_EQ(Add(time, part), Outcome::kTaken);
    }
  }
  // Add has checked that they are valid.
  ASSERT_FALSE(taken_.empty());
  EXPECT_EQ(std::get<ExplicitBuckets>(taken_[0].histogram.buckets).counts.size(),
            kMaxHistogramBuckets);
}

// Requests overtake one another, and the process dies now and then: every scrape comes
// out once, in order and as it was.
TEST_F(AssemblyTest, WhateverTheOrderBetweenPartsScrapesComeOutAsTheyWere) {
  const uint64_t seed = test::TestSeed();
  SCOPED_TRACE(seed);
  for (uint64_t round = 0; round < 300; ++round) {
    Random random(seed + round);
    assembly_ = {};
    taken_.clear();
    // The scrapes, and what each part sends of them.
    std::vector<Taken> expected;
    const size_t bucket_count = random.Below(6);
    std::vector<std::vector<std::pair<int64_t, Point>>> queues(bucket_count + 3);
    int64_t time = kBegin;
    int64_t total = 0;
    for (size_t scrape = 0; scrape < 20; ++scrape) {
      time += 1 + static_cast<int64_t>(random.Below(20 * kSecond));
      ExplicitBuckets buckets;
      int64_t below = 0;
      for (size_t i = 0; i < bucket_count; ++i) {
        buckets.bounds.push_back(static_cast<double>(i));
        buckets.counts.push_back(static_cast<int64_t>(random.Below(5)));
        below += buckets.counts.back();
        queues[i].emplace_back(time, Bucket(static_cast<double>(i), below));
      }
      total = below + static_cast<int64_t>(random.Below(5));
      if (bucket_count > 0) buckets.counts.push_back(total - below);
      const double sum = random.Fraction();
      queues[bucket_count].emplace_back(time, Bucket(kInfinity, total));
      queues[bucket_count + 1].emplace_back(time, Sum(sum));
      queues[bucket_count + 2].emplace_back(time, Count(total));
      expected.push_back({time, {.count = total, .sum = sum, .buckets = buckets}});
    }
    // Any order, but that of one part, and all of a part's first before another's third.
    std::vector<size_t> sent(queues.size(), 0);
    while (true) {
      std::vector<size_t> ready;
      const size_t least = *std::min_element(sent.begin(), sent.end());
      for (size_t i = 0; i < queues.size(); ++i) {
        if (sent[i] < queues[i].size() && (least > 0 || sent[i] < 2)) ready.push_back(i);
      }
      if (ready.empty()) break;
      const size_t i = ready[random.Below(ready.size())];
      const auto& [at, part] = queues[i][sent[i]++];
      ASSERT_EQ(Add(at, part), Outcome::kTaken);
      if (random.OneIn(10)) {
        std::string bytes;
        assembly_.AppendTo(&bytes);
        auto restored = HistogramAssembly::Parse(bytes);
        ASSERT_THAT(restored.status(), IsOk());
        std::string again;
        restored->AppendTo(&again);
        ASSERT_EQ(again, bytes);
        assembly_ = *std::move(restored);
      }
    }
    ASSERT_EQ(taken_.size(), expected.size()) << "round " << round;
    for (size_t i = 0; i < taken_.size(); ++i) ASSERT_EQ(taken_[i], expected[i]) << i;
  }
}

TEST_F(AssemblyTest, DamagedRowsAreRefused) {
  Establish();
  Add(kBegin, Bucket(1, 3));
  Add(kBegin, Sum(3));
  std::string bytes;
  assembly_.AppendTo(&bytes);
  ASSERT_THAT(HistogramAssembly::Parse(bytes).status(), IsOk());
  for (size_t i = 0; i < bytes.size(); ++i) {
    EXPECT_THAT(HistogramAssembly::Parse(bytes.substr(0, i)).status(),
                StatusIs(absl::StatusCode::kDataLoss));
    // Whatever else parses can be written and read again.
    for (const char flip : {'\x01', '\x40', '\x80', '\xff'}) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ flip);
      const auto parsed = HistogramAssembly::Parse(damaged);
      if (!parsed.ok()) continue;
      std::string again;
      parsed->AppendTo(&again);
      EXPECT_THAT(HistogramAssembly::Parse(again).status(), IsOk());
    }
  }
}

TEST(AssemblyTableTest, AFlushTakesWhatHasChanged) {
  SeriesIndex index({});
  Series series = {.tenant = "default", .name = "h", .kind = Kind::kDistribution};
  std::string series_bytes;
  AppendSeries(series, &series_bytes);
  const SeriesNumber number = *index.Intern(3, series_bytes);
  AssemblyTable table({});
  const auto nothing = [](int64_t, const Point&) {};
  table.Add(number, kBegin, Bucket(1, 1), nothing);
  CumulativeChanges changes;
  table.TakeChanges(index, &changes);
  ASSERT_EQ(changes.rows.size(), 1);
  EXPECT_EQ(changes.rows[0].start_unix_nano, AssemblyTable::kPartsStart);
  EXPECT_EQ(changes.rows[0].time_unix_nano, kBegin);
  EXPECT_EQ(changes.rows[0].series, &index[number]);
  CumulativeChanges none;
  table.TakeChanges(index, &none);
  EXPECT_THAT(none.rows, IsEmpty());

  // Another process goes on from there.
  AssemblyTable other({});
  ASSERT_THAT(other.Restore(number, changes.rows[0].point), IsOk());
  EXPECT_EQ(other.Add(number, kBegin, Bucket(1, 1), nothing), Outcome::kLate);
  EXPECT_THAT(other.Restore(number, "nonsense"), StatusIs(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace weir::aggregator
