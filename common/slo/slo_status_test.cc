#include "common/slo/slo_status.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace weir {
namespace {

constexpr absl::Duration kDay = absl::Hours(24);
constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

SloStatusInput Rolling30Days(Counts period, Counts recent) {
  return {.period_length = 30 * kDay,
          .elapsed = 30 * kDay,
          .rolling = true,
          .period_counts = period,
          .recent_counts = recent};
}

TEST(SloStatusTest, ABudgetStartsWhole) {
  const SloStatus status = StatusOf(*Goal::Parse("99.9%"), Rolling30Days({}, {}));
  EXPECT_EQ(status.error_budget_count, 0);
  EXPECT_EQ(status.consumed_count, 0);
  EXPECT_EQ(status.remaining_count, 0);
  EXPECT_EQ(status.consumed_ratio, Ratio());
  EXPECT_EQ(status.remaining_ratio, Ratio(1, 1));
  EXPECT_EQ(status.exhausted_in, std::nullopt);
}

TEST(SloStatusTest, FractionsAreOfTheUnroundedBudget) {
  const Goal goal = *Goal::Parse("99.9%");
  SloStatus status = StatusOf(goal, Rolling30Days({.bad_count = 7, .total_count = 10'000}, {}));
  EXPECT_EQ(status.error_budget_count, 10);
  EXPECT_EQ(status.remaining_count, 3);
  EXPECT_EQ(status.consumed_ratio, Ratio(7, 10));
  EXPECT_EQ(status.remaining_ratio, Ratio(3, 10));
  // 7.2 may be bad: seven can, and a tenth of a request more is left.
  status = StatusOf(goal, Rolling30Days({.bad_count = 7, .total_count = 7'200}, {}));
  EXPECT_EQ(status.error_budget_count, 7);
  EXPECT_EQ(status.remaining_count, 0);
  EXPECT_EQ(status.remaining_ratio, Ratio(1, 36));
}

TEST(SloStatusTest, AnOverspentBudgetIsBelowZero) {
  const SloStatus status = StatusOf(
      *Goal::Parse("99.9%"), Rolling30Days({.bad_count = 25, .total_count = 10'000}, {1, 10}));
  EXPECT_EQ(status.remaining_count, -15);
  EXPECT_EQ(status.consumed_ratio, Ratio(5, 2));
  EXPECT_EQ(status.remaining_ratio, Ratio(-3, 2));
  EXPECT_EQ(status.exhausted_in, absl::ZeroDuration());
}

TEST(SloStatusTest, EveryWindowReportsItsBurn) {
  SloStatusInput input = Rolling30Days({}, {});
  input.windows = {{absl::Hours(1), {.bad_count = 144, .total_count = 10'000}},
                   {absl::Minutes(5), {}}};
  const SloStatus status = StatusOf(*Goal::Parse("99.9%"), input);
  ASSERT_EQ(status.windows.size(), 2);
  EXPECT_EQ(status.windows[0].window, absl::Hours(1));
  EXPECT_EQ(status.windows[0].burn_rate, Ratio(72, 5));
  EXPECT_EQ(status.windows[1].burn_rate, std::nullopt);
}

// The workbook: 14.4 spends a whole 30-day budget in 50 hours, 6 in 5 days, 1 in 30.
TEST(SloStatusTest, ExhaustionIsAsInTheWorkbook) {
  const Goal goal = *Goal::Parse("99.9%");
  const Counts clean{.bad_count = 0, .total_count = 1'000'000};
  EXPECT_EQ(StatusOf(goal, Rolling30Days(clean, {144, 10'000})).exhausted_in, absl::Hours(50));
  EXPECT_EQ(StatusOf(goal, Rolling30Days(clean, {6, 1'000})).exhausted_in, 5 * kDay);
  EXPECT_EQ(StatusOf(goal, Rolling30Days(clean, {1, 1'000})).exhausted_in, 30 * kDay);
  EXPECT_EQ(StatusOf(goal, Rolling30Days(clean, {0, 1'000})).exhausted_in, std::nullopt);
  // With half of it left, half as long.
  EXPECT_EQ(StatusOf(goal, Rolling30Days({500, 1'000'000}, {144, 10'000})).exhausted_in,
            absl::Hours(25));
}

TEST(SloStatusTest, ACalendarPeriodEndsBeforeASlowBurnDoes) {
  const Goal goal = *Goal::Parse("99.9%");
  SloStatusInput input{.period_length = 30 * kDay,
                       .elapsed = 20 * kDay,
                       .rolling = false,
                       .period_counts = {.bad_count = 0, .total_count = 20'000},
                       .recent_counts = {.bad_count = 3, .total_count = 1'000}};
  // The whole 30 days' budget is unspent: at 3 it is gone in 10 days, as the period ends.
  EXPECT_EQ(StatusOf(goal, input).exhausted_in, std::nullopt);
  input.recent_counts.bad_count = 4;
  EXPECT_EQ(StatusOf(goal, input).exhausted_in, absl::Hours(180));
  // 20 days at a burn of 1 spent two thirds of what 30 days will allow.
  input.period_counts.bad_count = 20;
  EXPECT_EQ(StatusOf(goal, input).exhausted_in, absl::Hours(60));
}

TEST(SloStatusTest, ForecastsEndAfterACentury) {
  const Goal goal = *Goal::Parse("1%");
  EXPECT_EQ(StatusOf(goal, Rolling30Days({0, kMost}, {1, kMost})).exhausted_in, std::nullopt);
}

TEST(SloStatusTest, TheLargestNumbersDoNotOverflow) {
  for (const char* text : {"0.999999999", "0.000000001", "0.5"}) {
    SloStatusInput input{.period_length = 4'000 * kDay,
                         .elapsed = 4'000 * kDay,
                         .rolling = true,
                         .period_counts = {.bad_count = kMost, .total_count = kMost},
                         .recent_counts = {.bad_count = kMost, .total_count = kMost}};
    EXPECT_EQ(StatusOf(*Goal::Parse(text), input).exhausted_in, absl::ZeroDuration());
    input.period_counts.bad_count = 0;
    EXPECT_TRUE(StatusOf(*Goal::Parse(text), input).exhausted_in.has_value());
    input.recent_counts.bad_count = 1;
    EXPECT_FALSE(StatusOf(*Goal::Parse(text), input).exhausted_in.has_value());
  }
}

}  // namespace
}  // namespace weir
