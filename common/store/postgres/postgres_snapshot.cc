#include "common/store/postgres/postgres_snapshot.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/int128_text.h"
#include "common/base/status_macros.h"
#include "common/store/postgres/postgres_rows.h"
#include "common/store/transaction.h"

namespace weir::store {
namespace {

// Rows per FETCH: bounds what a query holds in memory to a few MiB, and to tens
// of them when every row has a sketch or a histogram of the largest size.
constexpr int kRowsPerFetch = 2'000;

// Up to this many (bin, indicator) keys are looked up in the index one by one.
constexpr int64_t kMaxLookups = 10'000;

int HexDigit(char c) { return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10; }

// A bytea as the server writes it: \x, then pairs of 0-9 and a-f.
absl::Status ParseBytes(const pqxx::field& field, std::string* bytes) {
  std::string_view hex = TextOf(field);
  if (hex.substr(0, 2) != "\\x") return absl::InternalError("postgres: bytea is not in hex");
  hex.remove_prefix(2);
  if (hex.size() % 2 != 0) return absl::InternalError("postgres: half a byte");
  bytes->resize(hex.size() / 2);
  for (size_t i = 0; i < bytes->size(); ++i) {
    (*bytes)[i] = static_cast<char>(HexDigit(hex[2 * i]) << 4 | HexDigit(hex[2 * i + 1]));
  }
  return absl::OkStatus();
}

// In this order ParsePartial reads them.
constexpr char kPartialColumns[] =
    "extract(epoch FROM start_time)::bigint, slot, series_id, count, float_count, float_sum, min,"
    " max, mean, m2, first, last, first_unix_nano, last_unix_nano, integer_sum, sketch";

// `sketch` holds the bytes the row's view points to.
absl::Status ParsePartial(const pqxx::row& from, PartialRow* row, std::string* sketch) {
  Aggregate& a = row->aggregate;
  WEIR_RETURN_IF_ERROR(Parse(from[0], &row->start_seconds));
  WEIR_RETURN_IF_ERROR(Parse(from[1], &row->slot));
  WEIR_ASSIGN_OR_RETURN(row->series_id, IdOfUuid<SeriesId>(TextOf(from[2])));
  WEIR_RETURN_IF_ERROR(Parse(from[3], &a.count));
  WEIR_RETURN_IF_ERROR(Parse(from[4], &a.float_count));
  WEIR_RETURN_IF_ERROR(Parse(from[5], &a.float_sum));
  WEIR_RETURN_IF_ERROR(Parse(from[6], &a.min));
  WEIR_RETURN_IF_ERROR(Parse(from[7], &a.max));
  WEIR_RETURN_IF_ERROR(Parse(from[8], &a.mean));
  WEIR_RETURN_IF_ERROR(Parse(from[9], &a.m2));
  WEIR_RETURN_IF_ERROR(Parse(from[10], &a.first));
  WEIR_RETURN_IF_ERROR(Parse(from[11], &a.last));
  WEIR_RETURN_IF_ERROR(Parse(from[12], &a.first_unix_nano));
  WEIR_RETURN_IF_ERROR(Parse(from[13], &a.last_unix_nano));
  WEIR_ASSIGN_OR_RETURN(a.integer_sum, Int128FromString(TextOf(from[14])));
  sketch->clear();
  if (!from[15].is_null()) WEIR_RETURN_IF_ERROR(ParseBytes(from[15], sketch));
  row->sketch = *sketch;
  return absl::OkStatus();
}

}  // namespace

PostgresSnapshot::~PostgresSnapshot() { store_.ReturnSession(std::move(session_)); }

absl::Status PostgresSnapshot::Check() const {
  if (session_->connected()) return absl::OkStatus();
  return absl::UnavailableError("the snapshot's connection is lost; open another");
}

absl::StatusOr<std::vector<SlotState>> PostgresSnapshot::Slots() {
  WEIR_RETURN_IF_ERROR(Check());
  return ReadAllSlots(session_.get(), options_.tiers.size());
}

absl::StatusOr<std::vector<Watermark>> PostgresSnapshot::Watermarks() {
  WEIR_RETURN_IF_ERROR(Check());
  return ReadAllWatermarks(session_.get());
}

absl::StatusOr<std::vector<int64_t>> PostgresSnapshot::Floors() {
  WEIR_RETURN_IF_ERROR(Check());
  return ReadFloors(session_.get());
}

absl::StatusOr<std::vector<SeriesRow>> PostgresSnapshot::FindSeries(const SeriesFilter& filter) {
  WEIR_RETURN_IF_ERROR(Check());
  std::vector<std::string> params = {filter.tenant};
  std::string sql =
      "SELECT DISTINCT ON (series_id) series_id, slot, name, kind, labels FROM series"
      " WHERE tenant = $1";
  const auto add = [&](const char* condition, std::string param, const char* type) {
    params.push_back(std::move(param));
    absl::StrAppend(&sql, " AND ", condition, " $", params.size(), type);
  };
  if (!filter.name.empty()) add("name =", filter.name, "");
  if (!filter.labels.empty()) add("labels @>", LabelsToJson(filter.labels), "::jsonb");
  if (filter.after.has_value()) add("series_id >", filter.after->ToHex(), "::uuid");
  absl::StrAppend(&sql, " ORDER BY series_id, slot");
  if (filter.limit > 0) absl::StrAppend(&sql, " LIMIT ", filter.limit);
  WEIR_ASSIGN_OR_RETURN(const pqxx::result rows, session_->Exec(sql, params));
  std::vector<SeriesRow> found;
  for (const auto& row : rows) {
    SeriesRow series{.series = {.tenant = filter.tenant, .name = std::string(TextOf(row[2]))}};
    int kind = 0;
    WEIR_ASSIGN_OR_RETURN(series.id, IdOfUuid<SeriesId>(TextOf(row[0])));
    WEIR_RETURN_IF_ERROR(Parse(row[1], &series.slot));
    WEIR_RETURN_IF_ERROR(Parse(row[3], &kind));
    series.series.kind = static_cast<Kind>(kind);
    WEIR_ASSIGN_OR_RETURN(series.series.labels, LabelsFromJson(TextOf(row[4])));
    SortLabels(&series.series.labels);  // jsonb keeps an order of its own
    found.push_back(std::move(series));
  }
  return found;
}

absl::Status PostgresSnapshot::ReadPartials(
    const PartialFilter& filter, absl::FunctionRef<absl::Status(const PartialRow& row)> row) {
  if (filter.tier < 0 || filter.tier >= options_.tiers.size()) {
    return absl::InvalidArgumentError(absl::StrCat("tier ", filter.tier));
  }
  WEIR_ASSIGN_OR_RETURN(const std::vector<int64_t> floors, Floors());
  const int64_t start = std::max(filter.start_seconds, floors[filter.tier]);
  if (start >= filter.end_seconds) return absl::OkStatus();
  std::vector<std::string> params = {absl::StrCat(start), absl::StrCat(filter.end_seconds)};
  std::string sql = absl::StrCat("SELECT ", kPartialColumns, " FROM partials_", filter.tier,
                                 " WHERE start_time >= to_timestamp($1::bigint)"
                                 " AND start_time < to_timestamp($2::bigint)");
  if (filter.slot.has_value()) {
    params.push_back(absl::StrCat(*filter.slot));
    absl::StrAppend(&sql, " AND slot = $", params.size(), "::int");
  }
  if (!filter.series.empty()) {
    ArrayText ids;
    for (const SeriesId& id : filter.series) ids.Add(id.ToHex());
    params.push_back(ids.Take());
    absl::StrAppend(&sql, " AND series_id = ANY($", params.size(), "::uuid[])");
  }
  absl::StrAppend(&sql, " ORDER BY start_time");
  PartialRow partial{.tier = filter.tier};
  std::string sketch;
  return ReadRows(sql, params, [&](const pqxx::row& from) -> absl::Status {
    WEIR_RETURN_IF_ERROR(ParsePartial(from, &partial, &sketch));
    return row(partial);
  });
}

absl::Status PostgresSnapshot::ReadCumulatives(
    int slot, absl::FunctionRef<absl::Status(const CumulativeRow& row)> row) {
  WEIR_RETURN_IF_ERROR(CheckSlots({slot}, options_.slot_count).status());
  CumulativeRow cumulative{.slot = slot};
  std::string point;
  return ReadRows(
      "SELECT series_id, start_unix_nano, time_unix_nano, point FROM cumulative_points"
      " WHERE slot = $1::int ORDER BY series_id, start_unix_nano",
      {absl::StrCat(slot)}, [&](const pqxx::row& from) -> absl::Status {
        WEIR_ASSIGN_OR_RETURN(cumulative.series_id, IdOfUuid<SeriesId>(TextOf(from[0])));
        WEIR_RETURN_IF_ERROR(Parse(from[1], &cumulative.start_unix_nano));
        WEIR_RETURN_IF_ERROR(Parse(from[2], &cumulative.time_unix_nano));
        WEIR_RETURN_IF_ERROR(ParseBytes(from[3], &point));
        cumulative.point = point;
        return row(cumulative);
      });
}

absl::StatusOr<IndicatorSet> PostgresSnapshot::Indicators() {
  WEIR_RETURN_IF_ERROR(Check());
  IndicatorSet set;
  WEIR_ASSIGN_OR_RETURN(set.version, ReadIndicatorSetVersion(session_.get()));
  const absl::Status status = ReadRows(
      "SELECT tenant, name, indicator_id, version, definition FROM indicators"
      " ORDER BY tenant, name",
      {}, [&](const pqxx::row& from) -> absl::Status {
        IndicatorRow row{.tenant = std::string(TextOf(from[0])),
                         .name = std::string(TextOf(from[1]))};
        WEIR_ASSIGN_OR_RETURN(row.id, IdOfUuid<IndicatorId>(TextOf(from[2])));
        WEIR_RETURN_IF_ERROR(Parse(from[3], &row.version));
        WEIR_RETURN_IF_ERROR(ParseBytes(from[4], &row.definition));
        set.rows.push_back(std::move(row));
        return absl::OkStatus();
      });
  WEIR_RETURN_IF_ERROR(status);
  return set;
}

absl::Status PostgresSnapshot::ReadIndicatorBins(
    const IndicatorBinFilter& filter,
    absl::FunctionRef<absl::Status(const IndicatorBin& bin)> row) {
  WEIR_RETURN_IF_ERROR(CheckIndicatorTier(filter.tier));
  if (filter.slot.has_value()) {
    WEIR_RETURN_IF_ERROR(CheckSlots({*filter.slot}, options_.slot_count).status());
  }
  const BinRange range = BinRangeOf(filter);
  if (range.start_seconds >= range.end_seconds) return absl::OkStatus();
  std::vector<std::string> params = {absl::StrCat(filter.tier), absl::StrCat(range.start_seconds),
                                     absl::StrCat(range.end_seconds)};
  std::string sql =
      "SELECT extract(epoch FROM start_time)::bigint, indicator_id, slot, good, total"
      " FROM indicator_bins WHERE tier = $1::int AND start_time >= to_timestamp($2::bigint)"
      " AND start_time < to_timestamp($3::bigint)";
  if (filter.slot.has_value()) {
    params.push_back(absl::StrCat(*filter.slot));
    absl::StrAppend(&sql, " AND slot = $", params.size(), "::int");
  }
  bool by_key = false;
  if (!filter.ids.empty()) {
    ArrayText ids;
    for (const IndicatorId& id : filter.ids) ids.Add(id.ToHex());
    params.push_back(ids.Take());
    absl::StrAppend(&sql, " AND indicator_id = ANY($", params.size(), "::uuid[])");
    // Bins are named one by one while that is cheaper than reading them all.
    const int64_t width = kIndicatorTiers[filter.tier].bin_seconds;
    by_key = (range.end_seconds - range.start_seconds) / width <
             kMaxLookups / static_cast<int64_t>(filter.ids.size());
    if (by_key) {
      params.push_back(absl::StrCat(width));
      absl::StrAppend(&sql, " AND start_time = ANY(ARRAY(SELECT to_timestamp(s) FROM",
                      " generate_series($2::bigint, $3::bigint - 1, $", params.size(),
                      "::bigint) AS s))");
    }
  }
  absl::StrAppend(&sql, " ORDER BY start_time, indicator_id, slot");
  // Where the key is the order, ten million rows need no sorting on disk.
  if (!by_key) WEIR_RETURN_IF_ERROR(session_->Execute("SET LOCAL enable_sort TO off"));
  IndicatorBin bin{.tier = filter.tier};
  const absl::Status status = ReadRows(sql, params, [&](const pqxx::row& from) -> absl::Status {
    WEIR_RETURN_IF_ERROR(Parse(from[0], &bin.start_seconds));
    WEIR_ASSIGN_OR_RETURN(bin.indicator_id, IdOfUuid<IndicatorId>(TextOf(from[1])));
    WEIR_RETURN_IF_ERROR(Parse(from[2], &bin.slot));
    WEIR_RETURN_IF_ERROR(Parse(from[3], &bin.good));
    WEIR_RETURN_IF_ERROR(Parse(from[4], &bin.total));
    return row(bin);
  });
  if (by_key || !session_->connected()) return status;
  const absl::Status restored = session_->Execute("SET LOCAL enable_sort TO DEFAULT");
  return status.ok() ? restored : status;
}

absl::Status PostgresSnapshot::ReadRows(const std::string& query,
                                        const std::vector<std::string>& params,
                                        absl::FunctionRef<absl::Status(const pqxx::row& row)> row) {
  WEIR_RETURN_IF_ERROR(Check());
  // A statement that declares a cursor takes parameters like any other.
  const std::string cursor = absl::StrCat("rows_cursor_", ++cursor_count_);
  WEIR_RETURN_IF_ERROR(
      session_->Exec(absl::StrCat("DECLARE ", cursor, " NO SCROLL CURSOR FOR ", query), params)
          .status());
  const std::string fetch = absl::StrCat("FETCH ", kRowsPerFetch, " FROM ", cursor);
  while (true) {
    WEIR_RETURN_IF_ERROR(Check());
    WEIR_ASSIGN_OR_RETURN(const pqxx::result rows, session_->Exec(fetch));
    for (const auto& from : rows) WEIR_RETURN_IF_ERROR(row(from));
    if (static_cast<int>(rows.size()) < kRowsPerFetch) break;
  }
  return session_->Execute("CLOSE " + cursor);
}

}  // namespace weir::store
