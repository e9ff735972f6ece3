// The suites' stores that need no server, and what only they promise.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "common/store/migrate.h"
#include "common/store/sqlite/connection.h"
#include "common/store/sqlite/sqlite_store.h"
#include "common/testing/memory_store.h"
#include "tests/conformance/store_suite.h"

namespace weir::test {
namespace {

class MemoryBackend : public Backend {
 public:
  StatusOrStore Open(const store::StoreOptions& options) override {
    return MemoryStore::Create(options);
  }
};

class SqliteBackend : public Backend {
 public:
  SqliteBackend() {
    std::string directory = ::testing::TempDir() + "/weir-store-XXXXXX";
    EXPECT_NE(mkdtemp(directory.data()), nullptr);
    directory_ = directory;
  }
  ~SqliteBackend() override { std::filesystem::remove_all(directory_); }

  StatusOrStore Open(const store::StoreOptions& options) override {
    return store::SqliteStore::Open(path(), options);
  }
  TextRows Query(const std::string& sql) override {
    auto connection = store::Connection::Open(path(), store::Connection::Role::kWriter);
    EXPECT_TRUE(connection.ok()) << connection.status();
    auto rows = (*connection)->Query(sql);
    EXPECT_TRUE(rows.ok()) << rows.status();
    return rows.ok() ? *rows : TextRows();
  }
  absl::Status CreateAt(int number, const store::StoreOptions& options) override {
    auto connection = store::Connection::Open(path(), store::Connection::Role::kWriter);
    if (!connection.ok()) return connection.status();
    const auto migrations = store::EmbeddedMigrations(store::Dialect::kSqlite);
    return store::Migrate(store::Dialect::kSqlite, migrations.first(number), options,
                          connection->get());
  }
  std::string DumpSchema() override {
    std::string dump;
    for (const auto& row : Query("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"
                                 " ORDER BY type, name")) {
      absl::StrAppend(&dump, row[0], ";\n\n");
    }
    return dump;
  }
  std::string path() const { return directory_ / "store.db"; }

 private:
  std::filesystem::path directory_;
};

TEST(SqliteStoreTest, FileThatIsNoDatabaseIsAFailedPrecondition) {
  SqliteBackend backend;
  FILE* const file = fopen(backend.path().c_str(), "w");
  fputs(std::string(10000, 'x').c_str(), file);
  fclose(file);
  const absl::Status status = backend.Open({}).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
}

TEST(SqliteStoreTest, CommitIsOnDiskWhenItReturns) {
  SqliteBackend backend;
  auto connection = store::Connection::Open(backend.path(), store::Connection::Role::kWriter);
  ASSERT_TRUE(connection.ok()) << connection.status();
  EXPECT_EQ((*connection)->Query("PRAGMA synchronous")->at(0).at(0), "2");  // FULL
  EXPECT_EQ((*connection)->Query("PRAGMA journal_mode")->at(0).at(0), "wal");
  EXPECT_EQ((*connection)->Query("PRAGMA mmap_size")->at(0).at(0), "0");
}

TEST(MigrationTest, StatementsThatNameATierRunOncePerTier) {
  EXPECT_EQ(store::MigrationStatements("-- Why: {tier} in a comment counts for nothing.\n"
                                       "CREATE TABLE a (\n  x int  -- y; z\n);\n\n"
                                       "-- Each.\nCREATE TABLE p_{tier} (b_{tier} int);\n",
                                       2),
            (std::vector<std::string>{"CREATE TABLE a (\n  x int  -- y; z\n)",
                                      "CREATE TABLE p_0 (b_0 int)", "CREATE TABLE p_1 (b_1 int)"}));
}

TEST(MigrationTest, NumbersRiseByOneInBothDialects) {
  for (const auto dialect : {store::Dialect::kPostgres, store::Dialect::kSqlite}) {
    int expected = 0;
    for (const auto& migration : store::EmbeddedMigrations(dialect)) {
      EXPECT_EQ(migration.number, ++expected);
    }
    EXPECT_GT(expected, 0);
  }
}

// A store remembers the checksum of every migration it has seen: one that changes
// after its release locks every existing store out.
TEST(MigrationTest, ReleasedMigrationsNeverChange) {
  const std::vector<uint32_t> postgres = {0x1d25cff4, 0xc9620dcb, 0xb8a2a6d0};
  const std::vector<uint32_t> sqlite = {0xfc1f9810, 0x8d1f7304, 0x7568042c};
  for (const auto dialect : {store::Dialect::kPostgres, store::Dialect::kSqlite}) {
    std::vector<uint32_t> checksums;
    for (const auto& migration : store::EmbeddedMigrations(dialect)) {
      checksums.push_back(Crc32c(migration.sql));
    }
    EXPECT_EQ(checksums, dialect == store::Dialect::kPostgres ? postgres : sqlite);
  }
}

// A failing migration leaves the one before it in force, and can be mended.
TEST(MigrationTest, FailedMigrationIsUndoneAndTheNextProgramGoesOn) {
  SqliteBackend backend;
  const auto embedded = store::EmbeddedMigrations(store::Dialect::kSqlite);
  std::vector<store::Migration> migrations(embedded.begin(), embedded.end());
  const int next = migrations.back().number + 1;
  migrations.push_back(
      {next, "broken", "CREATE TABLE half (x int);\nCREATE TABLE half (x int);\n"});
  auto connection = store::Connection::Open(backend.path(), store::Connection::Role::kWriter);
  ASSERT_TRUE(connection.ok()) << connection.status();
  const absl::Status status =
      store::Migrate(store::Dialect::kSqlite, migrations, {}, connection->get());
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE((*connection)->Query("SELECT 1 FROM sqlite_master WHERE name = 'half'")->empty());
  migrations.back() = {next, "mended", "ALTER TABLE partials_{tier} ADD COLUMN extra INTEGER;\n"};
  const absl::Status mended =
      store::Migrate(store::Dialect::kSqlite, migrations, {}, connection->get());
  EXPECT_TRUE(mended.ok()) << mended;
  EXPECT_TRUE((*connection)->Query("SELECT extra FROM partials_4").ok());
  EXPECT_EQ((*connection)->Query("SELECT count(*) FROM slots")->at(0).at(0), "16");
  EXPECT_TRUE((*connection)->Query("SELECT * FROM metric_aggregates").ok());
}

}  // namespace

std::vector<BackendParam> PersistentBackends() {
  return {{"Sqlite", [] { return std::make_unique<SqliteBackend>(); }}};
}

std::vector<BackendParam> Backends() {
  std::vector<BackendParam> backends = PersistentBackends();
  backends.push_back({"Memory", [] { return std::make_unique<MemoryBackend>(); }});
  return backends;
}

}  // namespace weir::test
