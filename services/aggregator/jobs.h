// What the aggregator asks of its store, one job at a time, and what comes back.
//
// The core decides, a worker runs: RunJob blocks on the store, so production
// calls it on the store thread and the simulation as an event with a delay. A
// job is a value; running it twice is safe, because every write compares before
// it sets.
//
// Thread safety: RunJob is thread-compatible; a job's delta is not written while
// the job runs.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/mutant.h"
#include "common/model/tier.h"
#include "common/store/store.h"
#include "services/aggregator/cumulative.h"
#include "services/aggregator/fold.h"

namespace weir::aggregator {

// Takes all slots, and learns what is committed and which series are stored.
struct ClaimJob {
  std::string owner;
};

// Commits one delta. Rows are routed by the rules for late data: to the finest
// tier that still keeps the event time, and to every coarser tier already
// derived past it.
struct FlushJob {
  std::shared_ptr<const Delta> delta;
  std::shared_ptr<const CumulativeChanges> cumulatives;
  std::vector<store::Transaction::SlotChange> slots;
  std::vector<store::Transaction::WatermarkChange> watermarks;
  std::vector<std::vector<int64_t>> derived_until;  // per slot, per tier
  std::vector<int64_t> floors;
  bool rerun = false;  // an earlier run of this job ended in doubt
};

// Writes one coarser tier of one slot from the tier below, over
// [from_seconds, until_seconds), both aligned to the coarser bins; or over the
// first part of it, when that would be more rows than one transaction should
// hold: JobResult::derived_until_seconds says how far it came. A run that is
// repeated stops at the same bin, as it reads the same rows.
struct DeriveJob {
  store::Transaction::SlotChange slot;
  int tier = 0;
  int64_t from_seconds = 0;
  int64_t until_seconds = 0;
  bool rerun = false;
};

// Raises floors to what retention allows at `now` and drops what is below.
struct RetentionJob {
  absl::Time now;
};

// After a conflict: what is committed, to tell a commit that had happened from
// a fence.
struct ReadSlotsJob {};

using Job = std::variant<ClaimJob, FlushJob, DeriveJob, RetentionJob, ReadSlotsJob>;

struct JobResult {
  // OK; Aborted: a compare failed, nothing was written; anything else: unknown,
  // run it again.
  absl::Status status;
  store::Claimed claimed;                // ClaimJob, ReadSlotsJob
  std::vector<store::SeriesRow> series;  // ClaimJob: what is stored
  // ClaimJob: the last points of running totals.
  struct Cumulative {
    int slot = 0;
    SeriesId series_id;
    int64_t start_unix_nano = 0;
    int64_t time_unix_nano = 0;
    std::string point;
  };
  std::vector<Cumulative> cumulatives;
  // FlushJob: series whose rows it inserted; also after Aborted, for the core
  // that finds that an earlier run had committed.
  std::vector<SeriesNumber> stored;
  std::vector<int64_t> floors;        // RetentionJob, and FlushJob that found them moved
  int64_t derived_until_seconds = 0;  // DeriveJob: the new derived_until
  int64_t row_count = 0;              // partial rows written
  int64_t late_row_count = 0;         // of them, into tiers already derived
  int64_t expired_sample_count = 0;   // older than every tier's floor: counted, not kept
  absl::Duration store_time;          // filled by the caller that has a clock
};

struct JobContext {
  store::Store& store;
  const TierTable& tiers;
  int slot_count = 0;
  // Whose series a claim reads.
  std::string tenant;
  // One DropBelowFloor deletes up to this many rows; a job does so up to so
  // many times per tier. It runs every minute, so this bounds what can be kept
  // up with: a million rows per minute and tier.
  int64_t retention_rows_per_step = 10'000;
  int max_retention_steps = 100;
  // A derivation ends at the bin in which it has written so many rows; each
  // takes some 200 bytes until the commit, and its sketch. Default: no limit.
  int64_t derive_rows_per_job = std::numeric_limits<int64_t>::max();
  Mutant mutant = Mutant::kNone;
};

JobResult RunJob(const JobContext& context, const Job& job);

// The transaction a flush commits: the routing rule, apart from the store.
// Sketches are encoded into `*sketch_bytes`, which must outlive the result.
store::Transaction RouteFlush(const JobContext& context, const FlushJob& job,
                              std::deque<std::string>* sketch_bytes, JobResult* result);

}  // namespace weir::aggregator
