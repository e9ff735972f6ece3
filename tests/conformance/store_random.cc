// Random operations, agreeing at every step with a model that is too simple to
// be wrong.
#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "common/testing/test_seed.h"
#include "tests/conformance/store_suite.h"

namespace weir::test {
namespace {

using store::CommitResult;
using store::Transaction;

struct Model {
  std::vector<store::SlotState> slots;
  std::map<std::pair<int, WalId>, uint64_t> watermarks;
  std::vector<int64_t> floors;
  std::map<SeriesId, Series> series;
  std::vector<OwnedPartial> partials;
  std::map<std::tuple<int, SeriesId, int64_t>, OwnedCumulative> cumulatives;
  store::IndicatorSet indicators{.version = 1};
  // By tier, start, indicator, slot. Those of deleted indicators stay until a
  // sweep is known to have been through.
  std::map<std::tuple<int, int64_t, IndicatorId, int>, store::IndicatorBin> bins;
};

class RandomStoreTest : public StoreTest {
 protected:
  int Pick(int below) { return static_cast<int>(random_() % static_cast<uint64_t>(below)); }
  bool OneIn(int n) { return Pick(n) == 0; }

  // A transaction that is right by the model, or with a chance spoilt. `conflict`
  // and `moved` say what the model expects of it.
  Transaction MakeTransaction(bool* conflict, bool* moved);
  // Writes and drops points of few series and starts, so that most meet others.
  void AddCumulatives(int slot, Transaction* t);
  // Changes some of few indicators and counts those there are.
  void AddIndicators(Transaction* t, bool* conflict);
  // Drops some of a tier's bins, or until there is no more to drop.
  void DropBins();
  bool Exists(const IndicatorId& id);
  void Apply(const Transaction& t);
  void ApplyIndicators(const Transaction& t);
  void ExpectSame();
  void ExpectSameIndicators(store::Snapshot* snapshot);

