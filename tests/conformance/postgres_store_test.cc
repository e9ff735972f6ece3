// PostgreSQL under the suites, and what it does when sessions and servers die.
#include "common/store/postgres/postgres_store.h"

#include <atomic>
#include <pqxx/pqxx>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/clock.h"
#include "common/store/migrate.h"
#include "common/testing/postgres_server.h"
#include "tests/conformance/store_suite.h"

// libpqxx 6.4 leaks the last result, about a kilobyte, when it finds its
// connection closed.
extern "C" const char* __lsan_default_suppressions() { return "leak:libpqxx-6"; }

namespace weir::test {
namespace {

using store::CommitResult;
using store::Transaction;

// One server for all tests of this executable, and a schema for each.
class ServerEnvironment : public ::testing::Environment {
 public:
  void SetUp() override {
    auto started = PostgresServer::Start();
    ASSERT_TRUE(started.ok()) << started.status();
    server = *std::move(started);
  }
  void TearDown() override { server.reset(); }
  static inline std::unique_ptr<PostgresServer> server;
};
const auto* const kEnvironment = ::testing::AddGlobalTestEnvironment(new ServerEnvironment);

PostgresServer& Server() { return *ServerEnvironment::server; }

void Sleep(absl::Duration duration) {
  Mutex mu;
  CondVar never;
  MutexLock lock(&mu);
  const absl::Time deadline = Clock::System().Now() + duration;
  while (Clock::System().WaitUntil(&mu, &never, deadline)) {
  }
}

class PostgresBackend : public Backend {
 public:
  PostgresBackend() {
    static int count = 0;
    schema_ = absl::StrCat("weir_test_", ++count);
  }

  store::PostgresOptions postgres_options() const {
    return {.conninfo = Server().conninfo(), .schema = schema_};
  }
  StatusOrStore Open(const store::StoreOptions& options) override {
    return store::PostgresStore::Open(postgres_options(), options);
  }
  TextRows Query(const std::string& sql) override {
    TextRows rows;
    try {
      pqxx::connection connection(Server().conninfo());
      pqxx::nontransaction tx(connection);
      tx.exec(absl::StrCat("SET search_path TO ", schema_));
      const pqxx::result result = tx.exec(sql);
      for (const auto& row : result) {
        rows.emplace_back();
        for (const auto& field : row) rows.back().emplace_back(field.c_str());
      }
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    return rows;
  }
  bool postgres() const override { return true; }
  absl::Status CreateAt(int number, const store::StoreOptions& options) override {
    Execute("CREATE SCHEMA IF NOT EXISTS " + schema_);
    store::Session session(postgres_options());
    const auto migrations = store::EmbeddedMigrations(store::Dialect::kPostgres);
    return store::Migrate(store::Dialect::kPostgres, migrations.first(number), options, &session);
  }
  std::string DumpSchema() override;
  const std::string& schema() const { return schema_; }

 private:
  std::string schema_;
};

std::string PostgresBackend::DumpSchema() {
  std::string dump;
  for (const auto& table : Query(absl::StrCat(
           "SELECT c.relname, c.oid, c.relkind, pg_get_partkeydef(c.oid) FROM pg_class c"
           " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = '",
           schema_, "' AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition ORDER BY 1"))) {
    absl::StrAppend(&dump, table[2] == "v" ? "CREATE VIEW " : "CREATE TABLE ", table[0], " (\n");
    for (const auto& column : Query(absl::StrCat(
             "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,"
             " pg_get_expr(d.adbin, d.adrelid) FROM pg_attribute a LEFT JOIN pg_attrdef d"
             " ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attrelid = ",
             table[1], " AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"))) {
      absl::StrAppend(&dump, "  ", column[0], " ", column[1], column[2] == "t" ? " NOT NULL" : "",
                      column[3].empty() ? "" : " DEFAULT ", column[3], "\n");
    }
    for (const auto& constraint : Query(absl::StrCat(
             "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = ",
             table[1], " AND contype IN ('p', 'c', 'u') ORDER BY 1"))) {
      absl::StrAppend(&dump, "  ", constraint[0], " ", constraint[1], "\n");
    }
    absl::StrAppend(&dump, ")", table[3].empty() ? "" : " PARTITION BY ", table[3], ";\n");
    for (const auto& index : Query(absl::StrCat(
             "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = ", table[1],
             " AND indexrelid NOT IN (SELECT conindid FROM pg_constraint) ORDER BY 1"))) {
      absl::StrAppend(&dump, index[0], ";\n");
    }
    absl::StrAppend(&dump, "\n");
  }
  return absl::StrReplaceAll(dump, {{schema_ + ".", ""}});
}

class PostgresStoreTest : public StoreTest {
 protected:
  PostgresBackend& postgres() { return static_cast<PostgresBackend&>(*backend_); }

