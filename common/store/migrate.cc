#include "common/store/migrate.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/crc32c.h"
#include "common/base/status_macros.h"
#include "common/store/views.h"

namespace weir::store {
namespace {

// The table that records migrations cannot be one.
std::string JournalSql(Dialect dialect) {
  if (dialect == Dialect::kPostgres) {
    return "CREATE TABLE IF NOT EXISTS schema_migrations (\n"
           "  number       integer     PRIMARY KEY CHECK (number > 0),\n"
           "  name         text        NOT NULL,\n"
           "  checksum     bigint      NOT NULL,  -- CRC-32C of the file\n"
           "  applied_time timestamptz NOT NULL DEFAULT now()\n)";
  }
  return "CREATE TABLE IF NOT EXISTS schema_migrations (\n"
         "  number       INTEGER NOT NULL PRIMARY KEY CHECK (number > 0),\n"
         "  name         TEXT    NOT NULL,\n"
         "  checksum     INTEGER NOT NULL,  -- CRC-32C of the file\n"
         "  applied_time TEXT    NOT NULL DEFAULT CURRENT_TIMESTAMP\n) STRICT";
}

std::string Checksum(std::string_view sql) { return absl::StrCat(Crc32c(sql)); }

std::string SecondsLiteral(Dialect dialect, int64_t seconds) {
  if (dialect == Dialect::kPostgres) return absl::StrCat("to_timestamp(", seconds, ")");
  return absl::StrCat(seconds);
}

std::string TierText(const std::string& window, const std::string& window_seconds,
                     const std::string& bin_seconds, const std::string& retention_seconds) {
  return absl::StrCat(window, "=", window_seconds, "/", bin_seconds, "/", retention_seconds);
}

std::string TierTableText(const TierTable& tiers) {
  std::vector<std::string> texts;
  for (int i = 0; i < tiers.size(); ++i) {
    texts.push_back(TierText(tiers[i].window, absl::StrCat(tiers[i].window_seconds),
                             absl::StrCat(tiers[i].bin_seconds),
                             absl::StrCat(tiers[i].retention_seconds)));
  }
  return absl::StrJoin(texts, " ");
}

// A store's schema on its way to this program's. Every step runs inside the
// caller's transaction.
class Migrator {
 public:
  Migrator(Dialect dialect, absl::Span<const Migration> migrations, const StoreOptions& options,
           SchemaSession* session)
      : dialect_(dialect), migrations_(migrations), options_(options), session_(*session) {}

  // How many migrations have been applied; all of them known to this program.
  absl::StatusOr<size_t> AppliedCount() {
    const char* const exists =
        dialect_ == Dialect::kPostgres
            ? "SELECT 1 FROM pg_class WHERE oid = to_regclass('schema_migrations')"
            : "SELECT 1 FROM sqlite_master WHERE name = 'schema_migrations'";
    WEIR_ASSIGN_OR_RETURN(const auto found, session_.Query(exists));
    if (found.empty()) return 0;
    WEIR_ASSIGN_OR_RETURN(
        const auto rows,
        session_.Query("SELECT number, name, checksum FROM schema_migrations ORDER BY number"));
    for (size_t i = 0; i < rows.size(); ++i) {
      if (i >= migrations_.size()) {
        return absl::FailedPreconditionError(
            absl::StrCat("the store's schema is at migration ", rows.back()[0], " (",
                         rows.back()[1], "), this program knows ", migrations_.size(),
                         ": run the newer program; schemas only move forward"));
      }
      const Migration& known = migrations_[i];
      if (rows[i][0] != absl::StrCat(known.number) || rows[i][2] != Checksum(known.sql)) {
        return absl::FailedPreconditionError(absl::StrCat(
            "migration ", rows[i][0], " (", rows[i][1], ") of the store has checksum ", rows[i][2],
            ", this program's migration ", known.number, " (", known.name, ") has ",
            Checksum(known.sql), ": they are two different programs' stores"));
      }
    }
    return rows.size();
  }

