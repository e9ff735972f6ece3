// Random operations, agreeing at every step with a model that is too simple to
// be wrong.
#include <algorithm>
#include <deque>
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
  void Apply(const Transaction& t);
  void ExpectSame();

  std::mt19937_64 random_;
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

void RandomStoreTest::Apply(const Transaction& t) {
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
    switch (Pick(12)) {
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
