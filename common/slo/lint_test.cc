#include "common/slo/lint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "common/testing/status_matchers.h"

namespace weir {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::weir::test::IsOk;
using ::weir::test::StatusIs;

constexpr absl::Duration kDay = absl::Hours(24);

Factor MakeFactor(std::string_view text) { return *Factor::Create(*Decimal::Parse(text)); }

LintInput Slo(std::string_view goal, absl::Duration period = 30 * kDay) {
  return {.goal = *Goal::Parse(goal),
          .period = *Period::Rolling(period),
          .rows = *WorkbookRows(period)};
}

auto Is(FindingLevel level, FindingCode code, int row, const char* words = "") {
  return AllOf(Field(&Finding::level, level), Field(&Finding::code, code),
               Field(&Finding::row, row), Field(&Finding::message, HasSubstr(words)));
}
auto IsError(FindingCode code, int row, const char* words = "") {
  return Is(FindingLevel::kError, code, row, words);
}
auto IsWarning(FindingCode code, int row, const char* words = "") {
  return Is(FindingLevel::kWarning, code, row, words);
}

TEST(LintTest, TheWorkbookHasNothingToSayAgainst) {
  for (const int days : {7, 28, 30, 90}) {
    LintInput input = Slo("99.9%", days * kDay);
    input.expected_per_hour = *Decimal::Parse("100000");
    EXPECT_THAT(Lint(input), IsEmpty()) << days;
  }
}

TEST(LintTest, ARowThatCanNeverFireIsRefusedWithTheArithmetic) {
  const std::vector<Finding> findings = Lint(Slo("90%"));
  ASSERT_THAT(findings, ElementsAre(IsError(FindingCode::kNeverFires, 0)));
  EXPECT_EQ(
      findings[0].message,
      "row 1 (page, 1h and 5m, factor 14.4): it can never fire. A goal of 90 % allows 10 % bad "
      "requests, so with every request bad the burn rate is 1 / (1 - goal) = 10, which is not "
      "above 14.4 (that takes more than 144 % bad). The largest factor with two decimals that "
      "can fire is 9.99; or, for the same share of the budget, use a long window over 1h26m24s.");
  EXPECT_THAT(Refusal(findings),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("can never fire")));
}

TEST(LintTest, ReachIsDecidedAtTheLastDigit) {
  LintInput input = Slo("90%");
  input.rows = {input.rows[0]};
  input.rows[0].factor = MakeFactor("10");
  EXPECT_THAT(Lint(input), ElementsAre(IsError(FindingCode::kNeverFires, 0)));
  // And what lint says can fire, fires.
  input.rows[0].factor = MakeFactor("9.999999999");
  EXPECT_THAT(Lint(input), IsEmpty());
  EXPECT_TRUE(BurnsAbove(input.rows[0].factor, input.goal, {.bad_count = 1, .total_count = 1}));
  EXPECT_FALSE(BurnsAbove(MakeFactor("10"), input.goal, {.bad_count = 1, .total_count = 1}));
}

TEST(LintTest, TheLargestFactorCanFireAndTheNextCannot) {
  for (const char* text :
       {"90%", "99.9%", "50%", "93.06%", "93.05%", "66.7%", "0.000000001", "0.999999999"}) {
    const Goal goal = *Goal::Parse(text);
    const Decimal largest = LargestFactor(goal);
    EXPECT_LT(largest.ToRatio(), goal.max_burn_rate()) << text;
    const Decimal next = Decimal::Of(largest.units() * PowerOfTen(2 - largest.scale()) + 1, 2);
    EXPECT_GE(next.ToRatio(), goal.max_burn_rate()) << text;
  }
  EXPECT_EQ(LargestFactor(*Goal::Parse("90%")).ToString(), "9.99");
  EXPECT_EQ(LargestFactor(*Goal::Parse("99.9%")).ToString(), "999.99");
}

