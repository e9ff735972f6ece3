// The store in PostgreSQL 12 or later, in a schema of its own.
//
// A commit is one READ COMMITTED transaction: slot rows are locked in ascending
// order and compared, then watermarks, derived_until, the set of indicators and
// floors; partials go in by COPY, rows that may be there already as arrays,
// thousands to a statement.
// Because the comparisons come first, a transaction whose outcome is unknown is
// simply run again: a ghost of it that is still committing holds the slot's row,
// the second run waits for it, and then finds another commit number.
//
// Partial tables are partitioned by time. A partition is made, in a transaction
// of its own and before the commit that needs it, beside its table and then
// attached, which neither waits for readers nor makes them wait. Retention
// drops whole partitions, and tries again later when a reader is in the way.
//
// Thread safety: as Store's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "common/store/postgres/session.h"
#include "common/store/store.h"
#include "common/store/transaction.h"

namespace weir::store {

class PostgresStore : public Store {
 public:
  // Connects, creates the schema where there is none, and migrates it.
  //
  // Errors: Store's, and those of Migrate. FailedPrecondition also when the
  // server is too old, or the role may not create or use the schema.
  static absl::StatusOr<std::unique_ptr<Store>> Open(PostgresOptions postgres_options,
                                                     StoreOptions options);

  absl::StatusOr<Claimed> Claim(const std::vector<int>& slots, const std::string& owner) override;
  absl::StatusOr<Claimed> ReadSlots(const std::vector<int>& slots) override;
  absl::StatusOr<CommitResult> Commit(const Transaction& transaction) override;
  absl::StatusOr<std::unique_ptr<Snapshot>> OpenSnapshot() override;
  absl::StatusOr<int64_t> RaiseFloor(int tier, int64_t floor_seconds) override;
  absl::StatusOr<bool> DropBelowFloor(int tier, int64_t max_rows) override;
  absl::StatusOr<bool> DropIndicatorBins(int tier, int64_t before_seconds,
                                         int64_t max_rows) override;

 private:
  friend class PostgresSnapshot;
  PostgresStore(PostgresOptions postgres_options, StoreOptions options);

  absl::Status CreateSchema();
  absl::StatusOr<Claimed> ReadClaimed(const std::vector<int>& slots);
  // Makes the partitions the rows need, where this process has not seen them.
  absl::Status EnsurePartitions(const Transaction& t);
  absl::Status CreatePartition(int tier, int64_t start_seconds);
  // The parts of Commit, inside its transaction. False: a compare failed.
  absl::StatusOr<bool> AdvanceSlots(const Transaction& t);
  absl::StatusOr<bool> AdvanceWatermarks(const Transaction& t);
  absl::StatusOr<bool> AdvanceDerived(const Transaction& t);
  absl::StatusOr<bool> AdvanceIndicators(const Transaction& t);
  absl::StatusOr<bool> ChangeIndicator(const Transaction::IndicatorChange& change, bool* orphans);
  absl::StatusOr<bool> FloorsAgree(const Transaction& t);
  absl::Status InsertSeries(const Transaction& t);
  absl::Status WriteCumulatives(const Transaction& t);
  absl::Status DropCumulatives(const Transaction& t);
  absl::Status AddIndicatorBins(const Transaction& t);
  absl::Status CopyPartials(const Transaction& t);
  absl::StatusOr<CommitResult> CommitOnce(const Transaction& t);
  absl::StatusOr<CommitResult> CommitInside(const Transaction& t);
  // The parts of DropIndicatorBins. The first returns how many rows it deleted,
  // the second whether there is more to look at.
  absl::StatusOr<int64_t> DropOldBins(int tier, int64_t before_seconds, int64_t max_rows);
  absl::StatusOr<bool> SweepBins(int tier, int64_t max_rows, IndicatorSweep* sweep);
  void ReturnSession(std::unique_ptr<Session> session);

  const PostgresOptions postgres_options_;
  const StoreOptions options_;
  std::vector<int64_t> partition_seconds_;  // per tier; constant after Open

  // Owned by the one thread that commits.
  Session writer_;
  absl::flat_hash_set<std::pair<int, int64_t>> partitions_;  // (tier, start) known to exist
  std::vector<IndicatorSweep> sweeps_{kIndicatorTierCount};

  // Everything below is guarded by mu_.
  Mutex mu_;
  std::vector<std::unique_ptr<Session>> idle_sessions_ ABSL_GUARDED_BY(mu_);
  int open_snapshot_count_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace weir::store
