// What every implementation of Store does alike: checks that need no database,
// and the arithmetic of floors and stored times.
//
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/model/indicator.h"
#include "common/model/tier.h"
#include "common/store/store.h"

namespace weir::store {

// 0001-01-01 and 10000-01-01: what both databases can write as a date.
inline constexpr int64_t kMinSeconds = -62135596800;
inline constexpr int64_t kMaxSeconds = 253402300800;

// Whether the rows are ones a store can hold, so that all stores refuse the
// same: aligned bins from year 1 to 9999, finite samples, text that is UTF-8
// without NUL, every slot named in `slots`, no change named twice (dropping a
// cumulative row twice is dropping it once), indicators' versions that rise,
// counts that are not negative.
//
// Errors: InvalidArgument, naming the first offence.
absl::Status CheckTransaction(const Transaction& transaction, int slot_count,
                              const TierTable& tiers);

// `slots` ascending and without repeats. Errors: InvalidArgument outside
// [0, slot_count).
absl::StatusOr<std::vector<int>> CheckSlots(std::vector<int> slots, int slot_count);

// Whether DropIndicatorBins and ReadIndicatorBins have such a tier. Errors:
// InvalidArgument.
absl::Status CheckIndicatorTier(int tier);

// The bins of a filter's tier with start in [start, end): `start` is the first
// bin's, and both are times a database can hold. REQUIRES: CheckIndicatorTier.
struct BinRange {
  int64_t start_seconds = 0;
  int64_t end_seconds = 0;
};
BinRange BinRangeOf(const IndicatorBinFilter& filter);

// What a stored count is after `added`; both at least 0.
int64_t SaturatingAdd(int64_t stored, int64_t added);

// How far one process has looked through one tier for bins whose indicator is
// gone. Bins are looked at in the order of their keys, (start, indicator, slot).
struct IndicatorSweep {
  struct Position {
    int64_t start_seconds = kMinSeconds;
    IndicatorId indicator_id;
    int slot = -1;
  };
  int64_t deleted_version = 0;  // the deletion it is about
  bool pending = false;
  Position after;  // every bin up to here has been looked at

  // Begins anew when there has been a deletion since.
  void Begin(int64_t current_deleted_version) {
    if (current_deleted_version == deleted_version) return;
    *this = {.deleted_version = current_deleted_version, .pending = true};
  }
};

// The floor of `tier` after RaiseFloor(tier, wanted): aligned down to the next
// coarser bin, not past `coarser_derived_until` (the lowest of any slot; unused
// for the coarsest tier), and never below `current`.
int64_t RaisedFloor(const TierTable& tiers, int tier, int64_t current, int64_t wanted,
                    int64_t coarser_derived_until);

// Stored receive times: whole nanoseconds, rounded towards the past; the lowest
// and highest int64 stand for InfinitePast and InfiniteFuture.
int64_t NanosOfTime(absl::Time time);
absl::Time TimeOfNanos(int64_t unix_nano);

}  // namespace weir::store
