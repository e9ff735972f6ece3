#include "common/store/postgres/postgres_store.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/int128_text.h"
#include "common/base/status_macros.h"
#include "common/store/migrate.h"
#include "common/store/postgres/postgres_rows.h"
#include "common/store/postgres/postgres_snapshot.h"
#include "common/store/transaction.h"

namespace weir::store {
namespace {

// In the order of FormatPartial.
const std::vector<std::string>& PartialColumns() {
  static const auto* const columns = new std::vector<std::string>{"start_time",
                                                                  "commit_number",
                                                                  "slot",
                                                                  "series_id",
                                                                  "count",
                                                                  "float_count",
                                                                  "float_sum",
                                                                  "min",
                                                                  "max",
                                                                  "mean",
                                                                  "m2",
                                                                  "first",
                                                                  "last",
                                                                  "first_unix_nano",
                                                                  "last_unix_nano",
                                                                  "integer_sum",
                                                                  "sketch"};
  return *columns;
}

// One row of COPY: fields point into the buffers, so a row costs no allocation.
class PartialText {
 public:
  const CopyRow& Format(const PartialRow& row, int64_t commit_number) {
    const Aggregate& a = row.aggregate;
    if (start_text_.empty() || row.start_seconds != start_seconds_) {
      start_seconds_ = row.start_seconds;
      start_text_ = absl::FormatTime("%E4Y-%m-%d %H:%M:%S+00",
                                     absl::FromUnixSeconds(start_seconds_), absl::UTCTimeZone());
    }
    fields_[0] = start_text_.c_str();
    Number(1, commit_number);
    Number(2, row.slot);
    id_text_ = row.series_id.ToHex();
    fields_[3] = id_text_.c_str();
    Number(4, a.count);
    Number(5, a.float_count);
    Number(6, a.float_sum);
    Number(7, a.min);
    Number(8, a.max);
    Number(9, a.mean);
    Number(10, a.m2);
    Number(11, a.first);
    Number(12, a.last);
    Number(13, a.first_unix_nano);
    Number(14, a.last_unix_nano);
    if (a.integer_sum >= std::numeric_limits<int64_t>::min() &&
        a.integer_sum <= std::numeric_limits<int64_t>::max()) {
      Number(15, static_cast<int64_t>(a.integer_sum));
    } else {
      wide_sum_.clear();
      AppendInt128(a.integer_sum, &wide_sum_);
      fields_[15] = wide_sum_.c_str();
    }
    fields_[16] = nullptr;
    if (!row.sketch.empty()) {
      sketch_text_ =
          absl::StrCat("\\x", absl::BytesToHexString({row.sketch.data(), row.sketch.size()}));
      fields_[16] = sketch_text_.c_str();
    }
    return fields_;
  }

 private:
  template <typename T>
  void Number(int column, T value) {
    char* const buffer = buffers_[column];
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(value)) value = std::numeric_limits<T>::quiet_NaN();  // never "-nan"
    }
    *std::to_chars(buffer, buffer + sizeof buffers_[column] - 1, value).ptr = '\0';
    fields_[column] = buffer;
  }

  CopyRow fields_ = {};
  char buffers_[kCopyColumns][32];  // a double takes at most 24 characters
  int64_t start_seconds_ = 0;
  std::string start_text_, id_text_, wide_sum_, sketch_text_;
};

// Bounds of a statement whose rows are arrays, so that neither side holds more
// than some MiB of it.
constexpr size_t kRowsPerStatement = 4096;
constexpr size_t kPointBytesPerStatement = 4 << 20;

std::string PartitionName(int tier, int64_t start_seconds) {
  return absl::StrCat("partials_", tier, start_seconds < 0 ? "_m" : "_", std::abs(start_seconds));
}

std::vector<int> SlotsOf(const Transaction& t) {
  std::vector<int> slots;
  for (const auto& change : t.slots) slots.push_back(change.slot);
  return slots;
}

// SQLSTATE 23514: there is no partition for a row. (The program's own checks
// come before the tables'.)
bool PartitionMissing(const absl::Status& status) {
  return absl::IsInvalidArgument(status) && absl::StrContains(status.message(), "(23514)");
}

}  // namespace

PostgresStore::PostgresStore(PostgresOptions postgres_options, StoreOptions options)
    : postgres_options_(std::move(postgres_options)),
      options_(std::move(options)),
      writer_(postgres_options_) {
  for (int tier = 0; tier < options_.tiers.size(); ++tier) {
    partition_seconds_.push_back(PartitionSeconds(options_.tiers, tier));
  }
}

