// Indicators and their counts: every promise of common/store/store.h about them,
// for every store.
#include <algorithm>
#include <atomic>
#include <limits>
#include <map>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/testing/test_seed.h"
#include "tests/conformance/store_suite.h"

namespace weir::test {
namespace {

using store::CommitResult;
using store::IndicatorBin;
using store::IndicatorBinFilter;
using store::IndicatorRow;
using store::Transaction;

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr IndicatorId kOne{.high = 1, .low = 1};
constexpr IndicatorId kTwo{.high = 2, .low = 0};

class IndicatorStoreTest : public StoreTest {
 protected:
  store::IndicatorSet Indicators() { return *OpenSnapshot()->Indicators(); }

  // Commits one change on its own. Returns what became of it.
  CommitResult Change(Transaction::IndicatorChange change) {
    Transaction t;
    t.indicator_changes = {std::move(change)};
    const auto result = Commit(t);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.value_or(CommitResult::kFloorsMoved);
  }
  CommitResult Put(const IndicatorRow& row, int64_t old_version) {
    return Change({.row = row, .old_version = old_version});
  }
  CommitResult Delete(const IndicatorRow& row, int64_t old_version) {
    return Change({.row = {.tenant = row.tenant, .name = row.name},
                   .old_version = old_version,
                   .deleted = true});
  }
  void AddBins(std::vector<IndicatorBin> bins) {
    std::vector<int> slots;
    for (const IndicatorBin& bin : bins) slots.push_back(bin.slot);
    std::sort(slots.begin(), slots.end());
    slots.erase(std::unique(slots.begin(), slots.end()), slots.end());
    Transaction t = Next(slots);
    t.indicator_bins = std::move(bins);
    MustCommit(t);
  }
  // Calls until there is no more; returns how many calls that took.
  int DropAll(int tier, int64_t before_seconds, int64_t max_rows) {
    for (int calls = 1;; ++calls) {
      const size_t before = AllBins(tier).size();
      const auto more = store_->DropIndicatorBins(tier, before_seconds, max_rows);
      EXPECT_TRUE(more.ok()) << more.status();
      EXPECT_LE(before, AllBins(tier).size() + static_cast<size_t>(max_rows));
      if (!more.ok() || !*more || calls > 1000) return calls;
    }
  }
};

TEST_P(IndicatorStoreTest, NewStoreHasNoIndicatorsAndASetOfVersionOne) {
  Open();
  EXPECT_EQ(claimed_.indicator_set_version, 1);
  EXPECT_EQ(Indicators().version, 1);
  EXPECT_TRUE(Indicators().rows.empty());
  for (int tier = 0; tier < kIndicatorTierCount; ++tier) {
    EXPECT_TRUE(AllBins(tier).empty());
    EXPECT_FALSE(*store_->DropIndicatorBins(tier, kNoon, 1));
  }
}

TEST_P(IndicatorStoreTest, IndicatorIsCreatedReplacedAndDeletedByItsTenantAndName) {
  Open();
  const IndicatorRow first = Indicator("acme", "availability", 1, "counts");
  EXPECT_EQ(Put(first, 0), CommitResult::kCommitted);
  EXPECT_EQ(Put(Indicator("other", "availability", 7, "theirs"), 0), CommitResult::kCommitted);
  EXPECT_EQ(Indicators().version, 3);
  EXPECT_EQ(Indicators().rows,
            (std::vector<IndicatorRow>{first, Indicator("other", "availability", 7, "theirs")}));
  const IndicatorRow second = Indicator("acme", "availability", 5, "counts otherwise");
  EXPECT_EQ(Put(second, 1), CommitResult::kCommitted);
  EXPECT_EQ(Delete(Indicator("other", "availability", 7), 7), CommitResult::kCommitted);
  EXPECT_EQ(Indicators().version, 5);
  EXPECT_EQ(Indicators().rows, (std::vector<IndicatorRow>{second}));
  // One that is gone may come back, and its versions begin anew.
  EXPECT_EQ(Put(Indicator("other", "availability", 1), 0), CommitResult::kCommitted);
  EXPECT_EQ(Indicators().rows.size(), 2u);
}

TEST_P(IndicatorStoreTest, ChangeFromAnotherVersionIsAConflictAndWritesNothing) {
  Open();
  const IndicatorRow row = Indicator("acme", "a", 3, "kept");
  ASSERT_EQ(Put(row, 0), CommitResult::kCommitted);
  EXPECT_EQ(Put(row, 0), CommitResult::kConflict);  // also what a re-run gets
  EXPECT_EQ(Put(Indicator("acme", "a", 5), 2), CommitResult::kConflict);
  EXPECT_EQ(Put(Indicator("acme", "a", 5), 4), CommitResult::kConflict);
  EXPECT_EQ(Put(Indicator("acme", "b", 5), 3), CommitResult::kConflict);
  EXPECT_EQ(Delete(row, 2), CommitResult::kConflict);
  EXPECT_EQ(Delete(Indicator("acme", "b", 1), 1), CommitResult::kConflict);
  EXPECT_EQ(Indicators().version, 2);
  EXPECT_EQ(Indicators().rows, (std::vector<IndicatorRow>{row}));
  ASSERT_EQ(Delete(row, 3), CommitResult::kCommitted);
  EXPECT_EQ(Delete(row, 3), CommitResult::kConflict);
}

TEST_P(IndicatorStoreTest, OneConflictLeavesEverythingElseOfItsTransactionOut) {
  Open();
  ASSERT_EQ(Put(Indicator("acme", "b", 3), 0), CommitResult::kCommitted);
  Transaction t = Next({0});
  t.indicator_changes = {{.row = Indicator("acme", "a", 1)},
                         {.row = Indicator("acme", "b", 5), .old_version = 4}};
  t.indicator_bins = {Bin(0, 0, kNoon, kOne, 1, 2)};
  t.partials = {Partial(0, 0, kNoon, SeriesId{1, 1}, OneSample(1, kNoon))};
  EXPECT_EQ(*Commit(t), CommitResult::kConflict);
  EXPECT_EQ(Indicators().version, 2);
  EXPECT_EQ(Indicators().rows.size(), 1u);
  EXPECT_TRUE(AllBins(0).empty());
  EXPECT_TRUE(AllPartials(0).empty());
  t.indicator_changes[1].old_version = 3;
  MustCommit(t);
  EXPECT_EQ(Indicators().version, 3);  // one more, however many changed
  EXPECT_EQ(Indicators().rows.size(), 2u);
  EXPECT_EQ(AllBins(0).size(), 1u);
}

TEST_P(IndicatorStoreTest, FlushFoldedUnderAnOlderSetIsAConflict) {
  Open();
  ASSERT_EQ(Put(Indicator("acme", "a", 1), 0), CommitResult::kCommitted);
  Transaction t = Next({0});
  t.indicator_set_version = 1;
  t.indicator_bins = {Bin(0, 0, kNoon, kOne, 1, 2)};
  t.partials = {Partial(0, 0, kNoon, SeriesId{1, 1}, OneSample(1, kNoon))};
  EXPECT_EQ(*Commit(t), CommitResult::kConflict);
  EXPECT_EQ(Read().indicator_set_version, 2);                   // why
  t.floors = std::vector<int64_t>(claimed_.floors.size(), 60);  // a conflict all the same
  EXPECT_EQ(*Commit(t), CommitResult::kConflict);
  t.floors.clear();
  t.indicator_set_version = 3;
  EXPECT_EQ(*Commit(t), CommitResult::kConflict);
  EXPECT_TRUE(AllBins(0).empty());
  EXPECT_TRUE(AllPartials(0).empty());
  EXPECT_EQ(Read().slots[0].commit_number, 0);
  t.indicator_set_version = 2;
  MustCommit(t);
  Transaction careless = Next({0});  // without a version the set does not matter
  careless.indicator_bins = t.indicator_bins;
  MustCommit(careless);
  EXPECT_EQ(AllBins(0), (std::vector<IndicatorBin>{Bin(0, 0, kNoon, kOne, 2, 4)}));
  EXPECT_EQ(Indicators().version, 2);
}

TEST_P(IndicatorStoreTest, ChangeThatComparesTheSetMeetsItToo) {
  Open();
  Transaction t;
  t.indicator_changes = {{.row = Indicator("acme", "a", 1)}};
  t.indicator_set_version = 2;
  EXPECT_EQ(*Commit(t), CommitResult::kConflict);
  t.indicator_set_version = 1;
  EXPECT_EQ(*Commit(t), CommitResult::kCommitted);
  t.indicator_changes = {{.row = Indicator("acme", "b", 1)}};
  EXPECT_EQ(*Commit(t), CommitResult::kConflict);
  EXPECT_EQ(Indicators().rows.size(), 1u);
}

TEST_P(IndicatorStoreTest, IndicatorsComeBackInByteOrderWithAnyDefinition) {
  Open();
  std::string every_byte;
  for (int i = 0; i < 256; ++i) every_byte += static_cast<char>(i);
  const std::string long_name(store::kMaxIndicatorNameBytes - 4, 'x');
  std::vector<IndicatorRow> expected;
  for (const std::string tenant : {"", "Acme", "acme", "\xc3\xa4", "\xf0\x9f\x98\x80"}) {
    for (const std::string& name : {std::string("Z"), std::string("a b"), std::string("a'\"\\b"),
                                    std::string("a-b"), long_name, std::string("\xc3\xa9")}) {
      expected.push_back(Indicator(tenant, name, static_cast<int64_t>(expected.size()) + 1,
                                   expected.size() % 2 == 0 ? every_byte : ""));
    }
  }
  expected.back().version = kMost;
  expected[0].definition = std::string(1 << 20, '\0');
  Transaction t;
  for (const IndicatorRow& row : expected) t.indicator_changes.push_back({.row = row});
  std::reverse(t.indicator_changes.begin(), t.indicator_changes.end());
  MustCommit(t);
  EXPECT_TRUE(std::is_sorted(expected.begin(), expected.end(), [](const auto& a, const auto& b) {
    return std::tie(a.tenant, a.name) < std::tie(b.tenant, b.name);
  }));
  EXPECT_EQ(Indicators().rows, expected);
}

TEST_P(IndicatorStoreTest, TwoIndicatorsOfOneIdAreRefused) {
  Open();
  IndicatorRow row = Indicator("acme", "a", 1);
  ASSERT_EQ(Put(row, 0), CommitResult::kCommitted);
  Transaction t = Next({0});
  t.indicator_changes = {{.row = Indicator("acme", "b", 1)}};
  t.indicator_changes[0].row.id = row.id;
  t.indicator_bins = {Bin(0, 0, kNoon, kOne, 1, 2)};
  const auto refused = Commit(t);
  EXPECT_TRUE(absl::IsInvalidArgument(refused.status())) << refused.status();
  EXPECT_EQ(Indicators().version, 2);
  EXPECT_TRUE(AllBins(0).empty());
  // What a deletion frees can be taken at once.
  t.indicator_changes.push_back(
      {.row = {.tenant = "acme", .name = "a"}, .old_version = 1, .deleted = true});
  MustCommit(t);
  ASSERT_EQ(Indicators().rows.size(), 1u);
  EXPECT_EQ(Indicators().rows[0].name, "b");
}

TEST_P(IndicatorStoreTest, CountsAreAddedToWhatIsThere) {
  Open();
  AddBins({Bin(0, 0, kNoon, kOne, 1, 2), Bin(0, 0, kNoon, kTwo, 3, 4), Bin(0, 1, kNoon, kOne, 5, 6),
           Bin(0, 0, kNoon + 10, kOne, 7, 8), Bin(1, 0, kNoon, kOne, 9, 10)});
  AddBins({Bin(0, 0, kNoon, kOne, 100, 1000), Bin(0, 2, kNoon, kOne, 0, 0),
           Bin(1, 0, kNoon, kOne, 0, 1)});
  EXPECT_EQ(AllBins(0), (std::vector<IndicatorBin>{
                            Bin(0, 0, kNoon, kOne, 101, 1002), Bin(0, 1, kNoon, kOne, 5, 6),
                            Bin(0, 2, kNoon, kOne, 0, 0), Bin(0, 0, kNoon, kTwo, 3, 4),
                            Bin(0, 0, kNoon + 10, kOne, 7, 8)}));
  EXPECT_EQ(AllBins(1), (std::vector<IndicatorBin>{Bin(1, 0, kNoon, kOne, 9, 11)}));
  EXPECT_TRUE(AllBins(2).empty());
}

TEST_P(IndicatorStoreTest, CountsStayAtTheMostThereIs) {
  Open();
  AddBins({Bin(0, 0, kNoon, kOne, kMost - 1, kMost), Bin(0, 0, kNoon, kTwo, 1, kMost - 5)});
  AddBins({Bin(0, 0, kNoon, kOne, 1, 1), Bin(0, 0, kNoon, kTwo, 2, 5)});
  EXPECT_EQ(AllBins(0), (std::vector<IndicatorBin>{Bin(0, 0, kNoon, kOne, kMost, kMost),
                                                   Bin(0, 0, kNoon, kTwo, 3, kMost)}));
  AddBins({Bin(0, 0, kNoon, kOne, kMost, 0), Bin(0, 0, kNoon, kTwo, 0, kMost)});
  EXPECT_EQ(AllBins(0), (std::vector<IndicatorBin>{Bin(0, 0, kNoon, kOne, kMost, kMost),
                                                   Bin(0, 0, kNoon, kTwo, 3, kMost)}));
}

TEST_P(IndicatorStoreTest, CommitRunAgainIsAConflictAndAddsOnce) {
  Open();
  Transaction t = Next({0});
  t.indicator_bins = {Bin(0, 0, kNoon, kOne, 1, 2)};
  MustCommit(t);
  EXPECT_EQ(*Commit(t), CommitResult::kConflict);
  EXPECT_EQ(AllBins(0), (std::vector<IndicatorBin>{Bin(0, 0, kNoon, kOne, 1, 2)}));
}

TEST_P(IndicatorStoreTest, CommitThatMeetsAConflictAddsNothing) {
  Open();
  AddBins({Bin(0, 0, kNoon, kOne, 1, 2)});
  const auto conflicts = [&](const std::function<void(Transaction*)>& spoil,
                             CommitResult expected = CommitResult::kConflict) {
    Transaction t = Next({0, 1});
    t.indicator_changes = {{.row = Indicator("acme", "a", 1)}};
    t.indicator_bins = {Bin(0, 0, kNoon, kOne, 1, 2), Bin(0, 1, kNoon, kOne, 1, 2)};
    spoil(&t);
    const auto result = Commit(t);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(*result, expected);
    EXPECT_EQ(AllBins(0), (std::vector<IndicatorBin>{Bin(0, 0, kNoon, kOne, 1, 2)}));
    EXPECT_EQ(Indicators().version, 1);
  };
  conflicts([](Transaction* t) { --t->slots[1].epoch; });
  conflicts([](Transaction* t) { --t->slots[0].old_commit_number; });
  conflicts([](Transaction* t) {
    t->watermarks = {{.slot = 0, .wal_id = WalId{1, 2}, .old_lsn = 3, .new_lsn = 4}};
  });
  conflicts([](Transaction* t) {
    t->derives = {{.slot = 1, .tier = 1, .old_until_seconds = 0, .new_until_seconds = kNoon + 60}};
  });
  conflicts([&](Transaction* t) { t->floors = std::vector<int64_t>(claimed_.floors.size(), 60); },
            CommitResult::kFloorsMoved);
}

TEST_P(IndicatorStoreTest, CommitThatIsRefusedAfterItsCountsAddsNothing) {
  Open();
  AddBins({Bin(0, 0, kNoon, kOne, 1, 2)});
  Transaction t = Next({0});
  t.indicator_changes = {{.row = Indicator("acme", "a", 1)}};
  t.indicator_bins = {Bin(0, 0, kNoon, kOne, 1, 2)};
  t.partials = {Partial(0, 0, kNoon, SeriesId{1, 1}, OneSample(1, kNoon))};
  t.partials.push_back(t.partials[0]);  // which only the database can see
  const auto result = Commit(t);
  EXPECT_TRUE(absl::IsInvalidArgument(result.status())) << result.status();
  EXPECT_EQ(AllBins(0), (std::vector<IndicatorBin>{Bin(0, 0, kNoon, kOne, 1, 2)}));
  EXPECT_TRUE(Indicators().rows.empty());
}

TEST_P(IndicatorStoreTest, MalformedChangeOrCountIsRefused) {
  Open();
  AddBins({Bin(0, 0, kNoon, kOne, 1, 2)});
  const auto refused = [&](const std::function<void(Transaction*)>& spoil) {
    Transaction t = Next({0});
    t.indicator_changes = {{.row = Indicator("acme", "a", 2)}, {.row = Indicator("acme", "b", 1)}};
    t.indicator_bins = {Bin(1, 0, kNoon, kOne, 1, 2), Bin(1, 0, kNoon, kTwo, 1, 2)};
    spoil(&t);
    const auto result = Commit(t);
    EXPECT_TRUE(absl::IsInvalidArgument(result.status())) << result.status();
    EXPECT_TRUE(Indicators().rows.empty());
    EXPECT_TRUE(AllBins(1).empty());
  };
  refused([](Transaction* t) { t->indicator_changes[1].row.name = "a"; });
  refused([](Transaction* t) { t->indicator_changes[0].row.version = 0; });
  refused([](Transaction* t) { t->indicator_changes[0].old_version = 2; });
  refused([](Transaction* t) { t->indicator_changes[0].old_version = -1; });
  refused([](Transaction* t) { t->indicator_changes[0].deleted = true; });
  refused([](Transaction* t) { t->indicator_changes[0].row.name = std::string("a\0b", 3); });
  refused([](Transaction* t) { t->indicator_changes[0].row.tenant = "\xed\xa0\x80"; });
  refused([](Transaction* t) {
    t->indicator_changes[0].row.name = std::string(store::kMaxIndicatorNameBytes - 3, 'x');
  });
  refused([](Transaction* t) { t->indicator_set_version = -1; });
  refused([](Transaction* t) { t->indicator_bins[0].slot = 1; });
  refused([](Transaction* t) { t->indicator_bins[0].slot = -1; });
  refused([](Transaction* t) { t->indicator_bins[0].tier = kIndicatorTierCount; });
  refused([](Transaction* t) { t->indicator_bins[0].tier = -1; });
  refused([](Transaction* t) { t->indicator_bins[0].start_seconds += 10; });
  refused([](Transaction* t) { t->indicator_bins[0].start_seconds = int64_t{60} << 50; });
  refused([](Transaction* t) { t->indicator_bins[0].good = -1; });
  refused([](Transaction* t) { t->indicator_bins[0].total = -1; });
  refused([](Transaction* t) { t->indicator_bins[1].indicator_id = kOne; });
}

TEST_P(IndicatorStoreTest, BinsComeBackInOrderByEveryFilter) {
  std::mt19937_64 random(TestSeed(20260301));
  Open();
  // Ids that sort badly as signed numbers or text, and bins from before 1970 on.
  std::vector<IndicatorId> ids;
  for (const uint64_t high : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 63, ~uint64_t{0}}) {
    for (const uint64_t low : {uint64_t{0}, ~uint64_t{0}}) ids.push_back({high, low});
  }
  std::map<std::tuple<int, int64_t, IndicatorId, int>, IndicatorBin> all;
  for (int tier = 0; tier < kIndicatorTierCount; ++tier) {
    const int64_t width = kIndicatorTiers[tier].bin_seconds;
    for (const int64_t start :
         {-2 * width, -width, int64_t{0}, kNoon - width, kNoon, kNoon + width}) {
      for (const IndicatorId& id : ids) {
        for (int slot = 0; slot < options_.slot_count; ++slot) {
          if (random() % 3 == 0) continue;
          all[{tier, start, id, slot}] =
              Bin(tier, slot, start, id, static_cast<int64_t>(random() >> 1),
                  static_cast<int64_t>(random() >> 1));
        }
      }
    }
  }
  std::vector<IndicatorBin> bins;
  for (const auto& [key, bin] : all) bins.push_back(bin);
  std::shuffle(bins.begin(), bins.end(), random);
  AddBins(bins);
  const auto snapshot = OpenSnapshot();
  for (int i = 0; i < 400 && !HasFailure(); ++i) {
    const int64_t width = kIndicatorTiers[i % kIndicatorTierCount].bin_seconds;
    const int64_t bounds[] = {std::numeric_limits<int64_t>::min(),
                              -width,
                              -width + 1,
                              0,
                              kNoon - 1,
                              kNoon,
                              kNoon + 1,
                              kNoon + width,
                              kMost};
    IndicatorBinFilter filter{.tier = i % kIndicatorTierCount,
                              .start_seconds = bounds[random() % std::size(bounds)],
                              .end_seconds = bounds[random() % std::size(bounds)]};
    if (random() % 2 == 0) filter.slot = static_cast<int>(random() % 4);
    if (random() % 2 == 0) {
      for (size_t k = 1 + random() % 4; k > 0; --k) {
        filter.ids.push_back(random() % 5 == 0 ? kTwo : ids[random() % ids.size()]);
      }
    }
    std::vector<IndicatorBin> expected;
    for (const auto& [key, bin] : all) {
      const bool wanted = filter.ids.empty() || std::find(filter.ids.begin(), filter.ids.end(),
                                                          bin.indicator_id) != filter.ids.end();
      if (wanted && bin.tier == filter.tier && bin.start_seconds >= filter.start_seconds &&
          bin.start_seconds < filter.end_seconds && bin.slot == filter.slot.value_or(bin.slot)) {
        expected.push_back(bin);
      }
    }
    EXPECT_EQ(Bins(snapshot.get(), filter), expected) << "filter " << i;
  }
}

TEST_P(IndicatorStoreTest, ManyBinsAreAddedAndComeBackInOrder) {
  std::mt19937_64 random(TestSeed(20260301));
  Open();
  std::map<std::tuple<int64_t, IndicatorId, int>, IndicatorBin> all;
  for (int commit = 0; commit < 3; ++commit) {
    std::map<std::tuple<int64_t, IndicatorId, int>, IndicatorBin> added;
    while (added.size() < 20'000) {
      const IndicatorId id{.high = random() % 4 << 62, .low = random() % 1000};
      const int64_t start = kNoon + 10 * static_cast<int64_t>(random() % 5);
      const int slot = 1 + static_cast<int>(random() % 2);
      added[{start, id, slot}] = Bin(0, slot, start, id, static_cast<int64_t>(random() % 10),
                                     static_cast<int64_t>(random() % 100));
    }
    std::vector<IndicatorBin> bins;
    for (const auto& [key, bin] : added) {
      bins.push_back(bin);
      const auto [found, inserted] = all.try_emplace(key, bin);
      if (inserted) continue;
      found->second.good += bin.good;
      found->second.total += bin.total;
    }
    std::shuffle(bins.begin(), bins.end(), random);
    AddBins(bins);
  }
  std::vector<IndicatorBin> expected;
  for (const auto& [key, bin] : all) expected.push_back(bin);
  EXPECT_TRUE(AllBins(0) == expected);
}

TEST_P(IndicatorStoreTest, TierOrSlotThereIsNotIsAnInvalidArgument) {
  Open();
  const auto snapshot = OpenSnapshot();
  const auto none = [](const IndicatorBin&) { return absl::InternalError("a bin of no tier"); };
  for (const int tier : {-1, kIndicatorTierCount}) {
    EXPECT_TRUE(absl::IsInvalidArgument(snapshot->ReadIndicatorBins({.tier = tier}, none)));
    EXPECT_TRUE(absl::IsInvalidArgument(store_->DropIndicatorBins(tier, kNoon, 1).status()));
  }
  for (const int slot : {-1, options_.slot_count}) {
    EXPECT_TRUE(absl::IsInvalidArgument(
        snapshot->ReadIndicatorBins({.slot = slot, .end_seconds = kNoon}, none)));
  }
  EXPECT_TRUE(absl::IsInvalidArgument(store_->DropIndicatorBins(0, kNoon, 0).status()));
}

TEST_P(IndicatorStoreTest, ReadIndicatorBinsStopsWithTheErrorOfItsCaller) {
  Open();
  std::vector<IndicatorBin> bins;
  for (uint64_t id = 0; id < 10; ++id) bins.push_back(Bin(0, 0, kNoon, {id, 0}, 1, 2));
  AddBins(bins);
  const auto snapshot = OpenSnapshot();
  for (const std::vector<IndicatorId>& ids : {std::vector<IndicatorId>(), {{2, 0}, {4, 0}}}) {
    int seen = 0;
    const absl::Status status = snapshot->ReadIndicatorBins(
        {.start_seconds = kNoon, .end_seconds = kNoon + 10, .ids = ids}, [&](const IndicatorBin&) {
          return ++seen == 2 ? absl::ResourceExhaustedError("enough") : absl::OkStatus();
        });
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_EQ(seen, 2);
  }
  EXPECT_EQ(Bins(snapshot.get(), {.start_seconds = kNoon, .end_seconds = kNoon + 1}).size(), 10u);
}

TEST_P(IndicatorStoreTest, OldBinsAreDroppedInStepsAndOnlyThose) {
  Open();
  std::vector<IndicatorBin> bins;
  for (int tier = 0; tier < 2; ++tier) {
    for (int64_t i = 0; i < 60; ++i) {
      for (int slot = 0; slot < 4; ++slot) {
        for (const IndicatorId& id : {kOne, kTwo}) {
          bins.push_back(Bin(tier, slot, kNoon + 60 * i, id, 1, 2));
        }
      }
    }
  }
  AddBins(bins);
  EXPECT_FALSE(*store_->DropIndicatorBins(0, kNoon, 7));
  EXPECT_FALSE(*store_->DropIndicatorBins(0, std::numeric_limits<int64_t>::min(), 7));
  EXPECT_EQ(AllBins(0).size(), 480u);
  // 30 bins of 8 rows, 7 at a time.
  EXPECT_GE(DropAll(0, kNoon + 1800, 7), 240 / 7);
  EXPECT_EQ(AllBins(0).size(), 240u);
  EXPECT_EQ(AllBins(0)[0].start_seconds, kNoon + 1800);
  EXPECT_EQ(AllBins(1).size(), 480u);
  // The bin a bound falls into is dropped with it.
  EXPECT_LE(DropAll(0, kNoon + 1801, 1000), 1);
  EXPECT_EQ(AllBins(0).size(), 232u);
  EXPECT_LE(DropAll(0, kMost, 240), 1);
  EXPECT_TRUE(AllBins(0).empty());
  // One that comes late is counted all the same.
  AddBins({Bin(0, 0, kNoon, kOne, 1, 2)});
  EXPECT_EQ(AllBins(0).size(), 1u);
}

TEST_P(IndicatorStoreTest, BinsOfADeletedIndicatorAreDroppedInStepsAndNoOthers) {
  Open();
  const IndicatorRow gone = Indicator("acme", "gone", 1);
  const IndicatorRow kept = Indicator("acme", "kept", 1);
  ASSERT_EQ(Put(gone, 0), CommitResult::kCommitted);
  ASSERT_EQ(Put(kept, 0), CommitResult::kCommitted);
  std::vector<IndicatorBin> bins;
  for (int tier = 0; tier < 2; ++tier) {
    for (int64_t i = 0; i < 50; ++i) {
      for (int slot = 0; slot < 4; ++slot) {
        bins.push_back(Bin(tier, slot, kNoon + 60 * i, gone.id, 1, 2));
        bins.push_back(Bin(tier, slot, kNoon + 60 * i, kept.id, 1, 2));
      }
    }
  }
  AddBins(bins);
  EXPECT_FALSE(*store_->DropIndicatorBins(0, kNoon, 7));
  ASSERT_EQ(Delete(gone, 1), CommitResult::kCommitted);
  EXPECT_EQ(AllBins(0).size(), 400u);  // readers see them until they are dropped
  DropAll(0, kNoon, 7);
  ASSERT_EQ(AllBins(0).size(), 200u);
  for (const IndicatorBin& bin : AllBins(0)) EXPECT_EQ(bin.indicator_id, kept.id);
  EXPECT_EQ(AllBins(1).size(), 400u);
  // Both reasons at once.
  DropAll(1, kNoon + 60 * 25, 7);
  EXPECT_EQ(AllBins(1).size(), 100u);
  // Bins that are added all the same wait for the next deletion.
  AddBins({Bin(0, 0, kNoon, gone.id, 1, 2)});
  ASSERT_EQ(Delete(kept, 1), CommitResult::kCommitted);
  DropAll(0, kNoon, 1000);
  EXPECT_TRUE(AllBins(0).empty());
}

TEST_P(IndicatorStoreTest, ReplacementGoesOnCountingUnlessItsIdIsAnother) {
  Open();
  const IndicatorRow first = Indicator("acme", "a", 1);
  ASSERT_EQ(Put(first, 0), CommitResult::kCommitted);
  AddBins({Bin(0, 0, kNoon, first.id, 1, 2)});
  ASSERT_EQ(Put(Indicator("acme", "a", 2), 1), CommitResult::kCommitted);
  DropAll(0, kNoon, 10);
  EXPECT_EQ(AllBins(0).size(), 1u);
  IndicatorRow third = Indicator("acme", "a", 3);
  third.id = kTwo;
  ASSERT_EQ(Put(third, 2), CommitResult::kCommitted);
  AddBins({Bin(0, 0, kNoon, kTwo, 3, 4)});
  DropAll(0, kNoon, 10);
  EXPECT_EQ(AllBins(0), (std::vector<IndicatorBin>{Bin(0, 0, kNoon, kTwo, 3, 4)}));
}

TEST_P(IndicatorStoreTest, DeletionWhileBinsAreLookedThroughIsNotMissed) {
  Open();
  std::vector<IndicatorRow> rows;
  std::vector<IndicatorBin> bins;
  for (int i = 0; i < 6; ++i) {
    rows.push_back(Indicator("acme", absl::StrCat(i), 1));
    ASSERT_EQ(Put(rows.back(), 0), CommitResult::kCommitted);
    for (int64_t bin = 0; bin < 10; ++bin) {
      bins.push_back(Bin(0, 0, kNoon + 10 * bin, rows.back().id, 1, 2));
    }
  }
  AddBins(bins);
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(Delete(rows[i], 1), CommitResult::kCommitted);
    ASSERT_TRUE(store_->DropIndicatorBins(0, kNoon, 20).ok());
  }
  DropAll(0, kNoon, 20);
  ASSERT_EQ(AllBins(0).size(), 10u);
  EXPECT_EQ(AllBins(0)[0].indicator_id, rows[5].id);
}

