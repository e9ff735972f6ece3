// Where the aggregator keeps what it has committed: slots, watermarks, tiers'
// floors, series, the partial rows of every bin, the last point of every
// cumulative series, and indicators with what they have counted.
//
// One interface, three implementations: PostgreSQL and SQLite behind it, and a
// MemoryStore in common/testing that is as careful as they are. One conformance
// suite runs against all three (tests/conformance).
//
// The store knows rows, not meaning: every merge happens in C++. The counts of
// indicators alone are added in place, because adding integers is all there is
// to merging them.
//
// Thread safety: Commit, Claim and the retention calls come from one thread at
// a time; OpenSnapshot is thread-safe and runs beside them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/id128.h"
#include "common/base/mutant.h"
#include "common/model/aggregate.h"
#include "common/model/indicator.h"
#include "common/model/series.h"
#include "common/model/tier.h"

namespace weir::store {

// A slot as its owner knows it.
struct SlotState {
  int slot = 0;
  // Rises by one with every claim; a commit under an older epoch is refused.
  int64_t epoch = 0;
  // Rises by one with every commit to this slot; also the last part of the
  // primary key of the rows that commit wrote.
  int64_t commit_number = 0;
  // Per tier, Unix seconds, aligned to that tier's bins: this tier holds
  // everything committed with an event time before it, and nothing after it.
  // Tier 0 is not derived; its element is unused and 0.
  std::vector<int64_t> derived_until;
};

// Per (slot, WAL): the last frame whose effects are committed.
struct Watermark {
  int slot = 0;
  WalId wal_id;
  uint64_t lsn = 0;
  // Every sample of this WAL acknowledged before this receive time is committed.
  absl::Time complete_until = absl::InfinitePast();
  // When the owner last heard of this WAL; older than 60 s counts as silent.
  absl::Time heard_time = absl::InfinitePast();
};

struct SeriesRow {
  int slot = 0;
  SeriesId id;
  Series series;
};

// The mergeable aggregate of some samples of one series and bin.
struct PartialRow {
  int tier = 0;
  int slot = 0;
  int64_t start_seconds = 0;  // the bin's inclusive start, aligned to the tier
  SeriesId series_id;
  Aggregate aggregate;
  std::string_view sketch;  // Sketch::AppendTo, or empty; outlived by its owner
};

// The last cumulative point of a series that began at one start time: what the
// next one's increase is computed from.
struct CumulativeRow {
  int slot = 0;
  SeriesId series_id;
  int64_t start_unix_nano = 0;  // 0: unknown; part of the key
  int64_t time_unix_nano = 0;   // of the point
  std::string_view point;       // common/point's bytes, opaque to the store; outlived by its owner
};

struct CumulativeKey {
  int slot = 0;
  SeriesId series_id;
  int64_t start_unix_nano = 0;
};

// What the aggregator counts beside its windows, under a tenant and a name.
struct IndicatorRow {
  std::string tenant;
  std::string name;        // with the tenant at most kMaxIndicatorNameBytes
  IndicatorId id;          // what its bins carry; no two indicators have the same
  int64_t version = 0;     // at least 1; rises with every replacement
  std::string definition;  // opaque to the store
  friend bool operator==(const IndicatorRow&, const IndicatorRow&) = default;
};
inline constexpr size_t kMaxIndicatorNameBytes = 1024;

// Every indicator, and the version of all of them together: 1 in a new store,
// and one more after every commit that changes any.
struct IndicatorSet {
  int64_t version = 0;
  std::vector<IndicatorRow> rows;  // ascending by tenant, then name, as bytes
};

// What an indicator has counted in one bin and slot; in a transaction, what is
// added to that.
struct IndicatorBin {
  int tier = 0;  // of kIndicatorTiers
  int slot = 0;
  int64_t start_seconds = 0;  // the bin's inclusive start, aligned to the tier
  IndicatorId indicator_id;
  int64_t good = 0;   // at least 0, as is total
  int64_t total = 0;  // a sum that would pass INT64_MAX stays there, each on its own
  friend bool operator==(const IndicatorBin&, const IndicatorBin&) = default;
};

// One transaction. Every part is optional; all of it happens or none.
struct Transaction {
  struct SlotChange {
    int slot = 0;
    int64_t epoch = 0;
    int64_t old_commit_number = 0;  // the new one is one more
  };
  struct WatermarkChange {
    int slot = 0;
    WalId wal_id;
    uint64_t old_lsn = 0;  // 0 also when there is no row yet
    uint64_t new_lsn = 0;  // equal to old_lsn when only the times advance
    absl::Time complete_until;
    absl::Time heard_time;
  };
  struct DeriveChange {
    int slot = 0;
    int tier = 0;
    int64_t old_until_seconds = 0;
    int64_t new_until_seconds = 0;
  };
  // Creates, replaces or deletes the indicator of row.tenant and row.name. Its
  // bins are found by its id: a replacement with the same id goes on counting
  // where the old one stopped, one with another id begins at zero. Bins of an
  // id that no indicator has are DropIndicatorBins' to delete.
  struct IndicatorChange {
    IndicatorRow row;         // of a deletion only tenant and name matter
    int64_t old_version = 0;  // 0: there is none; less than row.version
    bool deleted = false;
  };

