#include "common/slo/slo_status.h"

#include <algorithm>

#include "absl/numeric/int128.h"
#include "common/base/check.h"

namespace weir {
namespace {

constexpr int64_t kMaxPeriodSeconds = int64_t{4'000} * 86'400;     // < 2^29
constexpr int64_t kMaxForecastSeconds = int64_t{36'525} * 86'400;  // a century

// With the period's burn b = bad * aD / (total * aN) and the recent one B likewise, aN / aD
// being what the goal allows,
//
//   (length - elapsed * b) / B = (length * total * aN - elapsed * bad * aD) * recent total
//                                --------------------------------------------------------
//                                             total * aD * recent bad
//
// The bracket is below 2^29 * 2^63 * 2^30 = 2^122. Divided by total * aD (below 2^93) it
// is at most `length`, so that the first quotient is below 2^29 * 2^63 = 2^92; and the floor
// of a floor is the floor of the whole.
std::optional<absl::Duration> ExhaustedIn(const Goal& goal, const SloStatusInput& input) {
  const Counts& recent = input.recent_counts;
  if (recent.bad_count <= 0 || recent.total_count <= 0) return std::nullopt;
  const int64_t length = absl::ToInt64Seconds(input.period_length);
  const int64_t elapsed = std::clamp<int64_t>(absl::ToInt64Seconds(input.elapsed), 0, length);
  // Where there were no requests, one good one says the same.
  const bool empty = input.period_counts.total_count <= 0;
  const int64_t total = empty ? 1 : input.period_counts.total_count;
  const int64_t bad = empty ? 0 : std::max<int64_t>(input.period_counts.bad_count, 0);
  const absl::int128 left = absl::int128(length) * total * goal.allowed_numerator() -
                            absl::int128(elapsed) * bad * goal.allowed_denominator();
  if (left <= 0) return absl::ZeroDuration();
  const absl::int128 seconds =
      MultiplyDivide(left, recent.total_count, absl::int128(total) * goal.allowed_denominator()) /
      recent.bad_count;
  if (seconds > kMaxForecastSeconds) return std::nullopt;
  if (!input.rolling && seconds >= length - elapsed) return std::nullopt;
  return absl::Seconds(static_cast<int64_t>(seconds));
}

}  // namespace

SloStatus StatusOf(const Goal& goal, const SloStatusInput& input) {
  WEIR_CHECK(input.period_length > absl::ZeroDuration() &&
             input.period_length <= absl::Seconds(kMaxPeriodSeconds));
  SloStatus status;
  status.error_budget_count = ErrorBudget(goal, input.period_counts.total_count);
  status.consumed_count = std::max<int64_t>(input.period_counts.bad_count, 0);
  // Neither is negative, so the difference cannot overflow.
  status.remaining_count = status.error_budget_count - status.consumed_count;
  status.consumed_ratio = BurnRate(goal, input.period_counts).value_or(Ratio());
  // Terms below 2^93, and their difference below 2^94.
  status.remaining_ratio =
      Ratio(status.consumed_ratio.denominator() - status.consumed_ratio.numerator(),
            status.consumed_ratio.denominator());
  for (const WindowCounts& window : input.windows) {
    status.windows.push_back({.window = window.window,
                              .counts = window.counts,
                              .burn_rate = BurnRate(goal, window.counts)});
  }
  status.exhausted_in = ExhaustedIn(goal, input);
  return status;
}

}  // namespace weir
