#include "common/slo/condition.h"

#include <algorithm>

#include "common/base/strings.h"

namespace weir {

std::string_view NoDataPolicyName(NoDataPolicy policy) {
  switch (policy) {
    case NoDataPolicy::kKeep:
      return "keep";
    case NoDataPolicy::kFire:
      return "fire";
    case NoDataPolicy::kResolve:
      return "resolve";
  }
  return "unknown";
}

absl::Status ValidateMaintenance(const MaintenanceWindow& window, absl::Duration bin_width) {
  const auto text = [](absl::Time t) {
    return absl::FormatTime(absl::RFC3339_full, t, absl::UTCTimeZone());
  };
  const TimeSpan& span = window.span;
  const std::string name = StrCat("maintenance [", text(span.start), ", ", text(span.end), "): ");
  if (span.start >= span.end) {
    return absl::InvalidArgumentError(
        StrCat(name, "its end, which is excluded, must be after its start"));
  }
  if (span.start == absl::InfinitePast() || span.end == absl::InfiniteFuture()) {
    return absl::InvalidArgumentError(StrCat(name, "both ends must be given"));
  }
  const auto down = [&](absl::Time t) {
    return absl::UnixEpoch() + absl::Floor(t - absl::UnixEpoch(), bin_width);
  };
  const auto up = [&](absl::Time t) {
    return absl::UnixEpoch() + absl::Ceil(t - absl::UnixEpoch(), bin_width);
  };
  if (down(span.start) != span.start || up(span.end) != span.end) {
    return absl::InvalidArgumentError(
        StrCat(name, "its ends must be multiples of ", absl::FormatDuration(bin_width),
               ", the bins its requests are counted in; [", text(down(span.start)), ", ",
               text(up(span.end)), ") holds it"));
  }
  return absl::OkStatus();
}

bool InMaintenance(const std::vector<MaintenanceWindow>& windows, absl::Time t) {
  return std::any_of(windows.begin(), windows.end(),
                     [t](const MaintenanceWindow& window) { return window.span.Contains(t); });
}

std::vector<TimeSpan> OutsideMaintenance(const TimeSpan& span,
                                         const std::vector<MaintenanceWindow>& windows) {
  std::vector<TimeSpan> taken;
  for (const MaintenanceWindow& window : windows) {
    if (window.span.Overlaps(span)) taken.push_back(window.span);
  }
  std::sort(taken.begin(), taken.end(),
            [](const TimeSpan& a, const TimeSpan& b) { return a.start < b.start; });
  std::vector<TimeSpan> left;
  absl::Time from = span.start;
  for (const TimeSpan& hole : taken) {
    if (from < hole.start) left.push_back({.start = from, .end = hole.start});
    from = std::max(from, hole.end);
  }
  if (from < span.end) left.push_back({.start = from, .end = span.end});
  return left;
}

bool RowBurns(const BurnRow& row, const Goal& goal, NoDataPolicy policy, const RowInput& input) {
  if (input.in_maintenance) return false;
  if (input.counts.short_window.total_count > 0) return Burns(row, goal, input.counts);
  switch (policy) {
    case NoDataPolicy::kKeep:
      return input.burnt_before;
    case NoDataPolicy::kFire:
      return !input.short_window_cut;
    case NoDataPolicy::kResolve:
      return false;
  }
  return false;
}

}  // namespace weir
