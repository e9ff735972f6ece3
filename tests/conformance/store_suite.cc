// Every promise of common/store/store.h, for every store.
#include "tests/conformance/store_suite.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <iostream>
#include <limits>
#include <thread>
#include <tuple>

#include "absl/strings/str_cat.h"

namespace weir::test {

using store::Claimed;
using store::CommitResult;
using store::PartialFilter;
using store::SeriesFilter;
using store::SeriesRow;
using store::Snapshot;
using store::Transaction;

SeriesRow SeriesOf(int slot, std::string name, std::vector<Label> labels) {
  SortLabels(&labels);
  SeriesRow row{.slot = slot,
                .series = {.tenant = "acme",
                           .name = std::move(name),
                           .kind = Kind::kCounter,
                           .labels = std::move(labels)}};
  row.id = IdOfSeries(row.series);
  return row;
}

Aggregate RandomAggregate(std::mt19937_64* random, int64_t start_seconds) {
  Aggregate a;
  const int count = 1 + static_cast<int>((*random)() % 4);
  for (int i = 0; i < count; ++i) {
    const int64_t nanos =
        start_seconds * 1'000'000'000 + static_cast<int64_t>((*random)() % 10'000'000'000);
    if ((*random)() % 2 == 0) {
      a.AddInteger(static_cast<int64_t>((*random)()), nanos);
    } else {
      a.AddFloat(std::ldexp(static_cast<double>((*random)()), static_cast<int>((*random)() % 99)),
                 nanos);
    }
  }
  return a;
}

void Sort(std::vector<OwnedPartial>* rows) {
  std::sort(rows->begin(), rows->end(), [](const OwnedPartial& a, const OwnedPartial& b) {
    const auto key = [](const OwnedPartial& r) {
      return std::make_tuple(r.tier, r.start_seconds, r.slot, r.series_id, r.aggregate.integer_sum,
                             r.aggregate.first_unix_nano, r.aggregate.count);
    };
    return key(a) < key(b);
  });
}

StoreTest::StoreTest() {
  options_.slot_count = 4;
  options_.created_time = absl::FromUnixSeconds(kNoon);
  backend_ = GetParam().create();
}

void StoreTest::Open() {
  auto store = backend_->Open(options_);
  ASSERT_TRUE(store.ok()) << store.status();
  store_ = *std::move(store);
  std::vector<int> slots;
  for (int i = 0; i < options_.slot_count; ++i) slots.push_back(i);
  auto claimed = store_->Claim(slots, "aggregator-1");
  ASSERT_TRUE(claimed.ok()) << claimed.status();
  claimed_ = *std::move(claimed);
}

Transaction StoreTest::Next(const std::vector<int>& slots) {
  Transaction t;
  for (const int slot : slots) {
    t.slots.push_back({.slot = slot,
                       .epoch = claimed_.slots[slot].epoch,
                       .old_commit_number = claimed_.slots[slot].commit_number});
  }
  return t;
}

void StoreTest::MustCommit(const Transaction& t) {
  const auto result = store_->Commit(t);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(*result, CommitResult::kCommitted);
  for (const auto& change : t.slots) ++claimed_.slots[change.slot].commit_number;
}

Claimed StoreTest::Read() {
  std::vector<int> slots;
  for (int i = 0; i < options_.slot_count; ++i) slots.push_back(i);
  auto claimed = store_->ReadSlots(slots);
  EXPECT_TRUE(claimed.ok()) << claimed.status();
  return claimed.ok() ? *claimed : Claimed();
}

std::unique_ptr<Snapshot> StoreTest::OpenSnapshot() {
  auto snapshot = store_->OpenSnapshot();
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
  return snapshot.ok() ? *std::move(snapshot) : nullptr;
}