absl::StatusOr<std::unique_ptr<Store>> PostgresStore::Open(PostgresOptions postgres_options,
                                                           StoreOptions options) {
  std::unique_ptr<PostgresStore> store(
      new PostgresStore(std::move(postgres_options), std::move(options)));
  WEIR_RETURN_IF_ERROR(store->CreateSchema());
  absl::Status status = Migrate(Dialect::kPostgres, EmbeddedMigrations(Dialect::kPostgres),
                                store->options_, &store->writer_);
  if (absl::IsFailedPrecondition(status) && absl::StrContains(status.message(), "(42501)")) {
    return absl::FailedPreconditionError(
        absl::StrCat("the role lacks rights on schema ", store->postgres_options_.schema,
                     "; it must own the schema's tables: ", status.message()));
  }
  WEIR_RETURN_IF_ERROR(status);
  WEIR_RETURN_IF_ERROR(store->writer_.BeginSnapshot());
  const auto partitions = store->writer_.Query("SELECT partition_seconds FROM tiers ORDER BY tier");
  store->writer_.Rollback();
  WEIR_RETURN_IF_ERROR(partitions.status());
  for (size_t tier = 0; tier < partitions->size(); ++tier) {
    // What the store was created with holds, whatever this program would choose.
    if (!absl::SimpleAtoi((*partitions)[tier][0], &store->partition_seconds_[tier])) {
      return absl::InternalError("partition_seconds is no number");
    }
  }
  return store;
}

absl::Status PostgresStore::CreateSchema() {
  const std::string literal = SqlQuote(postgres_options_.schema);
  absl::Status status;
  for (int attempt = 0; attempt < 3; ++attempt) {  // two programs may start at once
    WEIR_RETURN_IF_ERROR(writer_.Begin());
    const auto found = writer_.Query("SELECT 1 FROM pg_namespace WHERE nspname = " + literal);
    if (found.ok() && !found->empty()) {
      writer_.Rollback();
      return absl::OkStatus();
    }
    status = found.status();
    if (status.ok()) {
      status = writer_.Execute("CREATE SCHEMA " + QuoteIdentifier(postgres_options_.schema));
    }
    if (status.ok()) status = writer_.Commit();
    if (status.ok()) return status;
    writer_.Rollback();
  }
  return absl::Status(status.code(), absl::StrCat("schema ", postgres_options_.schema,
                                                  " cannot be created: ", status.message()));
}

absl::StatusOr<Claimed> PostgresStore::ReadClaimed(const std::vector<int>& slots) {
  Claimed claimed;
  const auto wanted = [&](int slot) {
    return std::binary_search(slots.begin(), slots.end(), slot);
  };
  WEIR_ASSIGN_OR_RETURN(auto states, ReadAllSlots(&writer_, options_.tiers.size()));
  for (SlotState& state : states) {
    if (wanted(state.slot)) claimed.slots.push_back(std::move(state));
  }
  WEIR_ASSIGN_OR_RETURN(const auto watermarks, ReadAllWatermarks(&writer_));
  for (const Watermark& watermark : watermarks) {
    if (wanted(watermark.slot)) claimed.watermarks.push_back(watermark);
  }
  WEIR_ASSIGN_OR_RETURN(claimed.floors, ReadFloors(&writer_));
  WEIR_ASSIGN_OR_RETURN(claimed.indicator_set_version, ReadIndicatorSetVersion(&writer_));
  return claimed;
}

absl::StatusOr<Claimed> PostgresStore::Claim(const std::vector<int>& slots,
                                             const std::string& owner) {
  WEIR_ASSIGN_OR_RETURN(const std::vector<int> sorted, CheckSlots(slots, options_.slot_count));
  WEIR_RETURN_IF_ERROR(writer_.Begin());
  const auto claim = [&]() -> absl::StatusOr<Claimed> {
    const std::string array = ArrayOf(sorted);
    // Locks in ascending order, as every commit does, so nobody deadlocks. With
    // the rows locked, what belongs to the slots holds still while it is read.
    WEIR_RETURN_IF_ERROR(writer_
                             .Exec("SELECT slot FROM slots WHERE slot = ANY($1::int[])"
                                   " ORDER BY slot FOR UPDATE",
                                   {array})
                             .status());
    WEIR_RETURN_IF_ERROR(writer_
                             .Exec("UPDATE slots SET owner = $2, epoch = epoch + 1"
                                   " WHERE slot = ANY($1::int[])",
                                   {array, owner})
                             .status());
    WEIR_ASSIGN_OR_RETURN(Claimed claimed, ReadClaimed(sorted));
    WEIR_RETURN_IF_ERROR(writer_.Commit());
    return claimed;
  };
  absl::StatusOr<Claimed> claimed = claim();
  writer_.Rollback();  // nothing, once committed
  return claimed;
}

absl::StatusOr<Claimed> PostgresStore::ReadSlots(const std::vector<int>& slots) {
  WEIR_ASSIGN_OR_RETURN(const std::vector<int> sorted, CheckSlots(slots, options_.slot_count));
  WEIR_RETURN_IF_ERROR(writer_.BeginSnapshot());
  absl::StatusOr<Claimed> claimed = ReadClaimed(sorted);
  writer_.Rollback();
  return claimed;
}

