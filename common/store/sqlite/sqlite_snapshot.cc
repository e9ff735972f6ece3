#include "common/store/sqlite/sqlite_snapshot.h"

#include <algorithm>
#include <limits>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/base/int128_text.h"
#include "common/base/status_macros.h"
#include "common/store/sqlite/sqlite_rows.h"
#include "common/store/transaction.h"

namespace weir::store {
namespace {

// Up to this many lookups of single (bin, slot, series) keys are made instead
// of reading every row of the range: about a tenth of a second at the most.
constexpr int64_t kMaxLookups = 100'000;

constexpr char kPartialColumns[] =
    "start_seconds, slot, series_id, count, float_count, integer_sum, float_sum, min, max, mean,"
    " m2, first, last, first_unix_nano, last_unix_nano, sketch";

double Real(Statement* s, int column) {
  if (s->Type(column) == SQLITE_NULL) return std::numeric_limits<double>::quiet_NaN();
  return s->Double(column);
}

absl::Status ReadPartial(Statement* s, PartialRow* row) {
  row->start_seconds = s->Int(0);
  row->slot = static_cast<int>(s->Int(1));
  row->series_id = SeriesId::FromBytes(s->Blob(2));
  Aggregate& a = row->aggregate;
  a.count = s->Int(3);
  a.float_count = s->Int(4);
  if (s->Type(5) == SQLITE_INTEGER) {
    a.integer_sum = s->Int(5);
  } else {
    WEIR_ASSIGN_OR_RETURN(a.integer_sum, Int128FromString(s->Text(5)));
  }
  a.float_sum = Real(s, 6);
  a.min = s->Double(7);
  a.max = s->Double(8);
  a.mean = Real(s, 9);
  a.m2 = Real(s, 10);
  a.first = s->Double(11);
  a.last = s->Double(12);
  a.first_unix_nano = s->Int(13);
  a.last_unix_nano = s->Int(14);
  row->sketch = s->Blob(15);
  return absl::OkStatus();
}

bool ContainsAll(const std::vector<Label>& labels, const std::vector<Label>& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const Label& label) {
    return std::find(labels.begin(), labels.end(), label) != labels.end();
  });
}

}  // namespace

SqliteSnapshot::~SqliteSnapshot() { store_.ReturnReader(std::move(reader_)); }

absl::StatusOr<std::vector<SlotState>> SqliteSnapshot::Slots() {
  return ReadAllSlots(reader_.get(), options_.tiers.size());
}

absl::StatusOr<std::vector<Watermark>> SqliteSnapshot::Watermarks() {
  return ReadAllWatermarks(reader_.get());
}

absl::StatusOr<std::vector<int64_t>> SqliteSnapshot::Floors() { return ReadFloors(reader_.get()); }

absl::StatusOr<std::vector<SeriesRow>> SqliteSnapshot::FindSeries(const SeriesFilter& filter) {
  // Both orders of reading give ids ascending: by name its index, else the key.
  std::string sql = "SELECT series_id, slot, name, kind, labels FROM series WHERE tenant = ?1";
  if (!filter.name.empty()) absl::StrAppend(&sql, " AND name = ?2");
  if (filter.after.has_value()) absl::StrAppend(&sql, " AND series_id > ?3");
  absl::StrAppend(&sql, " ORDER BY series_id, slot");
  WEIR_ASSIGN_OR_RETURN(Statement s, reader_->Prepare(sql));
  s.BindText(0, filter.tenant);
  if (!filter.name.empty()) s.BindText(1, filter.name);
  char after[16];
  if (filter.after.has_value()) {
    StoreId(*filter.after, after);
    s.BindBlob(2, {after, sizeof after});
  }
  std::vector<SeriesRow> found;
  while (filter.limit == 0 || static_cast<int>(found.size()) < filter.limit) {
    WEIR_ASSIGN_OR_RETURN(const bool row, s.Step());
    if (!row) break;
    const SeriesId id = SeriesId::FromBytes(s.Blob(0));
    if (!found.empty() && found.back().id == id) continue;
    WEIR_ASSIGN_OR_RETURN(std::vector<Label> labels, LabelsFromJson(s.Text(4)));
    if (!ContainsAll(labels, filter.labels)) continue;
    found.push_back({.slot = static_cast<int>(s.Int(1)),
                     .id = id,
                     .series = {.tenant = filter.tenant,
                                .name = std::string(s.Text(2)),
                                .kind = static_cast<Kind>(s.Int(3)),
                                .labels = std::move(labels)}});
  }
  return found;
}