  std::vector<SlotChange> slots;  // ascending by slot; every slot named below is here
  std::vector<WatermarkChange> watermarks;
  std::vector<DeriveChange> derives;
  // The floors (Unix seconds, one per tier) the rows were routed by; empty when
  // it does not matter.
  std::vector<int64_t> floors;
  std::vector<SeriesRow> series;     // inserted where absent
  std::vector<PartialRow> partials;  // keyed by the new commit number of their slot
  // Inserted or replaced, by (slot, series_id, start_unix_nano); keys distinct.
  std::vector<CumulativeRow> cumulatives;
  // Removed where present; none is in `cumulatives`.
  std::vector<CumulativeKey> dropped_cumulatives;
  // At most one per tenant and name. They need no slot.
  std::vector<IndicatorChange> indicator_changes;
  // The version of the indicators that were counted; 0 when it does not matter.
  // A flush that was folded under an older set meets a conflict and folds again.
  int64_t indicator_set_version = 0;
  // Added to what is stored, keys distinct; fastest ascending by (tier, start,
  // indicator, slot). Whether the indicator exists does not matter to the store.
  std::vector<IndicatorBin> indicator_bins;
};

enum class CommitResult {
  kCommitted,
  // A compare failed: a newer epoch, another commit number, another watermark,
  // derived_until, version of an indicator or of the set. Nothing was written.
  // Also what a re-run of a commit that had in fact happened gets: read the
  // slots (or the indicators, when it was they that changed) to learn which.
  kConflict,
  // A floor is not what `floors` says. Nothing was written; route again.
  kFloorsMoved,
};

struct Claimed {
  std::vector<SlotState> slots;  // ascending
  std::vector<Watermark> watermarks;
  std::vector<int64_t> floors;  // per tier, Unix seconds
  int64_t indicator_set_version = 0;
};

// Which series a query wants. All conditions hold at once.
struct SeriesFilter {
  std::string tenant;
  std::string name;           // exact; empty means any
  std::vector<Label> labels;  // all contained, exactly
  // Continue after this id (exclusive), in id order; for paging.
  std::optional<SeriesId> after;
  int limit = 0;  // 0 means no limit
};

struct PartialFilter {
  int tier = 0;
  std::optional<int> slot;    // all slots when absent
  int64_t start_seconds = 0;  // bins with start in [start, end)
  int64_t end_seconds = 0;
  // Only these; empty means every series.
  std::vector<SeriesId> series;
};

struct IndicatorBinFilter {
  int tier = 0;               // of kIndicatorTiers
  std::optional<int> slot;    // all slots when absent
  int64_t start_seconds = 0;  // bins with start in [start, end)
  int64_t end_seconds = 0;
  // Only these; empty means every indicator.
  std::vector<IndicatorId> ids;
};

// One consistent view of everything committed at the time it was opened.
// Thread safety: thread-compatible; destroyed before its store.
class Snapshot {
 public:
  virtual ~Snapshot() = default;
  virtual absl::StatusOr<std::vector<SlotState>> Slots() = 0;
  virtual absl::StatusOr<std::vector<Watermark>> Watermarks() = 0;
  virtual absl::StatusOr<std::vector<int64_t>> Floors() = 0;
  // Distinct series in id order (a series with rows in several slots once).
  virtual absl::StatusOr<std::vector<SeriesRow>> FindSeries(const SeriesFilter& filter) = 0;
  // Calls `row` for each partial, ascending by bin; the row's views live during
  // the call only. Stops with `row`'s error when it returns one.
  virtual absl::Status ReadPartials(const PartialFilter& filter,
                                    absl::FunctionRef<absl::Status(const PartialRow& row)> row) = 0;
  // Calls `row` for every cumulative row of the slot, ascending by series_id,
  // then start; the row's view lives during the call only. Stops with `row`'s
  // error when it returns one. InvalidArgument for a slot the store has not.
  virtual absl::Status ReadCumulatives(
      int slot, absl::FunctionRef<absl::Status(const CumulativeRow& row)> row) = 0;
  virtual absl::StatusOr<IndicatorSet> Indicators() = 0;
  // Calls `row` for each bin, ascending by start, then indicator, then slot;
  // also for bins of indicators that are gone, as long as they are stored. Stops
  // with `row`'s error when it returns one. InvalidArgument for a tier or slot
  // there is not.
  virtual absl::Status ReadIndicatorBins(
      const IndicatorBinFilter& filter,
      absl::FunctionRef<absl::Status(const IndicatorBin& bin)> row) = 0;
};

// Errors of every call: Unavailable (try again later: connection lost, database
// starting, locked, disk full), FailedPrecondition (schema newer than this
// program, permission, another slot count or tier table), InvalidArgument (the
// database refuses a row for what it is), Internal.
class Store {
 public:
  virtual ~Store() = default;

