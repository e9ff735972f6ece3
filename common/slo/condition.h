// What a row's two windows mean for its alert at one instant: whether it burns, what
// a silent service means, and what planned maintenance leaves out.
//
// Thread safety: values, thread-compatible; functions are pure.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/slo/burn_rate.h"
#include "common/slo/goal.h"
#include "common/slo/time_span.h"

namespace weir {

// What it means that the short window is complete and held no request at all. (That
// the windows are not complete yet is another matter: then nothing is evaluated.)
enum class NoDataPolicy {
  // As before: what burnt goes on burning, what was quiet stays quiet. An outage so
  // bad that clients give up does not resolve itself.
  kKeep,
  // Burns: silence is the failure. For services that are never silent as long as
  // the short window.
  kFire,
  // Does not burn: nothing fails where nothing is asked. The default, and what
  // Prometheus rules do, whose 0/0 is above nothing.
  kResolve,
};
std::string_view NoDataPolicyName(NoDataPolicy policy);  // "keep", "fire", "resolve"

// Planned work: no row burns while it lasts, and its requests count neither in the
// windows of rows nor against the error budget. Otherwise a deployment that failed
// everything for half an hour would page at its end, from the 6 h window.
struct MaintenanceWindow {
  TimeSpan span;
};

// Edges must fall between bins, or what to leave out could not be told apart.
//
// Errors: InvalidArgument unless start < end, and both are multiples since the Unix
// epoch of `bin_width`, the widest bin that any window or period of the SLO is read
// from; names the nearest span outwards that is.
absl::Status ValidateMaintenance(const MaintenanceWindow& window, absl::Duration bin_width);

// Whether it is maintenance at `t`; evaluations at its start are, at its end are not.
bool InMaintenance(const std::vector<MaintenanceWindow>& windows, absl::Time t);

// What of `span` is not maintenance, in order, without empty parts. Windows may
// overlap, and be in any order.
std::vector<TimeSpan> OutsideMaintenance(const TimeSpan& span,
                                         const std::vector<MaintenanceWindow>& windows);

struct RowInput {
  // Sums over what OutsideMaintenance() leaves of the two windows.
  RowCounts counts;
  // InMaintenance() at the instant of evaluation.
  bool in_maintenance = false;
  // Whether maintenance took anything out of the short window: then its silence is
  // no sign, and kFire does as kResolve.
  bool short_window_cut = false;
  // What this function returned at the evaluation before; false at the first.
  bool burnt_before = false;
};

// Whether the row burns at this instant:
//
//   in maintenance                        no
//   no request in the short window        by the policy
//   else                                  Burns(): both windows, and the guard
//
// The guard (min_total_count) is about requests there were too few of, so it never
// makes silence. `for_duration` is counted by whoever steps through time.
bool RowBurns(const BurnRow& row, const Goal& goal, NoDataPolicy policy, const RowInput& input);

}  // namespace weir