// 14.4 needs a goal above 1 - 1/14.4 = 93.0555... %.
TEST(LintTest, TheWorkbooksFirstRowNeedsAGoalAboveNinetyThree) {
  EXPECT_THAT(Lint(Slo("93.05%")), ElementsAre(IsError(FindingCode::kNeverFires, 0)));
  EXPECT_THAT(Lint(Slo("93.06%")), IsEmpty());
}

TEST(LintTest, WindowsMustFit) {
  LintInput input = Slo("99.9%", 2 * kDay);
  EXPECT_THAT(Lint(input),
              ElementsAre(IsError(FindingCode::kWindowOverPeriod, 3, "3d, is longer")));

  input = Slo("99.9%");
  input.rows = {input.rows[0], input.rows[0], input.rows[0], input.rows[0]};
  input.rows[0].short_window = input.rows[0].long_window;
  input.rows[1].long_window = absl::Seconds(3595);
  input.rows[2].short_window = absl::ZeroDuration();
  input.rows[3].long_window = absl::Hours(25) + absl::Minutes(1);
  EXPECT_THAT(
      Lint(input),
      ElementsAre(IsError(FindingCode::kWindowOrder, 0, "must be shorter than the long one"),
                  IsError(FindingCode::kWindowNotWholeBins, 1, "use 59m50s or 1h"),
                  IsError(FindingCode::kWindowNotWholeBins, 2, "short window cannot"),
                  IsError(FindingCode::kWindowNotWholeBins, 3, "a multiple of 15m")));
}