absl::Status PostgresStore::EnsurePartitions(const Transaction& t) {
  std::pair<int, int64_t> known{-1, 0};
  for (const PartialRow& row : t.partials) {
    const std::pair<int, int64_t> key{row.tier,
                                      AlignDown(row.start_seconds, partition_seconds_[row.tier])};
    if (key == known) continue;
    if (!partitions_.contains(key)) {
      WEIR_RETURN_IF_ERROR(CreatePartition(key.first, key.second));
      partitions_.insert(key);
    }
    known = key;
  }
  return absl::OkStatus();
}

absl::Status PostgresStore::CreatePartition(int tier, int64_t start_seconds) {
  const std::string table = absl::StrCat("partials_", tier);
  const std::string partition = PartitionName(tier, start_seconds);
  const std::string exists =
      absl::StrCat("SELECT 1 FROM pg_inherits WHERE inhparent = '", table,
                   "'::regclass AND inhrelid = to_regclass('", partition, "')");
  absl::Status status;
  for (int attempt = 0; attempt < 2; ++attempt) {
    WEIR_RETURN_IF_ERROR(writer_.Begin());
    const auto found = writer_.Query(exists);
    if (found.ok() && !found->empty()) {
      writer_.Rollback();
      return absl::OkStatus();
    }
    status = found.status();
    if (status.ok()) {
      status = writer_.Execute(absl::StrCat(
          "CREATE TABLE ", partition, " (LIKE ", table, " INCLUDING ALL); ALTER TABLE ", table,
          " ATTACH PARTITION ", partition, " FOR VALUES FROM (to_timestamp(", start_seconds,
          ")) TO (to_timestamp(", start_seconds + partition_seconds_[tier], "))"));
    }
    if (status.ok()) status = writer_.Commit();
    if (status.ok()) return status;
    // Somebody may have made it at the same moment; then the second look finds it.
    writer_.Rollback();
  }
  return absl::Status(status.code(), absl::StrCat("partition ", partition, ": ", status.message()));
}

absl::StatusOr<CommitResult> PostgresStore::Commit(const Transaction& t) {
  WEIR_RETURN_IF_ERROR(CheckTransaction(t, options_.slot_count, options_.tiers));
  absl::StatusOr<CommitResult> result = CommitOnce(t);
  if (!PartitionMissing(result.status())) return result;
  // Retention dropped a partition that this process remembers.
  partitions_.clear();
  return CommitOnce(t);
}

absl::StatusOr<CommitResult> PostgresStore::CommitOnce(const Transaction& t) {
  WEIR_RETURN_IF_ERROR(EnsurePartitions(t));
  WEIR_RETURN_IF_ERROR(writer_.Begin());
  absl::StatusOr<CommitResult> result = CommitInside(t);
  if (result.ok() && *result == CommitResult::kCommitted) {
    absl::Status status = writer_.Commit();
    if (status.ok()) return result;
    result = status;
  }
  writer_.Rollback();
  return result;
}

absl::StatusOr<CommitResult> PostgresStore::CommitInside(const Transaction& t) {
  WEIR_ASSIGN_OR_RETURN(const bool slots_agree, AdvanceSlots(t));
  if (!slots_agree) return CommitResult::kConflict;
  WEIR_ASSIGN_OR_RETURN(const bool watermarks_agree, AdvanceWatermarks(t));
  if (!watermarks_agree) return CommitResult::kConflict;
  WEIR_ASSIGN_OR_RETURN(const bool derives_agree, AdvanceDerived(t));
  if (!derives_agree) return CommitResult::kConflict;
  WEIR_ASSIGN_OR_RETURN(const bool indicators_agree, AdvanceIndicators(t));
  if (!indicators_agree) return CommitResult::kConflict;
  WEIR_ASSIGN_OR_RETURN(const bool floors_agree, FloorsAgree(t));
  if (!floors_agree) return CommitResult::kFloorsMoved;
  WEIR_RETURN_IF_ERROR(InsertSeries(t));
  WEIR_RETURN_IF_ERROR(WriteCumulatives(t));
  WEIR_RETURN_IF_ERROR(DropCumulatives(t));
  WEIR_RETURN_IF_ERROR(AddIndicatorBins(t));
  WEIR_RETURN_IF_ERROR(CopyPartials(t));
  return CommitResult::kCommitted;
}

absl::StatusOr<bool> PostgresStore::AdvanceSlots(const Transaction& t) {
  if (t.slots.empty()) return true;
  const std::string array = ArrayOf(SlotsOf(t));
  WEIR_ASSIGN_OR_RETURN(const pqxx::result rows,
                        writer_.Exec("SELECT epoch, commit_number FROM slots"
                                     " WHERE slot = ANY($1::int[]) ORDER BY slot FOR UPDATE",
                                     {array}));
  if (static_cast<size_t>(rows.size()) != t.slots.size()) return false;
  for (size_t i = 0; i < t.slots.size(); ++i) {
    const auto row = rows[static_cast<int>(i)];
    if (row[0].as<int64_t>() != t.slots[i].epoch ||
        row[1].as<int64_t>() != t.slots[i].old_commit_number) {
      return false;
    }
  }
  WEIR_ASSIGN_OR_RETURN(const pqxx::result updated,
                        writer_.Exec("UPDATE slots SET commit_number = commit_number + 1"
                                     " WHERE slot = ANY($1::int[])",
                                     {array}));
  return static_cast<size_t>(updated.affected_rows()) == t.slots.size();
}