  std::mt19937_64 random_;
  uint64_t last_id_ = 0;  // of an indicator: none comes again
  Model model_;
  std::deque<std::string> points_;  // of the transaction made last
};

Transaction RandomStoreTest::MakeTransaction(bool* conflict, bool* moved) {
  Transaction t;
  points_.clear();
  const TierTable& tiers = options_.tiers;
  for (const store::SlotState& slot : model_.slots) {
    if (OneIn(2)) continue;
    const int64_t wrong_epoch = OneIn(40) ? 1 : 0;
    const int64_t wrong_number = OneIn(40) ? 1 : 0;
    t.slots.push_back({.slot = slot.slot,
                       .epoch = slot.epoch - wrong_epoch,
                       .old_commit_number = slot.commit_number - wrong_number});
    *conflict = *conflict || wrong_epoch + wrong_number > 0;
    if (OneIn(2)) {
      const WalId wal{.high = 0, .low = static_cast<uint64_t>(Pick(3))};
      const auto known = model_.watermarks.find({slot.slot, wal});
      const uint64_t lsn = known == model_.watermarks.end() ? 0 : known->second;
      const uint64_t wrong_lsn = OneIn(40) ? 1 : 0;
      t.watermarks.push_back({.slot = slot.slot,
                              .wal_id = wal,
                              .old_lsn = lsn + wrong_lsn,
                              .new_lsn = lsn + wrong_lsn + static_cast<uint64_t>(Pick(5)),
                              .complete_until = absl::FromUnixSeconds(kNoon),
                              .heard_time = absl::FromUnixSeconds(kNoon)});
      *conflict = *conflict || wrong_lsn > 0;
    }
    if (OneIn(3)) {
      const int tier = 1 + Pick(tiers.size() - 1);
      const int64_t until = slot.derived_until[tier];
      const int64_t width = tiers[tier].bin_seconds;
      const int64_t wrong_until = OneIn(20) ? width : 0;
      t.derives.push_back({.slot = slot.slot,
                           .tier = tier,
                           .old_until_seconds = until - wrong_until,
                           .new_until_seconds = until + width * Pick(3)});
      *conflict = *conflict || wrong_until > 0;
    }
    if (OneIn(2)) AddCumulatives(slot.slot, &t);
    for (int i = Pick(6); i > 0; --i) {
      const int tier = Pick(tiers.size());
      const int64_t start = std::max(
          model_.floors[tier], AlignDown(kNoon + Pick(20'000) - 10'000, tiers[tier].bin_seconds));
      const store::SeriesRow series =
          SeriesOf(slot.slot, absl::StrCat("m", Pick(3)), {{"l", absl::StrCat(Pick(9))}});
      t.series.push_back(series);
      const bool repeated =
          std::any_of(t.partials.begin(), t.partials.end(), [&](const store::PartialRow& row) {
            return row.tier == tier && row.slot == slot.slot && row.start_seconds == start &&
                   row.series_id == series.id;
          });
      if (repeated) continue;
      t.partials.push_back(Partial(tier, slot.slot, start, series.id,
                                   RandomAggregate(&random_, start), OneIn(2) ? "sketch" : ""));
    }
  }
  AddIndicators(&t, conflict);
  if (OneIn(2)) {
    t.floors = model_.floors;
    if (OneIn(10)) {
      t.floors[0] -= 60;
      *moved = true;
    }
  }
  return t;
}

void RandomStoreTest::AddCumulatives(int slot, Transaction* t) {
  constexpr int64_t kStarts[] = {0, kNoon * 1'000'000'000, kNoon * 1'000'000'000 + 1};
  for (uint64_t id = 0; id < 6; ++id) {
    for (const int64_t start : kStarts) {
      const SeriesId series{.high = id << 61, .low = ~id};
      switch (Pick(6)) {
        case 0:
        case 1: {
          std::string& point = points_.emplace_back(Pick(4) * Pick(30), '\0');
          for (char& c : point) c = static_cast<char>(random_());
          const auto time = static_cast<int64_t>(random_());
          t->cumulatives.push_back(Cumulative(slot, series, start, time, point));
          break;
        }
        case 2:
          t->dropped_cumulatives.push_back({slot, series, start});
          break;
        default:
          break;
      }
    }
  }
}

void RandomStoreTest::AddIndicators(Transaction* t, bool* conflict) {
  if (OneIn(3)) {
    const bool wrong = OneIn(20);
    t->indicator_set_version = model_.indicators.version + (wrong ? 1 : 0);
    *conflict = *conflict || wrong;
  }
  for (int i = 0; i < 5 && OneIn(2); ++i) {
    const std::string name = absl::StrCat("i", i);
    const auto& rows = model_.indicators.rows;
    const auto old =
        std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.name == name; });
    const int64_t old_version = old == rows.end() ? 0 : old->version;
    const bool deleted = old_version > 0 && OneIn(3);
    store::IndicatorRow row = Indicator("acme", name, old_version + 1 + Pick(2));
    const bool same_id = old_version > 0 && !OneIn(3);
    row.id = same_id ? old->id : IndicatorId{.high = ++last_id_ << 60, .low = last_id_};
    row.definition = absl::StrCat("definition ", random_());
    // A deletion that finds nothing is a conflict as well.
    const bool wrong = OneIn(40) && !deleted;
    t->indicator_changes.push_back(
        {.row = row, .old_version = wrong ? row.version - 1 : old_version, .deleted = deleted});
    *conflict = *conflict || (wrong && row.version - 1 != old_version);
  }
  for (const auto& slot : t->slots) {
    for (const store::IndicatorRow& row : model_.indicators.rows) {
      for (int tier = 0; tier < kIndicatorTierCount; ++tier) {
        if (OneIn(2)) continue;
        const int64_t width = kIndicatorTiers[tier].bin_seconds;
        const int64_t start = AlignDown(kNoon + width * Pick(6), width);
        t->indicator_bins.push_back(Bin(tier, slot.slot, start, row.id,
                                        static_cast<int64_t>(random_() >> (1 + Pick(60))),
                                        static_cast<int64_t>(random_() >> (1 + Pick(60)))));
      }
    }
  }
}

bool RandomStoreTest::Exists(const IndicatorId& id) {
  const auto& rows = model_.indicators.rows;
  return std::any_of(rows.begin(), rows.end(), [&](const auto& row) { return row.id == id; });
}

void RandomStoreTest::DropBins() {
  const int tier = Pick(kIndicatorTierCount);
  const int64_t before = kNoon + kIndicatorTiers[tier].bin_seconds * (Pick(9) - 6);
  const int64_t max_rows = 1 + Pick(20);
  bool to_the_end = OneIn(2);
  absl::StatusOr<bool> more = true;
  do {
    more = store_->DropIndicatorBins(tier, before, max_rows);
    ASSERT_TRUE(more.ok()) << more.status();
  } while (*more && to_the_end);
  const auto snapshot = OpenSnapshot();
  const auto left =
      Bins(snapshot.get(), {.tier = tier, .start_seconds = 0, .end_seconds = 2 * kNoon});
  size_t found = 0;
  for (auto bin = model_.bins.lower_bound({tier, 0, IndicatorId(), 0});
       bin != model_.bins.end() && bin->second.tier == tier;) {
    if (found < left.size() && left[found] == bin->second) {
      EXPECT_TRUE(*more ||
                  (bin->second.start_seconds >= before && Exists(bin->second.indicator_id)));
      ++found;
      ++bin;
    } else {
      EXPECT_TRUE(bin->second.start_seconds < before || !Exists(bin->second.indicator_id));
      bin = model_.bins.erase(bin);
    }
  }
  EXPECT_EQ(found, left.size());
}

void RandomStoreTest::ApplyIndicators(const Transaction& t) {
  auto& rows = model_.indicators.rows;
  for (const auto& change : t.indicator_changes) {
    rows.erase(std::remove_if(rows.begin(), rows.end(),
                              [&](const auto& row) { return row.name == change.row.name; }),
               rows.end());
    if (!change.deleted) rows.push_back(change.row);
  }
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  if (!t.indicator_changes.empty()) ++model_.indicators.version;
  for (const store::IndicatorBin& bin : t.indicator_bins) {
    const auto [found, inserted] =
        model_.bins.try_emplace({bin.tier, bin.start_seconds, bin.indicator_id, bin.slot}, bin);
    if (inserted) continue;
    const auto add = [](int64_t* to, int64_t from) {
      *to = __builtin_add_overflow(*to, from, to) ? std::numeric_limits<int64_t>::max() : *to;
    };
    add(&found->second.good, bin.good);
    add(&found->second.total, bin.total);
  }
}

void RandomStoreTest::ExpectSameIndicators(store::Snapshot* snapshot) {
  const auto set = snapshot->Indicators();
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->version, model_.indicators.version);
  EXPECT_EQ(set->rows, model_.indicators.rows);
  std::vector<store::IndicatorBin> bins;
  for (int tier = 0; tier < kIndicatorTierCount; ++tier) {
    const auto of_tier =
        Bins(snapshot, {.tier = tier, .start_seconds = 0, .end_seconds = 2 * kNoon});
    bins.insert(bins.end(), of_tier.begin(), of_tier.end());
  }
  std::vector<store::IndicatorBin> expected;
  for (const auto& [key, bin] : model_.bins) expected.push_back(bin);
  EXPECT_TRUE(bins == expected) << bins.size() << " bins, expected " << expected.size();
}

