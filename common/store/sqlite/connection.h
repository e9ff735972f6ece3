// SQLite's C interface with owners, statuses and nothing else.
//
// Thread safety: a Connection and its statements belong to one thread at a time.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/store/migrate.h"

namespace weir::store {

class Connection;

// One prepared statement, prepared once and run many times. Columns and
// parameters count from 0; parameters' bytes outlive the step.
class Statement {
 public:
  Statement() = default;

  void Bind(int index, int64_t value) { sqlite3_bind_int64(statement_.get(), index + 1, value); }
  void Bind(int index, double value) { sqlite3_bind_double(statement_.get(), index + 1, value); }
  void BindText(int index, std::string_view text) {
    sqlite3_bind_text(statement_.get(), index + 1, text.data(), static_cast<int>(text.size()),
                      SQLITE_STATIC);
  }
  void BindBlob(int index, std::string_view bytes) {
    // Bytes that are nowhere would be NULL; none are a blob all the same.
    const char* const data = bytes.empty() ? "" : bytes.data();
    sqlite3_bind_blob(statement_.get(), index + 1, data, static_cast<int>(bytes.size()),
                      SQLITE_STATIC);
  }
  void BindNull(int index) { sqlite3_bind_null(statement_.get(), index + 1); }

  // True when there is a row; false at the end, and then the statement is ready
  // to run again.
  absl::StatusOr<bool> Step();
  // Runs to the end, from the start.
  absl::Status Run();
  // Forgets where it was; for leaving a result before its end.
  void Reset() { sqlite3_reset(statement_.get()); }

  int64_t Int(int column) { return sqlite3_column_int64(statement_.get(), column); }
  double Double(int column) { return sqlite3_column_double(statement_.get(), column); }
  int Type(int column) { return sqlite3_column_type(statement_.get(), column); }
  // Valid until the next step.
  std::string_view Text(int column) {
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
    return {text, static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column))};
  }
  std::string_view Blob(int column) {
    const auto* blob = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column));
    return {blob, static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column))};
  }
  int column_count() { return sqlite3_column_count(statement_.get()); }

 private:
  friend class Connection;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

// Errors of all of these: Unavailable (busy, I/O error, disk full),
// FailedPrecondition (not a database, read-only, no such table, permission),
// DataLoss (a corrupt file), InvalidArgument (a constraint), Internal.
class Connection : public SchemaSession {
 public:
  enum class Role { kWriter, kReader };

  // Opens (a writer also creates) the file, in WAL mode with synchronous=FULL:
  // a commit that returned is on disk. Readers never checkpoint, so a query
  // does not pay for the writer's pages.
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const std::string& path, Role role);

  absl::StatusOr<Statement> Prepare(std::string_view sql);
  // How many rows the last statement changed.
  int64_t changes() { return sqlite3_changes64(database_.get()); }

  // SchemaSession. Begin takes the write lock at once (BEGIN IMMEDIATE).
  absl::Status Begin() override { return Execute("BEGIN IMMEDIATE"); }
  absl::Status Commit() override { return Execute("COMMIT"); }
  void Rollback() override;
  absl::Status Execute(const std::string& sql) override;
  absl::StatusOr<std::vector<std::vector<std::string>>> Query(const std::string& sql) override;

 private:
  struct Close {
    void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
  };
  std::unique_ptr<sqlite3, Close> database_;
};

}  // namespace weir::store