absl::StatusOr<bool> PostgresStore::AdvanceWatermarks(const Transaction& t) {
  if (t.watermarks.empty()) return true;
  ArrayText slots, wals, olds, news, completes, heards;
  bool first_contact = false;
  for (const auto& change : t.watermarks) {
    first_contact = first_contact || change.old_lsn == 0;
    slots.Add(change.slot);
    wals.Add(change.wal_id.ToHex());
    olds.Add(static_cast<int64_t>(change.old_lsn));
    news.Add(static_cast<int64_t>(change.new_lsn));
    completes.Add(NanosOfTime(change.complete_until));
    heards.Add(NanosOfTime(change.heard_time));
  }
  const std::vector<std::string> params = {slots.Take(), wals.Take(),      olds.Take(),
                                           news.Take(),  completes.Take(), heards.Take()};
  constexpr char kValues[] =
      " unnest($1::int[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])"
      " AS v(slot, wal_id, old_lsn, new_lsn, complete_until, heard)";
  if (first_contact) {
    WEIR_RETURN_IF_ERROR(
        writer_
            .Exec(absl::StrCat("INSERT INTO watermarks (slot, wal_id, lsn,"
                               " complete_until_unix_nano, heard_unix_nano)"
                               " SELECT slot, wal_id, 0, complete_until, heard FROM",
                               kValues, " WHERE old_lsn = 0",
                               " ON CONFLICT (slot, wal_id) DO NOTHING"),
                  params)
            .status());
  }
  WEIR_ASSIGN_OR_RETURN(const pqxx::result updated,
                        writer_.Exec(absl::StrCat("UPDATE watermarks w SET lsn = v.new_lsn,"
                                                  " complete_until_unix_nano = v.complete_until,"
                                                  " heard_unix_nano = v.heard FROM",
                                                  kValues,
                                                  " WHERE w.slot = v.slot AND w.wal_id = v.wal_id"
                                                  " AND w.lsn = v.old_lsn"),
                                     params));
  return static_cast<size_t>(updated.affected_rows()) == t.watermarks.size();
}

absl::StatusOr<bool> PostgresStore::AdvanceDerived(const Transaction& t) {
  if (t.derives.empty()) return true;
  ArrayText slots, tiers, olds, news;
  for (const auto& change : t.derives) {
    slots.Add(change.slot);
    tiers.Add(change.tier);
    olds.Add(change.old_until_seconds);
    news.Add(change.new_until_seconds);
  }
  WEIR_ASSIGN_OR_RETURN(
      const pqxx::result updated,
      writer_.Exec("UPDATE slot_tiers d SET derived_until = to_timestamp(v.new_until)"
                   " FROM unnest($1::int[], $2::int[], $3::bigint[], $4::bigint[])"
                   " AS v(slot, tier, old_until, new_until)"
                   " WHERE d.slot = v.slot AND d.tier = v.tier"
                   " AND d.derived_until = to_timestamp(v.old_until)",
                   {slots.Take(), tiers.Take(), olds.Take(), news.Take()}));
  return static_cast<size_t>(updated.affected_rows()) == t.derives.size();
}

absl::StatusOr<bool> PostgresStore::AdvanceIndicators(const Transaction& t) {
  const bool changes = !t.indicator_changes.empty();
  if (!changes && t.indicator_set_version == 0) return true;
  // Who changes indicators keeps everybody else out; who has counted them keeps
  // only those out who would change them between this look and our commit.
  WEIR_ASSIGN_OR_RETURN(const int64_t version,
                        ReadIndicatorSetVersion(&writer_, changes ? " FOR UPDATE" : " FOR SHARE"));
  if (t.indicator_set_version != 0 && t.indicator_set_version != version) return false;
  if (!changes) return true;
  bool orphans = false;
  // Deletions first: what they free may be taken in the same transaction.
  for (const bool deleted : {true, false}) {
    for (const auto& change : t.indicator_changes) {
      if (change.deleted != deleted) continue;
      WEIR_ASSIGN_OR_RETURN(const bool agrees, ChangeIndicator(change, &orphans));
      if (!agrees) return false;
    }
  }
  WEIR_RETURN_IF_ERROR(
      writer_.Execute(absl::StrCat("UPDATE indicator_set SET version = version + 1",
                                   orphans ? ", deleted_version = version + 1" : "")));
  return true;
}