void RandomStoreTest::Apply(const Transaction& t) {
  ApplyIndicators(t);
  for (const auto& change : t.slots) ++model_.slots[change.slot].commit_number;
  for (const auto& change : t.watermarks) {
    model_.watermarks[{change.slot, change.wal_id}] = change.new_lsn;
  }
  for (const auto& change : t.derives) {
    model_.slots[change.slot].derived_until[change.tier] = change.new_until_seconds;
  }
  for (const store::SeriesRow& row : t.series) model_.series.emplace(row.id, row.series);
  for (const store::PartialRow& row : t.partials) {
    model_.partials.push_back({row.tier, row.slot, row.start_seconds, row.series_id, row.aggregate,
                               std::string(row.sketch)});
  }
  for (const store::CumulativeRow& row : t.cumulatives) {
    model_.cumulatives[{row.slot, row.series_id, row.start_unix_nano}] = {
        row.slot, row.series_id, row.start_unix_nano, row.time_unix_nano, std::string(row.point)};
  }
  for (const store::CumulativeKey& key : t.dropped_cumulatives) {
    model_.cumulatives.erase({key.slot, key.series_id, key.start_unix_nano});
  }
}

void RandomStoreTest::ExpectSame() {
  const store::Claimed read = Read();
  ASSERT_EQ(read.slots.size(), model_.slots.size());
  for (size_t i = 0; i < read.slots.size(); ++i) {
    EXPECT_EQ(read.slots[i].epoch, model_.slots[i].epoch);
    EXPECT_EQ(read.slots[i].commit_number, model_.slots[i].commit_number);
    EXPECT_EQ(read.slots[i].derived_until, model_.slots[i].derived_until);
  }
  EXPECT_EQ(read.floors, model_.floors);
  std::map<std::pair<int, WalId>, uint64_t> watermarks;
  for (const auto& watermark : read.watermarks) {
    watermarks[{watermark.slot, watermark.wal_id}] = watermark.lsn;
  }
  EXPECT_EQ(watermarks, model_.watermarks);
  const auto snapshot = OpenSnapshot();
  ExpectSameIndicators(snapshot.get());
  std::map<SeriesId, Series> series;
  const auto found = snapshot->FindSeries({.tenant = "acme"});
  ASSERT_TRUE(found.ok()) << found.status();
  for (const store::SeriesRow& row : *found) series.emplace(row.id, row.series);
  EXPECT_EQ(series, model_.series);
  std::vector<OwnedPartial> rows;
  for (int tier = 0; tier < options_.tiers.size(); ++tier) {
    const auto of_tier =
        Partials(snapshot.get(), {.tier = tier, .start_seconds = -kNoon, .end_seconds = 2 * kNoon});
    rows.insert(rows.end(), of_tier.begin(), of_tier.end());
  }
  std::vector<OwnedPartial> expected;
  for (const OwnedPartial& row : model_.partials) {
    if (row.start_seconds >= model_.floors[row.tier]) expected.push_back(row);
  }
  Sort(&rows);
  Sort(&expected);
  EXPECT_TRUE(rows == expected) << rows.size() << " rows, expected " << expected.size();
  std::vector<OwnedCumulative> points;
  for (int slot = 0; slot < options_.slot_count; ++slot) {
    const auto of_slot = Cumulatives(snapshot.get(), slot);
    points.insert(points.end(), of_slot.begin(), of_slot.end());
  }
  std::vector<OwnedCumulative> expected_points;
  for (const auto& [key, row] : model_.cumulatives) expected_points.push_back(row);
  EXPECT_TRUE(points == expected_points)
      << points.size() << " points, expected " << expected_points.size();
}

