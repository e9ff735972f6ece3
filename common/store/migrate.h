// Brings a database to this program's schema, or says why it cannot.
//
// Migrations are the SQL files of common/store/migrations, embedded in the
// binary: forward only, each in a transaction of its own that holds the lock on
// schema_migrations, so programs that start together take turns. A statement
// that names {tier} runs once per tier. After the last one the views for people
// (views.h) are made anew; a new store also gets its first rows. Opening a
// store that is up to date writes nothing and takes no lock.
//
// Thread safety: functions are called by one thread per session.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/store/store.h"

namespace weir::store {

enum class Dialect { kPostgres, kSqlite };

struct Migration {
  int number;        // rises by one, from 1
  const char* name;  // of the file, without number and suffix
  const char* sql;   // statements, each ending with ';' at the end of a line
};

// In order. Generated at build time by migrations/embed.cmake.
absl::Span<const Migration> EmbeddedMigrations(Dialect dialect);

// What a migration needs of a database: a connection without an open transaction.
class SchemaSession {
 public:
  virtual ~SchemaSession() = default;
  // Begins a transaction; from then on names mean the store's own tables.
  virtual absl::Status Begin() = 0;
  virtual absl::Status Commit() = 0;
  virtual void Rollback() = 0;
  // One or more statements without parameters.
  virtual absl::Status Execute(const std::string& sql) = 0;
  // Values as text.
  virtual absl::StatusOr<std::vector<std::vector<std::string>>> Query(const std::string& sql) = 0;
};

// Applies what is missing of `migrations`, creates the store's first rows where
// there are none, and compares what the store was created with to `options`.
//
// Errors: FailedPrecondition when the schema is newer than this program, an
// applied migration is not the one this program knows, or the slot count or
// tier table differs (both values are named); and the session's own errors.
absl::Status Migrate(Dialect dialect, absl::Span<const Migration> migrations,
                     const StoreOptions& options, SchemaSession* session);

// The statements of one migration for a store of `tier_count` tiers.
std::vector<std::string> MigrationStatements(const std::string& sql, int tier_count);

// `text` as an SQL string literal, quotes included. Both dialects.
std::string SqlQuote(const std::string& text);

// How much time one partition of a tier holds (PostgreSQL): about a tenth of
// its retention, and a whole number of the next coarser tier's bins.
int64_t PartitionSeconds(const TierTable& tiers, int tier);

}  // namespace weir::store