TEST_P(IndicatorStoreTest, SnapshotSeesTheIndicatorsAndCountsOfItsMoment) {
  Open();
  const IndicatorRow row = Indicator("acme", "a", 1);
  ASSERT_EQ(Put(row, 0), CommitResult::kCommitted);
  AddBins({Bin(0, 0, kNoon, row.id, 1, 2)});
  const auto before = OpenSnapshot();
  AddBins({Bin(0, 0, kNoon, row.id, 10, 20)});
  ASSERT_EQ(Put(Indicator("acme", "a", 2), 1), CommitResult::kCommitted);
  const auto after = OpenSnapshot();
  ASSERT_EQ(Delete(row, 2), CommitResult::kCommitted);
  DropAll(0, kNoon, 10);
  EXPECT_TRUE(AllBins(0).empty());
  const IndicatorBinFilter filter{.start_seconds = kNoon, .end_seconds = kNoon + 10};
  EXPECT_EQ(before->Indicators()->version, 2);
  EXPECT_EQ(before->Indicators()->rows.at(0).version, 1);
  EXPECT_EQ(Bins(before.get(), filter),
            (std::vector<IndicatorBin>{Bin(0, 0, kNoon, row.id, 1, 2)}));
  EXPECT_EQ(after->Indicators()->version, 3);
  EXPECT_EQ(after->Indicators()->rows.at(0).version, 2);
  EXPECT_EQ(Bins(after.get(), filter),
            (std::vector<IndicatorBin>{Bin(0, 0, kNoon, row.id, 11, 22)}));
}