  // What an aggregator does: runs `t` until it knows what became of it.
  // Returns how often it had to ask again.
  int CommitForSure(const Transaction& t) {
    for (int unknown = 0;; ++unknown) {
      auto result = Commit(t);
      if (result.ok() && *result == CommitResult::kConflict) {
        const auto read = store_->ReadSlots({t.slots[0].slot});
        if (!read.ok()) continue;
        EXPECT_EQ(read->slots[0].commit_number, t.slots[0].old_commit_number + 1);
      } else if (!result.ok()) {
        EXPECT_TRUE(absl::IsUnavailable(result.status())) << result.status();
        if (::testing::Test::HasFailure()) return unknown;
        if (unknown > 10) Sleep(absl::Milliseconds(20));
        continue;
      }
      for (const auto& change : t.slots) ++claimed_.slots[change.slot].commit_number;
      return unknown;
    }
  }

  // Commits whose rows add up, and that replace and drop the points of a series
  // that begins anew with each.
  Transaction Numbered(uint64_t number) {
    number_text_ = absl::StrCat(number);
    const int64_t start = kNoon + 10 * static_cast<int64_t>(number % 1000);
    Transaction t = Next({0, 1});
    for (const int slot : {0, 1}) {
      t.watermarks.push_back({.slot = slot,
                              .wal_id = {.high = 1, .low = 1},
                              .old_lsn = number,
                              .new_lsn = number + 1,
                              .complete_until = absl::UnixEpoch(),
                              .heard_time = absl::UnixEpoch()});
      for (uint64_t id = 0; id < 50; ++id) {
        t.partials.push_back(Partial(0, slot, start, SeriesId{id, 0},
                                     OneSample(static_cast<int64_t>(number), start)));
      }
    }
    const auto time = static_cast<int64_t>(number);
    t.cumulatives = {Cumulative(0, SeriesId{1, 1}, 0, time, number_text_),
                     Cumulative(0, SeriesId{1, 1}, StartOf(time), time, number_text_)};
    t.dropped_cumulatives = {{0, SeriesId{1, 1}, StartOf(time - 2)}};
    for (const int slot : {0, 1}) {
      for (uint64_t id = 0; id < 20; ++id) {
        t.indicator_bins.push_back(Bin(0, slot, kNoon, IndicatorId{id, 0}, 1, time));
      }
    }
    return t;
  }

  void ExpectExactly(uint64_t commits) {
    EXPECT_EQ(postgres().Query("SELECT count(*), sum(integer_sum), count(DISTINCT commit_number)"
                               " FROM partials_0"),
              (TextRows{{absl::StrCat(commits * 100),
                         absl::StrCat(commits * (commits - 1) / 2 * 100), absl::StrCat(commits)}}));
    // The last commit's, replaced by every one, and what the last two began.
    const auto last = static_cast<int64_t>(commits) - 1;
    std::vector<OwnedCumulative> points = {{0, SeriesId{1, 1}, 0, last, absl::StrCat(last)}};
    for (const int64_t time : {last - 1, last}) {
      points.push_back({0, SeriesId{1, 1}, StartOf(time), time, absl::StrCat(time)});
    }
    EXPECT_EQ(Cumulatives(0), points);
    std::vector<store::IndicatorBin> bins;
    const auto count = static_cast<int64_t>(commits);
    for (uint64_t id = 0; id < 20; ++id) {
      for (const int slot : {0, 1}) {
        bins.push_back(Bin(0, slot, kNoon, IndicatorId{id, 0}, count, count * (count - 1) / 2));
      }
    }
    EXPECT_EQ(AllBins(0), bins);
  }
  static int64_t StartOf(int64_t number) { return 1000 + number; }

