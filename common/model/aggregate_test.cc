#include "common/model/aggregate.h"
#include "common/testing/test_seed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace weir {
namespace {

constexpr double kLargest = std::numeric_limits<double>::max();

struct TimedValue {
  bool integer = false;
  int64_t integer_value = 0;
  double float_value = 0;
  int64_t event_unix_nano = 0;
  double value() const { return integer ? static_cast<double>(integer_value) : float_value; }
};

void Add(const TimedValue& sample, Aggregate* aggregate) {
  if (sample.integer) {
    aggregate->AddInteger(sample.integer_value, sample.event_unix_nano);
  } else {
    aggregate->AddFloat(sample.float_value, sample.event_unix_nano);
  }
}

std::vector<TimedValue> RandomSamples(std::mt19937_64& random) {
  std::vector<TimedValue> samples(1 + random() % 200);
  // A large offset against a small spread is where sums of squares go wrong.
  const double offset = std::ldexp(1.0, static_cast<int>(random() % 60));
  for (TimedValue& sample : samples) {
    sample.integer = random() % 2 == 0;
    sample.integer_value = static_cast<int64_t>(random()) >> (random() % 60);
    sample.float_value = offset + std::normal_distribution<double>(0, 3)(random);
    sample.event_unix_nano = 1'750'000'000'000'000'000 + static_cast<int64_t>(random() % 50);
  }
  return samples;
}

// What the samples come to, in 80-bit arithmetic, each from its definition.
void ExpectRight(const Aggregate& aggregate, const std::vector<TimedValue>& samples) {
  absl::int128 integer_sum = 0;
  long double float_sum = 0, float_magnitude = 0, total = 0, magnitude = 0;
  int64_t float_count = 0;
  for (const TimedValue& sample : samples) {
    if (sample.integer) {
      integer_sum += sample.integer_value;
    } else {
      float_sum += sample.float_value;
      float_magnitude += std::fabs(sample.float_value);
      ++float_count;
    }
    total += sample.value();
    magnitude = std::max(magnitude, std::fabs(static_cast<long double>(sample.value())));
  }
  const long double count = static_cast<long double>(samples.size());
  const long double mean = total / count;
  long double m2 = 0;
  for (const TimedValue& sample : samples) m2 += (sample.value() - mean) * (sample.value() - mean);

  EXPECT_EQ(aggregate.count, static_cast<int64_t>(samples.size()));
  EXPECT_EQ(aggregate.float_count, float_count);
  EXPECT_EQ(aggregate.integer_sum, integer_sum);
  EXPECT_NEAR(aggregate.float_sum, static_cast<double>(float_sum),
              static_cast<double>(float_magnitude * count) * 1e-16);
  EXPECT_NEAR(aggregate.mean, static_cast<double>(mean),
              static_cast<double>(magnitude * count) * 1e-16);
  // m2 carries the rounding of the means: an error of magnitude * epsilon in
  // each distance, besides its own.
  const double distance_error = static_cast<double>(magnitude * count) * 1e-16;
  EXPECT_NEAR(aggregate.m2, static_cast<double>(m2),
              static_cast<double>(m2) * 1e-12 +
                  2 * distance_error * static_cast<double>(std::sqrt(m2 * count)) +
                  distance_error * distance_error * static_cast<double>(count));

  const auto by_value = [](const TimedValue& a, const TimedValue& b) {
    return a.value() < b.value();
  };
  const auto by_time = [](const TimedValue& a, const TimedValue& b) {
    return std::pair(a.event_unix_nano, a.value()) < std::pair(b.event_unix_nano, b.value());
  };
  EXPECT_EQ(aggregate.min, std::min_element(samples.begin(), samples.end(), by_value)->value());
  EXPECT_EQ(aggregate.max, std::max_element(samples.begin(), samples.end(), by_value)->value());
  const TimedValue first = *std::min_element(samples.begin(), samples.end(), by_time);
  const TimedValue last = *std::max_element(samples.begin(), samples.end(), by_time);
  EXPECT_EQ(aggregate.first, first.value());
  EXPECT_EQ(aggregate.first_unix_nano, first.event_unix_nano);
  EXPECT_EQ(aggregate.last, last.value());
  EXPECT_EQ(aggregate.last_unix_nano, last.event_unix_nano);
}

TEST(AggregateTest, AddingAgreesWithTheDefinitions) {
  std::mt19937_64 random(test::TestSeed());
  for (int round = 0; round < 300; ++round) {
    const std::vector<TimedValue> samples = RandomSamples(random);
    Aggregate aggregate;
    for (const TimedValue& sample : samples) Add(sample, &aggregate);
    ExpectRight(aggregate, samples);
    if (HasFailure()) return;
  }
}

TEST(AggregateTest, AnyTreeOfMergesAgreesWithTheDefinitions) {
  std::mt19937_64 random(test::TestSeed());
  for (int round = 0; round < 300; ++round) {
    const std::vector<TimedValue> samples = RandomSamples(random);
    std::vector<Aggregate> parts(1 + random() % 20);  // some stay empty
    for (const TimedValue& sample : samples) Add(sample, &parts[random() % parts.size()]);
    while (parts.size() > 1) {
      std::shuffle(parts.begin(), parts.end(), random);
      const Aggregate part = parts.back();
      parts.pop_back();
      parts[random() % parts.size()].Merge(part);
    }
    ExpectRight(parts[0], samples);
    if (HasFailure()) return;
  }
}

TEST(AggregateTest, MergingNothingChangesNothing) {
  Aggregate aggregate;
  aggregate.AddInteger(3, 10);
  aggregate.AddFloat(-1.5, 5);
  Aggregate merged = aggregate;
  merged.Merge(Aggregate{});
  EXPECT_EQ(merged, aggregate);
  Aggregate from_empty;
  from_empty.Merge(aggregate);
  EXPECT_EQ(from_empty, aggregate);
}

TEST(AggregateTest, ASmallSpreadOnALargeOffsetKeepsItsVariance) {
  // A sum of squares in doubles would say 0 or worse.
  Aggregate aggregate;
  for (int i = 0; i < 1000; ++i) aggregate.AddFloat(1e9 + i % 2, i);
  EXPECT_NEAR(aggregate.stddev(), 0.5, 1e-9);
}

TEST(AggregateTest, IntegerSumsAreExactPastSixtyFourBits) {
  Aggregate aggregate;
  for (int i = 0; i < 4; ++i) aggregate.AddInteger(std::numeric_limits<int64_t>::max(), i);
  EXPECT_EQ(aggregate.integer_sum, absl::int128(std::numeric_limits<int64_t>::max()) * 4);
  EXPECT_EQ(aggregate.float_count, 0);
}

TEST(AggregateTest, OfEqualTimesFirstIsTheSmallerAndLastTheLarger) {
  for (const auto& order : {std::vector<double>{1, 2, 3}, {3, 1, 2}, {2, 3, 1}}) {
    Aggregate aggregate;
    for (const double value : order) aggregate.AddFloat(value, 7);
    EXPECT_EQ(aggregate.first, 1);
    EXPECT_EQ(aggregate.last, 3);
  }
}

TEST(AggregateTest, NoValuesMakeAnInfinityOrNan) {
  std::mt19937_64 random(test::TestSeed());
  const double kValues[] = {kLargest, -kLargest, kLargest / 2, -kLargest / 3, 0, 1, -1e-308};
  for (int round = 0; round < 1000; ++round) {
    std::vector<Aggregate> parts(1 + random() % 4);
    for (int i = 0; i < 20; ++i) {
      parts[random() % parts.size()].AddFloat(kValues[random() % std::size(kValues)], i);
    }
    Aggregate merged;
    for (const Aggregate& part : parts) merged.Merge(part);
    for (const double field : {merged.float_sum, merged.mean, merged.m2, merged.min, merged.max}) {
      ASSERT_TRUE(std::isfinite(field));
    }
    ASSERT_GE(merged.m2, 0);
    ASSERT_TRUE(std::isfinite(merged.stddev()));
  }
}

}  // namespace
}  // namespace weir
