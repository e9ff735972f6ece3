// Every series this process has seen, numbered densely.
//
// Thread safety: thread-safe. Interning takes a lock; the paths that see each
// sample cache what they got.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "common/base/mutex.h"
#include "common/model/series.h"
#include "services/collector/batch.h"

namespace weir::collector {

// No series has this number.
inline constexpr SeriesNumber kNoSeries = UINT32_MAX;

struct SeriesHandle {
  SeriesNumber number = kNoSeries;
  uint16_t slot = 0;
  Kind kind = Kind::kGauge;
};

class SeriesTable {
 public:
  // `max_series`: later ones become the overflow series of their metric, which
  // keeps the totals. In [1, 2^31).
  SeriesTable(int slot_count, int64_t max_series);

  // REQUIRES: `series` was admitted (its labels are sorted).
  SeriesHandle Intern(const Series& series);

  // The definition that goes into a frame, and the slot it goes to. The bytes
  // (AppendSeries) are valid for ever.
  struct SeriesDefinition {
    std::string_view bytes;
    int slot = 0;
  };
  SeriesDefinition Definition(SeriesNumber number) const;

  int64_t size() const;
  int64_t overflowed_count() const { return overflowed_count_.load(std::memory_order_relaxed); }
  int slot_count() const { return slot_count_; }

 private:
  SeriesHandle Add(std::string bytes, Kind kind) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const int slot_count_;
  const int64_t max_series_;
  std::atomic<int64_t> overflowed_count_{0};

  mutable Mutex mu_;
  struct Entry {
    std::string bytes;
    int slot = 0;
  };
  std::deque<Entry> entries_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<std::string_view, SeriesHandle> handles_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weir::collector