TEST_P(IndicatorStoreTest, SnapshotsAreConsistentBesideCommitsAndRetention) {
  Open();
  // Commit n adds n to the newest of two slots' bins of both tiers, and replaces the
  // indicator by version n + 1: whoever looks sees all of a commit or none.
  const IndicatorRow row = Indicator("acme", "a", 1);
  ASSERT_EQ(Put(row, 0), CommitResult::kCommitted);
  std::atomic<bool> done = false;
  std::atomic<int> looks = 0;
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 2; ++reader) {
    readers.emplace_back([&] {
      while (!done || looks < 4) {
        const auto snapshot = OpenSnapshot();
        const int64_t commits = (*snapshot->Slots())[0].commit_number;
        const auto set = *snapshot->Indicators();
        EXPECT_EQ(set.version, commits + 2);
        EXPECT_EQ(set.rows.at(0).version, commits + 1);
        int64_t total[2] = {0, 0};
        for (const IndicatorBin& bin :
             Bins(snapshot.get(), {.tier = 3, .start_seconds = 0, .end_seconds = kNoon + 36'000})) {
          EXPECT_EQ(bin.good, bin.total);
          total[bin.slot] += bin.total;
        }
        EXPECT_EQ(total[0], commits * (commits + 1) / 2);
        EXPECT_EQ(total[1], total[0]);
        // Of the finer tier the bins before the last ten may be gone.
        for (const IndicatorBin& bin :
             Bins(snapshot.get(),
                  {.start_seconds = kNoon + 10 * (commits - 5), .end_seconds = kNoon + 36'000})) {
          EXPECT_EQ(bin.total, (bin.start_seconds - kNoon) / 10);
        }
        ++looks;
      }
    });
  }
  for (int64_t n = 1; n <= 150; ++n) {
    Transaction t = Next({0, 1});
    t.indicator_set_version = n + 1;
    t.indicator_changes = {{.row = Indicator("acme", "a", n + 1), .old_version = n}};
    for (const int slot : {0, 1}) {
      t.indicator_bins.push_back(Bin(0, slot, kNoon + 10 * n, row.id, n, n));
      t.indicator_bins.push_back(Bin(3, slot, AlignDown(kNoon + 10 * n, 3600), row.id, n, n));
    }
    MustCommit(t);
    ASSERT_TRUE(store_->DropIndicatorBins(0, kNoon + 10 * (n - 9), 3).ok());
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
}

INSTANTIATE_TEST_SUITE_P(Stores, IndicatorStoreTest, ::testing::ValuesIn(Backends()), ParamName);

}  // namespace
}  // namespace weir::test