absl::StatusOr<bool> PostgresStore::ChangeIndicator(const Transaction::IndicatorChange& change,
                                                    bool* orphans) {
  const IndicatorRow& row = change.row;
  WEIR_ASSIGN_OR_RETURN(const pqxx::result old,
                        writer_.Exec("SELECT version, indicator_id FROM indicators"
                                     " WHERE tenant = $1 AND name = $2",
                                     {row.tenant, row.name}));
  int64_t version = 0;
  IndicatorId id = row.id;
  if (!old.empty()) {
    WEIR_RETURN_IF_ERROR(Parse(old[0][0], &version));
    WEIR_ASSIGN_OR_RETURN(id, IdOfUuid<IndicatorId>(TextOf(old[0][1])));
  }
  if (change.old_version != version) return false;
  if (change.deleted || id != row.id) *orphans = true;
  if (change.deleted) {
    WEIR_RETURN_IF_ERROR(
        writer_
            .Exec("DELETE FROM indicators WHERE tenant = $1 AND name = $2", {row.tenant, row.name})
            .status());
    return true;
  }
  WEIR_RETURN_IF_ERROR(
      writer_
          .Exec("INSERT INTO indicators (tenant, name, indicator_id, version, definition)"
                " VALUES ($1, $2, $3::uuid, $4::bigint, $5::bytea)"
                " ON CONFLICT (tenant, name) DO UPDATE SET"
                " indicator_id = excluded.indicator_id, version = excluded.version,"
                " definition = excluded.definition",
                {row.tenant, row.name, row.id.ToHex(), absl::StrCat(row.version),
                 absl::StrCat("\\x", absl::BytesToHexString(row.definition))})
          .status());
  return true;
}

absl::StatusOr<bool> PostgresStore::FloorsAgree(const Transaction& t) {
  if (t.floors.empty()) return true;
  // The share lock keeps a floor from rising between this look and our commit.
  WEIR_ASSIGN_OR_RETURN(const std::vector<int64_t> floors, ReadFloors(&writer_, " FOR SHARE"));
  return floors == t.floors;
}

absl::Status PostgresStore::InsertSeries(const Transaction& t) {
  for (size_t begin = 0; begin < t.series.size(); begin += kRowsPerStatement) {
    ArrayText ids, slots, tenants, names, kinds, labels;
    const size_t end = std::min(t.series.size(), begin + kRowsPerStatement);
    for (size_t i = begin; i < end; ++i) {
      const SeriesRow& row = t.series[i];
      ids.Add(row.id.ToHex());
      slots.Add(row.slot);
      tenants.Add(row.series.tenant);
      names.Add(row.series.name);
      kinds.Add(static_cast<int64_t>(row.series.kind));
      labels.Add(LabelsToJson(row.series.labels));
    }
    WEIR_RETURN_IF_ERROR(
        writer_
            .Exec("INSERT INTO series (series_id, slot, tenant, name, kind, labels)"
                  " SELECT series_id, slot, tenant, name, kind, labels::jsonb"
                  " FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::smallint[],"
                  " $6::text[]) AS v(series_id, slot, tenant, name, kind, labels)"
                  " ON CONFLICT (series_id, slot) DO NOTHING",
                  {ids.Take(), slots.Take(), tenants.Take(), names.Take(), kinds.Take(),
                   labels.Take()})
            .status());
  }
  return absl::OkStatus();
}

absl::Status PostgresStore::WriteCumulatives(const Transaction& t) {
  for (size_t next = 0; next < t.cumulatives.size();) {
    ArrayText slots, ids, starts, times, points;
    const size_t end = std::min(t.cumulatives.size(), next + kRowsPerStatement);
    for (size_t point_bytes = 0; next < end && point_bytes < kPointBytesPerStatement; ++next) {
      const CumulativeRow& row = t.cumulatives[next];
      slots.Add(row.slot);
      ids.Add(row.series_id.ToHex());
      starts.Add(row.start_unix_nano);
      times.Add(row.time_unix_nano);
      points.AddBytes(row.point);
      point_bytes += row.point.size();
    }
    WEIR_RETURN_IF_ERROR(
        writer_
            .Exec("INSERT INTO cumulative_points"
                  " (slot, series_id, start_unix_nano, time_unix_nano, point)"
                  " SELECT * FROM unnest($1::int[], $2::uuid[], $3::bigint[], $4::bigint[],"
                  " $5::bytea[])"
                  " ON CONFLICT (slot, series_id, start_unix_nano) DO UPDATE"
                  " SET time_unix_nano = excluded.time_unix_nano, point = excluded.point",
                  {slots.Take(), ids.Take(), starts.Take(), times.Take(), points.Take()})
            .status());
  }
  return absl::OkStatus();
}