absl::Status SqliteSnapshot::ReadPartials(
    const PartialFilter& filter, absl::FunctionRef<absl::Status(const PartialRow& row)> row) {
  if (filter.tier < 0 || filter.tier >= options_.tiers.size()) {
    return absl::InvalidArgumentError(absl::StrCat("tier ", filter.tier));
  }
  WEIR_ASSIGN_OR_RETURN(const std::vector<int64_t> floors, Floors());
  const int64_t width = options_.tiers[filter.tier].bin_seconds;
  const int64_t start = std::max(filter.start_seconds, floors[filter.tier]);
  if (start >= filter.end_seconds) return absl::OkStatus();
  PartialRow partial{.tier = filter.tier};
  const auto read = [&](Statement* s, const absl::flat_hash_set<SeriesId>* wanted) -> absl::Status {
    while (true) {
      WEIR_ASSIGN_OR_RETURN(const bool more, s->Step());
      if (!more) return absl::OkStatus();
      if (wanted != nullptr && !wanted->contains(SeriesId::FromBytes(s->Blob(2)))) continue;
      WEIR_RETURN_IF_ERROR(ReadPartial(s, &partial));
      WEIR_RETURN_IF_ERROR(row(partial));
    }
  };

  const std::string select =
      absl::StrCat("SELECT ", kPartialColumns, " FROM partials_", filter.tier);
  const int64_t slot_count = filter.slot.has_value() ? 1 : options_.slot_count;
  const absl::flat_hash_set<SeriesId> wanted(filter.series.begin(), filter.series.end());
  const int64_t key_count = static_cast<int64_t>(wanted.size()) * slot_count;
  if (!wanted.empty() && (filter.end_seconds - start) / width < kMaxLookups / key_count) {
    WEIR_ASSIGN_OR_RETURN(Statement s,
                          reader_->Prepare(select + " WHERE start_seconds = ? AND slot = ?"
                                                    " AND series_id = ?"));
    const int first_slot = filter.slot.value_or(0);
    for (int64_t bin = -AlignDown(-start, width); bin < filter.end_seconds; bin += width) {
      s.Bind(0, bin);
      for (int64_t slot = first_slot; slot < first_slot + slot_count; ++slot) {
        s.Bind(1, slot);
        for (const SeriesId& id : wanted) {
          char bytes[16];
          StoreId(id, bytes);
          s.BindBlob(2, {bytes, sizeof bytes});
          WEIR_RETURN_IF_ERROR(read(&s, nullptr));
        }
      }
    }
    return absl::OkStatus();
  }
  WEIR_ASSIGN_OR_RETURN(
      Statement s,
      reader_->Prepare(absl::StrCat(select, " WHERE start_seconds >= ?1 AND start_seconds < ?2",
                                    filter.slot.has_value() ? " AND slot = ?3" : "",
                                    " ORDER BY start_seconds, slot, series_id, commit_number")));
  s.Bind(0, start);
  s.Bind(1, filter.end_seconds);
  if (filter.slot.has_value()) s.Bind(2, int64_t{*filter.slot});
  return read(&s, wanted.empty() ? nullptr : &wanted);
}

absl::Status SqliteSnapshot::ReadCumulatives(
    int slot, absl::FunctionRef<absl::Status(const CumulativeRow& row)> row) {
  WEIR_RETURN_IF_ERROR(CheckSlots({slot}, options_.slot_count).status());
  WEIR_ASSIGN_OR_RETURN(Statement s,
                        reader_->Prepare("SELECT series_id, start_unix_nano, time_unix_nano, point"
                                         " FROM cumulative_points WHERE slot = ?"
                                         " ORDER BY series_id, start_unix_nano"));
  s.Bind(0, int64_t{slot});
  while (true) {
    WEIR_ASSIGN_OR_RETURN(const bool more, s.Step());
    if (!more) return absl::OkStatus();
    WEIR_RETURN_IF_ERROR(row({.slot = slot,
                              .series_id = SeriesId::FromBytes(s.Blob(0)),
                              .start_unix_nano = s.Int(1),
                              .time_unix_nano = s.Int(2),
                              .point = s.Blob(3)}));
  }
}

