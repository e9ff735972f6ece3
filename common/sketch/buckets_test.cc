#include "common/sketch/buckets.h"

#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "common/base/random.h"
#include "common/testing/test_seed.h"

namespace weir {
namespace {

using Model = std::map<int, uint64_t>;

void ExpectSame(const Buckets& buckets, const Model& model) {
  ASSERT_EQ(buckets.empty(), model.empty());
  if (model.empty()) return;
  const Buckets::Range range = buckets.range();
  ASSERT_EQ(range.begin, model.begin()->first);
  ASSERT_EQ(range.end, model.rbegin()->first + 1);
  for (int index = range.begin; index < range.end; ++index) {
    const auto found = model.find(index);
    ASSERT_EQ(buckets[index], found == model.end() ? 0 : found->second) << index;
  }
}

TEST(BucketsTest, AFewLikeValuesAllocateNothing) {
  Buckets buckets;
  for (int index = 100; index < 124; ++index) {
    buckets.Add(index, 200);
    EXPECT_EQ(buckets.heap_bytes(), 0u);
  }
  buckets.Add(124, 1);
  EXPECT_GT(buckets.heap_bytes(), 0u);
  EXPECT_LT(buckets.heap_bytes(), 64u);
}

TEST(BucketsTest, CountsWidenWhenTheyOutgrowTheirWidth) {
  Buckets buckets;
  Model model;
  for (const uint64_t count : {uint64_t{255}, uint64_t{1}, uint64_t{65535}, uint64_t{1},
                               uint64_t{0xffffffff}, uint64_t{1}, uint64_t{1} << 60}) {
    buckets.Add(-7, count);
    model[-7] += count;
    buckets.Add(-5, 1);
    model[-5] += 1;
    ExpectSame(buckets, model);
  }
}

TEST(BucketsTest, TheWidestRangeFitsInAnyOrder) {
  for (const int step : {1, 641, 1279}) {  // all prime to 1280
    Buckets buckets;
    Model model;
    for (int i = 0; i < Buckets::kMaxBuckets; ++i) {
      const int index = i * step % Buckets::kMaxBuckets - 600;
      buckets.Add(index, i + 1);
      model[index] += i + 1;
    }
    ExpectSame(buckets, model);
  }
}

TEST(BucketsTest, CopiesAndMovesAreIndependent) {
  for (const int spread : {3, 300}) {
    Buckets buckets;
    Model model;
    for (int index = 0; index < spread; ++index) {
      buckets.Add(index, 1);
      model[index] = 1;
    }
    Buckets copy = buckets;
    EXPECT_EQ(copy, buckets);
    copy.Add(0, 1);
    EXPECT_NE(copy, buckets);
    ExpectSame(buckets, model);
    Buckets moved = std::move(copy);
    EXPECT_EQ(moved[0], 2u);
    moved = buckets;
    ExpectSame(moved, model);
    Buckets other;
    other = std::move(moved);
    ExpectSame(other, model);
  }
}

TEST(BucketsTest, AgreesWithAMap) {
  Random random(test::TestSeed());
  for (int round = 0; round < 500; ++round) {
    Buckets buckets[2];
    Model models[2];
    const int spread = 1 + static_cast<int>(random.Below(500));
    for (uint64_t operations = random.Below(200); operations > 0; --operations) {
      const size_t at = random.Below(2);
      if (!random.OneIn(20)) {
        const int index = static_cast<int>(random.Below(spread)) - spread / 2;
        const uint64_t count = 1 + (random() >> (10 + random.Below(54)));
        buckets[at].Add(index, count);
        models[at][index] += count;
        continue;
      }
      const Buckets::Shifts shifts = {.own = static_cast<int>(random.Below(3)),
                                      .other = static_cast<int>(random.Below(3))};
      buckets[at].Merge(buckets[1 - at], shifts);
      Model merged;
      for (const auto& [index, count] : models[at]) merged[index >> shifts.own] += count;
      for (const auto& [index, count] : models[1 - at]) merged[index >> shifts.other] += count;
      models[at] = merged;
    }
    ExpectSame(buckets[0], models[0]);
    ExpectSame(buckets[1], models[1]);
    ASSERT_EQ(buckets[0] == buckets[1], models[0] == models[1]);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace weir
