#include "bench/bare_insert.h"

#include <libpq-fe.h>
#include <sqlite3.h>

#include <charconv>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/int128_text.h"
#include "common/base/status_macros.h"

namespace weir::bench {
namespace {

constexpr char kColumns[] =
    "start_time, slot, series_id, commit_number, count, float_count, integer_sum, float_sum, min, "
    "max, mean, m2, first, last, first_unix_nano, last_unix_nano, sketch";

class BareSqlite final : public BareInsert {
 public:
  ~BareSqlite() override {
    sqlite3_finalize(insert_);
    sqlite3_close(database_);
  }

  absl::Status Open(const std::string& path) {
    if (sqlite3_open(path.c_str(), &database_) != SQLITE_OK) return Error("open");
    WEIR_RETURN_IF_ERROR(
        Execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                "PRAGMA wal_autocheckpoint=2000; PRAGMA cache_size=-65536"));
    const std::string sql =
        "INSERT INTO partials_0 (start_seconds, slot, series_id, commit_number, count, "
        "float_count, integer_sum, float_sum, min, max, mean, m2, first, last, first_unix_nano, "
        "last_unix_nano, sketch) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
    if (sqlite3_prepare_v2(database_, sql.c_str(), -1, &insert_, nullptr) != SQLITE_OK) {
      return Error("prepare");
    }
    return absl::OkStatus();
  }

  absl::Status Insert(const std::vector<store::PartialRow>& rows, int64_t commit_number) override {
    WEIR_RETURN_IF_ERROR(Execute("BEGIN IMMEDIATE"));
    for (const store::PartialRow& row : rows) {
      const Aggregate& a = row.aggregate;
      char id[16];
      for (int i = 0; i < 8; ++i) {
        id[i] = static_cast<char>(row.series_id.high >> (56 - 8 * i));
        id[8 + i] = static_cast<char>(row.series_id.low >> (56 - 8 * i));
      }
      int n = 0;
      sqlite3_bind_int64(insert_, ++n, row.start_seconds);
      sqlite3_bind_int64(insert_, ++n, row.slot);
      sqlite3_bind_blob(insert_, ++n, id, sizeof id, SQLITE_STATIC);
      sqlite3_bind_int64(insert_, ++n, commit_number);
      sqlite3_bind_int64(insert_, ++n, a.count);
      sqlite3_bind_int64(insert_, ++n, a.float_count);
      sqlite3_bind_int64(insert_, ++n, static_cast<int64_t>(a.integer_sum));
      for (const double value : {a.float_sum, a.min, a.max, a.mean, a.m2, a.first, a.last}) {
        sqlite3_bind_double(insert_, ++n, value);
      }
      sqlite3_bind_int64(insert_, ++n, a.first_unix_nano);
      sqlite3_bind_int64(insert_, ++n, a.last_unix_nano);
      if (row.sketch.empty()) {
        sqlite3_bind_null(insert_, ++n);
      } else {
        sqlite3_bind_blob(insert_, ++n, row.sketch.data(), static_cast<int>(row.sketch.size()),
                          SQLITE_STATIC);
      }
      if (sqlite3_step(insert_) != SQLITE_DONE) return Error("insert");
      sqlite3_reset(insert_);
    }
    return Execute("COMMIT");
  }

 private:
  absl::Status Error(const std::string& what) {
    return absl::UnavailableError(absl::StrCat("sqlite: ", what, ": ", sqlite3_errmsg(database_)));
  }

  absl::Status Execute(const char* sql) {
    if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return Error(sql);
    return absl::OkStatus();
  }

  sqlite3* database_ = nullptr;
  sqlite3_stmt* insert_ = nullptr;
};

// Rows of COPY's text format in one growing buffer.
class CopyText {
 public:
  template <typename Number>
  CopyText& Add(Number value) {
    char buffer[40];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
    return Raw(std::string_view(buffer, end - buffer));
  }
  CopyText& Raw(std::string_view text) {
    text_.append(text).push_back('\t');
    return *this;
  }
  void EndRow() { text_.back() = '\n'; }
  std::string& text() { return text_; }