absl::Status PostgresStore::DropCumulatives(const Transaction& t) {
  for (size_t next = 0; next < t.dropped_cumulatives.size();) {
    ArrayText slots, ids, starts;
    const size_t end = std::min(t.dropped_cumulatives.size(), next + kRowsPerStatement);
    for (; next < end; ++next) {
      const CumulativeKey& key = t.dropped_cumulatives[next];
      slots.Add(key.slot);
      ids.Add(key.series_id.ToHex());
      starts.Add(key.start_unix_nano);
    }
    WEIR_RETURN_IF_ERROR(writer_
                             .Exec("DELETE FROM cumulative_points p"
                                   " USING unnest($1::int[], $2::uuid[], $3::bigint[])"
                                   " AS v(slot, series_id, start_unix_nano)"
                                   " WHERE p.slot = v.slot AND p.series_id = v.series_id"
                                   " AND p.start_unix_nano = v.start_unix_nano",
                                   {slots.Take(), ids.Take(), starts.Take()})
                             .status());
  }
  return absl::OkStatus();
}

absl::Status PostgresStore::AddIndicatorBins(const Transaction& t) {
  for (size_t next = 0; next < t.indicator_bins.size();) {
    ArrayText tiers, starts, ids, slots, goods, totals;
    const size_t end = std::min(t.indicator_bins.size(), next + kRowsPerStatement);
    for (; next < end; ++next) {
      const IndicatorBin& bin = t.indicator_bins[next];
      tiers.Add(bin.tier);
      starts.Add(bin.start_seconds);
      ids.Add(bin.indicator_id.ToHex());
      slots.Add(bin.slot);
      goods.Add(bin.good);
      totals.Add(bin.total);
    }
    // A sum past 64 bits would be an error, and the flush would never commit.
    WEIR_RETURN_IF_ERROR(
        writer_
            .Exec("INSERT INTO indicator_bins AS b"
                  " (tier, start_time, indicator_id, slot, good, total)"
                  " SELECT tier, to_timestamp(start), id, slot, good, total"
                  " FROM unnest($1::int[], $2::bigint[], $3::uuid[], $4::int[], $5::bigint[],"
                  " $6::bigint[]) AS v(tier, start, id, slot, good, total)"
                  " ON CONFLICT (tier, start_time, indicator_id, slot) DO UPDATE SET"
                  " good = CASE WHEN b.good > 9223372036854775807 - excluded.good"
                  " THEN 9223372036854775807 ELSE b.good + excluded.good END,"
                  " total = CASE WHEN b.total > 9223372036854775807 - excluded.total"
                  " THEN 9223372036854775807 ELSE b.total + excluded.total END",
                  {tiers.Take(), starts.Take(), ids.Take(), slots.Take(), goods.Take(),
                   totals.Take()})
            .status());
  }
  return absl::OkStatus();
}

