#include "common/slo/goal.h"

#include <algorithm>

#include "absl/numeric/int128.h"
#include "absl/status/status.h"
#include "common/base/strings.h"

namespace weir {

Goal::Goal(Decimal value) : value_(value) {
  const int64_t whole = PowerOfTen(value.scale());
  const Ratio allowed(whole - value.units(), whole);
  allowed_numerator_ = static_cast<int64_t>(allowed.numerator());
  allowed_denominator_ = static_cast<int64_t>(allowed.denominator());
}

absl::StatusOr<Goal> Goal::Create(Decimal value) {
  const Decimal one = Decimal::Of(1, 0);
  if (value > Decimal() && value < one) return Goal(value);
  std::string text =
      StrCat("goal ", value.ToString(),
             " is not between 0 and 1, both excluded; write a share such as 0.999 or 99.9%");
  if (value > one && value < Decimal::Of(100, 0)) {
    StrAppend(&text, ": was ", value.ToString(), "% meant?");
  } else if (value == one || value == Decimal::Of(100, 0)) {
    text += ": a goal of 100% allows no bad request, and nothing can be said to burn";
  }
  return absl::InvalidArgumentError(text);
}

absl::StatusOr<Goal> Goal::Parse(std::string_view text) {
  absl::StatusOr<Decimal> value = Decimal::Parse(text);
  if (!value.ok()) {
    return absl::InvalidArgumentError(StrCat("goal: ", StdView(value.status().message())));
  }
  return Create(*value);
}

absl::StatusOr<Counts> Counts::FromGood(Good counts) {
  if (counts.good_count < 0) {
    return absl::InvalidArgumentError(
        StrCat("good_count ", counts.good_count, " is below 0; a count of requests never is"));
  }
  if (counts.good_count > counts.total_count) {
    return absl::InvalidArgumentError(
        StrCat("good_count ", counts.good_count, " is above total_count ", counts.total_count,
               "; select both from the same requests, so that every good one is in the total"));
  }
  return Counts{.bad_count = counts.total_count - counts.good_count,
                .total_count = counts.total_count};
}

int64_t ErrorBudget(const Goal& goal, int64_t total_count) {
  if (total_count <= 0) return 0;
  // Below 2^63 * 10^9 < 2^93; the quotient is below total_count.
  return static_cast<int64_t>(absl::int128(total_count) * goal.allowed_numerator() /
                              goal.allowed_denominator());
}

std::optional<Ratio> BurnRate(const Goal& goal, const Counts& counts) {
  if (counts.total_count <= 0) return std::nullopt;
  // Terms below 2^63 * 10^9 < 2^93.
  return Ratio(absl::int128(std::max<int64_t>(counts.bad_count, 0)) * goal.allowed_denominator(),
               absl::int128(counts.total_count) * goal.allowed_numerator());
}

SeedSloStatus SeedStatus(const Goal& goal, const SeedSloInput& input) {
  SeedSloStatus status;
  status.error_budget_total = ErrorBudget(goal, input.judged_count);
  status.error_budget_consumed = std::max<int64_t>(input.error_count, 0);
  // Neither is negative, so the difference cannot overflow.
  status.error_budget_remaining =
      std::max<int64_t>(0, status.error_budget_total - status.error_budget_consumed);
  status.slo_violated = status.error_budget_consumed > status.error_budget_total;
  if (status.error_budget_consumed == 0) {
    status.burn_rate = Ratio();
  } else if (status.error_budget_total > 0) {
    status.burn_rate = Ratio(status.error_budget_consumed, status.error_budget_total);
  }
  return status;
}

}  // namespace weir