 private:
  std::string text_;
};

class BarePostgres final : public BareInsert {
 public:
  ~BarePostgres() override { PQfinish(connection_); }

  absl::Status Open(const std::string& conninfo, const std::string& schema) {
    connection_ = PQconnectdb(conninfo.c_str());
    if (PQstatus(connection_) != CONNECTION_OK) return Error("connect");
    WEIR_RETURN_IF_ERROR(Execute(absl::StrCat("SET search_path TO ", schema)));
    return Execute("CREATE TABLE IF NOT EXISTS partials_0_bench PARTITION OF partials_0 DEFAULT");
  }

  absl::Status Insert(const std::vector<store::PartialRow>& rows, int64_t commit_number) override {
    WEIR_RETURN_IF_ERROR(Execute("BEGIN"));
    PGresult* const copy =
        PQexec(connection_, absl::StrCat("COPY partials_0 (", kColumns, ") FROM STDIN").c_str());
    const bool copying = PQresultStatus(copy) == PGRES_COPY_IN;
    PQclear(copy);
    if (!copying) return Error("copy");
    CopyText text;
    int64_t start_seconds = INT64_MIN;
    std::string start_time;
    for (const store::PartialRow& row : rows) {
      if (row.start_seconds != start_seconds) {
        start_seconds = row.start_seconds;
        start_time = absl::FormatTime("%Y-%m-%d %H:%M:%S+00", absl::FromUnixSeconds(start_seconds),
                                      absl::UTCTimeZone());
      }
      const Aggregate& a = row.aggregate;
      text.Raw(start_time)
          .Add(row.slot)
          .Raw(row.series_id.ToHex())
          .Add(commit_number)
          .Add(a.count)
          .Add(a.float_count)
          .Raw(Int128ToString(a.integer_sum));
      for (const double value : {a.float_sum, a.min, a.max, a.mean, a.m2, a.first, a.last}) {
        text.Add(value);
      }
      text.Add(a.first_unix_nano).Add(a.last_unix_nano);
      if (row.sketch.empty()) {
        text.Raw("\\N");
      } else {
        text.Raw(absl::StrCat("\\\\x", absl::BytesToHexString(absl::string_view(
                                           row.sketch.data(), row.sketch.size()))));
      }
      text.EndRow();
      if (text.text().size() > 64 << 10) WEIR_RETURN_IF_ERROR(Send(&text.text()));
    }
    WEIR_RETURN_IF_ERROR(Send(&text.text()));
    if (PQputCopyEnd(connection_, nullptr) != 1) return Error("end of copy");
    while (PGresult* const result = PQgetResult(connection_)) {
      const bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;
      PQclear(result);
      if (!ok) return Error("copy");
    }
    return Execute("COMMIT");
  }

 private:
  absl::Status Send(std::string* text) {
    if (PQputCopyData(connection_, text->data(), static_cast<int>(text->size())) != 1) {
      return Error("copy data");
    }
    text->clear();
    return absl::OkStatus();
  }

  absl::Status Error(const std::string& what) {
    return absl::UnavailableError(
        absl::StrCat("postgres: ", what, ": ", PQerrorMessage(connection_)));
  }

  absl::Status Execute(const std::string& sql) {
    PGresult* const result = PQexec(connection_, sql.c_str());
    const bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return ok ? absl::OkStatus() : Error(sql);
  }

  PGconn* connection_ = nullptr;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BareInsert>> OpenBareSqlite(const std::string& path) {
  auto bare = std::make_unique<BareSqlite>();
  WEIR_RETURN_IF_ERROR(bare->Open(path));
  return bare;
}

absl::StatusOr<std::unique_ptr<BareInsert>> OpenBarePostgres(const std::string& conninfo,
                                                             const std::string& schema) {
  auto bare = std::make_unique<BarePostgres>();
  WEIR_RETURN_IF_ERROR(bare->Open(conninfo, schema));
  return bare;
}

}  // namespace weir::bench