TEST(LintTest, DurationsOfNoLengthAreFindingsNotCrashes) {
  LintInput input = Slo("90%");
  for (const absl::Duration window :
       {absl::ZeroDuration(), -kDay, absl::InfiniteDuration(), -absl::InfiniteDuration(),
        absl::Nanoseconds(1), absl::Hours(1'000'000'000)}) {
    for (BurnRow& row : input.rows) {
      row.long_window = window;
      row.short_window = window;
      row.for_duration = window;
      row.min_total_count = std::numeric_limits<int64_t>::min();
    }
    input.expected_per_hour = *Decimal::Parse("0.000000001");
    EXPECT_FALSE(Refusal(Lint(input)).ok());
  }
}

TEST(LintTest, APeriodIsNoLongerThanBinsAreKept) {
  EXPECT_THAT(Lint(Slo("99.9%", 100 * kDay)),
              ElementsAre(IsError(FindingCode::kPeriodNotKept, -1, "a period of 100d rolling")));
  LintInput input = Slo("99.9%", 90 * kDay);
  input.period = *Period::Calendar({.unit = CalendarUnit::kYear});
  EXPECT_THAT(Lint(input), ElementsAre(IsError(FindingCode::kPeriodNotKept, -1, "year in UTC")));
  input.period = *Period::Calendar({.unit = CalendarUnit::kQuarter});
  EXPECT_THAT(Lint(input), IsEmpty());
}

TEST(LintTest, NumbersBelowZeroAreRefused) {
  LintInput input = Slo("99.9%");
  input.rows = {input.rows[0]};
  input.rows[0].for_duration = -absl::Seconds(10);
  input.rows[0].min_total_count = -1;
  EXPECT_THAT(Lint(input),
              ElementsAre(IsError(FindingCode::kBadNumber, 0, "`for` is -10s"),
                          IsError(FindingCode::kBadNumber, 0, "min_total_count is -1")));
}

TEST(LintTest, TrafficOutsideItsRangeIsRefused) {
  for (const char* per_hour : {"0", "-1", "1000000000.1"}) {
    LintInput input = Slo("99.9%");
    input.expected_per_hour = *Decimal::Parse(per_hour);
    EXPECT_THAT(Lint(input),
                ElementsAre(IsError(FindingCode::kBadNumber, -1, "expected_per_hour is")));
  }
}

TEST(LintTest, NoRowsNeverAlert) {
  LintInput input = Slo("99.9%");
  input.rows.clear();
  EXPECT_THAT(Lint(input), ElementsAre(IsWarning(FindingCode::kNoRows, -1)));
  EXPECT_THAT(Refusal(Lint(input)), IsOk());
}

TEST(LintTest, ARowThatFiresAfterTheBudgetIsGoneIsWarnedOf) {
  LintInput input = Slo("99.9%");
  input.rows = {input.rows[3]};
  input.rows[0].factor = MakeFactor("12");
  EXPECT_THAT(Lint(input), ElementsAre(IsWarning(FindingCode::kBeyondBudget, 0,
                                                 "12 * 3d / 30d = 120 % of the period's budget")));
  input.rows[0].factor = MakeFactor("10");
  EXPECT_THAT(Lint(input), IsEmpty());
}

TEST(LintTest, ARowThatAnotherCoversIsWarnedOf) {
  LintInput input = Slo("99.9%");
  input.rows = {input.rows[0], input.rows[0]};
  EXPECT_THAT(Lint(input), ElementsAre(IsWarning(FindingCode::kCoveredRow, 1, "because row 1")));
  input.rows[1].factor = MakeFactor("6");
  EXPECT_THAT(Lint(input), ElementsAre(IsWarning(FindingCode::kCoveredRow, 0, "because row 2")));
  // A ticket does not cover a page; nor does a row that waits longer or for more.
  input.rows[1].severity = Severity::kTicket;
  EXPECT_THAT(Lint(input), IsEmpty());
  input.rows[1].severity = Severity::kPage;
  input.rows[1].for_duration = absl::Minutes(1);
  EXPECT_THAT(Lint(input), IsEmpty());
  input.rows[1].for_duration = absl::ZeroDuration();
  input.rows[1].min_total_count = 1;
  EXPECT_THAT(Lint(input), IsEmpty());
  input.rows[1].min_total_count = 0;
  input.rows[1].short_window = absl::Minutes(10);
  EXPECT_THAT(Lint(input), IsEmpty());
}

// 10 requests an hour at 99.9 % allow 7.2 bad ones in 30 days.
TEST(LintTest, WhatOneFailureCostsAtLowTraffic) {
  const Goal goal = *Goal::Parse("99.9%");
  const FailureCost cost = CostOfOneFailure(goal, 30 * kDay, *Decimal::Parse("10"));
  EXPECT_EQ(cost.expected_count, Ratio(7'200, 1));
  EXPECT_EQ(cost.error_budget_count, Ratio(36, 5));
  EXPECT_EQ(cost.budget_ratio, Ratio(5, 36));
  EXPECT_EQ(BurnOfOneFailure(goal, absl::Hours(1), *Decimal::Parse("10")), Ratio(100, 1));
  EXPECT_EQ(BurnOfOneFailure(goal, absl::Minutes(5), *Decimal::Parse("10")), Ratio(1'000, 1));
}

TEST(LintTest, ARowThatOneFailureFiresIsWarnedOfWithTheGuard) {
  LintInput input = Slo("99.9%");
  input.rows = {input.rows[0]};
  input.expected_per_hour = *Decimal::Parse("10");
  std::vector<Finding> findings = Lint(input);
  ASSERT_THAT(findings, ElementsAre(IsWarning(FindingCode::kOneFailureFires, 0)));
  EXPECT_EQ(
      findings[0].message,
      "row 1 (page, 1h and 5m, factor 14.4): at 10 requests an hour, 10 are expected in 1h, and "
      "one bad request fires it: one of 10 burns 1 / (10 * 0.001) = 100, above 14.4. It costs "
      "about 13.89 % of the budget of 7.2 in 30d. Set min_total_count to 70 or more, 1 / (factor "
      "* (1 - goal)) rounded up, which this traffic does not reach in the window: so lengthen the "
      "windows too, or lower the goal.");
  input.rows[0].min_total_count = 70;
  EXPECT_THAT(Lint(input), ElementsAre(IsWarning(FindingCode::kGuardSleeps, 0,
                                                 "below the min_total_count of 70")));
  input.expected_per_hour = *Decimal::Parse("70");
  EXPECT_THAT(Lint(input), IsEmpty());
  input.rows[0].min_total_count = 0;
  EXPECT_THAT(Lint(input), IsEmpty());
  input.expected_per_hour = *Decimal::Parse("69.4");
  EXPECT_THAT(Lint(input), ElementsAre(IsWarning(FindingCode::kOneFailureFires, 0)));
}

TEST(LintTest, TheGuardThatIsSuggestedIsTheLeastThatWorks) {
  for (const char* goal_text : {"99.9%", "99.99%", "95%", "99.97%", "90%"}) {
    for (const char* factor_text : {"14.4", "6", "1", "0.93", "3.36"}) {
      const Goal goal = *Goal::Parse(goal_text);
      const Factor factor = MakeFactor(factor_text);
      const int64_t enough = EnoughRequests(factor, goal);
      EXPECT_FALSE(BurnsAbove(factor, goal, {.bad_count = 1, .total_count = enough}));
      EXPECT_TRUE(enough == 1 ||
                  BurnsAbove(factor, goal, {.bad_count = 1, .total_count = enough - 1}));
    }
  }
  EXPECT_EQ(EnoughRequests(MakeFactor("14.4"), *Goal::Parse("99.9%")), 70);
  EXPECT_EQ(EnoughRequests(MakeFactor("0.000000001"), *Goal::Parse("0.999999999")),
            1'000'000'000'000'000'000);
}

TEST(LintTest, ABudgetBelowOneRequestIsWarnedOf) {
  LintInput input = Slo("99.99%");
  input.rows = {input.rows[3]};
  input.rows[0].min_total_count = 10'000;
  input.expected_per_hour = *Decimal::Parse("0.5");
  EXPECT_THAT(
      Lint(input),
      ElementsAre(IsWarning(FindingCode::kGuardSleeps, 0),
                  IsWarning(FindingCode::kBudgetBelowOne, -1,
                            "360 are expected in 30d, of which a goal of 99.99 % allows about "
                            "0.04 to be bad, less than one")));
}

TEST(LintTest, SilenceThatIsUsualShouldNotFire) {
  LintInput input = Slo("99.9%");
  input.rows = {input.rows[0]};
  input.no_data_policy = NoDataPolicy::kFire;
  input.expected_per_hour = *Decimal::Parse("119");
  EXPECT_THAT(Lint(input), ElementsAre(IsWarning(FindingCode::kSilenceFires, 0,
                                                 "about 9.92 are expected in 5m")));
  input.expected_per_hour = *Decimal::Parse("120");
  EXPECT_THAT(Lint(input), IsEmpty());
}

TEST(LintTest, ErrorsComeFirst) {
  LintInput input = Slo("90%");
  input.rows = {input.rows[3], input.rows[3], input.rows[0]};
  const std::vector<Finding> findings = Lint(input);
  EXPECT_THAT(findings, ElementsAre(IsError(FindingCode::kNeverFires, 2),
                                    IsWarning(FindingCode::kCoveredRow, 1)));
  EXPECT_EQ(FindingCodeName(findings[0].code), "NEVER_FIRES");
}

TEST(LintTest, TheLargestNumbersDoNotOverflow) {
  for (const char* goal : {"0.999999999", "0.000000001"}) {
    for (const char* factor : {"9999999999", "0.000000001", "9.999999999"}) {
      for (const char* per_hour : {"1000000000", "0.000000001", "999999999.999999999"}) {
        LintInput input = Slo(goal, 99 * kDay);
        input.rows = {{.long_window = 99 * kDay,
                       .short_window = 98 * kDay,
                       .factor = MakeFactor(factor),
                       .min_total_count = std::numeric_limits<int64_t>::max()},
                      {.long_window = absl::Minutes(1),
                       .short_window = absl::Seconds(10),
                       .factor = MakeFactor(factor)}};
        input.expected_per_hour = *Decimal::Parse(per_hour);
        EXPECT_THAT(Lint(input), testing::Not(IsEmpty()));
      }
    }
  }
}

}  // namespace
}  // namespace weir
