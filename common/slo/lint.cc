#include "common/slo/lint.h"

#include <algorithm>
#include <limits>

#include "absl/numeric/int128.h"
#include "common/base/check.h"
#include "common/base/strings.h"
#include "common/slo/duration_text.h"
#include "common/slo/window_bins.h"

namespace weir {
namespace {

// With this many requests expected, one window in 22,026 (e^10) is empty by chance.
constexpr int kSeldomSilentCount = 10;

// The value, with "about" where two digits after the point are not all of it.
std::string About(const Ratio& ratio) {
  const std::string rounded = ratio.Rounded(2);
  return rounded == ratio.ToString() ? rounded : StrCat("about ", rounded);
}

// A share as a percentage. Shares here have terms far below 2^113.
std::string Percent(const Ratio& share) {
  return StrCat(About(Ratio(share.numerator() * 100, share.denominator())), " %");
}

std::string GoalText(const Goal& goal) {
  return StrCat(
      Ratio(absl::int128(goal.value().units()) * 100, PowerOfTen(goal.value().scale())).ToString(),
      " %");
}

int64_t Seconds(absl::Duration duration) { return absl::ToInt64Seconds(duration); }

bool IsTraffic(Decimal per_hour) {
  return per_hour > Decimal() && per_hour <= Decimal::Of(1'000'000'000, 0);
}

// Requests expected in a stretch of time. At most 10^9 per hour with nine digits after
// the point: terms below 2^60 * 2^29 and 2^30 * 2^12.
Ratio Expected(Decimal per_hour, absl::Duration window) {
  WEIR_CHECK(IsTraffic(per_hour));
  return Ratio(absl::int128(per_hour.units()) * Seconds(window),
               absl::int128(PowerOfTen(per_hour.scale())) * 3600);
}

// 1 / (factor * (1 - goal)): the requests of which one bad one burns at the factor
// exactly. Terms at most 10^19.
Ratio Breakeven(const Factor& factor, const Goal& goal) {
  return Ratio(absl::int128(factor.denominator()) * goal.allowed_denominator(),
               absl::int128(factor.numerator()) * goal.allowed_numerator());
}

class Linter {
 public:
  explicit Linter(const LintInput& input) : input_(input), per_hour_(input.expected_per_hour) {}

  std::vector<Finding> Run() && {
    CheckPeriod();
    if (per_hour_.has_value() && !IsTraffic(*per_hour_)) {
      Error(FindingCode::kBadNumber, -1,
            StrCat("expected_per_hour is ", per_hour_->ToString(),
                   "; it must be above 0 and at most 1000000000 requests"));
      per_hour_.reset();
    }
    if (input_.rows.empty()) {
      Add(FindingLevel::kWarning, FindingCode::kNoRows, -1,
          "the SLO has no burn-rate rows, so it never alerts; leave `rows` out for the four of the "
          "SRE workbook");
    }
    for (int row = 0; row < static_cast<int>(input_.rows.size()); ++row) {
      CheckNumbers(row);
      CheckReach(row);
      // What follows has a meaning only for windows that have one.
      if (!CheckWindows(row)) continue;
      CheckShare(row);
      CheckCovered(row);
      CheckTraffic(row);
    }
    CheckBudget();
    std::stable_sort(found_.begin(), found_.end(),
                     [](const Finding& a, const Finding& b) { return a.level > b.level; });
    return std::move(found_);
  }

 private:
  void Add(FindingLevel level, FindingCode code, int row, std::string message) {
    if (row >= 0) message = StrCat(Name(row), ": ", message);
    found_.push_back({.level = level, .code = code, .row = row, .message = std::move(message)});
  }
  void Error(FindingCode code, int row, std::string message) {
    Add(FindingLevel::kError, code, row, std::move(message));
  }
  void Warn(FindingCode code, int row, std::string message) {
    Add(FindingLevel::kWarning, code, row, std::move(message));
  }

  std::string Name(int index) const {
    const BurnRow& row = input_.rows[index];
    return StrCat("row ", index + 1, " (", SeverityName(row.severity), ", ",
                  DurationText(row.long_window), " and ", DurationText(row.short_window),
                  ", factor ", row.factor.ToString(), ")");
  }

  void CheckPeriod() {
    const TierTable& tiers = IndicatorTiers();
    const absl::Duration kept = absl::Seconds(tiers[tiers.size() - 1].window_seconds);
    if (input_.period.max_length() <= kept) return;
    Error(
        FindingCode::kPeriodNotKept, -1,
        StrCat("a period of ", input_.period.ToString(), " can be ",
               DurationText(input_.period.max_length()), " long, and bins are kept for windows of ",
               DurationText(kept), "; choose a shorter one"));
  }

  void CheckNumbers(int index) {
    const BurnRow& row = input_.rows[index];
    if (row.for_duration < absl::ZeroDuration()) {
      Error(FindingCode::kBadNumber, index,
            StrCat("`for` is ", DurationText(row.for_duration), "; it must be 0s or more"));
    }
    if (row.min_total_count < 0) {
      Error(FindingCode::kBadNumber, index,
            StrCat("min_total_count is ", row.min_total_count, "; it must be 0 or more"));
    }
  }

  void CheckReach(int index) {
    const BurnRow& row = input_.rows[index];
    const Ratio most = input_.goal.max_burn_rate();
    if (row.factor.ToRatio() < most) return;
    // factor * (1 - goal): the share of bad requests that it would take to reach it.
    const Ratio bad =
        Ratio(absl::int128(row.factor.numerator()) * input_.goal.allowed_numerator(),
              absl::int128(row.factor.denominator()) * input_.goal.allowed_denominator());
    std::string message = StrCat("it can never fire. A goal of ", GoalText(input_.goal), " allows ",
                                 Percent(input_.goal.allowed_ratio()),
                                 " bad requests, so with every request bad the burn rate is ",
                                 "1 / (1 - goal) = ", About(most), ", which is not above ",
                                 row.factor.ToString(), " (that takes more than ", Percent(bad),
                                 " bad). The largest factor with two decimals that can "
                                 "fire is ",
                                 LargestFactor(input_.goal).ToString());
    if (row.long_window > absl::ZeroDuration() && row.long_window <= absl::Hours(24 * 3660)) {
      // share = factor * long / period stays the same where the window grows as the
      // factor shrinks.
      const Ratio window(
          absl::int128(row.factor.numerator()) * input_.goal.allowed_numerator() *
              Seconds(row.long_window),
          absl::int128(row.factor.denominator()) * input_.goal.allowed_denominator());
      StrAppend(&message, "; or, for the same share of the budget, use a long window over ",
                DurationText(absl::Seconds(static_cast<int64_t>(
                    std::min<absl::int128>(window.Ceiling(), absl::int128(1) << 40)))));
    }
    Error(FindingCode::kNeverFires, index, message + ".");
  }

  bool CheckWindows(int index) {
    const BurnRow& row = input_.rows[index];
    bool fits = true;
    for (const auto& [name, window] :
         {std::pair("long window", row.long_window), std::pair("short window", row.short_window)}) {
      if (const absl::StatusOr<int> tier = TierOfWindow(window); !tier.ok()) {
        Error(
            FindingCode::kWindowNotWholeBins, index,
            StrCat("the ", name, " cannot be summed exactly: ", StdView(tier.status().message())));
        fits = false;
      }
    }
    if (row.short_window >= row.long_window) {
      Error(FindingCode::kWindowOrder, index,
            StrCat("the short window, ", DurationText(row.short_window),
                   ", must be shorter than the long one, ", DurationText(row.long_window),
                   "; a twelfth of it is usual"));
      fits = false;
    }
    const absl::Duration period = input_.period.nominal_length();
    if (row.long_window > period) {
      Error(FindingCode::kWindowOverPeriod, index,
            StrCat("the long window, ", DurationText(row.long_window),
                   ", is longer than the period, ", DurationText(period),
                   "; leave the row out, or shorten its windows"));
      fits = false;
    }
    return fits;
  }

  void CheckShare(int index) {
    const BurnRow& row = input_.rows[index];
    const absl::Duration period = input_.period.nominal_length();
    const Ratio share(absl::int128(row.factor.numerator()) * Seconds(row.long_window),
                      absl::int128(row.factor.denominator()) * Seconds(period));
    if (share <= Ratio(1, 1)) return;
    const Ratio largest(Seconds(period), Seconds(row.long_window));
    Warn(FindingCode::kBeyondBudget, index,
         StrCat("a burn of ", row.factor.ToString(), " for ", DurationText(row.long_window),
                " spends ", row.factor.ToString(), " * ", DurationText(row.long_window), " / ",
                DurationText(period), " = ", Percent(share),
                " of the period's budget, so it fires after all of it is gone; use ",
                "a factor below ", largest.ToString()));
  }

  // Whether row b fires whenever row a does, as loudly.
  static bool Covers(const BurnRow& b, const BurnRow& a) {
    return b.long_window == a.long_window && b.short_window == a.short_window &&
           b.factor <= a.factor && b.min_total_count <= a.min_total_count &&
           b.for_duration <= a.for_duration && b.severity >= a.severity;
  }

  void CheckCovered(int index) {
    for (int other = 0; other < static_cast<int>(input_.rows.size()); ++other) {
      const BurnRow& row = input_.rows[index];
      if (other == index || !Covers(input_.rows[other], row)) continue;
      // Of two equal rows the later one is the repetition.
      if (Covers(row, input_.rows[other]) && index < other) continue;
      Warn(FindingCode::kCoveredRow, index,
           StrCat(
               "it adds nothing, because ", Name(other),
               " fires whenever it does: the windows are "
               "the same, and its factor, `for` and min_total_count are no higher. Leave one out"));
      return;
    }
  }

  void CheckTraffic(int index) {
    if (!per_hour_.has_value()) return;
    const Decimal per_hour = *per_hour_;
    const BurnRow& row = input_.rows[index];
    const Ratio expected = Expected(per_hour, row.long_window);
    const std::string traffic =
        StrCat("at ", per_hour.ToString(), " requests an hour, ", About(expected),
               " are expected in ", DurationText(row.long_window));
    if (Ratio(row.min_total_count, 1) > std::max(expected, Ratio(1, 1))) {
      Warn(FindingCode::kGuardSleeps, index,
           StrCat(traffic, ", below the min_total_count of ", row.min_total_count,
                  ", so it fires only when there are more than expected; lengthen its windows"));
    }
    CheckOneFailure(index, expected, traffic);
    const Ratio in_short = Expected(per_hour, row.short_window);
    if (input_.no_data_policy == NoDataPolicy::kFire && in_short < Ratio(kSeldomSilentCount, 1)) {
      Warn(
          FindingCode::kSilenceFires, index,
          StrCat(
              "at ", per_hour.ToString(), " requests an hour, ", About(in_short),
              " are expected in ", DurationText(row.short_window),
              ", so that it is empty by chance, and the no-data policy is to fire; use \"keep\" or "
              "\"resolve\", or a short window with at least ",
              kSeldomSilentCount));
    }
  }

  void CheckOneFailure(int index, const Ratio& expected, const std::string& traffic) {
    const BurnRow& row = input_.rows[index];
    const Goal& goal = input_.goal;
    const int64_t enough = EnoughRequests(row.factor, goal);
    // The failure is a request itself, and the row waits for the guard's number of them.
    const Ratio seen =
        std::max({expected, Ratio(1, 1), Ratio(std::max<int64_t>(row.min_total_count, 0), 1)});
    if (seen >= Breakeven(row.factor, goal)) return;
    // A factor that cannot be reached is reported as that.
    if (row.factor.ToRatio() >= goal.max_burn_rate()) return;
    const FailureCost cost = CostOfOneFailure(goal, input_.period.nominal_length(), *per_hour_);
    const Ratio burn(seen.denominator() * goal.allowed_denominator(),
                     seen.numerator() * goal.allowed_numerator());
    std::string message = StrCat(
        traffic, ", and one bad request fires it: one of ", About(seen), " burns 1 / (",
        About(seen), " * ", goal.allowed_ratio().ToString(), ") = ", About(burn), ", above ",
        row.factor.ToString(), ". It costs ", Percent(cost.budget_ratio), " of the budget of ",
        About(cost.error_budget_count), " in ", DurationText(input_.period.nominal_length()),
        ". Set min_total_count to ", enough, " or more, 1 / (factor * (1 - goal)) rounded up");
    if (expected < Ratio(enough, 1)) {
      message +=
          ", which this traffic does not reach in the window: so lengthen the windows too, or "
          "lower the goal";
    }
    Warn(FindingCode::kOneFailureFires, index, message + ".");
  }

  void CheckBudget() {
    if (!per_hour_.has_value()) return;
    const FailureCost cost =
        CostOfOneFailure(input_.goal, input_.period.nominal_length(), *per_hour_);
    if (cost.error_budget_count >= Ratio(1, 1)) return;
    Warn(FindingCode::kBudgetBelowOne, -1,
         StrCat("at ", per_hour_->ToString(), " requests an hour, ", About(cost.expected_count),
                " are expected in ", DurationText(input_.period.nominal_length()),
                ", of which a goal of ", GoalText(input_.goal), " allows ",
                About(cost.error_budget_count),
                " to be bad, less than one: the first bad request overspends the budget. Lower the "
                "goal, lengthen the period, or judge several services together"));
  }

  const LintInput& input_;
  std::optional<Decimal> per_hour_;  // absent too where it is no traffic
  std::vector<Finding> found_;
};

}  // namespace

std::string_view FindingCodeName(FindingCode code) {
  switch (code) {
    case FindingCode::kNeverFires:
      return "NEVER_FIRES";
    case FindingCode::kWindowOrder:
      return "WINDOW_ORDER";
    case FindingCode::kWindowOverPeriod:
      return "WINDOW_OVER_PERIOD";
    case FindingCode::kWindowNotWholeBins:
      return "WINDOW_NOT_WHOLE_BINS";
    case FindingCode::kPeriodNotKept:
      return "PERIOD_NOT_KEPT";
    case FindingCode::kBadNumber:
      return "BAD_NUMBER";
    case FindingCode::kNoRows:
      return "NO_ROWS";
    case FindingCode::kBeyondBudget:
      return "BEYOND_BUDGET";
    case FindingCode::kCoveredRow:
      return "COVERED_ROW";
    case FindingCode::kOneFailureFires:
      return "ONE_FAILURE_FIRES";
    case FindingCode::kGuardSleeps:
      return "GUARD_SLEEPS";
    case FindingCode::kBudgetBelowOne:
      return "BUDGET_BELOW_ONE";
    case FindingCode::kSilenceFires:
      return "SILENCE_FIRES";
  }
  return "UNKNOWN";
}

std::vector<Finding> Lint(const LintInput& input) { return Linter(input).Run(); }

absl::Status Refusal(const std::vector<Finding>& findings) {
  std::string messages;
  for (const Finding& finding : findings) {
    if (finding.level != FindingLevel::kError) continue;
    StrAppend(&messages, messages.empty() ? "" : "\n", finding.message);
  }
  return messages.empty() ? absl::OkStatus() : absl::InvalidArgumentError(messages);
}

Decimal LargestFactor(const Goal& goal) {
  const Ratio hundredfold(absl::int128(goal.allowed_denominator()) * 100, goal.allowed_numerator());
  // At most 10^11 - 1.
  return Decimal::Of(static_cast<int64_t>(hundredfold.Ceiling()) - 1, 2);
}

int64_t EnoughRequests(const Factor& factor, const Goal& goal) {
  return static_cast<int64_t>(std::min<absl::int128>(Breakeven(factor, goal).Ceiling(),
                                                     std::numeric_limits<int64_t>::max()));
}

FailureCost CostOfOneFailure(const Goal& goal, absl::Duration period, Decimal expected_per_hour) {
  FailureCost cost;
  cost.expected_count = Expected(expected_per_hour, period);
  // Terms below 2^89 * 2^30 and 2^42 * 2^30.
  cost.error_budget_count = Ratio(cost.expected_count.numerator() * goal.allowed_numerator(),
                                  cost.expected_count.denominator() * goal.allowed_denominator());
  cost.budget_ratio =
      Ratio(cost.error_budget_count.denominator(), cost.error_budget_count.numerator());
  return cost;
}

Ratio BurnOfOneFailure(const Goal& goal, absl::Duration window, Decimal expected_per_hour) {
  const Ratio seen = std::max(Expected(expected_per_hour, window), Ratio(1, 1));
  return Ratio(seen.denominator() * goal.allowed_denominator(),
               seen.numerator() * goal.allowed_numerator());
}

}  // namespace weir