TEST_P(RandomStoreTest, AgreesWithAModelUnderRandomOperations) {
  random_.seed(TestSeed(20260301));
  Open();
  model_.slots = claimed_.slots;
  model_.floors = claimed_.floors;
  int committed = 0;
  int conflicts = 0;
  for (int step = 0; step < 400 && !HasFailure(); ++step) {
    SCOPED_TRACE(step);
    switch (Pick(13)) {
      case 0: {
        const int slot = Pick(options_.slot_count);
        ASSERT_TRUE(store_->Claim({slot}, absl::StrCat("owner-", step)).ok());
        ++model_.slots[slot].epoch;
        break;
      }
      case 1: {
        const int tier = Pick(options_.tiers.size());
        const auto floor = store_->RaiseFloor(tier, kNoon + Pick(20'000) - 10'000);
        ASSERT_TRUE(floor.ok()) << floor.status();
        EXPECT_GE(*floor, model_.floors[tier]);
        for (const auto& slot : model_.slots) {
          if (*floor > model_.floors[tier] && tier + 1 < options_.tiers.size()) {
            EXPECT_LE(*floor, slot.derived_until[tier + 1]);
          }
        }
        model_.floors[tier] = *floor;
        break;
      }
      case 2:
        ASSERT_TRUE(store_->DropBelowFloor(Pick(options_.tiers.size()), 1 + Pick(20)).ok());
        break;
      case 3:
        ExpectSame();
        break;
      case 4:
        DropBins();
        break;
      default: {
        bool conflict = false;
        bool moved = false;
        const Transaction t = MakeTransaction(&conflict, &moved);
        const auto result = Commit(t);
        ASSERT_TRUE(result.ok()) << result.status();
        const CommitResult expected = conflict ? CommitResult::kConflict
                                      : moved  ? CommitResult::kFloorsMoved
                                               : CommitResult::kCommitted;
        ASSERT_EQ(*result, expected);
        if (expected == CommitResult::kCommitted) Apply(t);
        ++(expected == CommitResult::kCommitted ? committed : conflicts);
      }
    }
  }
  ExpectSame();
  EXPECT_GT(committed, 100);
  EXPECT_GT(conflicts, 10);
}

INSTANTIATE_TEST_SUITE_P(Stores, RandomStoreTest, ::testing::ValuesIn(Backends()), ParamName);

}  // namespace
}  // namespace weir::test
