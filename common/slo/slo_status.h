// Where an SLO stands: what its error budget is, what is spent, how fast, until when.
//
// Everything is exact. What is shown as a fraction is one of the unrounded budget,
// (1 - goal) * total, so that it agrees with the burn rates: 7 bad of 10,000 at 99.9 %
// leave 30 %. The counts are of the rounded one, as no request can fail in part.
//
// Thread safety: values, thread-compatible; functions are pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "common/slo/goal.h"
#include "common/slo/ratio.h"

namespace weir {

struct WindowCounts {
  absl::Duration window;
  Counts counts;
};

struct SloStatusInput {
  // The SLO's period at the instant of the status: its full length, and how much of it
  // the counts are from: for a rolling period its length, or the SLO's age where that
  // is less; for a calendar period the time since it began. Whole seconds; length in
  // (0 s, 4,000 d]; elapsed is taken as in [0 s, length].
  absl::Duration period_length;
  absl::Duration elapsed;
  bool rolling = true;
  // The requests of the elapsed part.
  Counts period_counts;
  // The windows to report the burn of, in the order to report them.
  std::vector<WindowCounts> windows;
  // What is projected from: the counts of a long window, such as the last hour.
  Counts recent_counts;
};

struct WindowBurn {
  absl::Duration window;
  Counts counts;
  // nullopt where the window had no requests.
  std::optional<Ratio> burn_rate;
};

struct SloStatus {
  // Requests that may be bad out of those seen in the period, rounded down.
  int64_t error_budget_count = 0;
  // Requests that were bad.
  int64_t consumed_count = 0;
  // error_budget_count - consumed_count; below 0 once it is overspent.
  int64_t remaining_count = 0;

  // consumed / ((1 - goal) * total), a share of 1: above 1 once it is overspent. 0 where
  // there were no requests. It is also the burn rate of the period so far.
  Ratio consumed_ratio;
  // 1 - consumed_ratio: 1 where there were no requests, below 0 once it is overspent.
  Ratio remaining_ratio;

  std::vector<WindowBurn> windows;

  // How long, at the recent burn rate, until the whole period's budget is spent; whole
  // seconds, rounded down:
  //
  //   (period_length - elapsed * period burn) / recent burn
  //
  // It takes requests to go on arriving as they have in the period, and of a rolling
  // period it takes nothing back for what will leave it; 100 % left of 30 d and a
  // burn of 14.4 are 50 h. 0 when it is spent already. nullopt where nothing is bad
  // recently, where it would take more than 100 years, and where a calendar period
  // ends before, because the next one starts afresh.
  std::optional<absl::Duration> exhausted_in;
};

// REQUIRES: period_length as said above.
SloStatus StatusOf(const Goal& goal, const SloStatusInput& input);

}  // namespace weir