absl::Status PostgresStore::CopyPartials(const Transaction& t) {
  std::vector<int64_t> commit_numbers(options_.slot_count);
  for (const auto& change : t.slots) commit_numbers[change.slot] = change.old_commit_number + 1;
  std::vector<bool> present(options_.tiers.size());
  for (const PartialRow& row : t.partials) present[row.tier] = true;
  PartialText text;
  for (int tier = 0; tier < options_.tiers.size(); ++tier) {
    if (!present[tier]) continue;
    WEIR_RETURN_IF_ERROR(
        writer_.Copy(absl::StrCat("partials_", tier), PartialColumns(), [&](CopyWriter* writer) {
          for (const PartialRow& row : t.partials) {
            if (row.tier == tier) writer->Write(text.Format(row, commit_numbers[row.slot]));
          }
        }));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> PostgresStore::RaiseFloor(int tier, int64_t floor_seconds) {
  if (tier < 0 || tier >= options_.tiers.size()) {
    return absl::InvalidArgumentError(absl::StrCat("tier ", tier));
  }
  WEIR_RETURN_IF_ERROR(writer_.Begin());
  const auto raise = [&]() -> absl::StatusOr<int64_t> {
    WEIR_ASSIGN_OR_RETURN(const pqxx::result row,
                          writer_.Exec("SELECT extract(epoch FROM floor_time)::bigint FROM tiers"
                                       " WHERE tier = $1::int FOR UPDATE",
                                       {absl::StrCat(tier)}));
    // derived_until only rises, so the lowest one read here still holds at commit.
    WEIR_ASSIGN_OR_RETURN(
        const pqxx::result lowest,
        writer_.Exec("SELECT coalesce(extract(epoch FROM min(derived_until))::bigint, 0)"
                     " FROM slot_tiers WHERE tier = $1::int",
                     {absl::StrCat(tier + 1)}));
    const int64_t current = row[0][0].as<int64_t>();
    const int64_t floor =
        RaisedFloor(options_.tiers, tier, current, floor_seconds, lowest[0][0].as<int64_t>());
    if (floor == current) return floor;
    WEIR_RETURN_IF_ERROR(writer_
                             .Exec("UPDATE tiers SET floor_time = to_timestamp($2::bigint)"
                                   " WHERE tier = $1::int",
                                   {absl::StrCat(tier), absl::StrCat(floor)})
                             .status());
    WEIR_RETURN_IF_ERROR(writer_.Commit());
    return floor;
  };
  absl::StatusOr<int64_t> floor = raise();
  writer_.Rollback();  // nothing, once committed
  return floor;
}

absl::StatusOr<bool> PostgresStore::DropBelowFloor(int tier, int64_t max_rows) {
  if (tier < 0 || tier >= options_.tiers.size() || max_rows < 1) {
    return absl::InvalidArgumentError(absl::StrCat("tier ", tier, ", ", max_rows, " rows"));
  }
  const std::string table = absl::StrCat("partials_", tier);
  WEIR_RETURN_IF_ERROR(writer_.BeginSnapshot());
  const auto look = [&]() -> absl::StatusOr<std::vector<std::vector<std::string>>> {
    return writer_.Query(
        absl::StrCat("SELECT c.relname FROM pg_inherits i"
                     " JOIN pg_class c ON c.oid = i.inhrelid"
                     " WHERE i.inhparent = '",
                     table, "'::regclass"));
  };
  const auto names = look();
  const auto floors = ReadFloors(&writer_);
  writer_.Rollback();
  WEIR_RETURN_IF_ERROR(names.status());
  WEIR_RETURN_IF_ERROR(floors.status());
  for (const auto& row : *names) {
    // The name says where the partition begins: partials_0_1700000000.
    const std::string digits = row[0].substr(table.size() + 1);
    const bool negative = digits[0] == 'm';
    int64_t start = 0;
    if (!absl::SimpleAtoi(digits.substr(negative ? 1 : 0), &start)) continue;
    if (negative) start = -start;
    if (start + partition_seconds_[tier] > (*floors)[tier]) continue;
    WEIR_RETURN_IF_ERROR(writer_.Begin());
    // Dropping needs the table for itself; a reader must not make the flushes
    // that queue up behind us wait for long.
    absl::Status status =
        writer_.Execute(absl::StrCat("SET LOCAL lock_timeout TO 100; DROP TABLE ", row[0]));
    if (status.ok()) status = writer_.Commit();
    writer_.Rollback();
    if (absl::IsUnavailable(status)) return true;  // busy: later
    WEIR_RETURN_IF_ERROR(status);
    partitions_.erase({tier, start});
  }
  return false;
}

absl::StatusOr<bool> PostgresStore::DropIndicatorBins(int tier, int64_t before_seconds,
                                                      int64_t max_rows) {
  WEIR_RETURN_IF_ERROR(CheckIndicatorTier(tier));
  if (max_rows < 1) return absl::InvalidArgumentError(absl::StrCat(max_rows, " rows"));
  IndicatorSweep sweep = sweeps_[tier];
  WEIR_RETURN_IF_ERROR(writer_.Begin());
  const auto drop = [&]() -> absl::StatusOr<bool> {
    // Steps are short walks along the index. Statistics that are not there yet, or
    // are those of yesterday, make a planner sort all that lies ahead instead.
    WEIR_RETURN_IF_ERROR(
        writer_.Execute("SET LOCAL enable_sort TO off; SET LOCAL enable_seqscan TO off;"
                        " SET LOCAL enable_bitmapscan TO off"));
    WEIR_ASSIGN_OR_RETURN(const int64_t dropped, DropOldBins(tier, before_seconds, max_rows));
    bool more = dropped == max_rows;
    if (!more) {
      WEIR_ASSIGN_OR_RETURN(more, SweepBins(tier, max_rows - dropped, &sweep));
    }
    WEIR_RETURN_IF_ERROR(writer_.Commit());
    return more;
  };
  absl::StatusOr<bool> more = drop();
  if (more.ok()) sweeps_[tier] = sweep;
  writer_.Rollback();  // nothing, once committed
  return more;
}

absl::StatusOr<int64_t> PostgresStore::DropOldBins(int tier, int64_t before_seconds,
                                                   int64_t max_rows) {
  const int64_t before = std::clamp(before_seconds, kMinSeconds, kMaxSeconds);
  const std::vector<std::string> params = {absl::StrCat(tier), absl::StrCat(before),
                                           absl::StrCat(max_rows - 1)};
  // The key of the last row that goes, so the delete is one range of the index.
  WEIR_ASSIGN_OR_RETURN(
      const pqxx::result edge,
      writer_.Exec("SELECT extract(epoch FROM start_time)::bigint, indicator_id,"
                   " slot FROM indicator_bins"
                   " WHERE tier = $1::int AND start_time < to_timestamp($2::bigint)"
                   " ORDER BY start_time, indicator_id, slot"
                   " LIMIT 1 OFFSET $3::bigint",
                   params));
  absl::StatusOr<pqxx::result> removed;
  if (edge.empty()) {
    removed = writer_.Exec(
        "DELETE FROM indicator_bins WHERE tier = $1::int"
        " AND start_time < to_timestamp($2::bigint)",
        {params[0], params[1]});
  } else {
    removed = writer_.Exec(
        "DELETE FROM indicator_bins WHERE tier = $1::int"
        " AND (start_time, indicator_id, slot) <= (to_timestamp($2::bigint), $3::uuid, $4::int)",
        {params[0], std::string(TextOf(edge[0][0])), std::string(TextOf(edge[0][1])),
         std::string(TextOf(edge[0][2]))});
  }
  WEIR_RETURN_IF_ERROR(removed.status());
  return static_cast<int64_t>(removed->affected_rows());
}

absl::StatusOr<bool> PostgresStore::SweepBins(int tier, int64_t max_rows, IndicatorSweep* sweep) {
  WEIR_ASSIGN_OR_RETURN(const pqxx::result version,
                        writer_.Exec("SELECT deleted_version FROM indicator_set"));
  int64_t deleted_version = 0;
  WEIR_RETURN_IF_ERROR(Parse(version[0][0], &deleted_version));
  sweep->Begin(deleted_version);
  if (!sweep->pending) return false;
  constexpr char kFromHere[] =
      " FROM indicator_bins b WHERE b.tier = $1::int AND (b.start_time, b.indicator_id, b.slot)"
      " > (to_timestamp($2::bigint), $3::uuid, $4::int)";
  std::vector<std::string> params = {absl::StrCat(tier), absl::StrCat(sweep->after.start_seconds),
                                     sweep->after.indicator_id.ToHex(),
                                     absl::StrCat(sweep->after.slot)};
  // The last row that this step looks at.
  std::vector<std::string> edge_params = params;
  edge_params.push_back(absl::StrCat(max_rows - 1));
  WEIR_ASSIGN_OR_RETURN(
      const pqxx::result edge,
      writer_.Exec(absl::StrCat("SELECT extract(epoch FROM b.start_time)::bigint, b.indicator_id,"
                                " b.slot",
                                kFromHere,
                                " ORDER BY b.start_time, b.indicator_id, b.slot"
                                " LIMIT 1 OFFSET $5::bigint"),
                   edge_params));
  IndicatorSweep::Position last;
  std::string until_there;
  if (!edge.empty()) {
    WEIR_RETURN_IF_ERROR(Parse(edge[0][0], &last.start_seconds));
    WEIR_ASSIGN_OR_RETURN(last.indicator_id, IdOfUuid<IndicatorId>(TextOf(edge[0][1])));
    WEIR_RETURN_IF_ERROR(Parse(edge[0][2], &last.slot));
    params.push_back(absl::StrCat(last.start_seconds));
    params.push_back(last.indicator_id.ToHex());
    params.push_back(absl::StrCat(last.slot));
    until_there =
        " AND (b.start_time, b.indicator_id, b.slot)"
        " <= (to_timestamp($5::bigint), $6::uuid, $7::int)";
  }
  WEIR_RETURN_IF_ERROR(writer_
                           .Exec(absl::StrCat("DELETE", kFromHere, until_there,
                                              " AND NOT EXISTS (SELECT 1 FROM indicators i"
                                              " WHERE i.indicator_id = b.indicator_id)"),
                                 params)
                           .status());
  sweep->pending = !edge.empty();
  sweep->after = last;
  return sweep->pending;
}

absl::StatusOr<std::unique_ptr<Snapshot>> PostgresStore::OpenSnapshot() {
  std::unique_ptr<Session> session;
  {
    MutexLock lock(&mu_);
    if (open_snapshot_count_ >= postgres_options_.max_snapshot_count) {
      return absl::UnavailableError(
          absl::StrCat(open_snapshot_count_, " snapshots are open, the most allowed"));
    }
    ++open_snapshot_count_;
    if (!idle_sessions_.empty()) {
      session = std::move(idle_sessions_.back());
      idle_sessions_.pop_back();
    }
  }
  if (session == nullptr) session = std::make_unique<Session>(postgres_options_);
  std::string tables;
  for (int tier = 0; tier < options_.tiers.size(); ++tier) {
    absl::StrAppend(&tables, tier > 0 ? ", " : "", "ONLY partials_", tier);
  }
  // A snapshot does not keep a table from being dropped; this lock does. The
  // first query after it fixes the moment the snapshot sees.
  const auto begin = [&]() -> absl::Status {
    WEIR_RETURN_IF_ERROR(session->BeginSnapshot());
    return session->Execute("LOCK TABLE " + tables +
                            " IN ACCESS SHARE MODE; SELECT count(*) FROM store_meta");
  };
  // A pooled connection may have died while nobody looked; a new one tells.
  const bool pooled = session->connected();
  absl::Status status = begin();
  if (absl::IsUnavailable(status) && pooled) status = begin();
  if (!status.ok()) {
    ReturnSession(std::move(session));
    return status;
  }
  return std::make_unique<PostgresSnapshot>(this, options_, std::move(session));
}

void PostgresStore::ReturnSession(std::unique_ptr<Session> session) {
  session->Rollback();
  MutexLock lock(&mu_);
  --open_snapshot_count_;
  if (session->connected()) idle_sessions_.push_back(std::move(session));
}

}  // namespace weir::store
