// The faults and mutants of MemoryStore: what the simulation relies on.
#include "common/testing/memory_store.h"

#include <gtest/gtest.h>

#include "tests/conformance/store_suite.h"

namespace weir::test {
namespace {

using store::CommitResult;
using store::Transaction;

constexpr WalId kWal{.high = 1, .low = 2};

std::unique_ptr<MemoryStore> NewStore(Mutant mutant = Mutant::kNone) {
  store::StoreOptions options;
  options.slot_count = 2;
  options.created_time = absl::FromUnixSeconds(kNoon);
  options.mutant = mutant;
  auto store = MemoryStore::Create(options);
  EXPECT_TRUE(store.ok());
  EXPECT_TRUE((*store)->Claim({0, 1}, "a").ok());
  return *std::move(store);
}

Transaction OneRow(int64_t epoch = 1, int64_t number = 0, uint64_t lsn = 0) {
  Transaction t;
  t.slots = {{.slot = 0, .epoch = epoch, .old_commit_number = number}};
  t.watermarks = {{.slot = 0, .wal_id = kWal, .old_lsn = lsn, .new_lsn = lsn + 1}};
  t.partials = {Partial(0, 0, kNoon, SeriesId{1, 1}, OneSample(1, kNoon))};
  return t;
}

size_t RowCount(MemoryStore* store) {
  size_t count = 0;
  for (const auto& tier : store->state()->partials) {
    for (const auto& [start, rows] : tier) count += rows.size();
  }
  return count;
}

void FailOnce(MemoryStore* store, CommitFault fault) {
  store->set_fault_policy([fault, given = false](const Transaction&) mutable {
    return std::exchange(given, true) ? CommitFault::kNone : fault;
  });
}

TEST(MemoryStoreTest, LostReplyOfACommitThatHappenedIsAConflictTheNextTime) {
  const auto store = NewStore();
  FailOnce(store.get(), CommitFault::kCommitted);
  EXPECT_TRUE(absl::IsUnavailable(store->Commit(OneRow()).status()));
  EXPECT_EQ(*store->Commit(OneRow()), CommitResult::kConflict);
  EXPECT_EQ(RowCount(store.get()), 1u);
}

TEST(MemoryStoreTest, CommitThatDidNotHappenSucceedsTheNextTime) {
  for (const CommitFault fault : {CommitFault::kRefused, CommitFault::kNotCommitted}) {
    const auto store = NewStore();
    FailOnce(store.get(), fault);
    Transaction t = OneRow();
    t.cumulatives = {Cumulative(0, SeriesId{1, 1}, 5, 6, "point")};
    t.indicator_changes = {{.row = Indicator("acme", "a", 1)}};
    t.indicator_bins = {Bin(0, 0, kNoon, IndicatorId{1, 1}, 1, 2)};
    EXPECT_TRUE(absl::IsUnavailable(store->Commit(t).status()));
    EXPECT_EQ(RowCount(store.get()), 0u);
    EXPECT_TRUE(store->state()->indicators.empty());
    EXPECT_TRUE(store->state()->indicator_bins.empty());
    EXPECT_TRUE(store->state()->cumulatives[0].empty());
    EXPECT_EQ(*store->Commit(OneRow()), CommitResult::kCommitted);
    EXPECT_EQ(store->fault_counts()[static_cast<int>(fault)], 1);
  }
}

TEST(MemoryStoreTest, GhostCommitsLaterUnlessItsPlaceIsTaken) {
  const auto store = NewStore();
  FailOnce(store.get(), CommitFault::kGhost);
  {
    std::string sketch = "bytes of the caller's";
    Transaction t = OneRow();
    t.partials[0].sketch = sketch;
    t.cumulatives = {Cumulative(0, SeriesId{1, 1}, 5, 6, sketch)};
    t.indicator_changes = {{.row = Indicator("acme", "a", 1)}};
    t.indicator_bins = {Bin(0, 0, kNoon, IndicatorId{1, 1}, 1, 2)};
    EXPECT_TRUE(absl::IsUnavailable(store->Commit(t).status()));
  }
  EXPECT_EQ(store->ghost_count(), 1);
  EXPECT_EQ(RowCount(store.get()), 0u);
  EXPECT_TRUE(store->state()->cumulatives[0].empty());
  EXPECT_EQ(store->CommitGhosts(), 1);
  EXPECT_EQ(store->state()->partials[0].at(kNoon)[0].sketch, "bytes of the caller's");
  EXPECT_EQ(store->state()->cumulatives[0].at({SeriesId{1, 1}, 5}).point, "bytes of the caller's");
  EXPECT_EQ(store->state()->indicators.size(), 1u);
  EXPECT_EQ(store->state()->indicator_bins.size(), 1u);
  EXPECT_EQ(*store->Commit(OneRow()), CommitResult::kConflict);

  FailOnce(store.get(), CommitFault::kGhost);
  EXPECT_TRUE(absl::IsUnavailable(store->Commit(OneRow(1, 1, 1)).status()));
  EXPECT_EQ(*store->Commit(OneRow(1, 1, 1)), CommitResult::kCommitted);
  EXPECT_EQ(store->CommitGhosts(), 0);
  EXPECT_EQ(RowCount(store.get()), 2u);
}

TEST(MemoryStoreTest, StateThatWasSavedComesBack) {
  const auto store = NewStore();
  const auto before = store->state();
  Transaction t = OneRow();
  t.cumulatives = {Cumulative(0, SeriesId{1, 1}, 5, 6, "point")};
  t.indicator_changes = {{.row = Indicator("acme", "a", 1)}};
  t.indicator_bins = {Bin(0, 0, kNoon, IndicatorId{1, 1}, 1, 2)};
  EXPECT_EQ(*store->Commit(t), CommitResult::kCommitted);
  EXPECT_EQ(store->state()->cumulatives[0].size(), 1u);
  store->Restore(before);
  EXPECT_EQ(RowCount(store.get()), 0u);
  EXPECT_TRUE(store->state()->cumulatives[0].empty());
  EXPECT_EQ(store->state()->indicator_set_version, 1);
  EXPECT_TRUE(store->state()->indicator_bins.empty());
  EXPECT_EQ(*store->Commit(OneRow()), CommitResult::kCommitted);
}

TEST(MemoryStoreTest, UnavailableStoreRefusesEveryCall) {
  const auto store = NewStore();
  store->set_unavailable(true);
  EXPECT_TRUE(absl::IsUnavailable(store->Commit(OneRow()).status()));
  EXPECT_TRUE(absl::IsUnavailable(store->Claim({0}, "a").status()));
  EXPECT_TRUE(absl::IsUnavailable(store->ReadSlots({0}).status()));
  EXPECT_TRUE(absl::IsUnavailable(store->OpenSnapshot().status()));
  EXPECT_TRUE(absl::IsUnavailable(store->RaiseFloor(0, 0).status()));
  EXPECT_TRUE(absl::IsUnavailable(store->DropBelowFloor(0, 1).status()));
  EXPECT_TRUE(absl::IsUnavailable(store->DropIndicatorBins(0, kNoon, 1).status()));
}

TEST(MemoryStoreTest, WithoutCompareAndSetARepeatIsCountedTwice) {
  const auto store = NewStore(Mutant::kNoCompareAndSet);
  EXPECT_EQ(*store->Commit(OneRow()), CommitResult::kCommitted);
  EXPECT_EQ(*store->Commit(OneRow()), CommitResult::kCommitted);
  EXPECT_EQ(RowCount(store.get()), 2u);
}

TEST(MemoryStoreTest, WithTheWatermarkApartAFailedCommitLosesItsRows) {
  const auto store = NewStore(Mutant::kWatermarkApart);
  FailOnce(store.get(), CommitFault::kNotCommitted);
  EXPECT_TRUE(absl::IsUnavailable(store->Commit(OneRow()).status()));
  EXPECT_EQ(*store->Commit(OneRow()), CommitResult::kConflict);
  EXPECT_EQ(store->ReadSlots({0})->watermarks.at(0).lsn, 1u);
  EXPECT_EQ(RowCount(store.get()), 0u);
}

TEST(MemoryStoreTest, WithoutAnEpochCheckAZombieCommits) {
  const auto store = NewStore(Mutant::kNoEpochCheck);
  EXPECT_TRUE(store->Claim({0}, "b").ok());
  EXPECT_EQ(*store->Commit(OneRow()), CommitResult::kCommitted);
}

TEST(MemoryStoreTest, WithoutItsComparisonADerivationHappensTwice) {
  const auto store = NewStore(Mutant::kDeriveTwice);
  Transaction t = OneRow();
  t.watermarks.clear();
  t.derives = {{.slot = 0, .tier = 1, .old_until_seconds = kNoon, .new_until_seconds = kNoon + 60}};
  EXPECT_EQ(*store->Commit(t), CommitResult::kCommitted);
  EXPECT_EQ(*store->Commit(t), CommitResult::kCommitted);
  EXPECT_EQ(RowCount(store.get()), 2u);
  EXPECT_EQ(*store->Commit(OneRow()), CommitResult::kConflict);
}

TEST(MemoryStoreTest, WithUncheckedFloorsALateRouteIsTaken) {
  const auto store = NewStore(Mutant::kFloorUnchecked);
  Transaction t = OneRow();
  t.floors = std::vector<int64_t>(5, -1);
  EXPECT_EQ(*store->Commit(t), CommitResult::kCommitted);
}

}  // namespace
}  // namespace weir::test
