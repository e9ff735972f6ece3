#include "common/store/views.h"

#include "absl/strings/str_cat.h"
#include "common/model/series.h"

namespace weir::store {
namespace {

// What the two dialects say differently.
struct Words {
  const char* start;          // the column that holds a bin's start
  const char* derived_until;  // slot_tiers
  const char* floor;          // tiers
  const char* sum;            // of the rows of one bin
  const char* count;
};

constexpr Words kPostgresWords = {"start_time", "derived_until", "floor_time",
                                  "sum(integer_sum)::double precision + sum(float_sum)",
                                  "sum(count)::bigint"};
// A float_sum that is NULL is not a number, and neither is a sum it is part of.
constexpr Words kSqliteWords = {"start_seconds", "derived_until_seconds", "floor_seconds",
                                "CASE WHEN count(float_sum) = count(*)"
                                " THEN total(CAST(integer_sum AS REAL)) + total(float_sum) END",
                                "sum(count)"};

// The start of the bin of `width` seconds that holds a finer bin's start.
std::string Aligned(Dialect dialect, int64_t width) {
  if (dialect == Dialect::kPostgres) {
    return absl::StrCat("to_timestamp((floor(extract(epoch FROM p.start_time) / ", width, ") * ",
                        width, ")::double precision)");
  }
  return absl::StrCat("p.start_seconds - ((p.start_seconds % ", width, ") + ", width, ") % ",
                      width);
}

// Every row that counts towards `tier`, with the start of its bin there: its own
// rows, and of each finer tier those not yet derived into the next one.
std::string RowsOf(Dialect dialect, const TierTable& tiers, int tier, const Words& words) {
  constexpr char kColumns[] =
      "p.slot, p.series_id, p.count, p.integer_sum, p.float_sum, p.min, p.max";
  std::string sql =
      absl::StrCat("      SELECT p.", words.start, ", ", kColumns, "\n      FROM partials_", tier,
                   " p\n      WHERE p.", words.start, " >= (SELECT t.", words.floor,
                   " FROM tiers t WHERE t.tier = ", tier, ")\n");
  for (int finer = tier - 1; finer >= 0; --finer) {
    absl::StrAppend(&sql, "      UNION ALL\n      SELECT ",
                    Aligned(dialect, tiers[tier].bin_seconds), ", ", kColumns,
                    "\n      FROM partials_", finer,
                    " p JOIN slot_tiers d ON d.slot = p.slot AND d.tier = ", finer + 1,
                    "\n      WHERE p.", words.start, " >= d.", words.derived_until, "\n");
  }
  return sql;
}

std::string KindText() {
  std::string sql = "CASE s.kind";
  for (int kind = 1; kind <= kMaxKind; ++kind) {
    absl::StrAppend(&sql, " WHEN ", kind, " THEN ",
                    SqlQuote(std::string(KindName(static_cast<Kind>(kind)))));
  }
  return sql + " END";
}

std::string BinsOf(Dialect dialect, const TierTable& tiers, int tier) {
  const bool postgres = dialect == Dialect::kPostgres;
  const Words& words = postgres ? kPostgresWords : kSqliteWords;
  const int64_t width = tiers[tier].bin_seconds;
  const std::string window = SqlQuote(tiers[tier].window) + (postgres ? "::text" : "");
  const std::string start = postgres ? "b.start_time" : "datetime(b.start_seconds, 'unixepoch')";
  const std::string end =
      postgres ? absl::StrCat("b.start_time + interval '", width, " seconds'")
               : absl::StrCat("datetime(b.start_seconds + ", width, ", 'unixepoch')");
  return absl::StrCat(
      "  SELECT ", window, " AS window_size, ", start, " AS start_time, ", end,
      " AS end_time,\n    s.tenant, s.name AS metric_name, ", KindText(),
      " AS kind, s.labels,\n    b.count, b.sum, b.sum / b.count AS avg, b.min, b.max\n  FROM (\n"
      "    SELECT ",
      words.start, ", series_id, min(slot) AS slot, ", words.count, " AS count,\n      ", words.sum,
      " AS sum, min(min) AS min, max(max) AS max\n    FROM (\n",
      RowsOf(dialect, tiers, tier, words), "    ) AS r\n    GROUP BY ", words.start,
      ", series_id\n  ) AS b JOIN series s ON s.series_id = b.series_id AND s.slot = b.slot\n");
}

}  // namespace

std::vector<std::string> ViewStatements(Dialect dialect, const TierTable& tiers) {
  std::string bins = "CREATE VIEW bins AS\n";
  for (int tier = 0; tier < tiers.size(); ++tier) {
    if (tier > 0) absl::StrAppend(&bins, "  UNION ALL\n");
    absl::StrAppend(&bins, BinsOf(dialect, tiers, tier));
  }
  return {"DROP VIEW IF EXISTS metric_aggregates", "DROP VIEW IF EXISTS bins", std::move(bins),
          "CREATE VIEW metric_aggregates AS\n"
          "  SELECT metric_name, window_size, start_time AS timestamp, labels AS tags,\n"
          "    min AS min_value, max AS max_value, avg AS avg_value, count, kind\n"
          "  FROM bins\n"};
}

}  // namespace weir::store
