#include "common/store/sqlite/connection.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace weir::store {
namespace {

absl::Status StatusOf(sqlite3* database, const std::string& what) {
  const int code = sqlite3_extended_errcode(database);
  const std::string text =
      absl::StrCat("sqlite: ", what, ": ", sqlite3_errmsg(database), " (", code, ")");
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_IOERR:
    case SQLITE_FULL:
    case SQLITE_NOMEM:
    case SQLITE_PROTOCOL:
    case SQLITE_INTERRUPT:
      return absl::UnavailableError(text);
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
      return absl::InvalidArgumentError(text);
    case SQLITE_ERROR:  // no such table or column: a schema that is not ours
    case SQLITE_SCHEMA:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_NOTADB:
      return absl::FailedPreconditionError(text);
    case SQLITE_CORRUPT:
      return absl::DataLossError(text);
    default:
      return absl::InternalError(text);
  }
}

}  // namespace

absl::StatusOr<bool> Statement::Step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) {
    sqlite3_reset(statement_.get());
    return false;
  }
  absl::Status status =
      StatusOf(sqlite3_db_handle(statement_.get()), sqlite3_sql(statement_.get()));
  sqlite3_reset(statement_.get());
  return status;
}

absl::Status Statement::Run() {
  while (true) {
    WEIR_ASSIGN_OR_RETURN(const bool row, Step());
    if (!row) return absl::OkStatus();
  }
}

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(const std::string& path, Role role) {
  auto connection = std::make_unique<Connection>();
  const bool writer = role == Role::kWriter;
  // A reader's handle is read-write too: it may have to recover the WAL index
  // when it is the first to look. query_only keeps it from writing rows.
  const int flags = SQLITE_OPEN_READWRITE | (writer ? SQLITE_OPEN_CREATE : 0) |
                    SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  connection->database_.reset(handle);
  if (code != SQLITE_OK) {
    if (handle == nullptr) return absl::UnavailableError("sqlite: out of memory");
    return StatusOf(handle, absl::StrCat("open ", path));
  }
  sqlite3_busy_timeout(handle, 5000);
  // 16 MiB of log between checkpoints: a page that changes in every commit is
  // copied into the file once for many of them.
  WEIR_RETURN_IF_ERROR(connection->Execute(
      writer ? "PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
               "PRAGMA wal_autocheckpoint=2000; PRAGMA journal_size_limit=67108864;"
               "PRAGMA mmap_size=0; PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY;"
             : "PRAGMA query_only=1; PRAGMA wal_autocheckpoint=0; PRAGMA mmap_size=0;"
               "PRAGMA cache_size=-16384; PRAGMA temp_store=MEMORY;"));
  if (writer) {
    WEIR_ASSIGN_OR_RETURN(const auto mode, connection->Query("PRAGMA journal_mode"));
    if (mode.empty() || mode[0][0] != "wal") {
      return absl::FailedPreconditionError(
          absl::StrCat("sqlite: ", path, " cannot be kept in WAL mode (a network file system?)"));
    }
  }
  return connection;
}

absl::StatusOr<Statement> Connection::Prepare(std::string_view sql) {
  Statement statement;
  sqlite3_stmt* handle = nullptr;
  const int code = sqlite3_prepare_v3(database_.get(), sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &handle, nullptr);
  statement.statement_.reset(handle);
  if (code != SQLITE_OK) return StatusOf(database_.get(), std::string(sql));
  return statement;
}

absl::Status Connection::Execute(const std::string& sql) {
  const int code = sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return StatusOf(database_.get(), sql.substr(0, 200));
  return absl::OkStatus();
}

void Connection::Rollback() {
  // Some errors roll back by themselves; then there is nothing left to do.
  if (sqlite3_get_autocommit(database_.get()) == 0) {
    sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

absl::StatusOr<std::vector<std::vector<std::string>>> Connection::Query(const std::string& sql) {
  WEIR_ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
  std::vector<std::vector<std::string>> rows;
  while (true) {
    WEIR_ASSIGN_OR_RETURN(const bool row, statement.Step());
    if (!row) return rows;
    std::vector<std::string> values;
    for (int i = 0; i < statement.column_count(); ++i) values.emplace_back(statement.Text(i));
    rows.push_back(std::move(values));
  }
}

}  // namespace weir::store