std::vector<OwnedPartial> StoreTest::Partials(Snapshot* snapshot, PartialFilter filter) {
  std::vector<OwnedPartial> rows;
  const absl::Status status = snapshot->ReadPartials(filter, [&](const store::PartialRow& row) {
    if (!rows.empty()) {
      EXPECT_GE(row.start_seconds, rows.back().start_seconds);
    }
    rows.push_back({row.tier, row.slot, row.start_seconds, row.series_id, row.aggregate,
                    std::string(row.sketch)});
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return rows;
}

std::vector<OwnedPartial> StoreTest::AllPartials(int tier) {
  const auto snapshot = OpenSnapshot();
  return Partials(snapshot.get(),
                  {.tier = tier, .start_seconds = -kNoon, .end_seconds = 2 * kNoon});
}

std::vector<OwnedCumulative> StoreTest::Cumulatives(Snapshot* snapshot, int slot) {
  std::vector<OwnedCumulative> rows;
  const absl::Status status = snapshot->ReadCumulatives(slot, [&](const store::CumulativeRow& row) {
    rows.push_back(
        {row.slot, row.series_id, row.start_unix_nano, row.time_unix_nano, std::string(row.point)});
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return rows;
}

std::vector<OwnedCumulative> StoreTest::Cumulatives(int slot) {
  const auto snapshot = OpenSnapshot();
  return Cumulatives(snapshot.get(), slot);
}

std::vector<store::IndicatorBin> StoreTest::Bins(Snapshot* snapshot,
                                                 const store::IndicatorBinFilter& filter) {
  std::vector<store::IndicatorBin> bins;
  const absl::Status status =
      snapshot->ReadIndicatorBins(filter, [&](const store::IndicatorBin& bin) {
        bins.push_back(bin);
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status;
  return bins;
}

std::vector<store::IndicatorBin> StoreTest::AllBins(int tier) {
  const auto snapshot = OpenSnapshot();
  return Bins(snapshot.get(), {.tier = tier, .start_seconds = -kNoon, .end_seconds = 2 * kNoon});
}

namespace {

constexpr WalId kWal{.high = 0x0123456789abcdef, .low = 0xfedcba9876543210};
constexpr WalId kOtherWal{.high = 7, .low = 9};

Transaction::WatermarkChange Advance(int slot, WalId wal, uint64_t from, uint64_t to) {
  return {.slot = slot,
          .wal_id = wal,
          .old_lsn = from,
          .new_lsn = to,
          .complete_until = absl::FromUnixSeconds(kNoon) + absl::Nanoseconds(to),
          .heard_time = absl::FromUnixSeconds(kNoon + 5) + absl::Nanoseconds(1)};
}

TEST_P(StoreTest, NewStoreHasEverySlotAtTheStartAndFloorsFromItsCreation) {
  Open();
  ASSERT_EQ(claimed_.slots.size(), 4u);
  const TierTable& tiers = options_.tiers;
  for (int slot = 0; slot < 4; ++slot) {
    EXPECT_EQ(claimed_.slots[slot].slot, slot);
    EXPECT_EQ(claimed_.slots[slot].epoch, 1);
    EXPECT_EQ(claimed_.slots[slot].commit_number, 0);
    ASSERT_EQ(claimed_.slots[slot].derived_until.size(), 5u);
    for (int tier = 1; tier < tiers.size(); ++tier) {
      EXPECT_EQ(claimed_.slots[slot].derived_until[tier],
                AlignDown(kNoon, tiers[tier].bin_seconds));
    }
  }
  EXPECT_TRUE(claimed_.watermarks.empty());
  for (int tier = 0; tier < tiers.size(); ++tier) {
    EXPECT_EQ(claimed_.floors[tier], tiers.FloorSeconds(tier, options_.created_time));
  }
}

TEST_P(StoreTest, ClaimRaisesTheEpochOfItsSlotsOnlyAndReadSlotsOfNone) {
  Open();
  const auto claimed = store_->Claim({2, 1, 2}, "aggregator-2");
  ASSERT_TRUE(claimed.ok()) << claimed.status();
  ASSERT_EQ(claimed->slots.size(), 2u);
  EXPECT_EQ(claimed->slots[0].slot, 1);
  EXPECT_EQ(claimed->slots[0].epoch, 2);
  EXPECT_EQ(claimed->slots[1].epoch, 2);
  for (int i = 0; i < 2; ++i) {
    const Claimed read = Read();
    EXPECT_EQ(read.slots[0].epoch, 1);
    EXPECT_EQ(read.slots[1].epoch, 2);
    EXPECT_EQ(read.slots[2].epoch, 2);
    EXPECT_EQ(read.slots[3].epoch, 1);
  }
}

TEST_P(StoreTest, SlotOutsideTheStoreIsAnInvalidArgument) {
  Open();
  EXPECT_TRUE(absl::IsInvalidArgument(store_->Claim({4}, "a").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(store_->ReadSlots({-1}).status()));
}

TEST_P(StoreTest, CommittedEffectsAreAllThereAndClaimReturnsThem) {
  Open();
  const SeriesRow series = SeriesOf(1, "requests", {{"model", "gpt"}});
  Transaction t = Next({1, 3});
  t.watermarks = {Advance(1, kWal, 0, 17), Advance(3, kOtherWal, 0, 5)};
  t.derives = {{.slot = 3, .tier = 1, .old_until_seconds = kNoon, .new_until_seconds = kNoon + 60}};
  t.floors = claimed_.floors;
  t.series = {series};
  t.partials = {Partial(0, 1, kNoon, series.id, OneSample(42, kNoon))};
  MustCommit(t);
  const auto again = store_->Claim({1, 3}, "aggregator-2");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->slots[0].commit_number, 1);
  EXPECT_EQ(again->slots[1].commit_number, 1);
  EXPECT_EQ(again->slots[0].derived_until[1], kNoon);
  EXPECT_EQ(again->slots[1].derived_until[1], kNoon + 60);
  ASSERT_EQ(again->watermarks.size(), 2u);
  EXPECT_EQ(again->watermarks[0].slot, 1);
  EXPECT_EQ(again->watermarks[0].wal_id, kWal);
  EXPECT_EQ(again->watermarks[0].lsn, 17u);
  EXPECT_EQ(again->watermarks[0].complete_until,
            absl::FromUnixSeconds(kNoon) + absl::Nanoseconds(17));
  EXPECT_EQ(again->watermarks[0].heard_time,
            absl::FromUnixSeconds(kNoon + 5) + absl::Nanoseconds(1));
  ASSERT_EQ(AllPartials(0).size(), 1u);
  EXPECT_EQ(AllPartials(0)[0].aggregate, OneSample(42, kNoon));
}

TEST_P(StoreTest, CommitRunAgainIsAConflictAndItsEffectsAreThereOnce) {
  Open();
  const SeriesRow series = SeriesOf(0, "requests");
  Transaction t = Next({0, 1});
  t.watermarks = {Advance(0, kWal, 0, 17)};
  t.series = {series};
  t.partials = {Partial(0, 0, kNoon, series.id, OneSample(42, kNoon))};
  MustCommit(t);
  for (int i = 0; i < 3; ++i) {
    const auto result = Commit(t);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(*result, CommitResult::kConflict);
  }
  EXPECT_EQ(AllPartials(0).size(), 1u);
  EXPECT_EQ(Read().slots[0].commit_number, 1);
}

TEST_P(StoreTest, OfTwoClaimantsTheOlderCommitsNothing) {
  Open();
  const SeriesRow series = SeriesOf(0, "requests");
  Transaction zombie = Next({0, 1});
  zombie.partials = {Partial(0, 0, kNoon, series.id, OneSample(1, kNoon)),
                     Partial(0, 1, kNoon, series.id, OneSample(1, kNoon))};
  ASSERT_TRUE(store_->Claim({1}, "aggregator-2").ok());
  EXPECT_EQ(*Commit(zombie), CommitResult::kConflict);
  EXPECT_TRUE(AllPartials(0).empty());
  EXPECT_EQ(Read().slots[0].commit_number, 0);
  claimed_ = Read();
  Transaction owner = Next({0, 1});
  owner.partials = zombie.partials;
  MustCommit(owner);
  EXPECT_EQ(AllPartials(0).size(), 2u);
}

TEST_P(StoreTest, AnyOtherWatermarkIsAConflict) {
  Open();
  Transaction t = Next({0, 1});
  t.watermarks = {Advance(0, kWal, 0, 10), Advance(1, kWal, 0, 11)};
  MustCommit(t);
  for (const uint64_t old_lsn : {0, 9, 11}) {
    Transaction stale = Next({0, 1});
    stale.watermarks = {Advance(1, kWal, 11, 20), Advance(0, kWal, old_lsn, 20)};
    EXPECT_EQ(*Commit(stale), CommitResult::kConflict) << old_lsn;
  }
  Transaction unknown = Next({0});
  unknown.watermarks = {Advance(0, kOtherWal, 3, 20)};
  EXPECT_EQ(*Commit(unknown), CommitResult::kConflict);
  const Claimed read = Read();
  ASSERT_EQ(read.watermarks.size(), 2u);
  EXPECT_EQ(read.watermarks[0].lsn, 10u);
  EXPECT_EQ(read.watermarks[1].lsn, 11u);
  EXPECT_EQ(read.slots[0].commit_number, 1);
}

TEST_P(StoreTest, HeartbeatAdvancesTheTimesOfAWatermarkThatStays) {
  Open();
  Transaction first = Next({0});
  first.watermarks = {Advance(0, kWal, 0, 0)};  // heard of, and nothing sent yet
  first.watermarks[0].complete_until = absl::InfinitePast();
  MustCommit(first);
  EXPECT_EQ(Read().watermarks[0].complete_until, absl::InfinitePast());
  Transaction beat = Next({0});
  beat.watermarks = {Advance(0, kWal, 0, 0)};
  beat.watermarks[0].heard_time = absl::InfiniteFuture();
  MustCommit(beat);
  const Claimed read = Read();
  ASSERT_EQ(read.watermarks.size(), 1u);
  EXPECT_EQ(read.watermarks[0].lsn, 0u);
  EXPECT_EQ(read.watermarks[0].complete_until, absl::FromUnixSeconds(kNoon));
  EXPECT_EQ(read.watermarks[0].heard_time, absl::InfiniteFuture());
}

TEST_P(StoreTest, DerivationFromAnotherBoundaryIsAConflict) {
  Open();
  Transaction t = Next({0, 2});
  t.derives = {
      {.slot = 0, .tier = 1, .old_until_seconds = kNoon, .new_until_seconds = kNoon + 120},
      {.slot = 2, .tier = 1, .old_until_seconds = kNoon + 60, .new_until_seconds = kNoon + 120}};
  EXPECT_EQ(*Commit(t), CommitResult::kConflict);
  EXPECT_EQ(Read().slots[0].derived_until[1], kNoon);
  t.derives[1].old_until_seconds = kNoon;
  MustCommit(t);
  EXPECT_EQ(Read().slots[0].derived_until[1], kNoon + 120);
  EXPECT_EQ(Read().slots[2].derived_until[1], kNoon + 120);
  EXPECT_EQ(Read().slots[1].derived_until[1], kNoon);
}

TEST_P(StoreTest, RowsComeBackExactly) {
  Open();
  const absl::int128 lowest = std::numeric_limits<absl::int128>::min();
  const absl::int128 highest = std::numeric_limits<absl::int128>::max();
  const double infinity = std::numeric_limits<double>::infinity();
  std::vector<Aggregate> aggregates;
  for (const absl::int128 sum : {lowest, highest, absl::int128(0), absl::int128(-1),
                                 absl::int128(std::numeric_limits<int64_t>::max()) + 1,
                                 absl::int128(std::numeric_limits<int64_t>::min())}) {
    aggregates.push_back({.count = 3, .integer_sum = sum});
  }
  for (const double value : {0.1, -0.0, 5e-324, 1.7976931348623157e308, -1e-300, 1.0 / 3}) {
    aggregates.push_back({.count = std::numeric_limits<int64_t>::max(),
                          .float_count = 1,
                          .float_sum = value,
                          .min = value,
                          .max = value,
                          .mean = value,
                          .m2 = value,
                          .first = value,
                          .last = value,
                          .first_unix_nano = kNoon * 1'000'000'000 + 1,
                          .last_unix_nano = kNoon * 1'000'000'000 + 999'999'999});
  }
  aggregates.push_back({.count = 1,
                        .float_sum = infinity,
                        .mean = -infinity,
                        .m2 = infinity,
                        .first_unix_nano = std::numeric_limits<int64_t>::min(),
                        .last_unix_nano = std::numeric_limits<int64_t>::max()});
  std::string every_byte;
  for (int i = 0; i < 256; ++i) every_byte += static_cast<char>(i);
  Transaction t = Next({3});
  std::vector<OwnedPartial> expected;
  for (size_t i = 0; i < aggregates.size(); ++i) {
    const SeriesId id{.high = ~uint64_t{0} - i, .low = i};
    const std::string_view sketch = i % 2 == 0 ? std::string_view(every_byte) : std::string_view();
    t.partials.push_back(Partial(0, 3, kNoon, id, aggregates[i], sketch));
    expected.push_back({0, 3, kNoon, id, aggregates[i], std::string(sketch)});
  }
  MustCommit(t);
  std::vector<OwnedPartial> rows = AllPartials(0);
  Sort(&rows);
  Sort(&expected);
  ASSERT_EQ(rows.size(), expected.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i], expected[i]) << i;  // but for a zero's sign, which SQLite drops
  }
}

TEST_P(StoreTest, MomentsThatOverflowedToNotANumberAreStored) {
  Open();
  Aggregate a = OneSample(1, kNoon);
  a.float_sum = a.mean = a.m2 = -std::numeric_limits<double>::quiet_NaN();
  Transaction t = Next({0});
  t.partials = {Partial(0, 0, kNoon, SeriesId{1, 2}, a)};
  MustCommit(t);
  ASSERT_EQ(AllPartials(0).size(), 1u);
  const Aggregate read = AllPartials(0)[0].aggregate;
  EXPECT_TRUE(std::isnan(read.float_sum) && std::isnan(read.mean) && std::isnan(read.m2));
  EXPECT_EQ(read.integer_sum, 1);
}

TEST_P(StoreTest, AnyTextOfALabelComesBack) {
  Open();
  std::vector<SeriesRow> series;
  for (const std::string& text :
       {std::string("plain"), std::string("it's \"quoted\""), std::string("back\\slash\\n"),
        std::string("tab\there\r\nand a new line"), std::string("null"), std::string("NULL"),
        std::string("\\N"), std::string("{1,2}"), std::string("Grüße, 世界 \xf0\x9f\x8c\x8a"),
        std::string("\x01\x1f\x7f"), std::string(" "), std::string(), std::string("';--"),
        std::string(5000, 'x')}) {
    series.push_back(SeriesOf(0, absl::StrCat("n", text), {{absl::StrCat("l", text), text}}));
  }
  Transaction t = Next({0});
  t.series = series;
  MustCommit(t);
  const auto snapshot = OpenSnapshot();
  for (const SeriesRow& row : series) {
    const auto found = snapshot->FindSeries({.tenant = "acme", .labels = row.series.labels});
    ASSERT_TRUE(found.ok()) << found.status();
    ASSERT_EQ(found->size(), 1u) << row.series.name;
    EXPECT_EQ((*found)[0].id, row.id);
    EXPECT_EQ((*found)[0].series, row.series);
    const auto by_name = snapshot->FindSeries({.tenant = "acme", .name = row.series.name});
    ASSERT_TRUE(by_name.ok()) << by_name.status();
    EXPECT_EQ(by_name->size(), 1u) << row.series.name;
  }
}

TEST_P(StoreTest, FindSeriesHoldsAllConditionsAndPagesInIdOrder) {
  Open();
  Transaction t = Next({0, 1, 2});
  std::vector<SeriesId> eu;
  for (int i = 0; i < 100; ++i) {
    SeriesRow row = SeriesOf(i % 3, i < 50 ? "requests" : "errors",
                             {{"i", absl::StrCat(i)},
                              {"region", i % 2 == 0 ? "eu" : "us"},
                              {"zone", absl::StrCat(i % 4)}});
    if (i < 50 && i % 4 == 2) eu.push_back(row.id);
    t.series.push_back(row);
    row.slot = (row.slot + 1) % 3;  // a series may have partials in many slots
    t.series.push_back(row);
  }
  SeriesRow other = t.series[2];
  other.series.tenant = "globex";
  other.id = IdOfSeries(other.series);
  t.series.push_back(other);
  MustCommit(t);
  MustCommit([&] {
    Transaction again = Next({0, 1, 2});
    again.series = t.series;
    return again;
  }());
  std::sort(eu.begin(), eu.end());

  const auto snapshot = OpenSnapshot();
  SeriesFilter filter{.tenant = "acme",
                      .name = "requests",
                      .labels = {{"zone", "2"}, {"region", "eu"}},
                      .limit = 5};
  std::vector<SeriesId> paged;
  while (true) {
    const auto page = snapshot->FindSeries(filter);
    ASSERT_TRUE(page.ok()) << page.status();
    ASSERT_LE(page->size(), 5u);
    for (const SeriesRow& row : *page) paged.push_back(row.id);
    if (page->size() < 5) break;
    filter.after = page->back().id;
  }
  EXPECT_EQ(paged, eu);
  EXPECT_EQ(snapshot->FindSeries({.tenant = "acme"})->size(), 100u);
  EXPECT_EQ(snapshot->FindSeries({.tenant = "acme", .limit = 7})->size(), 7u);
  EXPECT_EQ(snapshot->FindSeries({.tenant = "acme", .name = "errors"})->size(), 50u);
  EXPECT_EQ(snapshot->FindSeries({.tenant = "globex"})->size(), 1u);
  EXPECT_TRUE(snapshot->FindSeries({.tenant = "initech"})->empty());
  EXPECT_TRUE(snapshot->FindSeries({.tenant = "acme", .labels = {{"region", "e"}}})->empty());
}

TEST_P(StoreTest, ReadPartialsHoldsAllConditionsAndAscendsByBin) {
  Open();
  std::vector<OwnedPartial> all;
  for (int commit = 0; commit < 3; ++commit) {
    Transaction t = Next({0, 1, 2, 3});
    for (int bin = 9; bin >= 0; --bin) {
      for (int slot = 0; slot < 4; ++slot) {
        for (uint64_t id = 1; id <= 5; ++id) {
          const int64_t start = kNoon + 10 * bin;
          const Aggregate a = OneSample(commit * 1000 + bin * 10 + slot, start);
          t.partials.push_back(Partial(0, slot, start, SeriesId{id, id}, a));
          all.push_back({0, slot, start, SeriesId{id, id}, a, ""});
        }
      }
    }
    MustCommit(t);
  }
  std::vector<SeriesId> many;
  for (uint64_t id = 3; id < 20'000; ++id) many.push_back(SeriesId{id, id});
  const std::vector<PartialFilter> filters = {
      {.start_seconds = kNoon, .end_seconds = kNoon + 100},
      {.start_seconds = kNoon + 20, .end_seconds = kNoon + 40},
      {.start_seconds = kNoon + 11, .end_seconds = kNoon + 41},
      {.slot = 2, .start_seconds = kNoon, .end_seconds = kNoon + 100},
      {.start_seconds = kNoon, .end_seconds = kNoon + 100, .series = {SeriesId{2, 2}}},
      {.slot = 1,
       .start_seconds = kNoon + 15,
       .end_seconds = kNoon + 55,
       .series = {SeriesId{5, 5}, SeriesId{1, 1}, SeriesId{9, 9}}},
      {.start_seconds = kNoon, .end_seconds = kNoon + 50, .series = many},
      {.start_seconds = kNoon, .end_seconds = kNoon},
      {.tier = 1, .start_seconds = kNoon, .end_seconds = kNoon + 100}};
  const auto snapshot = OpenSnapshot();
  for (size_t i = 0; i < filters.size(); ++i) {
    const PartialFilter& f = filters[i];
    std::vector<OwnedPartial> expected;
    for (const OwnedPartial& row : all) {
      if (row.tier == f.tier && row.start_seconds >= f.start_seconds &&
          row.start_seconds < f.end_seconds && row.slot == f.slot.value_or(row.slot) &&
          (f.series.empty() ||
           std::find(f.series.begin(), f.series.end(), row.series_id) != f.series.end())) {
        expected.push_back(row);
      }
    }
    std::vector<OwnedPartial> rows = Partials(snapshot.get(), f);
    Sort(&rows);
    Sort(&expected);
    EXPECT_EQ(rows, expected) << "filter " << i;
  }
}

TEST_P(StoreTest, ReadPartialsStopsWithTheErrorOfItsCaller) {
  Open();
  Transaction t = Next({0});
  for (uint64_t id = 0; id < 10; ++id) {
    t.partials.push_back(Partial(0, 0, kNoon, SeriesId{id, 0}, OneSample(1, kNoon)));
  }
  MustCommit(t);
  const auto snapshot = OpenSnapshot();
  int seen = 0;
  const absl::Status status = snapshot->ReadPartials(
      {.tier = 0, .start_seconds = kNoon, .end_seconds = kNoon + 10},
      [&](const store::PartialRow&) {
        return ++seen == 3 ? absl::ResourceExhaustedError("enough") : absl::OkStatus();
      });
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_EQ(seen, 3);
  EXPECT_EQ(snapshot->Slots()->size(), 4u);
}

TEST_P(StoreTest, SnapshotSeesTheMomentItWasOpened) {
  Open();
  const auto before = OpenSnapshot();
  const SeriesRow series = SeriesOf(0, "requests");
  Transaction t = Next({0});
  t.watermarks = {Advance(0, kWal, 0, 17)};
  t.derives = {{.slot = 0, .tier = 1, .old_until_seconds = kNoon, .new_until_seconds = kNoon + 60}};
  t.series = {series};
  t.partials = {Partial(0, 0, kNoon, series.id, OneSample(1, kNoon))};
  MustCommit(t);
  const auto after = OpenSnapshot();
  const PartialFilter filter{.start_seconds = kNoon, .end_seconds = kNoon + 10};
  EXPECT_TRUE(Partials(before.get(), filter).empty());
  EXPECT_TRUE(before->Watermarks()->empty());
  EXPECT_TRUE(before->FindSeries({.tenant = "acme"})->empty());
  EXPECT_EQ((*before->Slots())[0].commit_number, 0);
  EXPECT_EQ((*before->Slots())[0].derived_until[1], kNoon);
  EXPECT_EQ(Partials(after.get(), filter).size(), 1u);
  EXPECT_EQ((*after->Watermarks())[0].lsn, 17u);
  EXPECT_EQ((*after->Slots())[0].commit_number, 1);
}

TEST_P(StoreTest, SnapshotsAreConsistentBesideCommits) {
  Open();
  // Each commit adds one sample to a row of two slots and moves both watermarks.
  std::atomic<bool> done = false;
  std::atomic<int> looks = 0;
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 2; ++reader) {
    readers.emplace_back([&] {
      while (!done || looks < 4) {
        const auto snapshot = OpenSnapshot();
        const auto slots = *snapshot->Slots();
        const auto rows =
            Partials(snapshot.get(), {.start_seconds = kNoon, .end_seconds = kNoon + 1000});
        const auto watermarks = *snapshot->Watermarks();
        int64_t count[2] = {0, 0};
        for (const OwnedPartial& row : rows) ++count[row.slot];
        EXPECT_EQ(count[0], slots[0].commit_number);
        EXPECT_EQ(count[1], slots[0].commit_number);
        EXPECT_EQ(slots[1].commit_number, slots[0].commit_number);
        for (const auto& watermark : watermarks) {
          EXPECT_EQ(static_cast<int64_t>(watermark.lsn), slots[0].commit_number);
        }
        ++looks;
      }
    });
  }
  for (uint64_t i = 0; i < 200; ++i) {
    Transaction t = Next({0, 1});
    const int64_t start = kNoon + 10 * static_cast<int64_t>(i % 100);
    t.watermarks = {Advance(0, kWal, i, i + 1), Advance(1, kWal, i, i + 1)};
    t.partials = {Partial(0, 0, start, SeriesId{1, 0}, OneSample(1, start)),
                  Partial(0, 1, start, SeriesId{1, 0}, OneSample(1, start))};
    MustCommit(t);
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
}

TEST_P(StoreTest, CommitRoutedByOldFloorsWritesNothing) {
  Open();
  Transaction derive = Next({0, 1, 2, 3});
  for (int slot = 0; slot < 4; ++slot) {
    derive.derives.push_back(
        {.slot = slot, .tier = 1, .old_until_seconds = kNoon, .new_until_seconds = kNoon + 600});
  }
  MustCommit(derive);
  Transaction t = Next({0});
  t.floors = claimed_.floors;
  t.partials = {Partial(0, 0, kNoon, SeriesId{1, 1}, OneSample(1, kNoon))};
  EXPECT_EQ(*store_->RaiseFloor(0, kNoon + 300), kNoon + 300);
  EXPECT_EQ(*Commit(t), CommitResult::kFloorsMoved);
  EXPECT_EQ(Read().slots[0].commit_number, 1);
  t.floors = Read().floors;
  t.partials[0].start_seconds = kNoon + 300;
  MustCommit(t);
  Transaction careless = Next({0});  // without floors they do not matter
  careless.partials = {Partial(0, 0, kNoon, SeriesId{1, 1}, OneSample(1, kNoon))};
  MustCommit(careless);
}

TEST_P(StoreTest, FloorRisesToWholeCoarserBinsAndNeverPastWhatIsDerived) {
  Open();
  const int64_t before = claimed_.floors[0];
  EXPECT_EQ(*store_->RaiseFloor(0, before - 600), before);
  EXPECT_EQ(*store_->RaiseFloor(0, before + 119), before + 60);
  EXPECT_EQ(*store_->RaiseFloor(0, kNoon + 3600), kNoon);  // derived so far
  for (int slot = 0; slot < 4; ++slot) {
    Transaction t = Next({slot});
    t.derives = {{.slot = slot,
                  .tier = 1,
                  .old_until_seconds = kNoon,
                  .new_until_seconds = kNoon + 60 * (slot + 1)}};
    MustCommit(t);
  }
  EXPECT_EQ(*store_->RaiseFloor(0, kNoon + 3600), kNoon + 60);  // slot 0 lags behind
  EXPECT_EQ(*store_->RaiseFloor(0, kNoon), kNoon + 60);
  EXPECT_EQ(Read().floors[0], kNoon + 60);
  const int64_t day = AlignDown(kNoon, 86400);
  EXPECT_EQ(*store_->RaiseFloor(4, kNoon + 5), day);  // nothing is coarser
  EXPECT_TRUE(absl::IsInvalidArgument(store_->RaiseFloor(5, 0).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(store_->DropBelowFloor(-1, 10).status()));
}

TEST_P(StoreTest, RowsBelowTheFloorAreGoneForReadersAndDroppedInSteps) {
  Open();
  Transaction t = Next({0, 1, 2, 3});
  for (int bin = 0; bin < 400; ++bin) {
    for (int slot = 0; slot < 4; ++slot) {
      const int64_t start = kNoon + 10 * bin;
      t.partials.push_back(Partial(0, slot, start, SeriesId{1, 1}, OneSample(1, start)));
    }
  }
  for (int slot = 0; slot < 4; ++slot) {
    t.derives.push_back(
        {.slot = slot, .tier = 1, .old_until_seconds = kNoon, .new_until_seconds = kNoon + 3960});
  }
  MustCommit(t);
  EXPECT_EQ(*store_->RaiseFloor(0, kNoon + 3000), kNoon + 3000);
  EXPECT_EQ(AllPartials(0).size(), 400u);
  int steps = 0;
  while (true) {
    const auto more = store_->DropBelowFloor(0, 333);
    ASSERT_TRUE(more.ok()) << more.status();
    ++steps;
    EXPECT_EQ(AllPartials(0).size(), 400u);
    if (!*more) break;
    ASSERT_LT(steps, 100);
  }
  EXPECT_FALSE(*store_->DropBelowFloor(0, 333));
  Transaction after = Next({0});
  after.partials = {Partial(0, 0, kNoon + 3990, SeriesId{2, 2}, OneSample(1, kNoon + 3990))};
  MustCommit(after);
  EXPECT_EQ(AllPartials(0).size(), 401u);
}

TEST_P(StoreTest, BinsOfAnyAgeFindAPlace) {
  Open();
  for (int tier = 4; tier >= 0; --tier) {
    const int64_t width = options_.tiers[tier].bin_seconds;
    Transaction t = Next({0});
    for (const int64_t start : {claimed_.floors[tier], kNoon - 86400 * 7, kNoon, kNoon + 86400}) {
      const int64_t bin = AlignDown(start, width);
      if (bin < claimed_.floors[tier]) continue;
      t.partials.push_back(
          Partial(tier, 0, bin, SeriesId{t.partials.size(), 1}, OneSample(1, bin)));
    }
    MustCommit(t);
    EXPECT_EQ(AllPartials(tier).size(), t.partials.size());
  }
}

TEST_P(StoreTest, MalformedTransactionIsRefusedAndTheStoreGoesOn) {
  Open();
  const auto refused = [&](const std::function<void(Transaction*)>& spoil) {
    Transaction t = Next({0, 1});
    t.partials = {Partial(0, 0, kNoon, SeriesId{1, 1}, OneSample(1, kNoon))};
    t.series = {SeriesOf(0, "requests", {{"a", "b"}})};
    spoil(&t);
    const auto result = Commit(t);
    EXPECT_TRUE(absl::IsInvalidArgument(result.status())) << result.status();
  };
  refused([](Transaction* t) { std::swap(t->slots[0], t->slots[1]); });
  refused([](Transaction* t) { t->slots[1].slot = 4; });
  refused([](Transaction* t) { t->partials[0].slot = 2; });
  refused([](Transaction* t) { t->partials[0].start_seconds += 1; });
  refused([](Transaction* t) { t->partials[0].tier = 5; });
  refused([](Transaction* t) { t->partials[0].aggregate.count = 0; });
  refused([](Transaction* t) { t->partials[0].aggregate.float_count = 2; });
  refused([](Transaction* t) { t->partials[0].aggregate.max = std::nan(""); });
  refused([](Transaction* t) { t->partials[0].start_seconds = int64_t{1} << 60; });
  refused([](Transaction* t) { t->partials.push_back(t->partials[0]); });
  refused([](Transaction* t) { t->series[0].series.name = std::string("a\0b", 3); });
  refused([](Transaction* t) { t->series[0].series.labels[0].value = "\xed\xa0\x80"; });
  refused([](Transaction* t) { t->series[0].series.labels[0].value = "\xff"; });
  refused([](Transaction* t) { t->series[0].series.kind = static_cast<Kind>(9); });
  refused([](Transaction* t) { t->watermarks = {Advance(2, kWal, 0, 1)}; });
  refused([](Transaction* t) { t->watermarks = {Advance(1, kWal, 2, 1)}; });
  refused([](Transaction* t) { t->derives = {{.slot = 0, .tier = 0}}; });
  refused([](Transaction* t) { t->floors = {1}; });
  EXPECT_TRUE(AllPartials(0).empty());
  EXPECT_EQ(Read().slots[0].commit_number, 0);
  Transaction t = Next({0});
  t.partials = {Partial(0, 0, kNoon, SeriesId{1, 1}, OneSample(1, kNoon))};
  MustCommit(t);
  EXPECT_EQ(AllPartials(0).size(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Stores, StoreTest, ::testing::ValuesIn(Backends()), ParamName);

}  // namespace
}  // namespace weir::test
