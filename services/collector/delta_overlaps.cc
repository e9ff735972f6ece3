#include "services/collector/delta_overlaps.h"

#include <algorithm>

namespace weir::collector {

int64_t DeltaOverlaps::Note(absl::Span<const Increase> increases) {
  int64_t overlapping = 0;
  MutexLock lock(&mu_);
  for (const Increase& increase : increases) {
    if (increase.series >= ends_.size()) {
      ends_.resize(std::max<size_t>(increase.series + 1, 2 * ends_.size()), 0);
    }
    int64_t& end = ends_[increase.series];
    if (increase.start_unix_nano < end) ++overlapping;
    end = std::max(end, increase.end_unix_nano);
  }
  return overlapping;
}

}  // namespace weir::collector
