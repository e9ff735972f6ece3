// What an SLO asks for, what it allows, and how fast that is spent.
//
//   error budget = floor((1 - goal) * total)        99.99 % of 10,000 allows 1
//   burn rate    = (bad / total) / (1 - goal)       1 % bad against 99.9 % burns 10
//
// Both as in the SRE workbook, chapter 5. A burn rate of 1 spends the budget exactly
// at the end of the SLO's period; 14.4 spends a 30-day budget in 50 hours.
//
// Counts are whole requests, up to 2^63 - 1. A goal has at most nine digits after
// the point, so 1 - goal is a ratio whose terms are at most 10^9 < 2^30, and no
// product here passes 2^63 * 2^30 = 2^93.
//
// Thread safety: values, thread-compatible; functions are pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/slo/decimal.h"
#include "common/slo/ratio.h"

namespace weir {

// The share of requests that must be good: a decimal in (0, 1), both ends excluded.
// A goal of 0 asks for nothing; one of 1 allows nothing, and its burn rate would be
// infinite from the first bad request on.
class Goal {
 public:
  // Errors: InvalidArgument unless 0 < value < 1, saying what was likely meant
  // where it was a percentage without its sign.
  static absl::StatusOr<Goal> Create(Decimal value);
  // Errors: as Create, and as Decimal::Parse.
  static absl::StatusOr<Goal> Parse(std::string_view text);

  Decimal value() const { return value_; }

  // 1 - goal, reduced: 1/1000 for 99.9 %. Both terms are in [1, 10^9].
  int64_t allowed_numerator() const { return allowed_numerator_; }
  int64_t allowed_denominator() const { return allowed_denominator_; }
  Ratio allowed_ratio() const { return Ratio(allowed_numerator_, allowed_denominator_); }

  // The burn rate when every request is bad, 1 / (1 - goal): 1000 for 99.9 %. No
  // window can burn faster.
  Ratio max_burn_rate() const { return Ratio(allowed_denominator_, allowed_numerator_); }

  friend bool operator==(const Goal&, const Goal&) = default;

 private:
  explicit Goal(Decimal value);

  Decimal value_;
  int64_t allowed_numerator_ = 1;
  int64_t allowed_denominator_ = 1;
};

// Requests counted over one stretch of event time.
//
// Invariant: 0 <= bad_count <= total_count. The functions below are defined for any
// two integers all the same, because the counts come from elsewhere: a total_count
// of 0 or less has no burn rate, a bad_count below 0 counts as 0.
struct Counts {
  int64_t bad_count = 0;
  int64_t total_count = 0;

  // Errors: InvalidArgument unless 0 <= good_count <= total_count. Where good and
  // total are selected from different series, they may disagree.
  struct Good {
    int64_t good_count = 0;
    int64_t total_count = 0;
  };
  static absl::StatusOr<Counts> FromGood(Good counts);

  friend bool operator==(const Counts&, const Counts&) = default;
};

// The requests that may be bad out of `total_count`, rounded down: half a request
// cannot fail. In [0, total_count); 0 for a total below 1.
int64_t ErrorBudget(const Goal& goal, int64_t total_count);

// How fast `counts` spend the budget; in [0, goal.max_burn_rate()] for counts that
// keep their invariant. nullopt when there were no requests: no traffic is not the
// same as no errors.
std::optional<Ratio> BurnRate(const Goal& goal, const Counts& counts);

// The numbers that the error tracker of seed 002 reports, by its own definitions,
// which are not the workbook's: its burn rate is consumed / budget.
struct SeedSloStatus {
  int64_t error_budget_total = 0;      // requests: floor((1 - goal) * judged)
  int64_t error_budget_consumed = 0;   // requests: every error
  int64_t error_budget_remaining = 0;  // requests: max(0, total - consumed)
  // True once more is consumed than the budget; at the budget it is not.
  bool slo_violated = false;
  // consumed / total; 0 where nothing is consumed, nullopt where something is and the
  // budget is 0, which no finite rate says.
  std::optional<Ratio> burn_rate;
};

// `judged_count` is the number of requests the budget is a share of. The seed's
// example says 1,000 while it has seen 100, so it is the number expected in the SLO's
// period; once more have been seen, pass what has been seen.
struct SeedSloInput {
  int64_t judged_count = 0;
  int64_t error_count = 0;
};
SeedSloStatus SeedStatus(const Goal& goal, const SeedSloInput& input);

}  // namespace weir
