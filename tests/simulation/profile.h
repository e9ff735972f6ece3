// The shape of one simulated world: how many of everything, how small the limits,
// which faults and how often. Drawn from the seed, so that some worlds have every
// fault and others few: faults that are always on hide bugs that need one of
// them to be off.
//
// Thread safety: a value, thread-compatible.
#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "common/base/random.h"
#include "common/model/tier.h"

namespace weir::simulation {

// What the fault injector may do; each has a weight, 0 for never in this world.
enum class Fault {
  kCollectorCrash,
  kPowerLoss,
  kSyncFailure,
  kAggregatorCrash,
  kTakeover,         // a new aggregator starts while the old one lives on
  kGracefulRestart,  // the aggregator drains, stops and starts again
  kConnectionBreak,  // between a collector and an aggregator
  kHalfOpen,         // one direction of it goes dark, and nobody is told
  kClientBreak,
  kStoreDown,
  kDiskFull,
  kClockJump,
  kCollectorPause,
  kAggregatorPause,
};
inline constexpr int kFaultCount = 14;

struct Profile {
  int slot_count = 4;
  int collector_count = 1;
  int session_client_count = 2;
  int push_client_count = 1;  // without sessions, half of them with keys
  int series_count = 4;
  absl::Duration load_time;  // how long clients make batches and faults happen
  absl::Duration mean_batch_interval;
  absl::Duration mean_fault_interval;
  int fault_weights[kFaultCount] = {};
  int fault_weight_sum = 0;

  // Of 1000 commits each.
  int commits_refused = 0;
  int commits_answer_lost = 0;
  int commits_undone = 0;
  int commits_ghost = 0;
  // Of 10,000 messages of an open stream. TCP loses none; a proxy might, and the
  // gap checks must hold against it.
  int messages_dropped = 0;
  int late_percent = 0;
  // Of trims, after which the collector's machine stops at once: that is when a
  // checkpoint that says too much would be believed.
  int stops_after_trim_percent = 0;

  uint64_t segment_bytes = 0;
  uint64_t quota_bytes = 0;
  int64_t max_queued_bytes = 0;
  int64_t window_bytes = 0;
  int64_t flush_memory_bytes = 0;
  int64_t derive_rows_per_job = 0;
  int64_t max_group_bytes = 0;
  absl::Duration max_sync_time;
  absl::Duration max_store_time;
  absl::Duration max_network_delay;

  static Profile Draw(Random& random);
};

// Three tiers small enough that a run of a minute derives and retires.
const TierTable& SimulatedTiers();

}  // namespace weir::simulation