  // Compares what the store was created with to the options.
  absl::Status CheckLayout() {
    WEIR_ASSIGN_OR_RETURN(const auto meta, session_.Query("SELECT slot_count FROM store_meta"));
    if (meta.empty()) return absl::OkStatus();  // a new store between two migrations
    if (meta[0][0] != absl::StrCat(options_.slot_count)) {
      return absl::FailedPreconditionError(
          absl::StrCat("the store was created with ", meta[0][0], " slots, the configuration says ",
                       options_.slot_count, ": the slot count is fixed for the life of a store"));
    }
    WEIR_ASSIGN_OR_RETURN(
        const auto rows,
        session_.Query("SELECT window_size, window_seconds, bin_seconds, retention_seconds"
                       " FROM tiers ORDER BY tier"));
    std::vector<std::string> texts;
    for (const auto& row : rows) texts.push_back(TierText(row[0], row[1], row[2], row[3]));
    const std::string stored = absl::StrJoin(texts, " ");
    if (stored != TierTableText(options_.tiers)) {
      return absl::FailedPreconditionError(
          absl::StrCat("the store was created with the tiers ", stored, ", the configuration says ",
                       TierTableText(options_.tiers), " (window=range/bin/retention in seconds)"));
    }
    return absl::OkStatus();
  }

  // Makes sure that the journal exists. Of two programs that try at once on
  // PostgreSQL one may fail, even with IF NOT EXISTS; it finds the table the
  // next time.
  absl::Status CreateJournal() {
    absl::Status status;
    for (int attempt = 0; attempt < 3; ++attempt) {
      WEIR_RETURN_IF_ERROR(session_.Begin());
      status = session_.Execute(JournalSql(dialect_));
      if (status.ok()) return session_.Commit();
      session_.Rollback();
    }
    return status;
  }

  absl::Status Lock() {
    if (dialect_ == Dialect::kSqlite) return absl::OkStatus();  // Begin() has taken the lock
    return session_.Execute("LOCK TABLE schema_migrations IN ACCESS EXCLUSIVE MODE");
  }

  absl::Status Apply(const Migration& migration) {
    for (const std::string& sql : MigrationStatements(migration.sql, options_.tiers.size())) {
      absl::Status status = session_.Execute(sql);
      if (!status.ok()) {
        return absl::Status(status.code(), absl::StrCat("migration ", migration.number, " (",
                                                        migration.name, "): ", status.message()));
      }
    }
    return session_.Execute(absl::StrCat(
        "INSERT INTO schema_migrations (number, name, checksum)", " VALUES (", migration.number,
        ", ", SqlQuote(migration.name), ", ", Checksum(migration.sql), ")"));
  }

  absl::Status CreateViews() {
    for (const std::string& sql : ViewStatements(dialect_, options_.tiers)) {
      WEIR_RETURN_IF_ERROR(session_.Execute(sql));
    }
    return absl::OkStatus();
  }

  // The rows every store has from its first day on.
  absl::Status CreateRows() {
    WEIR_ASSIGN_OR_RETURN(const auto meta, session_.Query("SELECT 1 FROM store_meta"));
    if (!meta.empty()) return absl::OkStatus();
    const int64_t created = absl::ToUnixSeconds(options_.created_time);
    WEIR_RETURN_IF_ERROR(
        session_.Execute(absl::StrCat("INSERT INTO store_meta VALUES (1, ", options_.slot_count,
                                      ", ", SecondsLiteral(dialect_, created), ")")));
    const TierTable& tiers = options_.tiers;
    for (int i = 0; i < tiers.size(); ++i) {
      const std::string partition = dialect_ == Dialect::kPostgres
                                        ? absl::StrCat(PartitionSeconds(tiers, i), ", ")
                                        : std::string();
      WEIR_RETURN_IF_ERROR(session_.Execute(absl::StrCat(
          "INSERT INTO tiers VALUES (", i, ", ", SqlQuote(tiers[i].window), ", ",
          tiers[i].window_seconds, ", ", tiers[i].bin_seconds, ", ", tiers[i].retention_seconds,
          ", ", partition, SecondsLiteral(dialect_, tiers.FloorSeconds(i, options_.created_time)),
          ")")));
    }
    for (int slot = 0; slot < options_.slot_count; ++slot) {
      std::string sql = absl::StrCat("INSERT INTO slots VALUES (", slot, ", '', 0, 0)");
      for (int i = 1; i < tiers.size(); ++i) {
        absl::StrAppend(&sql, "; INSERT INTO slot_tiers VALUES (", slot, ", ", i, ", ",
                        SecondsLiteral(dialect_, AlignDown(created, tiers[i].bin_seconds)), ")");
      }
      WEIR_RETURN_IF_ERROR(session_.Execute(sql));
    }
    return absl::OkStatus();
  }