absl::StatusOr<IndicatorSet> SqliteSnapshot::Indicators() {
  IndicatorSet set;
  WEIR_ASSIGN_OR_RETURN(set.version, ReadIndicatorSetVersion(reader_.get()));
  WEIR_ASSIGN_OR_RETURN(Statement s,
                        reader_->Prepare("SELECT tenant, name, indicator_id, version, definition"
                                         " FROM indicators ORDER BY tenant, name"));
  while (true) {
    WEIR_ASSIGN_OR_RETURN(const bool row, s.Step());
    if (!row) return set;
    set.rows.push_back({.tenant = std::string(s.Text(0)),
                        .name = std::string(s.Text(1)),
                        .id = IndicatorId::FromBytes(s.Blob(2)),
                        .version = s.Int(3),
                        .definition = std::string(s.Blob(4))});
  }
}

absl::Status SqliteSnapshot::ReadIndicatorBins(
    const IndicatorBinFilter& filter,
    absl::FunctionRef<absl::Status(const IndicatorBin& bin)> row) {
  WEIR_RETURN_IF_ERROR(CheckIndicatorTier(filter.tier));
  if (filter.slot.has_value()) {
    WEIR_RETURN_IF_ERROR(CheckSlots({*filter.slot}, options_.slot_count).status());
  }
  const BinRange range = BinRangeOf(filter);
  if (range.start_seconds >= range.end_seconds) return absl::OkStatus();
  std::vector<IndicatorId> ids = filter.ids;
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  const auto read = [&](Statement* s, bool choose) -> absl::Status {
    while (true) {
      WEIR_ASSIGN_OR_RETURN(const bool more, s->Step());
      if (!more) return absl::OkStatus();
      const IndicatorBin bin{.tier = filter.tier,
                             .slot = static_cast<int>(s->Int(2)),
                             .start_seconds = s->Int(0),
                             .indicator_id = IndicatorId::FromBytes(s->Blob(1)),
                             .good = s->Int(3),
                             .total = s->Int(4)};
      if (choose && !std::binary_search(ids.begin(), ids.end(), bin.indicator_id)) continue;
      WEIR_RETURN_IF_ERROR(row(bin));
    }
  };
  const std::string select =
      "SELECT start_seconds, indicator_id, slot, good, total FROM indicator_bins WHERE tier = ?1";
  const std::string of_slot = filter.slot.has_value() ? " AND slot = ?4" : "";
  const std::string order = " ORDER BY start_seconds, indicator_id, slot";
  const auto bind_slot = [&](Statement* s) {
    if (filter.slot.has_value()) s->Bind(3, int64_t{*filter.slot});
  };
  const int64_t width = kIndicatorTiers[filter.tier].bin_seconds;
  if (!ids.empty() && (range.end_seconds - range.start_seconds) / width <
                          kMaxLookups / static_cast<int64_t>(ids.size())) {
    WEIR_ASSIGN_OR_RETURN(
        Statement s, reader_->Prepare(absl::StrCat(
                         select, " AND start_seconds = ?2 AND indicator_id = ?3", of_slot, order)));
    s.Bind(0, int64_t{filter.tier});
    bind_slot(&s);
    for (int64_t start = range.start_seconds; start < range.end_seconds; start += width) {
      s.Bind(1, start);
      for (const IndicatorId& id : ids) {
        char bytes[16];
        StoreId(id, bytes);
        s.BindBlob(2, {bytes, sizeof bytes});
        WEIR_RETURN_IF_ERROR(read(&s, /*choose=*/false));
      }
    }
    return absl::OkStatus();
  }
  WEIR_ASSIGN_OR_RETURN(
      Statement s, reader_->Prepare(absl::StrCat(
                       select, " AND start_seconds >= ?2 AND start_seconds < ?3", of_slot, order)));
  s.Bind(0, int64_t{filter.tier});
  s.Bind(1, range.start_seconds);
  s.Bind(2, range.end_seconds);
  bind_slot(&s);
  return read(&s, !ids.empty());
}

}  // namespace weir::store
