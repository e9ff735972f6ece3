// The arithmetic against integers of any size, with counts up to 2^63 - 1 and chosen
// to lie at the limits, where a product that is a bit too short would show.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "common/base/random.h"
#include "common/slo/burn_rate.h"
#include "common/slo/goal.h"
#include "common/slo/lint.h"
#include "common/slo/slo_status.h"
#include "common/slo/wide_integer.h"
#include "common/testing/test_seed.h"

namespace weir {
namespace {

using test::IsFloor;
using test::WideInteger;

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr int kCases = 100'000;

// In [0, limit).
int64_t Below(Random& random, uint64_t limit) { return static_cast<int64_t>(random.Below(limit)); }

// Of any magnitude alike, and often at an end.
int64_t AnyCount(Random& random) {
  switch (random.Below(8)) {
    case 0:
      return kMost - static_cast<int64_t>(random.Below(3));
    case 1:
      return static_cast<int64_t>(random.Below(4));
    default:
      return static_cast<int64_t>(random() >> (1 + random.Below(63)));
  }
}

Goal AnyGoal(Random& random) {
  const int scale = 1 + static_cast<int>(random.Below(9));
  const int64_t whole = PowerOfTen(scale);
  int64_t units = 1 + static_cast<int64_t>(random.Below(whole - 1));
  if (random.OneIn(4)) units = whole - 1;
  if (random.OneIn(8)) units = 1;
  return *Goal::Create(Decimal::Of(units, scale));
}

Factor AnyFactor(Random& random) {
  if (random.OneIn(4)) {
    const absl::StatusOr<Factor> factor =
        Factor::FromShare({.budget_share = Decimal::Of(1 + Below(random, 99), 2),
                           .period = absl::Hours(1 + Below(random, 8'760)),
                           .window = absl::Seconds(10 * (1 + Below(random, 100'000)))});
    if (factor.ok()) return *factor;
  }
  const int scale = static_cast<int>(random.Below(10));
  return *Factor::Create(Decimal::Of(1 + Below(random, 9'999'999'999), scale));
}

// The terms that a goal and a factor are said to have, from the decimals alone.
struct Terms {
  WideInteger allowed_numerator;
  WideInteger allowed_denominator;
};
Terms TermsOf(const Goal& goal) {
  const int64_t whole = PowerOfTen(goal.value().scale());
  return {.allowed_numerator = whole - goal.value().units(), .allowed_denominator = whole};
}

bool NaiveAbove(const Factor& factor, const Goal& goal, const Counts& counts) {
  const Terms terms = TermsOf(goal);
  return WideInteger(counts.bad_count) * terms.allowed_denominator * factor.denominator() >
         WideInteger(counts.total_count) * terms.allowed_numerator * factor.numerator();
}

TEST(ArithmeticPropertyTest, ErrorBudgetsAreFloors) {
  Random random(test::TestSeed());
  for (int i = 0; i < kCases; ++i) {
    const Goal goal = AnyGoal(random);
    const int64_t total = AnyCount(random);
    const Terms terms = TermsOf(goal);
    ASSERT_TRUE(IsFloor(ErrorBudget(goal, total), WideInteger(total) * terms.allowed_numerator,
                        terms.allowed_denominator))
        << goal.value().ToString() << " of " << total;
  }
}

TEST(ArithmeticPropertyTest, RowsBurnExactlyWhereTheWideProductsSay) {
  Random random(test::TestSeed());
  int above = 0;
  for (int i = 0; i < kCases; ++i) {
    const Goal goal = AnyGoal(random);
    const Factor factor = AnyFactor(random);
    const Counts counts{.bad_count = AnyCount(random), .total_count = AnyCount(random)};
    if (counts.total_count == 0) continue;
    const bool expected = NaiveAbove(factor, goal, counts);
    above += expected;
    ASSERT_EQ(BurnsAbove(factor, goal, counts), expected)
        << goal.value().ToString() << " " << factor.ToString() << " " << counts.bad_count << "/"
        << counts.total_count;
  }
  // Both answers are usual, so neither is taken for granted.
  EXPECT_GT(above, kCases / 10);
  EXPECT_LT(above, kCases * 9 / 10);
}

// The least bad count above the factor, found by bisection with wide products; the code
// must switch at the same one.
TEST(ArithmeticPropertyTest, TheLimitIsAtTheSameRequest) {
  Random random(test::TestSeed());
  int limits = 0;
  for (int i = 0; i < kCases / 10; ++i) {
    const Goal goal = AnyGoal(random);
    const Factor factor = AnyFactor(random);
    const int64_t total = std::max<int64_t>(1, AnyCount(random));
    if (!NaiveAbove(factor, goal, {.bad_count = kMost, .total_count = total})) continue;
    int64_t quiet = 0, loud = kMost;
    while (loud - quiet > 1) {
      const int64_t middle = quiet + (loud - quiet) / 2;
      (NaiveAbove(factor, goal, {middle, total}) ? loud : quiet) = middle;
    }
    ++limits;
    ASSERT_TRUE(BurnsAbove(factor, goal, {loud, total})) << loud << "/" << total;
    ASSERT_FALSE(BurnsAbove(factor, goal, {quiet, total})) << quiet << "/" << total;
    ASSERT_GT(BurnRate(goal, {loud, total}), factor.ToRatio());
    ASSERT_LE(BurnRate(goal, {quiet, total}), factor.ToRatio());
  }
  EXPECT_GT(limits, kCases / 100);
}

TEST(ArithmeticPropertyTest, BurnRatesAreTheRatioTheyAreSaidToBe) {
  Random random(test::TestSeed());
  for (int i = 0; i < kCases; ++i) {
    const Goal goal = AnyGoal(random);
    const Counts counts{.bad_count = AnyCount(random), .total_count = AnyCount(random)};
    const std::optional<Ratio> burn = BurnRate(goal, counts);
    ASSERT_EQ(burn.has_value(), counts.total_count > 0);
    if (!burn.has_value()) continue;
    const Terms terms = TermsOf(goal);
    ASSERT_TRUE(WideInteger(burn->numerator()) * counts.total_count * terms.allowed_numerator ==
                WideInteger(burn->denominator()) * counts.bad_count * terms.allowed_denominator);
  }
}

TEST(ArithmeticPropertyTest, RatiosCompareLikeTheirCrossProducts) {
  Random random(test::TestSeed());
  const auto any_term = [&random] {
    const absl::int128 wide = absl::MakeInt128(static_cast<int64_t>(random() >> 8), random()) >>
                              static_cast<int>(random.Below(120));
    return std::max<absl::int128>(wide, 1);
  };
  for (int i = 0; i < kCases; ++i) {
    const absl::int128 a = any_term(), b = any_term();
    absl::int128 c = any_term(), d = any_term();
    // Neighbours, whose continued fractions run together for long.
    if (random.OneIn(2)) {
      c = std::clamp<absl::int128>(a + static_cast<int>(random.Below(3)) - 1, 1, Ratio::kMaxTerm);
      d = std::clamp<absl::int128>(b + static_cast<int>(random.Below(3)) - 1, 1, Ratio::kMaxTerm);
    }
    const WideInteger left = WideInteger(a) * d;
    const WideInteger right = WideInteger(c) * b;
    const Ratio first(a, b), second(c, d);
    const Ratio minus_first(-a, b), minus_second(-c, d);
    ASSERT_EQ(first < second, left < right);
    ASSERT_EQ(first == second, left == right);
    ASSERT_EQ(first > second, left > right);
    ASSERT_EQ(minus_first > minus_second, left < right);
    ASSERT_LT(minus_first, second);
    ASSERT_TRUE(IsFloor(first.Floor(), a, b));
  }
}

TEST(ArithmeticPropertyTest, MultiplyDivideIsAFloor) {
  Random random(test::TestSeed());
  for (int i = 0; i < kCases; ++i) {
    const absl::int128 c =
        std::max<absl::int128>(1, absl::MakeInt128(static_cast<int64_t>(random() >> 8), random()) >>
                                      static_cast<int>(random.Below(120)));
    // The result is at most a / c * b < 2^63 * 2^63.
    const absl::int128 a =
        std::min<absl::int128>(absl::MakeInt128(static_cast<int64_t>(random() >> 1), random()) >>
                                   static_cast<int>(random.Below(127)),
                               c * std::min<absl::int128>(kMost, Ratio::kMaxTerm * 64 / c));
    const int64_t b = AnyCount(random);
    ASSERT_TRUE(IsFloor(MultiplyDivide(a, b, c), WideInteger(a) * b, c));
  }
}

TEST(ArithmeticPropertyTest, ExhaustionIsTheFloorOfItsFormula) {
  Random random(test::TestSeed());
  int finite = 0;
  for (int i = 0; i < kCases; ++i) {
    const Goal goal = AnyGoal(random);
    const Terms terms = TermsOf(goal);
    const int64_t length = 3600 * (1 + Below(random, 96'000));
    const int64_t elapsed = static_cast<int64_t>(random.Below(length + 1));
    SloStatusInput input{.period_length = absl::Seconds(length),
                         .elapsed = absl::Seconds(elapsed),
                         .rolling = random.OneIn(2)};
    for (Counts* counts : {&input.period_counts, &input.recent_counts}) {
      counts->total_count = std::max<int64_t>(1, AnyCount(random));
      counts->bad_count = static_cast<int64_t>(random.Below(counts->total_count));
      if (random.OneIn(2)) {
        // About what the goal allows, so that something is left.
        counts->bad_count = ErrorBudget(goal, counts->total_count) / (1 + Below(random, 9));
      }
    }
    const std::optional<absl::Duration> answer = StatusOf(goal, input).exhausted_in;
    const auto& [bad, total] = input.period_counts;
    const auto& [recent_bad, recent_total] = input.recent_counts;
    const WideInteger whole = WideInteger(length) * total * terms.allowed_numerator;
    const WideInteger spent = WideInteger(elapsed) * bad * terms.allowed_denominator;
    if (recent_bad == 0) {
      ASSERT_FALSE(answer.has_value());
      continue;
    }
    if (whole <= spent) {
      ASSERT_EQ(answer, absl::ZeroDuration());
      continue;
    }
    // seconds = floor((whole - spent) * recent total / (total * allowed * recent bad)), so
    // seconds * below + spent * recent total <= whole * recent total, and one more is not.
    const WideInteger below = WideInteger(total) * terms.allowed_denominator * recent_bad;
    const WideInteger above = whole * recent_total;
    const WideInteger taken = spent * recent_total;
    const auto reached = [&](int64_t seconds) { return below * seconds + taken <= above; };
    if (answer.has_value()) {
      ++finite;
      const int64_t seconds = absl::ToInt64Seconds(*answer);
      ASSERT_TRUE(reached(seconds));
      ASSERT_FALSE(reached(seconds + 1));
    } else {
      const int64_t limit = int64_t{36'525} * 86'400;
      ASSERT_TRUE(reached(input.rolling ? limit : std::min(limit, length - elapsed)));
    }
  }
  EXPECT_GT(finite, kCases / 20);
}

// Small numbers, all of them, against fractions in plain 64 bits.
TEST(ArithmeticPropertyTest, SmallNumbersAllAgree) {
  for (int percent = 1; percent < 100; ++percent) {
    const Goal goal = *Goal::Create(Decimal::Of(percent, 2));
    for (const int tenths : {1, 9, 10, 28, 60, 144}) {
      const Factor factor = *Factor::Create(Decimal::Of(tenths, 1));
      for (int64_t total = 0; total <= 30; ++total) {
        ASSERT_EQ(ErrorBudget(goal, total), total * (100 - percent) / 100);
        for (int64_t bad = 0; bad <= total; ++bad) {
          // bad / total / ((100 - percent) / 100) > tenths / 10
          ASSERT_EQ(BurnsAbove(factor, goal, {bad, total}),
                    bad * 1000 > tenths * total * (100 - percent) && total > 0);
        }
      }
    }
  }
}

// What lint calls unreachable is what no counts reach, and nothing else.
TEST(ArithmeticPropertyTest, LintAndBurnAgreeOnWhatCanFire) {
  Random random(test::TestSeed());
  for (int i = 0; i < kCases / 10; ++i) {
    const Goal goal = AnyGoal(random);
    const Factor factor = AnyFactor(random);
    const LintInput input{
        .goal = goal,
        .period = *Period::Rolling(absl::Hours(720)),
        .rows = {
            {.long_window = absl::Hours(1), .short_window = absl::Minutes(5), .factor = factor}}};
    const std::vector<Finding> findings = Lint(input);
    const bool unreachable = std::any_of(findings.begin(), findings.end(), [](const Finding& f) {
      return f.code == FindingCode::kNeverFires;
    });
    ASSERT_EQ(unreachable, !BurnsAbove(factor, goal, {.bad_count = kMost, .total_count = kMost}));
    const int64_t enough = EnoughRequests(factor, goal);
    if (enough < kMost) {
      ASSERT_FALSE(BurnsAbove(factor, goal, {.bad_count = 1, .total_count = enough}));
    }
    if (enough > 1) {
      ASSERT_TRUE(BurnsAbove(factor, goal, {.bad_count = 1, .total_count = enough - 1}));
    }
  }
}

TEST(ArithmeticPropertyTest, DecimalsSurviveBeingPrinted) {
  Random random(test::TestSeed());
  for (int i = 0; i < kCases; ++i) {
    int64_t units = static_cast<int64_t>(random.Below(Decimal::kMaxUnits + 1) >> random.Below(60));
    if (random.OneIn(2)) units = -units;
    const Decimal value = Decimal::Of(units, static_cast<int>(random.Below(10)));
    const absl::StatusOr<Decimal> again = Decimal::Parse(value.ToString());
    ASSERT_TRUE(again.ok()) << again.status();
    ASSERT_EQ(*again, value);
  }
}

}  // namespace
}  // namespace weir
