// Notices increases that were perhaps counted twice: those whose time began before the
// end of one of the same series that was taken already. Two clients share a series, or
// somebody sends again what was taken in another request.
//
// Only noticed: which of the two is right cannot be told. An increase that is out of
// order is noticed too. Gaps are not, since a client that measured nothing sends
// nothing.
//
// Thread safety: thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/base/mutex.h"
#include "services/collector/batch.h"

namespace weir::collector {

class DeltaOverlaps {
 public:
  struct Increase {
    SeriesNumber series = 0;
    int64_t start_unix_nano = 0;  // known: above 0
    int64_t end_unix_nano = 0;
  };

  // Takes note of these; returns how many of them overlap.
  int64_t Note(absl::Span<const Increase> increases);

 private:
  Mutex mu_;
  // By number: the latest end; 0 before the first. Eight bytes for each series that
  // sends increases, which are bounded (max_series).
  std::vector<int64_t> ends_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weir::collector