  // One transaction under the lock: looks again, since another program may have
  // been here in the meantime, and applies the next migration. Returns whether
  // there is more to do.
  absl::StatusOr<bool> Step() {
    WEIR_RETURN_IF_ERROR(Lock());
    WEIR_ASSIGN_OR_RETURN(const size_t applied, AppliedCount());
    if (applied > 0) WEIR_RETURN_IF_ERROR(CheckLayout());
    if (applied == migrations_.size()) return false;
    WEIR_RETURN_IF_ERROR(Apply(migrations_[applied]));
    if (applied + 1 < migrations_.size()) return true;
    WEIR_RETURN_IF_ERROR(CreateRows());
    WEIR_RETURN_IF_ERROR(CreateViews());
    return false;
  }

 private:
  const Dialect dialect_;
  const absl::Span<const Migration> migrations_;
  const StoreOptions& options_;
  SchemaSession& session_;
};

}  // namespace

std::string SqlQuote(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "''"}}), "'");
}

int64_t PartitionSeconds(const TierTable& tiers, int tier) {
  const int64_t step =
      tier + 1 < tiers.size() ? tiers[tier + 1].bin_seconds : tiers[tier].bin_seconds;
  return std::max<int64_t>(1, (tiers[tier].retention_seconds / 10 + step - 1) / step) * step;
}

std::vector<std::string> MigrationStatements(const std::string& sql, int tier_count) {
  std::vector<std::string> statements;
  for (absl::string_view part : absl::StrSplit(sql, ";\n")) {
    part = absl::StripAsciiWhitespace(part);
    while (absl::StartsWith(part, "--")) {  // what is said about a statement is not part of it
      part.remove_prefix(std::min(part.find('\n'), part.size()));
      part = absl::StripLeadingAsciiWhitespace(part);
    }
    if (part.empty()) continue;
    if (!absl::StrContains(part, "{tier}")) {
      statements.emplace_back(part);
      continue;
    }
    for (int tier = 0; tier < tier_count; ++tier) {
      statements.push_back(absl::StrReplaceAll(part, {{"{tier}", absl::StrCat(tier)}}));
    }
  }
  return statements;
}

absl::Status Migrate(Dialect dialect, absl::Span<const Migration> migrations,
                     const StoreOptions& options, SchemaSession* session) {
  if (options.slot_count < 1 || options.slot_count > 1024) {
    return absl::InvalidArgumentError(
        absl::StrCat("slot_count is ", options.slot_count, ", not within [1, 1024]"));
  }
  Migrator migrator(dialect, migrations, options, session);
  // The usual start: everything is there, and looking needs no lock.
  WEIR_RETURN_IF_ERROR(session->Begin());
  absl::StatusOr<size_t> applied = migrator.AppliedCount();
  const bool current = applied.ok() && *applied == migrations.size();
  const absl::Status layout = current ? migrator.CheckLayout() : absl::OkStatus();
  session->Rollback();
  WEIR_RETURN_IF_ERROR(applied.status());
  WEIR_RETURN_IF_ERROR(layout);
  if (!current) WEIR_RETURN_IF_ERROR(migrator.CreateJournal());
  for (bool more = !current; more;) {
    WEIR_RETURN_IF_ERROR(session->Begin());
    absl::StatusOr<bool> step = migrator.Step();
    if (!step.ok()) {
      session->Rollback();
      return step.status();
    }
    WEIR_RETURN_IF_ERROR(session->Commit());
    more = *step;
  }
  return absl::OkStatus();
}

}  // namespace weir::store
