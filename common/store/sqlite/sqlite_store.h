// The store in one SQLite file: what `weir run` and small installations use.
//
// One connection writes, in WAL mode with synchronous=FULL; snapshots have
// connections of their own and run beside it. The file belongs to one process
// that writes; tools may read it at any time (views.h).
//
// Thread safety: as Store's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "common/store/sqlite/connection.h"
#include "common/store/store.h"
#include "common/store/transaction.h"

namespace weir::store {

struct SqliteOptions {
  // The most snapshots open at once; one more is Unavailable. In [1, 1024].
  int max_snapshot_count = 16;
};

class SqliteStore : public Store {
 public:
  // Opens the file, creates it where there is none, and migrates it.
  //
  // Errors: Store's, and those of Migrate.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& path, StoreOptions options,
                                                     SqliteOptions sqlite_options = {});
  ~SqliteStore() override;

  absl::StatusOr<Claimed> Claim(const std::vector<int>& slots, const std::string& owner) override;
  absl::StatusOr<Claimed> ReadSlots(const std::vector<int>& slots) override;
  absl::StatusOr<CommitResult> Commit(const Transaction& transaction) override;
  absl::StatusOr<std::unique_ptr<Snapshot>> OpenSnapshot() override;
  absl::StatusOr<int64_t> RaiseFloor(int tier, int64_t floor_seconds) override;
  absl::StatusOr<bool> DropBelowFloor(int tier, int64_t max_rows) override;
  absl::StatusOr<bool> DropIndicatorBins(int tier, int64_t before_seconds,
                                         int64_t max_rows) override;

 private:
  friend class SqliteSnapshot;
  struct Statements;
  SqliteStore(std::string path, StoreOptions options, SqliteOptions sqlite_options,
              std::unique_ptr<Connection> writer);

  absl::Status PrepareStatements();
  absl::StatusOr<Claimed> ReadClaimed(const std::vector<int>& slots);
  // The parts of Commit, inside its transaction. False: a compare failed.
  absl::StatusOr<bool> AdvanceSlots(const Transaction& t);
  absl::StatusOr<bool> FloorsAgree(const Transaction& t);
  absl::StatusOr<bool> AdvanceWatermarks(const Transaction& t);
  absl::StatusOr<bool> AdvanceDerived(const Transaction& t);
  absl::StatusOr<bool> AdvanceIndicators(const Transaction& t);
  absl::StatusOr<bool> ChangeIndicator(const Transaction::IndicatorChange& change, bool* orphans);
  absl::Status InsertSeries(const Transaction& t);
  absl::Status WriteCumulatives(const Transaction& t);
  absl::Status DropCumulatives(const Transaction& t);
  absl::Status InsertPartials(const Transaction& t);
  absl::Status AddIndicatorBins(const Transaction& t);
  absl::StatusOr<CommitResult> CommitInside(const Transaction& t);
  // The parts of DropIndicatorBins; each returns whether there may be more.
  absl::StatusOr<bool> DropOldBins(int tier, int64_t before_seconds, int64_t max_rows);
  absl::StatusOr<bool> SweepBins(int tier, int64_t max_rows, IndicatorSweep* sweep);
  void ReturnReader(std::unique_ptr<Connection> reader);

  const std::string path_;
  const StoreOptions options_;
  const SqliteOptions sqlite_options_;

  // Owned by the one thread that commits. Statements go before their connection.
  std::unique_ptr<Connection> writer_;
  std::unique_ptr<Statements> statements_;
  std::vector<IndicatorSweep> sweeps_{kIndicatorTierCount};

  // Everything below is guarded by mu_.
  Mutex mu_;
  std::vector<std::unique_ptr<Connection>> idle_readers_ ABSL_GUARDED_BY(mu_);
  int open_snapshot_count_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace weir::store
