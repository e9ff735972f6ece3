// The last points of cumulative series: every promise of common/store/store.h
// about them, for every store.
#include <algorithm>
#include <limits>
#include <map>

#include "absl/strings/str_cat.h"
#include "common/testing/test_seed.h"
#include "tests/conformance/store_suite.h"

namespace weir::test {
namespace {

using store::CommitResult;
using store::Transaction;

constexpr int64_t kStart = kNoon * 1'000'000'000;
constexpr WalId kWal{.high = 1, .low = 2};

class CumulativeStoreTest : public StoreTest {
 protected:
  // One point of series {1, 1} in slot 0, as committed before each attempt at
  // changing it.
  void CommitOnePoint() {
    Transaction t = Next({0});
    t.cumulatives = {Cumulative(0, SeriesId{1, 1}, kStart, kStart + 10, "before")};
    MustCommit(t);
  }
  // Replaces that point, drops it under another start, and adds one.
  Transaction Change(const std::vector<int>& slots) {
    Transaction t = Next(slots);
    t.cumulatives = {Cumulative(0, SeriesId{1, 1}, kStart, kStart + 20, "after"),
                     Cumulative(0, SeriesId{2, 2}, kStart, kStart + 20, "another")};
    t.dropped_cumulatives = {{.slot = 0, .series_id = SeriesId{1, 1}, .start_unix_nano = 0}};
    return t;
  }
  void ExpectOnePoint() {
    EXPECT_EQ(Cumulatives(0),
              (std::vector<OwnedCumulative>{{0, SeriesId{1, 1}, kStart, kStart + 10, "before"}}));
  }
};

TEST_P(CumulativeStoreTest, NewStoreHasNoPoints) {
  Open();
  for (int slot = 0; slot < options_.slot_count; ++slot) EXPECT_TRUE(Cumulatives(slot).empty());
}

TEST_P(CumulativeStoreTest, PointIsReplacedAndDroppedByItsSlotSeriesAndStart) {
  Open();
  const SeriesId one{1, 1};
  const SeriesId two{1, 2};
  Transaction t = Next({0, 1});
  t.cumulatives = {Cumulative(0, one, kStart, kStart + 1, "a"), Cumulative(0, one, 0, 1, "b"),
                   Cumulative(0, two, kStart, kStart + 1, "c"),
                   Cumulative(1, one, kStart, kStart + 1, "d")};
  MustCommit(t);
  EXPECT_EQ(Cumulatives(0), (std::vector<OwnedCumulative>{{0, one, 0, 1, "b"},
                                                          {0, one, kStart, kStart + 1, "a"},
                                                          {0, two, kStart, kStart + 1, "c"}}));
  EXPECT_EQ(Cumulatives(1), (std::vector<OwnedCumulative>{{1, one, kStart, kStart + 1, "d"}}));

  Transaction next = Next({0, 1});
  next.cumulatives = {Cumulative(0, one, kStart, kStart + 2, "longer than before"),
                      Cumulative(0, two, kStart, kStart, "")};  // any time replaces any other
  next.dropped_cumulatives = {{0, one, 0}, {1, two, kStart}, {1, one, 0}};  // the last two: absent
  MustCommit(next);
  EXPECT_EQ(Cumulatives(0),
            (std::vector<OwnedCumulative>{{0, one, kStart, kStart + 2, "longer than before"},
                                          {0, two, kStart, kStart, ""}}));
  EXPECT_EQ(Cumulatives(1), (std::vector<OwnedCumulative>{{1, one, kStart, kStart + 1, "d"}}));

  Transaction last = Next({0, 1});
  last.dropped_cumulatives = {
      {0, one, kStart}, {0, two, kStart}, {1, one, kStart}, {1, one, kStart}};
  MustCommit(last);
  EXPECT_TRUE(Cumulatives(0).empty());
  EXPECT_TRUE(Cumulatives(1).empty());
}

TEST_P(CumulativeStoreTest, AnyBytesTimesAndIdsComeBackInOrder) {
  Open();
  constexpr int64_t kLowest = std::numeric_limits<int64_t>::min();
  constexpr int64_t kHighest = std::numeric_limits<int64_t>::max();
  std::string every_byte;
  for (int i = 0; i < 256; ++i) every_byte += static_cast<char>(i);
  const std::vector<std::string> points = {every_byte,
                                           std::string(every_byte.rbegin(), every_byte.rend()),
                                           std::string(),
                                           std::string(1, '\0'),
                                           std::string("\0a\0", 3),
                                           std::string(70, '\xff'),
                                           "\\x",
                                           "\\x00",
                                           "\\N",
                                           "NULL",
                                           "{\"a\",\\}",
                                           "\xed\xa0\x80",
                                           std::string(1 << 20, '\x80'),
                                           std::string(3 << 20, '\0'),
                                           std::string(2 << 20, '"')};
  const std::vector<uint64_t> halves = {0, 1, uint64_t{1} << 63, ~uint64_t{0}};
  const std::vector<int64_t> starts = {kLowest, -1, 0, 1, kStart, kHighest};
  Transaction t = Next({0});
  std::vector<OwnedCumulative> expected;
  for (const uint64_t high : halves) {
    for (const uint64_t low : halves) {
      for (const int64_t start : starts) {
        const int64_t time = expected.size() % 2 == 0 ? kLowest : kHighest;
        const std::string& point = points[expected.size() % points.size()];
        expected.push_back({0, SeriesId{high, low}, start, time, point});
        t.cumulatives.push_back(Cumulative(0, SeriesId{high, low}, start, time, point));
      }
    }
  }
  std::shuffle(t.cumulatives.begin(), t.cumulatives.end(), std::mt19937_64(20260301));
  MustCommit(t);
  EXPECT_TRUE(Cumulatives(0) == expected);
}

TEST_P(CumulativeStoreTest, HundredThousandPointsComeBackInOrder) {
  std::mt19937_64 random(TestSeed(20260301));
  Open();
  constexpr size_t kCount = 100'000;
  std::map<std::tuple<int, SeriesId, int64_t>, std::pair<int64_t, std::string>> points;
  while (points.size() < kCount) {
    // Several starts for most series, and ids that sort badly as signed numbers or text.
    const SeriesId id{.high = random() % 3 << 62, .low = random() % 30'000};
    const int64_t start = static_cast<int64_t>(random() % 5) - 2;
    std::string point(random() % 40, '\0');
    for (char& c : point) c = static_cast<char>(random());
    points[{random() % 4 == 0 ? 2 : 1, id, start}] = {static_cast<int64_t>(random()), point};
  }
  const auto commit = [&] {
    Transaction t = Next({1, 2});
    for (const auto& [key, value] : points) {
      const auto& [slot, id, start] = key;
      t.cumulatives.push_back(Cumulative(slot, id, start, value.first, value.second));
    }
    std::shuffle(t.cumulatives.begin(), t.cumulatives.end(), random);
    MustCommit(t);
  };
  const auto expect_same = [&] {
    for (const int slot : {1, 2}) {
      auto expected = points.lower_bound({slot, SeriesId(), std::numeric_limits<int64_t>::min()});
      for (const OwnedCumulative& row : Cumulatives(slot)) {
        ASSERT_TRUE(expected != points.end());
        const auto& [key, value] = *expected++;
        ASSERT_EQ(key, std::make_tuple(row.slot, row.series_id, row.start_unix_nano));
        ASSERT_EQ(value, std::make_pair(row.time_unix_nano, row.point));
      }
      EXPECT_TRUE(expected == points.end() || std::get<0>(expected->first) > slot);
    }
  };
  commit();
  expect_same();
  for (auto& [key, value] : points) value.second += 'x';
  commit();
  expect_same();
  Transaction drop = Next({1, 2});
  for (auto point = points.begin(); point != points.end();) {
    if (random() % 3 == 0) {
      ++point;
      continue;
    }
    const auto& [slot, id, start] = point->first;
    drop.dropped_cumulatives.push_back({slot, id, start});
    point = points.erase(point);
  }
  MustCommit(drop);
  expect_same();
}

TEST_P(CumulativeStoreTest, CommitThatMeetsAConflictLeavesPointsAsTheyWere) {
  Open();
  CommitOnePoint();
  const auto conflicts = [&](const std::function<void(Transaction*)>& spoil,
                             CommitResult expected = CommitResult::kConflict) {
    Transaction t = Change({0, 1});
    spoil(&t);
    const auto result = Commit(t);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(*result, expected);
    ExpectOnePoint();
  };
  conflicts([](Transaction* t) { --t->slots[0].epoch; });
  conflicts([](Transaction* t) { --t->slots[1].epoch; });
  conflicts([](Transaction* t) { --t->slots[0].old_commit_number; });
  conflicts([](Transaction* t) {
    t->watermarks = {{.slot = 0, .wal_id = kWal, .old_lsn = 3, .new_lsn = 4}};
  });
  conflicts([](Transaction* t) {
    t->derives = {{.slot = 1, .tier = 1, .old_until_seconds = 0, .new_until_seconds = kNoon + 60}};
  });
  conflicts([&](Transaction* t) { t->floors = std::vector<int64_t>(claimed_.floors.size(), 60); },
            CommitResult::kFloorsMoved);
  EXPECT_EQ(Read().slots[0].commit_number, 1);
}

TEST_P(CumulativeStoreTest, CommitThatIsRefusedAfterItsPointsLeavesThemAsTheyWere) {
  Open();
  CommitOnePoint();
  Transaction t = Change({0, 1});
  t.partials = {Partial(0, 0, kNoon, SeriesId{1, 1}, OneSample(1, kNoon))};
  t.partials.push_back(t.partials[0]);  // which only the database can see
  const auto result = Commit(t);
  EXPECT_TRUE(absl::IsInvalidArgument(result.status())) << result.status();
  ExpectOnePoint();
  t.partials.pop_back();
  MustCommit(t);
  EXPECT_EQ(Cumulatives(0).size(), 2u);
}

TEST_P(CumulativeStoreTest, CommitRunAgainDoesNotBringBackWhatALaterOneDropped) {
  Open();
  const Transaction first = Change({0});
  MustCommit(first);
  Transaction second = Next({0});
  second.cumulatives = {Cumulative(0, SeriesId{1, 1}, kStart, kStart + 30, "later")};
  second.dropped_cumulatives = {{0, SeriesId{2, 2}, kStart}};
  MustCommit(second);
  EXPECT_EQ(*Commit(first), CommitResult::kConflict);
  EXPECT_EQ(Cumulatives(0),
            (std::vector<OwnedCumulative>{{0, SeriesId{1, 1}, kStart, kStart + 30, "later"}}));
}

TEST_P(CumulativeStoreTest, MalformedChangeOfPointsIsRefused) {
  Open();
  CommitOnePoint();
  const auto refused = [&](const std::function<void(Transaction*)>& spoil) {
    Transaction t = Change({0});
    spoil(&t);
    const auto result = Commit(t);
    EXPECT_TRUE(absl::IsInvalidArgument(result.status())) << result.status();
    ExpectOnePoint();
  };
  refused([](Transaction* t) { t->cumulatives[1].slot = 1; });
  refused([](Transaction* t) { t->cumulatives[1].slot = -1; });
  refused([](Transaction* t) { t->cumulatives[1].series_id = t->cumulatives[0].series_id; });
  refused([](Transaction* t) { t->dropped_cumulatives[0].slot = 4; });
  refused([](Transaction* t) { t->dropped_cumulatives[0].start_unix_nano = kStart; });
}

TEST_P(CumulativeStoreTest, SlotOutsideTheStoreHasNoPointsToRead) {
  Open();
  const auto snapshot = OpenSnapshot();
  for (const int slot : {-1, options_.slot_count}) {
    const absl::Status status = snapshot->ReadCumulatives(
        slot, [](const store::CumulativeRow&) { return absl::InternalError("a row of no slot"); });
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  }
}

TEST_P(CumulativeStoreTest, ReadCumulativesStopsWithTheErrorOfItsCaller) {
  Open();
  Transaction t = Next({0});
  for (uint64_t id = 0; id < 10; ++id) {
    t.cumulatives.push_back(Cumulative(0, SeriesId{id, 0}, kStart, kStart, "p"));
  }
  MustCommit(t);
  const auto snapshot = OpenSnapshot();
  int seen = 0;
  const absl::Status status = snapshot->ReadCumulatives(0, [&](const store::CumulativeRow&) {
    return ++seen == 3 ? absl::ResourceExhaustedError("enough") : absl::OkStatus();
  });
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_EQ(seen, 3);
  EXPECT_EQ(Cumulatives(snapshot.get(), 0).size(), 10u);
}

TEST_P(CumulativeStoreTest, SnapshotSeesThePointsOfItsMoment) {
  Open();
  CommitOnePoint();
  const auto before = OpenSnapshot();
  MustCommit(Change({0}));
  const auto after = OpenSnapshot();
  Transaction drop = Next({0});
  drop.dropped_cumulatives = {{0, SeriesId{1, 1}, kStart}, {0, SeriesId{2, 2}, kStart}};
  MustCommit(drop);
  EXPECT_TRUE(Cumulatives(0).empty());
  ASSERT_EQ(Cumulatives(after.get(), 0).size(), 2u);
  EXPECT_EQ(Cumulatives(after.get(), 0)[0].point, "after");
  ASSERT_EQ(Cumulatives(before.get(), 0).size(), 1u);
  EXPECT_EQ(Cumulatives(before.get(), 0)[0].point, "before");
}

TEST_P(CumulativeStoreTest, PointsOutliveRetentionAndTheirOwner) {
  Open();
  CommitOnePoint();
  ASSERT_TRUE(store_->RaiseFloor(0, kNoon + 86400).ok());
  ASSERT_TRUE(store_->DropBelowFloor(0, 1000).ok());
  ASSERT_TRUE(store_->Claim({0}, "aggregator-2").ok());
  ExpectOnePoint();
}

INSTANTIATE_TEST_SUITE_P(Stores, CumulativeStoreTest, ::testing::ValuesIn(Backends()), ParamName);

}  // namespace
}  // namespace weir::test
