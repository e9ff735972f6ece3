// What only a store that outlives its process can promise: it opens again, it
// migrates, it refuses what it is not, and people can query it with SQL.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/store/migrate.h"
#include "common/testing/test_seed.h"
#include "tests/conformance/store_suite.h"

namespace weir::test {
namespace {

using store::Transaction;
using ::testing::Test;

bool Contains(const absl::Status& status, const std::string& text) {
  return std::string(status.message()).find(text) != std::string::npos;
}

TEST_P(PersistentStoreTest, ReopenedStoreHasEverything) {
  Open();
  const store::SeriesRow series = SeriesOf(1, "requests", {{"model", "gpt"}});
  Transaction t = Next({1});
  t.watermarks = {{.slot = 1,
                   .wal_id = {.high = 1, .low = 2},
                   .new_lsn = 17,
                   .complete_until = absl::FromUnixSeconds(kNoon),
                   .heard_time = absl::FromUnixSeconds(kNoon)}};
  t.derives = {{.slot = 1, .tier = 1, .old_until_seconds = kNoon, .new_until_seconds = kNoon + 60}};
  t.series = {series};
  t.partials = {Partial(0, 1, kNoon, series.id, OneSample(42, kNoon), "sketch")};
  t.cumulatives = {Cumulative(1, series.id, kNoon, kNoon + 1, "point")};
  const store::IndicatorRow indicator = Indicator("acme", "availability", 1, "definition");
  const store::IndicatorRow gone = Indicator("acme", "gone", 1);
  t.indicator_changes = {{.row = indicator}, {.row = gone}};
  t.indicator_bins = {Bin(0, 1, kNoon, indicator.id, 1, 2), Bin(0, 1, kNoon, gone.id, 1, 2)};
  MustCommit(t);
  Transaction deletion;
  deletion.indicator_changes = {{.row = gone, .old_version = 1, .deleted = true}};
  MustCommit(deletion);
  store_.reset();
  options_.created_time += absl::Hours(100);  // of no concern to a store that exists
  Open();
  EXPECT_EQ(claimed_.slots[1].commit_number, 1);
  EXPECT_EQ(claimed_.slots[1].epoch, 2);
  EXPECT_EQ(claimed_.slots[1].derived_until[1], kNoon + 60);
  EXPECT_EQ(claimed_.watermarks.at(0).lsn, 17u);
  ASSERT_EQ(AllPartials(0).size(), 1u);
  EXPECT_EQ(AllPartials(0)[0].aggregate, OneSample(42, kNoon));
  EXPECT_EQ(AllPartials(0)[0].sketch, "sketch");
  EXPECT_EQ(OpenSnapshot()->FindSeries({.tenant = "acme"})->at(0).series, series.series);
  EXPECT_EQ(Cumulatives(1),
            (std::vector<OwnedCumulative>{{1, series.id, kNoon, kNoon + 1, "point"}}));
  EXPECT_EQ(OpenSnapshot()->Indicators()->version, 3);
  EXPECT_EQ(OpenSnapshot()->Indicators()->rows, (std::vector<store::IndicatorRow>{indicator}));
  EXPECT_EQ(AllBins(0).size(), 2u);
  // Nobody needs to remember a deletion for its bins to go.
  EXPECT_FALSE(*store_->DropIndicatorBins(0, kNoon, 10));
  EXPECT_EQ(AllBins(0), (std::vector<store::IndicatorBin>{Bin(0, 1, kNoon, indicator.id, 1, 2)}));
}

TEST_P(PersistentStoreTest, AnotherSlotCountIsRefusedNamingBoth) {
  Open();
  store_.reset();
  options_.slot_count = 8;
  const absl::Status status = backend_->Open(options_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(Contains(status, "4 slots")) << status;
  EXPECT_TRUE(Contains(status, "says 8")) << status;
}

TEST_P(PersistentStoreTest, AnotherTierTableIsRefusedNamingBoth) {
  Open();
  store_.reset();
  options_.tiers = *TierTable::Create({{"5m", 300, 10, 7200}, {"1h", 3600, 60, 86400}});
  const absl::Status status = backend_->Open(options_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(Contains(status, "5m=300/10/3600")) << status;
  EXPECT_TRUE(Contains(status, "5m=300/10/7200")) << status;
}

TEST_P(PersistentStoreTest, StoreWithOtherTiersWorksTheSame) {
  options_.tiers = *TierTable::Create({{"live", 60, 1, 3600}, {"it's", 3600, 30, 86400}});
  Open();
  Transaction t = Next({0});
  t.series = {SeriesOf(0, "requests")};
  t.partials = {Partial(0, 0, kNoon + 1, t.series[0].id, OneSample(42, kNoon + 1)),
                Partial(1, 0, kNoon - 30, t.series[0].id, OneSample(1, kNoon - 30))};
  MustCommit(t);
  EXPECT_EQ(
      backend_->Query("SELECT window_size, count FROM metric_aggregates ORDER BY 1, timestamp"),
      (TextRows{{"it's", "1"}, {"it's", "1"}, {"live", "1"}}));
}

TEST_P(PersistentStoreTest, NewerSchemaIsRefused) {
  Open();
  store_.reset();
  backend_->Execute("INSERT INTO schema_migrations (number, name, checksum) VALUES (77, 'x', 0)");
  const absl::Status status = backend_->Open(options_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(Contains(status, "migration 77")) << status;
  EXPECT_TRUE(Contains(status, "newer program")) << status;
}

TEST_P(PersistentStoreTest, MigrationThatIsNotOursIsRefused) {
  Open();
  store_.reset();
  backend_->Execute("UPDATE schema_migrations SET checksum = checksum + 1");
  const absl::Status status = backend_->Open(options_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(Contains(status, "checksum")) << status;
}

TEST_P(PersistentStoreTest, MigratingAgainChangesNothing) {
  Open();
  const std::string before = backend_->DumpSchema();
  const TextRows applied = backend_->Query("SELECT * FROM schema_migrations");
  for (int i = 0; i < 3; ++i) {
    store_.reset();
    Open();
  }
  EXPECT_EQ(backend_->DumpSchema(), before);
  EXPECT_EQ(backend_->Query("SELECT * FROM schema_migrations"), applied);
  EXPECT_EQ(claimed_.slots[0].epoch, 4);
}

// A store of the first release, with something in every table.
TEST_P(PersistentStoreTest, StoreOfVersionOneKeepsItsRowsAndLearnsCumulativePoints) {
  const absl::Status created = backend_->CreateAt(1, options_);
  ASSERT_TRUE(created.ok()) << created;
  const TextRows journal = backend_->Query("SELECT * FROM schema_migrations");
  ASSERT_EQ(journal.size(), 1u);
  const store::SeriesRow series = SeriesOf(1, "requests", {{"model", "gpt"}});
  const auto id = [&](const std::string& hex) {
    return absl::StrCat(backend_->postgres() ? "'" : "x'", hex, "'");
  };
  const auto time = [&](int64_t seconds) {
    return backend_->postgres() ? absl::StrCat("to_timestamp(", seconds, ")")
                                : absl::StrCat(seconds);
  };
  if (backend_->postgres()) {
    const int64_t width = store::PartitionSeconds(options_.tiers, 0);
    const int64_t start = AlignDown(kNoon, width);
    backend_->Execute(absl::StrCat("CREATE TABLE partials_0_", start,
                                   " PARTITION OF partials_0 FOR VALUES FROM (", time(start),
                                   ") TO (", time(start + width), ")"));
  }
  for (const std::string& sql : {
           std::string("UPDATE slots SET epoch = 7, commit_number = 41 WHERE slot = 1"),
           absl::StrCat("INSERT INTO watermarks VALUES (1, ", id(std::string(31, '0') + "9"),
                        ", 17, 5, 6)"),
           absl::StrCat("UPDATE slot_tiers SET derived_until",
                        backend_->postgres() ? "" : "_seconds", " = ", time(kNoon + 60),
                        " WHERE slot = 1 AND tier = 1"),
           absl::StrCat("INSERT INTO series VALUES (", id(series.id.ToHex()),
                        ", 1, 'acme', 'requests', 2, '{\"model\": \"gpt\"}')"),
           absl::StrCat("INSERT INTO partials_0 (",
                        backend_->postgres() ? "start_time" : "start_seconds",
                        ", slot, series_id, commit_number, count, float_count, integer_sum,"
                        " float_sum, min, max, mean, m2, first, last, first_unix_nano,"
                        " last_unix_nano) VALUES (",
                        time(kNoon), ", 1, ", id(series.id.ToHex()),
                        ", 41, 1, 0, 42, 0, 42, 42, 42, 0, 42, 42, ", kNoon, "000000000, ", kNoon,
                        "000000000)"),
       }) {
    backend_->Execute(sql);
  }

  Open();
  EXPECT_EQ(claimed_.slots[1].epoch, 8);
  EXPECT_EQ(claimed_.slots[1].commit_number, 41);
  EXPECT_EQ(claimed_.slots[1].derived_until[1], kNoon + 60);
  ASSERT_EQ(claimed_.watermarks.size(), 1u);
  EXPECT_EQ(claimed_.watermarks[0].wal_id, (WalId{.high = 0, .low = 9}));
  EXPECT_EQ(claimed_.watermarks[0].lsn, 17u);
  EXPECT_EQ(OpenSnapshot()->FindSeries({.tenant = "acme"})->at(0).series, series.series);
  ASSERT_EQ(AllPartials(0).size(), 1u);
  EXPECT_EQ(AllPartials(0)[0].aggregate, OneSample(42, kNoon));
  EXPECT_TRUE(Cumulatives(1).empty());
  const TextRows journal_after = backend_->Query("SELECT * FROM schema_migrations ORDER BY number");
  ASSERT_EQ(journal_after.size(), 3u);
  EXPECT_EQ(journal_after[0], journal[0]);

  Transaction t = Next({1});
  t.watermarks = {{.slot = 1, .wal_id = {.high = 0, .low = 9}, .old_lsn = 17, .new_lsn = 18}};
  t.partials = {Partial(0, 1, kNoon, series.id, OneSample(1, kNoon))};
  t.cumulatives = {Cumulative(1, series.id, kNoon, kNoon + 1, "point")};
  MustCommit(t);
  EXPECT_EQ(Cumulatives(1),
            (std::vector<OwnedCumulative>{{1, series.id, kNoon, kNoon + 1, "point"}}));
  EXPECT_EQ(backend_->Query("SELECT count, sum FROM bins WHERE window_size = '5m'"),
            (TextRows{{"2", backend_->postgres() ? "43" : "43.0"}}));

  // It is no different from a store that has never been anything else.
  const auto fresh = GetParam().create();
  ASSERT_TRUE(fresh->Open(options_).ok());
  EXPECT_EQ(backend_->DumpSchema(), fresh->DumpSchema());
}

// A store of the release before indicators, as an owner left it.
TEST_P(PersistentStoreTest, StoreOfVersionTwoKeepsItsRowsAndLearnsIndicators) {
  const absl::Status created = backend_->CreateAt(2, options_);
  ASSERT_TRUE(created.ok()) << created;
  const store::SeriesRow series = SeriesOf(1, "requests", {{"model", "gpt"}});
  const auto bytes = [&](const std::string& hex) {
    return absl::StrCat(backend_->postgres() ? "'\\x" : "x'", hex, "'");
  };
  const std::string id =
      backend_->postgres() ? absl::StrCat("'", series.id.ToHex(), "'") : bytes(series.id.ToHex());
  for (const std::string& sql :
       {std::string("UPDATE slots SET epoch = 7, commit_number = 41 WHERE slot = 1"),
        absl::StrCat("INSERT INTO series VALUES (", id,
                     ", 1, 'acme', 'requests', 2, '{\"model\": \"gpt\"}')"),
        absl::StrCat("INSERT INTO cumulative_points VALUES (1, ", id, ", 5, 6, ", bytes("706f"),
                     ")")}) {
    backend_->Execute(sql);
  }
  Open();
  EXPECT_EQ(claimed_.slots[1].epoch, 8);
  EXPECT_EQ(claimed_.slots[1].commit_number, 41);
  EXPECT_EQ(Cumulatives(1), (std::vector<OwnedCumulative>{{1, series.id, 5, 6, "po"}}));
  EXPECT_EQ(OpenSnapshot()->Indicators()->version, 1);
  EXPECT_TRUE(AllBins(0).empty());

  const store::IndicatorRow indicator = Indicator("acme", "availability", 1, "definition");
  Transaction t = Next({1});
  t.partials = {Partial(0, 1, kNoon, series.id, OneSample(42, kNoon))};
  t.indicator_changes = {{.row = indicator}};
  t.indicator_set_version = 1;
  t.indicator_bins = {Bin(0, 1, kNoon, indicator.id, 1, 2)};
  MustCommit(t);
  EXPECT_EQ(AllBins(0), (std::vector<store::IndicatorBin>{Bin(0, 1, kNoon, indicator.id, 1, 2)}));
  EXPECT_EQ(backend_->Query("SELECT count, kind FROM metric_aggregates WHERE window_size = '5m'"),
            (TextRows{{"1", "counter"}}));
  const auto fresh = GetParam().create();
  ASSERT_TRUE(fresh->Open(options_).ok());
  EXPECT_EQ(backend_->DumpSchema(), fresh->DumpSchema());
}

// Two series that differ in nothing but their kind.
TEST_P(PersistentStoreTest, MetricAggregatesTellsTheKindsOfOneNameApart) {
  Open();
  Transaction t = Next({0});
  for (int kind = 1; kind <= kMaxKind; ++kind) {
    store::SeriesRow row = SeriesOf(0, "latency");
    row.series.kind = static_cast<Kind>(kind);
    row.id = IdOfSeries(row.series);
    t.series.push_back(row);
    t.partials.push_back(Partial(0, 0, kNoon, row.id, OneSample(kind, kNoon)));
  }
  MustCommit(t);
  EXPECT_EQ(
      backend_->Query("SELECT kind, count FROM metric_aggregates"
                      " WHERE window_size = '5m' ORDER BY min_value"),
      (TextRows{
          {"gauge", "1"}, {"counter", "1"}, {"up_down_counter", "1"}, {"distribution", "1"}}));
}

TEST_P(PersistentStoreTest, ProgramsThatStartTogetherMigrateOnce) {
  std::vector<std::thread> threads;
  std::vector<StatusOrStore> stores(4);
  for (auto& store : stores) {
    threads.emplace_back([&] { store = backend_->Open(options_); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& store : stores) EXPECT_TRUE(store.ok()) << store.status();
  EXPECT_EQ(backend_->Query("SELECT count(*) FROM slots"), (TextRows{{"4"}}));
}

TEST_P(PersistentStoreTest, SchemaIsTheGoldenOne) {
  Open();
  const std::string path = absl::StrCat("tests/conformance/schema.",
                                        backend_->postgres() ? "postgres" : "sqlite", ".sql");
  const std::string dump = backend_->DumpSchema();
  if (std::getenv("WEIR_UPDATE_GOLDEN") != nullptr) std::ofstream(path) << dump;
  std::ifstream file(path);
  std::stringstream golden;
  golden << file.rdbuf();
  EXPECT_EQ(dump, golden.str()) << "run again with WEIR_UPDATE_GOLDEN=1 and review the change of "
                                << path;
}

TEST_P(PersistentStoreTest, OneSnapshotTooManyIsUnavailable) {
  Open();
  std::vector<std::unique_ptr<store::Snapshot>> snapshots;
  for (int i = 0; i < 16; ++i) snapshots.push_back(OpenSnapshot());
  EXPECT_TRUE(absl::IsUnavailable(store_->OpenSnapshot().status()));
  snapshots.pop_back();
  EXPECT_TRUE(store_->OpenSnapshot().ok());
}

// One bin as people see it, numbers as doubles.
struct ViewRow {
  int64_t count = 0;
  double sum = 0;
  double min = 0;
  double max = 0;
  friend bool operator==(const ViewRow&, const ViewRow&) = default;
};
using ViewKey = std::tuple<std::string, int64_t, std::string, std::string>;  // window, start, ...

double Number(const std::string& text) {
  double value = 0;
  EXPECT_TRUE(absl::SimpleAtod(text, &value)) << text;
  return value;
}

TEST_P(PersistentStoreTest, ViewsMergePartialsByTheRuleEveryQueryFollows) {
  std::mt19937_64 random(TestSeed(20260301));
  Open();
  std::vector<store::SeriesRow> series;
  for (int i = 0; i < 5; ++i) {
    series.push_back(SeriesOf(0, absl::StrCat("m", i % 2), {{"i\"\\", absl::StrCat(i)}}));
  }
  // Slots lag behind one another in what they have derived.
  Transaction derive = Next({0, 1, 2, 3});
  for (int slot = 0; slot < 4; ++slot) {
    for (int tier = 1; tier < 4; ++tier) {
      const int64_t old_until = claimed_.slots[slot].derived_until[tier];
      const int64_t until = AlignDown(kNoon + 7200 + 900 * slot, options_.tiers[tier].bin_seconds);
      derive.derives.push_back({.slot = slot,
                                .tier = tier,
                                .old_until_seconds = old_until,
                                .new_until_seconds = std::max(old_until, until)});
    }
  }
  MustCommit(derive);
  claimed_ = Read();
  // Two commits, so that bins have several rows: each tier up to its derived_until.
  for (int commit = 0; commit < 2; ++commit) {
    Transaction t = Next({0, 1, 2, 3});
    for (int tier = 0; tier < 5; ++tier) {
      for (int i = 0; i < 150; ++i) {
        const int slot = static_cast<int>(random() % 4);
        const int64_t start = AlignDown(kNoon - 3600 + static_cast<int64_t>(random() % 18000),
                                        options_.tiers[tier].bin_seconds);
        if (tier > 0 && start >= claimed_.slots[slot].derived_until[tier]) continue;
        store::SeriesRow row = series[random() % series.size()];
        row.slot = slot;
        t.series.push_back(row);
        Aggregate a = OneSample(static_cast<int64_t>(random() % 2000) - 1000, start);
        a.AddFloat(0.5, start * 1'000'000'000);
        const auto same = [&](const store::PartialRow& p) {
          return p.tier == tier && p.slot == slot && p.start_seconds == start &&
                 p.series_id == row.id;
        };
        if (std::none_of(t.partials.begin(), t.partials.end(), same)) {
          t.partials.push_back(Partial(tier, slot, start, row.id, a));
        }
      }
    }
    MustCommit(t);
  }
  ASSERT_TRUE(store_->RaiseFloor(0, kNoon + 600).ok());
  ASSERT_TRUE(store_->RaiseFloor(1, kNoon + 900).ok());
  claimed_ = Read();

  std::map<ViewKey, ViewRow> expected;
  const auto add = [&](int window, const OwnedPartial& row) {
    const auto of = std::find_if(series.begin(), series.end(),
                                 [&](const auto& s) { return s.id == row.series_id; });
    const Tier& tier = options_.tiers[window];
    ViewRow& view = expected[{tier.window, AlignDown(row.start_seconds, tier.bin_seconds),
                              of->series.name, LabelsToJson(of->series.labels)}];
    view.min = view.count == 0 ? row.aggregate.min : std::min(view.min, row.aggregate.min);
    view.max = view.count == 0 ? row.aggregate.max : std::max(view.max, row.aggregate.max);
    view.count += row.aggregate.count;
    view.sum += row.aggregate.sum();
  };
  for (int tier = 0; tier < 5; ++tier) {
    for (const OwnedPartial& row : AllPartials(tier)) {
      add(tier, row);
      for (int window = tier + 1; window < 5; ++window) {
        if (row.start_seconds < claimed_.slots[row.slot].derived_until[tier + 1]) break;
        add(window, row);
      }
    }
  }

  const std::string start = backend_->postgres() ? "extract(epoch FROM start_time)::bigint"
                                                 : "strftime('%s', start_time)";
  std::map<ViewKey, ViewRow> seen;
  for (const auto& row :
       backend_->Query(absl::StrCat("SELECT window_size, ", start,
                                    ", metric_name, labels, count, sum, min, max, avg,"
                                    " tenant, kind FROM bins"))) {
    auto labels = LabelsFromJson(row[3]);
    ASSERT_TRUE(labels.ok()) << row[3];
    const auto [where, inserted] = seen.insert(
        {{row[0], static_cast<int64_t>(Number(row[1])), row[2], LabelsToJson(*labels)},
         {static_cast<int64_t>(Number(row[4])), Number(row[5]), Number(row[6]), Number(row[7])}});
    EXPECT_TRUE(inserted);
    EXPECT_NEAR(Number(row[8]), where->second.sum / static_cast<double>(where->second.count), 1e-9);
    EXPECT_EQ(row[9], "acme");
    EXPECT_EQ(row[10], "counter");
  }
  EXPECT_GT(expected.size(), 500u);
  EXPECT_EQ(seen, expected);

  // The seed's own columns, and the kind after them.
  const TextRows aggregates = backend_->Query(
      "SELECT metric_name, window_size, timestamp, tags, min_value, max_value, avg_value, count,"
      " kind FROM metric_aggregates WHERE window_size = '1h'");
  const auto of_hour = std::count_if(expected.begin(), expected.end(), [](const auto& entry) {
    return std::get<0>(entry.first) == "1h";
  });
  EXPECT_EQ(static_cast<int64_t>(aggregates.size()), of_hour);
}

INSTANTIATE_TEST_SUITE_P(Stores, PersistentStoreTest, ::testing::ValuesIn(PersistentBackends()),
                         ParamName);

}  // namespace
}  // namespace weir::test
