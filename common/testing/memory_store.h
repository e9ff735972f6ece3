// A Store in memory, as careful as the real ones, for tests and the simulation:
// it keeps every promise of store.h, and breaks on demand in every way a
// database does.
//
// A FaultPolicy decides what becomes of each commit. A "ghost" is a commit
// whose reply was lost and that the database carries out later: CommitGhosts()
// runs it then, and its comparisons are made at that time.
//
// The rows live behind a shared pointer that is copied only when a commit finds
// a snapshot still holding it, so commits and snapshots cost what they touch.
//
// Thread safety: thread-safe.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/mutex.h"
#include "common/store/store.h"
#include "common/store/transaction.h"

namespace weir::test {

// What becomes of one commit. In all but the first case the caller is told
// Unavailable and knows no more.
enum class CommitFault {
  kNone,
  kRefused,       // the database is down: nothing happened
  kCommitted,     // it happened, the reply was lost
  kNotCommitted,  // it was rolled back, the reply was lost
  kGhost,         // it is still under way, and happens at CommitGhosts()
};
inline constexpr int kCommitFaultCount = 5;

class MemoryStore : public store::Store {
 public:
  using FaultPolicy = std::function<CommitFault(const store::Transaction& transaction)>;

  // One row, as committed.
  struct StoredPartial {
    int tier = 0;
    int slot = 0;
    int64_t start_seconds = 0;
    SeriesId series_id;
    int64_t commit_number = 0;
    Aggregate aggregate;
    std::string sketch;
  };
  // The last cumulative point of a series that began at one start time.
  struct StoredCumulative {
    int64_t time_unix_nano = 0;
    std::string point;
  };
  // Tier, start, indicator, slot: the order bins are read in.
  using IndicatorBinKey = std::tuple<int, int64_t, IndicatorId, int>;
  // Everything the store holds at one time.
  struct State {
    std::vector<store::SlotState> slots;
    std::vector<std::string> owners;  // per slot
    std::map<std::pair<int, WalId>, store::Watermark> watermarks;
    std::vector<int64_t> floors;
    std::map<std::pair<SeriesId, int>, store::SeriesRow> series;          // (id, slot)
    std::vector<std::map<int64_t, std::vector<StoredPartial>>> partials;  // per tier, by start
    // Per slot, by (id, start).
    std::vector<std::map<std::pair<SeriesId, int64_t>, StoredCumulative>> cumulatives;
    std::map<std::pair<std::string, std::string>, store::IndicatorRow> indicators;
    int64_t indicator_set_version = 1;
    int64_t indicator_deleted_version = 0;  // the last one that left bins to nobody
    std::map<IndicatorBinKey, store::IndicatorBin> indicator_bins;
  };

  // Errors: InvalidArgument for a slot count outside [1, 1024].
  static absl::StatusOr<std::unique_ptr<MemoryStore>> Create(store::StoreOptions options);
  ~MemoryStore() override;

  absl::StatusOr<store::Claimed> Claim(const std::vector<int>& slots,
                                       const std::string& owner) override;
  absl::StatusOr<store::Claimed> ReadSlots(const std::vector<int>& slots) override;
  absl::StatusOr<store::CommitResult> Commit(const store::Transaction& transaction) override;
  absl::StatusOr<std::unique_ptr<store::Snapshot>> OpenSnapshot() override;
  absl::StatusOr<int64_t> RaiseFloor(int tier, int64_t floor_seconds) override;
  absl::StatusOr<bool> DropBelowFloor(int tier, int64_t max_rows) override;
  absl::StatusOr<bool> DropIndicatorBins(int tier, int64_t before_seconds,
                                         int64_t max_rows) override;

  // Asked once per commit; without one nothing fails.
  void set_fault_policy(FaultPolicy policy);
  // While true every call is refused with Unavailable.
  void set_unavailable(bool unavailable);

  // Carries out the ghosts in the order they came. Returns how many committed;
  // the others met a conflict, as they should.
  int CommitGhosts();
  int ghost_count();
  // How often each fault was given, by CommitFault.
  std::array<int64_t, kCommitFaultCount> fault_counts();

  // What is committed now; for oracles, and to go back to later, as a database
  // does after a failover. Going back forgets the ghosts.
  std::shared_ptr<const State> state();
  void Restore(const std::shared_ptr<const State>& state);

 private:
  class MemorySnapshot;
  struct Ghost;

  explicit MemoryStore(store::StoreOptions options);
  State& Mutable() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<store::CommitResult> Apply(const store::Transaction& t, bool apart)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  store::CommitResult Compare(const store::Transaction& t) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool WatermarksAgree(const store::Transaction& t) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WriteWatermarks(const store::Transaction& t) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  static absl::Status CheckPartials(const store::Transaction& t);
  static void WritePartials(const store::Transaction& t, State* state);
  bool IndicatorsAgree(const store::Transaction& t) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  static absl::Status WriteIndicators(const store::Transaction& t, State* state);
  store::Claimed ReadClaimed(const std::vector<int>& slots) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Release(std::shared_ptr<const State> state);

  // Constant after construction.
  const store::StoreOptions options_;

  // Everything below is guarded by mu_.
  Mutex mu_;
  std::shared_ptr<State> state_ ABSL_GUARDED_BY(mu_);
  std::vector<store::IndicatorSweep> sweeps_ ABSL_GUARDED_BY(mu_){kIndicatorTierCount};
  FaultPolicy policy_ ABSL_GUARDED_BY(mu_);
  bool unavailable_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::unique_ptr<Ghost>> ghosts_ ABSL_GUARDED_BY(mu_);
  std::array<int64_t, kCommitFaultCount> fault_counts_ ABSL_GUARDED_BY(mu_) = {};
};

}  // namespace weir::test
