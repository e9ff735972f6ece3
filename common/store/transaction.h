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
#include "common/model/tier.h"
#include "common/store/store.h"

namespace weir::store {

// Whether the rows are ones a store can hold, so that all stores refuse the
// same: aligned bins from year 1 to 9999, finite samples, text that is UTF-8
// without NUL, every slot named in `slots`, no change named twice (dropping a
// cumulative row twice is dropping it once).
//
// Errors: InvalidArgument, naming the first offence.
absl::Status CheckTransaction(const Transaction& transaction, int slot_count,
                              const TierTable& tiers);

// `slots` ascending and without repeats. Errors: InvalidArgument outside
// [0, slot_count).
absl::StatusOr<std::vector<int>> CheckSlots(std::vector<int> slots, int slot_count);

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
