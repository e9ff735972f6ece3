// Which bins hold the requests of a window, so that its sum is exact.
//
// Indicators are kept in four tiers: 10 s bins for 2 h, 1 min for 2 d, 15 min for
// 40 d, 1 h for 100 d. A window ends at an instant T, a multiple of 10 s, and begins
// where bins of that age still have an edge. So the window that is summed is
//
//   [floor(T - length, width), T)     width: the bins its old end is read from
//
// put together from the oldest bins to the newest without gap or overlap:
//
//        1 h window at 12:00:50, 10 s bins                 6 h window, 1 min bins
//        ├── 10 s ─────────────────────┤               ├── 1 min ──────────┼─ 10 s ─┤
//     11:00:50                     12:00:50          06:00              12:00:00 12:00:50
//
// Every request in it is counted once. Its newest end is always T itself: an alert
// never waits for a coarse bin to close. Its oldest end is exact whenever T is a
// multiple of the width; else the window is longer than asked by less than one bin: at
// most 50 s in 6 h (0.23 %) and 14 min 50 s in 3 d (0.34 %).
//
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/model/tier.h"
#include "common/slo/time_span.h"

namespace weir {

// The tiers of indicators, finest first, named "10s", "1m", "15m" and "1h".
const TierTable& IndicatorTiers();

// What T must be a multiple of: the finest bin, 10 s.
absl::Duration EvaluationStep();

// The tier whose bins a window's old end is read from: the finest that is kept half
// its retention longer than the window, or a day where that is less, so that an
// evaluation that is late by this much still has its bins. Up to 1 h is read from
// 10 s, up to 1 d from 1 min, up to 39 d from 15 min, up to 99 d from 1 h.
//
// Errors: InvalidArgument unless the window is above 0, at most 99 d, and a multiple
// of that tier's bins; says what would be.
absl::StatusOr<int> TierOfWindow(absl::Duration window);

// Whole bins of one tier.
struct BinSpan {
  int tier = 0;
  TimeSpan span;  // both ends are multiples of the tier's bins; not empty

  friend bool operator==(const BinSpan&, const BinSpan&) = default;
};

// The bins of `window` at `t`, oldest first; together they are
// [floor(t - window, width), t).
//
// Errors: as TierOfWindow; and InvalidArgument unless t is a multiple of 10 s.
absl::StatusOr<std::vector<BinSpan>> BinsOfWindow(absl::Duration window, absl::Time t);

// The bins of a span that begins where it begins, as calendar periods do. Its old end
// is rounded down to the finest bins that are still kept for it at `now`: exact for a
// midnight of any zone up to 40 d back; before that, in zones that are not whole
// hours from UTC, early by up to 45 min.
//
// Errors: InvalidArgument unless start < end and end is a multiple of 10 s; OutOfRange
// where no tier keeps the bins at its start, or they are gone at its end.
absl::StatusOr<std::vector<BinSpan>> BinsOfSpan(const TimeSpan& span, absl::Time now);

// Whether every bin of `bins` is still kept at `now`. Errors: OutOfRange, naming the
// tier and what it keeps: an evaluation this late cannot be exact any more.
absl::Status CheckKept(const std::vector<BinSpan>& bins, absl::Time now);

}  // namespace weir