  std::string number_text_;  // of the transaction Numbered made last
};

TEST_P(PostgresStoreTest, CommitsAreExactWhileTheirSessionsAreTerminated) {
  Open();
  std::atomic<bool> done = false;
  std::thread terminator([&] {
    pqxx::connection connection(Server().conninfo() + " application_name=terminator");
    pqxx::nontransaction tx(connection);
    std::mt19937 random(20260301);
    while (!done) {
      tx.exec(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
          " WHERE application_name = 'weir'");
      Sleep(absl::Microseconds(10000 + random() % 60000));
    }
  });
  int unknown = 0;
  uint64_t commits = 0;
  while ((commits < 200 || unknown < 20) && commits < 5000 && !HasFailure()) {
    unknown += CommitForSure(Numbered(commits++));
  }
  done = true;
  terminator.join();
  EXPECT_GE(unknown, 20);
  ExpectExactly(commits);
  std::cout << commits << " commits, " << unknown << " of unknown outcome\n";
}

TEST_P(PostgresStoreTest, CommitsAreExactWhileTheServerIsKilled) {
  Open();
  std::atomic<bool> done = false;
  std::atomic<int> unknown = 0;
  std::atomic<uint64_t> commits = 0;
  std::thread committer([&] {
    while (!done && !HasFailure()) unknown += CommitForSure(Numbered(commits++));
  });
  for (int i = 0; i < 3; ++i) {
    const uint64_t before = commits;
    while (commits < before + 20 && !HasFailure()) Sleep(absl::Milliseconds(5));
    Server().Kill();
    const absl::Status status = Server().Restart();
    EXPECT_TRUE(status.ok()) << status;
  }
  done = true;
  committer.join();
  EXPECT_GE(unknown, 3);
  ExpectExactly(commits);
}

TEST_P(PostgresStoreTest, GhostThatIsStillCommittingIsWaitedForAndWins) {
  Open();
  // A session that was given up by its client and is about to commit.
  pqxx::connection connection(Server().conninfo());
  pqxx::nontransaction ghost(connection);
  ghost.exec(absl::StrCat("BEGIN; SET LOCAL search_path TO ", postgres().schema(),
                          "; UPDATE slots SET commit_number = commit_number + 1 WHERE slot = 0"));
  std::atomic<bool> answered = false;
  absl::StatusOr<CommitResult> result;
  std::thread again([&] {
    result = Commit(Numbered(0));
    answered = true;
  });
  Sleep(absl::Milliseconds(200));
  EXPECT_FALSE(answered);
  ghost.exec("COMMIT");
  again.join();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(*result, CommitResult::kConflict);
  EXPECT_TRUE(AllPartials(0).empty());
}

TEST_P(PostgresStoreTest, LostSnapshotIsUnavailableAndTheNextOneWorks) {
  Open();
  const auto snapshot = OpenSnapshot();
  postgres().Execute(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
      " WHERE application_name = 'weir'");
  EXPECT_TRUE(absl::IsUnavailable(snapshot->Slots().status()));
  EXPECT_TRUE(absl::IsUnavailable(snapshot->Floors().status()));
  EXPECT_TRUE(OpenSnapshot()->Slots().ok());
  // One that died in the pool is replaced without a word.
  postgres().Execute(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
      " WHERE application_name = 'weir'");
  EXPECT_TRUE(OpenSnapshot()->Slots().ok());
}

TEST_P(PostgresStoreTest, FullPartitionsAreDroppedUnlessAReaderIsInTheWay) {
  Open();
  Transaction t = Next({0, 1, 2, 3});
  for (int64_t start = kNoon; start < kNoon + 3600; start += 60) {
    t.partials.push_back(Partial(0, 0, start, SeriesId{1, 1}, OneSample(1, start)));
  }
  for (int slot = 0; slot < 4; ++slot) {
    t.derives.push_back(
        {.slot = slot, .tier = 1, .old_until_seconds = kNoon, .new_until_seconds = kNoon + 3600});
  }
  MustCommit(t);
  EXPECT_EQ(*store_->RaiseFloor(0, kNoon + 1800), kNoon + 1800);
  {
    const auto reader = OpenSnapshot();
    EXPECT_EQ(*store_->DropBelowFloor(0, 1000), true);
    EXPECT_EQ(Partials(reader.get(), {.start_seconds = kNoon, .end_seconds = kNoon + 3600}).size(),
              30u);
  }
  EXPECT_EQ(*store_->DropBelowFloor(0, 1000), false);
  EXPECT_EQ(postgres().Query("SELECT min(extract(epoch FROM start_time))::bigint FROM partials_0"),
            (TextRows{{absl::StrCat(kNoon + 1800)}}));
}

// What the table's fillfactor is for: see its migration.
TEST_P(PostgresStoreTest, ReplacedPointsFindRoomInTheirPages) {
  Open();
  const auto replace = [&](int64_t time) {
    Transaction t = Next({0});
    for (uint64_t id = 0; id < 20'000; ++id) {
      t.cumulatives.push_back(
          Cumulative(0, SeriesId{id * 0x9e3779b97f4a7c15, id}, 0, time, "point"));
    }
    MustCommit(t);
  };
  const auto size = [&](const std::string& relation) {
    return std::stoll(postgres().Query("SELECT pg_relation_size('" + relation + "')")[0][0]);
  };
  replace(0);
  const int64_t table_bytes = size("cumulative_points");
  const int64_t index_bytes = size("cumulative_points_pkey");
  for (int64_t time = 1; time <= 5; ++time) replace(time);
  EXPECT_LT(size("cumulative_points"), table_bytes * 5 / 4);
  EXPECT_EQ(size("cumulative_points_pkey"), index_bytes);
}

// The same of the counts that every flush adds to.
TEST_P(PostgresStoreTest, CountsThatAreAddedToFindRoomInTheirPages) {
  Open();
  const auto add = [&](int64_t start) {
    Transaction t = Next({0, 1});
    for (uint64_t id = 0; id < 5'000; ++id) {
      for (const int slot : {0, 1}) {
        t.indicator_bins.push_back(
            Bin(0, slot, start, IndicatorId{id * 0x9e3779b97f4a7c15, id}, 1, 2));
      }
    }
    MustCommit(t);
  };
  const auto size = [&](const std::string& relation) {
    return std::stoll(postgres().Query("SELECT pg_relation_size('" + relation + "')")[0][0]);
  };
  add(kNoon);
  const int64_t table_bytes = size("indicator_bins");
  const int64_t index_bytes = size("indicator_bins_pkey");
  for (int i = 0; i < 9; ++i) add(kNoon);
  EXPECT_LT(size("indicator_bins"), table_bytes * 5 / 4);
  EXPECT_EQ(size("indicator_bins_pkey"), index_bytes);
}

// Who changes an indicator waits for flushes that have compared the set, and a
// flush for who changes it.
TEST_P(PostgresStoreTest, FlushAndChangeOfIndicatorsTakeTurns) {
  Open();
  pqxx::connection connection(Server().conninfo());
  pqxx::nontransaction other(connection);
  other.exec(absl::StrCat("SET search_path TO ", postgres().schema(),
                          "; BEGIN; UPDATE indicator_set SET version = version + 1"));
  Transaction t = Next({0});
  t.indicator_set_version = 1;
  t.indicator_bins = {Bin(0, 0, kNoon, IndicatorId{1, 1}, 1, 2)};
  std::atomic<bool> answered = false;
  absl::StatusOr<CommitResult> result;
  std::thread flush([&] {
    result = Commit(t);
    answered = true;
  });
  Sleep(absl::Milliseconds(200));
  EXPECT_FALSE(answered);
  other.exec("COMMIT");
  flush.join();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(*result, CommitResult::kConflict);
  EXPECT_TRUE(AllBins(0).empty());

  other.exec("BEGIN; SELECT version FROM indicator_set FOR SHARE");
  t.indicator_set_version = 2;
  MustCommit(t);  // two flushes are in nobody's way
  Transaction change;
  change.indicator_changes = {{.row = Indicator("acme", "a", 1)}};
  answered = false;
  std::thread changer([&] {
    result = Commit(change);
    answered = true;
  });
  Sleep(absl::Milliseconds(200));
  EXPECT_FALSE(answered);
  other.exec("COMMIT");
  changer.join();
  EXPECT_EQ(*result, CommitResult::kCommitted);
}

TEST_P(PostgresStoreTest, PartitionDroppedBySomebodyElseIsMadeAgain) {
  Open();
  Transaction t = Next({0});
  t.partials = {Partial(0, 0, kNoon, SeriesId{1, 1}, OneSample(1, kNoon))};
  MustCommit(t);
  postgres().Execute(absl::StrCat("DROP TABLE partials_0_", AlignDown(kNoon, 360)));
  Transaction again = Next({0});
  again.partials = t.partials;
  MustCommit(again);
  EXPECT_EQ(AllPartials(0).size(), 1u);
}

TEST_P(PostgresStoreTest, SchemaOfAnyNameIsQuoted) {
  store::PostgresOptions postgres_options = postgres().postgres_options();
  postgres_options.schema = "it's a \"schema\" \\";
  const auto store = store::PostgresStore::Open(postgres_options, options_);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_TRUE((*store)->Claim({0}, "a").ok());
}

TEST_P(PostgresStoreTest, RoleWithoutRightsIsAFailedPrecondition) {
  Open();
  postgres().Execute("DROP ROLE IF EXISTS nobody_special");
  postgres().Execute("CREATE ROLE nobody_special LOGIN");
  store::PostgresOptions postgres_options = postgres().postgres_options();
  postgres_options.conninfo =
      absl::StrReplaceAll(postgres_options.conninfo, {{"user=postgres", "user=nobody_special"}});
  const absl::Status used = store::PostgresStore::Open(postgres_options, options_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(used)) << used;
  postgres_options.schema = "not_there";
  const absl::Status created = store::PostgresStore::Open(postgres_options, options_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(created)) << created;
}

TEST_P(PostgresStoreTest, WhatCannotBeReachedSaysWhetherWaitingHelps) {
  store::PostgresOptions postgres_options = postgres().postgres_options();
  postgres_options.conninfo = Server().conninfo("no_such_database");
  const absl::Status unknown = store::PostgresStore::Open(postgres_options, options_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(unknown)) << unknown;
  postgres_options.conninfo = "postgresql:///postgres?host=/nowhere";
  const absl::Status down = store::PostgresStore::Open(postgres_options, options_).status();
  EXPECT_TRUE(absl::IsUnavailable(down)) << down;
}

INSTANTIATE_TEST_SUITE_P(Stores, PostgresStoreTest, ::testing::ValuesIn(PersistentBackends()),
                         ParamName);

}  // namespace

std::vector<BackendParam> PersistentBackends() {
  return {{"Postgres", [] { return std::make_unique<PostgresBackend>(); }}};
}

std::vector<BackendParam> Backends() { return PersistentBackends(); }

}  // namespace weir::test
