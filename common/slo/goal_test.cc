#include "common/slo/goal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "common/testing/status_matchers.h"

namespace weir {
namespace {

using ::testing::HasSubstr;
using ::weir::test::StatusIs;

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

Goal MakeGoal(std::string_view text) { return *Goal::Parse(text); }

TEST(GoalTest, LiesBetweenZeroAndOneBothExcluded) {
  EXPECT_EQ(MakeGoal("99.9%").value(), Decimal::Of(999, 3));
  EXPECT_EQ(MakeGoal("0.999").allowed_ratio(), Ratio(1, 1000));
  EXPECT_EQ(MakeGoal("0.95").allowed_ratio(), Ratio(1, 20));
  EXPECT_EQ(MakeGoal("0.999999999").allowed_denominator(), 1'000'000'000);
  EXPECT_EQ(MakeGoal("0.000000001").allowed_numerator(), 999'999'999);
  for (const char* text : {"0", "1", "100%", "-0.5", "1.5", "99.9", "101%"}) {
    EXPECT_THAT(Goal::Parse(text), StatusIs(absl::StatusCode::kInvalidArgument,
                                            HasSubstr("is not between 0 and 1, both excluded")))
        << text;
  }
}

TEST(GoalTest, SaysWhatWasLikelyMeant) {
  EXPECT_THAT(Goal::Parse("99.9").status().message(), HasSubstr("was 99.9% meant?"));
  EXPECT_THAT(Goal::Parse("1").status().message(), HasSubstr("allows no bad request"));
  EXPECT_THAT(Goal::Parse("abc").status().message(), HasSubstr("goal: \"abc\" is not a decimal"));
}

TEST(GoalTest, EverythingBadBurnsFastest) {
  EXPECT_EQ(MakeGoal("99.9%").max_burn_rate(), Ratio(1000, 1));
  EXPECT_EQ(MakeGoal("90%").max_burn_rate(), Ratio(10, 1));
  EXPECT_EQ(BurnRate(MakeGoal("99.9%"), {.bad_count = 5, .total_count = 5}), Ratio(1000, 1));
}

TEST(CountsTest, GoodCannotPassTotal) {
  EXPECT_EQ(*Counts::FromGood({.good_count = 7, .total_count = 10}),
            (Counts{.bad_count = 3, .total_count = 10}));
  EXPECT_THAT(
      Counts::FromGood({.good_count = 12, .total_count = 10}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("12 is above total_count 10")));
  EXPECT_THAT(Counts::FromGood({.good_count = -1, .total_count = 10}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("below 0")));
  EXPECT_THAT(Counts::FromGood({.good_count = 0, .total_count = -1}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ErrorBudgetTest, IsTheFloorOfTheExactProduct) {
  // In doubles (1 - 0.9999) * 10000 is 0.9999999999998899, whose floor is 0.
  EXPECT_EQ(ErrorBudget(MakeGoal("99.99%"), 10'000), 1);
  EXPECT_EQ(ErrorBudget(MakeGoal("99.99%"), 9'999), 0);
  EXPECT_EQ(ErrorBudget(MakeGoal("99.9%"), 1'000), 1);
  EXPECT_EQ(ErrorBudget(MakeGoal("99.9%"), 100), 0);
  EXPECT_EQ(ErrorBudget(MakeGoal("90%"), 30), 3);
  EXPECT_EQ(ErrorBudget(MakeGoal("99.9%"), 7'200), 7);
  EXPECT_EQ(ErrorBudget(MakeGoal("99.9%"), 0), 0);
  EXPECT_EQ(ErrorBudget(MakeGoal("99.9%"), -5), 0);
  EXPECT_EQ(ErrorBudget(MakeGoal("0.000000001"), kMost), 9'223'372'027'631'403'770);
}

TEST(BurnRateTest, IsBadShareOverAllowedShare) {
  EXPECT_EQ(BurnRate(MakeGoal("99.9%"), {.bad_count = 144, .total_count = 10'000}), Ratio(72, 5));
  EXPECT_EQ(BurnRate(MakeGoal("99.9%"), {.bad_count = 1, .total_count = 10}), Ratio(100, 1));
  EXPECT_EQ(BurnRate(MakeGoal("50%"), {.bad_count = kMost, .total_count = kMost}), Ratio(2, 1));
  EXPECT_EQ(BurnRate(MakeGoal("0.999999999"), {.bad_count = kMost, .total_count = 1})->ToString(),
            "9223372036854775807000000000");
}

TEST(BurnRateTest, NoTrafficHasNoBurnRate) {
  EXPECT_EQ(BurnRate(MakeGoal("99.9%"), {}), std::nullopt);
  EXPECT_EQ(BurnRate(MakeGoal("99.9%"), {.bad_count = 1, .total_count = 0}), std::nullopt);
  EXPECT_EQ(BurnRate(MakeGoal("99.9%"), {.bad_count = 0, .total_count = 5}), Ratio());
  EXPECT_EQ(BurnRate(MakeGoal("99.9%"), {.bad_count = -3, .total_count = 5}), Ratio());
}

// The example of seed 002: ErrorMetricsTracker(error_budget_slo=0.999), 1000 requests.
TEST(SeedStatusTest, IsAsTheSeedDocumentsIt) {
  const Goal goal = MakeGoal("0.999");
  SeedSloStatus status = SeedStatus(goal, {.judged_count = 1'000, .error_count = 0});
  EXPECT_EQ(status.error_budget_total, 1);
  EXPECT_EQ(status.error_budget_consumed, 0);
  EXPECT_EQ(status.error_budget_remaining, 1);
  EXPECT_FALSE(status.slo_violated);
  EXPECT_EQ(status.burn_rate, Ratio());

  status = SeedStatus(goal, {.judged_count = 1'000, .error_count = 1});
  EXPECT_EQ(status.error_budget_consumed, 1);
  EXPECT_EQ(status.error_budget_remaining, 0);
  EXPECT_FALSE(status.slo_violated) << "at threshold";
  EXPECT_EQ(status.burn_rate, Ratio(1, 1));

  status = SeedStatus(goal, {.judged_count = 1'000, .error_count = 2});
  EXPECT_EQ(status.error_budget_remaining, 0);
  EXPECT_TRUE(status.slo_violated);
  EXPECT_EQ(status.burn_rate, Ratio(2, 1));
}

TEST(SeedStatusTest, ABudgetOfNothingHasNoFiniteBurnRateOnceItIsSpent) {
  const Goal goal = MakeGoal("0.999");
  EXPECT_EQ(SeedStatus(goal, {.judged_count = 100, .error_count = 0}).burn_rate, Ratio());
  const SeedSloStatus status = SeedStatus(goal, {.judged_count = 100, .error_count = 1});
  EXPECT_EQ(status.error_budget_total, 0);
  EXPECT_TRUE(status.slo_violated);
  EXPECT_EQ(status.burn_rate, std::nullopt);
}

}  // namespace
}  // namespace weir