  // Takes every slot in `slots`: epoch + 1, owner and address recorded. From
  // then on older epochs commit nothing. Returns what is committed.
  virtual absl::StatusOr<Claimed> Claim(const std::vector<int>& slots,
                                        const std::string& owner) = 0;

  // Reads what Claim would return, without taking anything: after a conflict,
  // what to compare with, so the owner is known by its epoch alone.
  virtual absl::StatusOr<Claimed> ReadSlots(const std::vector<int>& slots) = 0;

  // Runs the transaction. Unavailable means unknown: it may have committed or
  // not, and may even still be committing; run the same transaction again, and
  // the compare decides.
  virtual absl::StatusOr<CommitResult> Commit(const Transaction& transaction) = 0;

  virtual absl::StatusOr<std::unique_ptr<Snapshot>> OpenSnapshot() = 0;

  // Raises a tier's floor. Never past the derived_until of the next coarser
  // tier in any slot: then the floor rises as far as that allows. Returns the
  // floor in force afterwards.
  virtual absl::StatusOr<int64_t> RaiseFloor(int tier, int64_t floor_seconds) = 0;
  // Deletes up to `max_rows` rows below the tier's floor, or drops whole
  // partitions. Returns true while there may be more.
  virtual absl::StatusOr<bool> DropBelowFloor(int tier, int64_t max_rows) = 0;

  // Deletes up to `max_rows` of the tier's indicator bins that start before
  // `before_seconds` or whose indicator is gone. Returns true while there may be
  // more. To find the latter, the calls after a deletion (by anyone) look through
  // the tier, `max_rows` rows at a time and once per process; bins added for an
  // indicator that is gone already may wait for the next deletion, or for their
  // age. Until its bins are gone, an indicator created anew under the same id
  // has them.
  virtual absl::StatusOr<bool> DropIndicatorBins(int tier, int64_t before_seconds,
                                                 int64_t max_rows) = 0;
};

// What a new store is created with, and an old one is checked against.
struct StoreOptions {
  int slot_count = 16;  // in [1, 1024]; fixed for the life of a store
  TierTable tiers = TierTable::Default();
  // Where derivation starts in a new store: earlier data counts as late.
  absl::Time created_time;
  Mutant mutant = Mutant::kNone;
};

}  // namespace weir::store
