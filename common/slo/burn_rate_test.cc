#include "common/slo/burn_rate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "common/testing/status_matchers.h"

namespace weir {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::weir::test::StatusIs;

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr absl::Duration kDay = absl::Hours(24);

Goal MakeGoal(std::string_view text) { return *Goal::Parse(text); }
Factor MakeFactor(std::string_view text) { return *Factor::Create(*Decimal::Parse(text)); }

std::vector<std::string> FactorsOf(absl::Duration period) {
  std::vector<std::string> factors;
  const std::vector<BurnRow> rows = *WorkbookRows(period);
  for (const BurnRow& row : rows) factors.push_back(row.factor.ToString());
  return factors;
}

TEST(FactorTest, IsAsWritten) {
  EXPECT_EQ(MakeFactor("14.4").numerator(), 72);
  EXPECT_EQ(MakeFactor("14.4").denominator(), 5);
  EXPECT_EQ(MakeFactor("14.4").ToString(), "14.4");
  EXPECT_LT(MakeFactor("13.44"), MakeFactor("14.4"));
  EXPECT_EQ(Factor::One().ToRatio(), Ratio(1, 1));
}

TEST(FactorTest, MustBeAboveZeroAndShort) {
  for (const char* text : {"0", "-1"}) {
    EXPECT_THAT(Factor::Create(*Decimal::Parse(text)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is not above 0")));
  }
  EXPECT_THAT(Factor::Create(*Decimal::Parse("14.123456789")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("fewer digits")));
  EXPECT_TRUE(Factor::Create(*Decimal::Parse("9.999999999")).ok());
  EXPECT_TRUE(Factor::Create(*Decimal::Parse("10000000000")).ok());
  EXPECT_FALSE(Factor::Create(*Decimal::Parse("10000000001")).ok());
}

TEST(FactorTest, ComesFromAShareOfTheBudget) {
  EXPECT_EQ(Factor::FromShare({*Decimal::Parse("2%"), 30 * kDay, absl::Hours(1)})->ToString(),
            "14.4");
  EXPECT_EQ(*Factor::FromShare({*Decimal::Parse("1"), kDay, kDay}), Factor::One());
  for (const Factor::Share& share :
       {Factor::Share{Decimal(), kDay, kDay}, Factor::Share{*Decimal::Parse("1.1"), kDay, kDay},
        Factor::Share{*Decimal::Parse("0.1"), kDay, -kDay},
        Factor::Share{*Decimal::Parse("0.1"), kDay, absl::Duration()},
        Factor::Share{*Decimal::Parse("0.1"), 4000 * kDay, kDay},
        Factor::Share{*Decimal::Parse("0.1"), absl::Milliseconds(1500), absl::Seconds(1)},
        Factor::Share{*Decimal::Parse("0.123456789"), absl::Seconds(86'399),
                      absl::Seconds(7'919)}}) {
    EXPECT_THAT(Factor::FromShare(share), StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(WorkbookRowsTest, FactorsAreExactForAnyPeriod) {
  EXPECT_THAT(FactorsOf(30 * kDay), ElementsAre("14.4", "6", "3", "1"));
  EXPECT_THAT(FactorsOf(28 * kDay), ElementsAre("13.44", "5.6", "2.8", "14/15"));
  EXPECT_THAT(FactorsOf(7 * kDay), ElementsAre("3.36", "1.4", "0.7", "7/30"));
  EXPECT_THAT(FactorsOf(90 * kDay), ElementsAre("43.2", "18", "9", "3"));
  EXPECT_THAT(FactorsOf(365 * kDay), ElementsAre("175.2", "73", "36.5", "73/6"));
}

TEST(WorkbookRowsTest, ShortWindowsAreATwelfth) {
  const std::vector<BurnRow> rows = *WorkbookRows(30 * kDay);
  ASSERT_EQ(rows.size(), 4);
  EXPECT_EQ(rows[0].long_window, absl::Hours(1));
  EXPECT_EQ(rows[0].short_window, absl::Minutes(5));
  EXPECT_EQ(rows[1].short_window, absl::Minutes(30));
  EXPECT_EQ(rows[2].short_window, absl::Hours(2));
  EXPECT_EQ(rows[3].long_window, 3 * kDay);
  EXPECT_EQ(rows[3].short_window, absl::Hours(6));
  EXPECT_EQ(rows[1].severity, Severity::kPage);
  EXPECT_EQ(rows[2].severity, Severity::kTicket);
  EXPECT_EQ(SeverityName(rows[2].severity), "ticket");
}

TEST(WorkbookRowsTest, APeriodMustBeALengthThatRowsFitIn) {
  for (const absl::Duration period :
       {absl::Minutes(59), absl::Duration(), -kDay, 4000 * kDay, absl::InfiniteDuration(),
        absl::Hours(1) + absl::Nanoseconds(1)}) {
    EXPECT_THAT(WorkbookRows(period), StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST(BurnsAboveTest, AtExactlyTheFactorARowIsQuiet) {
  const Goal goal = MakeGoal("99.9%");
  // 14.4 * 0.001 = 1.44 %. In doubles 1 - 0.999 is 0.0010000000000000009.
  EXPECT_FALSE(BurnsAbove(MakeFactor("14.4"), goal, {.bad_count = 144, .total_count = 10'000}));
  EXPECT_TRUE(BurnsAbove(MakeFactor("14.4"), goal, {.bad_count = 145, .total_count = 10'000}));
  EXPECT_TRUE(BurnsAbove(MakeFactor("14.4"), goal, {.bad_count = 144, .total_count = 9'999}));
  EXPECT_FALSE(BurnsAbove(Factor::One(), MakeGoal("90%"), {.bad_count = 1, .total_count = 10}));
}

TEST(BurnsAboveTest, NoRequestsBurnNothing) {
  EXPECT_FALSE(BurnsAbove(Factor::One(), MakeGoal("90%"), {}));
  EXPECT_FALSE(BurnsAbove(Factor::One(), MakeGoal("90%"), {.bad_count = 9, .total_count = 0}));
  EXPECT_FALSE(BurnsAbove(Factor::One(), MakeGoal("90%"), {.bad_count = -9, .total_count = -9}));
}

TEST(BurnsAboveTest, TheLargestNumbersDoNotOverflow) {
  const Factor large = MakeFactor("9999999999");
  const Factor tiny = MakeFactor("0.000000001");
  const Goal strict = MakeGoal("0.999999999");
  const Goal lax = MakeGoal("0.000000001");
  EXPECT_FALSE(BurnsAbove(large, lax, {.bad_count = kMost, .total_count = kMost}));
  EXPECT_TRUE(BurnsAbove(tiny, strict, {.bad_count = kMost, .total_count = kMost}));
  EXPECT_TRUE(BurnsAbove(tiny, strict, {.bad_count = kMost, .total_count = 1}));
  EXPECT_FALSE(BurnsAbove(large, strict, {.bad_count = 1, .total_count = kMost}));
  // Exactly at a factor of 10^9 - 1, where every request is bad but some.
  EXPECT_TRUE(
      BurnsAbove(MakeFactor("999999999"), strict, {.bad_count = kMost, .total_count = kMost}));
  EXPECT_FALSE(
      BurnsAbove(MakeFactor("1000000000"), strict, {.bad_count = kMost, .total_count = kMost}));
}

TEST(BurnsTest, BothWindowsMustBurn) {
  const BurnRow row = WorkbookRows(30 * kDay)->front();
  const Goal goal = MakeGoal("99.9%");
  const Counts hot{.bad_count = 2, .total_count = 100};
  const Counts cold{.bad_count = 1, .total_count = 100};
  EXPECT_TRUE(Burns(row, goal, {.long_window = hot, .short_window = hot}));
  EXPECT_FALSE(Burns(row, goal, {.long_window = hot, .short_window = cold}));
  EXPECT_FALSE(Burns(row, goal, {.long_window = cold, .short_window = hot}));
  EXPECT_FALSE(Burns(row, goal, {.long_window = hot, .short_window = {}}));
}

TEST(BurnsTest, TheGuardCountsTheLongWindow) {
  BurnRow row = WorkbookRows(30 * kDay)->front();
  row.min_total_count = 70;
  const Goal goal = MakeGoal("99.9%");
  const Counts last{.bad_count = 2, .total_count = 5};
  EXPECT_FALSE(Burns(row, goal, {.long_window = {2, 69}, .short_window = last}));
  EXPECT_TRUE(Burns(row, goal, {.long_window = {2, 70}, .short_window = last}));
}

}  // namespace
}  // namespace weir
