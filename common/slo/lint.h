// What is wrong with an SLO before it has seen a request, with the arithmetic in words.
//
// A row that can never fire is the worst alert: it looks like safety. The burn rate is
// at most 1 / (1 - goal), so 14.4 never fires for goals up to 93.05 %, and goals of 90 %
// are usual for latency. At low traffic it is the other way round: 10 requests an hour
// at 99.9 % allow 7.2 failures in 30 days, and the first one burns 100-fold in its hour.
//
// Thread safety: values, thread-compatible; functions are pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/slo/burn_rate.h"
#include "common/slo/condition.h"
#include "common/slo/decimal.h"
#include "common/slo/goal.h"
#include "common/slo/period.h"

namespace weir {

enum class FindingLevel {
  kWarning,  // it works, and likely not as meant
  kError,    // it cannot work; the SLO is refused
};

enum class FindingCode {
  // Errors.
  kNeverFires,          // the factor is not below 1 / (1 - goal)
  kWindowOrder,         // the short window is not shorter than the long one
  kWindowOverPeriod,    // the long window is longer than the period
  kWindowNotWholeBins,  // a window that no whole number of kept bins is
  kPeriodNotKept,       // the period is longer than bins are kept
  kBadNumber,           // for_duration, min_total_count or expected_per_hour out of range
  // Warnings.
  kNoRows,           // nothing will ever alert
  kBeyondBudget,     // fires only after more than the whole budget is spent
  kCoveredRow,       // another row fires whenever this one does
  kOneFailureFires,  // at the expected traffic, a single bad request fires the row
  kGuardSleeps,      // at the expected traffic, min_total_count is never reached
  kBudgetBelowOne,   // at the expected traffic, one bad request overspends the budget
  kSilenceFires,     // at the expected traffic, empty short windows are usual
};
// "NEVER_FIRES", ...: for programs that read findings.
std::string_view FindingCodeName(FindingCode code);

struct Finding {
  FindingLevel level = FindingLevel::kWarning;
  FindingCode code = FindingCode::kNoRows;
  // The row's place in the table, from 0; -1 for what is about the whole SLO.
  int row = -1;
  // What is wrong, by which arithmetic, and what to write instead. One sentence or two.
  std::string message;
};

struct LintInput {
  Goal goal;
  Period period;
  std::vector<BurnRow> rows;
  NoDataPolicy no_data_policy = NoDataPolicy::kResolve;
  // Requests expected in an hour, above 0 and at most 10^9; nullopt leaves out what
  // depends on it. "0.5" is one every two hours.
  std::optional<Decimal> expected_per_hour;
};

// Errors first, then warnings; each by row. Empty when all is well.
std::vector<Finding> Lint(const LintInput& input);

// OK without errors among `findings`; else InvalidArgument with their messages, a line each.
absl::Status Refusal(const std::vector<Finding>& findings);

// The largest factor with two digits after the point that a row can fire at: below
// 1 / (1 - goal), so 9.99 for 90 %.
Decimal LargestFactor(const Goal& goal);

// The fewest requests in a long window among which one bad one does not fire the row:
// ceil(1 / (factor * (1 - goal))), 70 for 14.4 and 99.9 %. Where that is above 2^63 - 1
// (it can be 10^19), 2^63 - 1.
int64_t EnoughRequests(const Factor& factor, const Goal& goal);

// What one bad request costs where `expected_per_hour` are expected.
struct FailureCost {
  Ratio expected_count;      // requests in the period: 7200 for 10/h and 30 d
  Ratio error_budget_count;  // unrounded: 7.2 at 99.9 %
  Ratio budget_ratio;        // one request's share of it: 5/36, 13.9 %
};
// REQUIRES: expected_per_hour in (0, 10^9].
FailureCost CostOfOneFailure(const Goal& goal, absl::Duration period, Decimal expected_per_hour);

// The burn rate of one bad request in `window`: 1 / ((1 - goal) * requests), with the
// requests expected in the window, but at least the bad one itself.
// REQUIRES: expected_per_hour in (0, 10^9].
Ratio BurnOfOneFailure(const Goal& goal, absl::Duration window, Decimal expected_per_hour);

}  // namespace weir
