// Everything a commit does happens inside one BEGIN IMMEDIATE transaction, so
// the order of its parts matters only for how early a conflict is seen.
#include "common/store/sqlite/sqlite_store.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/int128_text.h"
#include "common/base/status_macros.h"
#include "common/store/migrate.h"
#include "common/store/sqlite/sqlite_rows.h"
#include "common/store/sqlite/sqlite_snapshot.h"
#include "common/store/transaction.h"

namespace weir::store {
namespace {

constexpr int kPartialColumns = 17;

absl::StatusOr<bool> ChangesOne(Connection* connection, Statement* statement) {
  WEIR_RETURN_IF_ERROR(statement->Run());
  return connection->changes() == 1;
}

void BindReal(Statement* statement, int index, double value) {
  if (std::isnan(value)) {
    statement->BindNull(index);
  } else {
    statement->Bind(index, value);
  }
}

}  // namespace

struct SqliteStore::Statements {
  Statement claim;
  Statement advance_slot;
  Statement insert_watermark;
  Statement advance_watermark;
  Statement advance_derived;
  Statement insert_series;
  Statement write_cumulative;
  Statement drop_cumulative;
  Statement add_indicator_bin;
  std::vector<Statement> insert_partial;  // per tier
};

SqliteStore::SqliteStore(std::string path, StoreOptions options, SqliteOptions sqlite_options,
                         std::unique_ptr<Connection> writer)
    : path_(std::move(path)),
      options_(std::move(options)),
      sqlite_options_(sqlite_options),
      writer_(std::move(writer)),
      statements_(std::make_unique<Statements>()) {}

SqliteStore::~SqliteStore() = default;

absl::StatusOr<std::unique_ptr<Store>> SqliteStore::Open(const std::string& path,
                                                         StoreOptions options,
                                                         SqliteOptions sqlite_options) {
  WEIR_ASSIGN_OR_RETURN(auto writer, Connection::Open(path, Connection::Role::kWriter));
  WEIR_RETURN_IF_ERROR(
      Migrate(Dialect::kSqlite, EmbeddedMigrations(Dialect::kSqlite), options, writer.get()));
  std::unique_ptr<SqliteStore> store(
      new SqliteStore(path, std::move(options), sqlite_options, std::move(writer)));
  WEIR_RETURN_IF_ERROR(store->PrepareStatements());
  return store;
}

absl::Status SqliteStore::PrepareStatements() {
  Statements& s = *statements_;
  WEIR_ASSIGN_OR_RETURN(
      s.claim, writer_->Prepare("UPDATE slots SET owner = ?, epoch = epoch + 1 WHERE slot = ?"));
  WEIR_ASSIGN_OR_RETURN(s.advance_slot,
                        writer_->Prepare("UPDATE slots SET commit_number = commit_number + 1"
                                         " WHERE slot = ? AND epoch = ? AND commit_number = ?"));
  WEIR_ASSIGN_OR_RETURN(
      s.insert_watermark,
      writer_->Prepare("INSERT INTO watermarks (slot, wal_id, lsn, complete_until_unix_nano,"
                       " heard_unix_nano) VALUES (?, ?, 0, ?, ?) ON CONFLICT DO NOTHING"));
  WEIR_ASSIGN_OR_RETURN(
      s.advance_watermark,
      writer_->Prepare("UPDATE watermarks SET lsn = ?, complete_until_unix_nano = ?,"
                       " heard_unix_nano = ? WHERE slot = ? AND wal_id = ? AND lsn = ?"));
  WEIR_ASSIGN_OR_RETURN(
      s.advance_derived,
      writer_->Prepare("UPDATE slot_tiers SET derived_until_seconds = ?"
                       " WHERE slot = ? AND tier = ? AND derived_until_seconds = ?"));
  WEIR_ASSIGN_OR_RETURN(
      s.insert_series,
      writer_->Prepare("INSERT INTO series (series_id, slot, tenant, name, kind, labels)"
                       " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (series_id, slot) DO NOTHING"));
  WEIR_ASSIGN_OR_RETURN(
      s.write_cumulative,
      writer_->Prepare("INSERT INTO cumulative_points"
                       " (slot, series_id, start_unix_nano, time_unix_nano, point)"
                       " VALUES (?, ?, ?, ?, ?)"
                       " ON CONFLICT (slot, series_id, start_unix_nano) DO UPDATE"
                       " SET time_unix_nano = excluded.time_unix_nano, point = excluded.point"));
  WEIR_ASSIGN_OR_RETURN(s.drop_cumulative, writer_->Prepare("DELETE FROM cumulative_points"
                                                            " WHERE slot = ? AND series_id = ?"
                                                            " AND start_unix_nano = ?"));
  // Past 64 bits SQLite would go on in floating point.
  WEIR_ASSIGN_OR_RETURN(
      s.add_indicator_bin,
      writer_->Prepare("INSERT INTO indicator_bins"
                       " (tier, start_seconds, indicator_id, slot, good, total)"
                       " VALUES (?, ?, ?, ?, ?, ?)"
                       " ON CONFLICT (tier, start_seconds, indicator_id, slot) DO UPDATE SET"
                       " good = CASE WHEN good > 9223372036854775807 - excluded.good"
                       " THEN 9223372036854775807 ELSE good + excluded.good END,"
                       " total = CASE WHEN total > 9223372036854775807 - excluded.total"
                       " THEN 9223372036854775807 ELSE total + excluded.total END"));
  for (int tier = 0; tier < options_.tiers.size(); ++tier) {
    std::string sql = absl::StrCat(
        "INSERT INTO partials_", tier,
        " (start_seconds, slot, series_id, commit_number, count, float_count, integer_sum,"
        " float_sum, min, max, mean, m2, first, last, first_unix_nano, last_unix_nano, sketch)"
        " VALUES (?");
    for (int i = 1; i < kPartialColumns; ++i) sql += ",?";
    WEIR_ASSIGN_OR_RETURN(Statement statement, writer_->Prepare(sql + ")"));
    s.insert_partial.push_back(std::move(statement));
  }
  return absl::OkStatus();
}

absl::StatusOr<Claimed> SqliteStore::ReadClaimed(const std::vector<int>& slots) {
  Claimed claimed;
  const auto wanted = [&](int slot) {
    return std::binary_search(slots.begin(), slots.end(), slot);
  };
  WEIR_ASSIGN_OR_RETURN(auto states, ReadAllSlots(writer_.get(), options_.tiers.size()));
  for (SlotState& state : states) {
    if (wanted(state.slot)) claimed.slots.push_back(std::move(state));
  }
  WEIR_ASSIGN_OR_RETURN(const auto watermarks, ReadAllWatermarks(writer_.get()));
  for (const Watermark& watermark : watermarks) {
    if (wanted(watermark.slot)) claimed.watermarks.push_back(watermark);
  }
  WEIR_ASSIGN_OR_RETURN(claimed.floors, ReadFloors(writer_.get()));
  WEIR_ASSIGN_OR_RETURN(claimed.indicator_set_version, ReadIndicatorSetVersion(writer_.get()));
  return claimed;
}

absl::StatusOr<Claimed> SqliteStore::Claim(const std::vector<int>& slots,
                                           const std::string& owner) {
  WEIR_ASSIGN_OR_RETURN(const std::vector<int> sorted, CheckSlots(slots, options_.slot_count));
  WEIR_RETURN_IF_ERROR(writer_->Begin());
  const auto claim = [&]() -> absl::StatusOr<Claimed> {
    for (const int slot : sorted) {
      statements_->claim.BindText(0, owner);
      statements_->claim.Bind(1, int64_t{slot});
      WEIR_RETURN_IF_ERROR(statements_->claim.Run());
    }
    WEIR_ASSIGN_OR_RETURN(Claimed claimed, ReadClaimed(sorted));
    WEIR_RETURN_IF_ERROR(writer_->Commit());
    return claimed;
  };
  absl::StatusOr<Claimed> claimed = claim();
  if (!claimed.ok()) writer_->Rollback();
  return claimed;
}

absl::StatusOr<Claimed> SqliteStore::ReadSlots(const std::vector<int>& slots) {
  WEIR_ASSIGN_OR_RETURN(const std::vector<int> sorted, CheckSlots(slots, options_.slot_count));
  WEIR_RETURN_IF_ERROR(writer_->Begin());
  absl::StatusOr<Claimed> claimed = ReadClaimed(sorted);
  writer_->Rollback();
  return claimed;
}

absl::StatusOr<CommitResult> SqliteStore::Commit(const Transaction& t) {
  WEIR_RETURN_IF_ERROR(CheckTransaction(t, options_.slot_count, options_.tiers));
  WEIR_RETURN_IF_ERROR(writer_->Begin());
  absl::StatusOr<CommitResult> result = CommitInside(t);
  if (result.ok() && *result == CommitResult::kCommitted) {
    absl::Status status = writer_->Commit();
    if (status.ok()) return result;
    result = status;
  }
  writer_->Rollback();
  return result;
}

absl::StatusOr<CommitResult> SqliteStore::CommitInside(const Transaction& t) {
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
  WEIR_RETURN_IF_ERROR(InsertPartials(t));
  WEIR_RETURN_IF_ERROR(AddIndicatorBins(t));
  return CommitResult::kCommitted;
}

absl::StatusOr<bool> SqliteStore::AdvanceSlots(const Transaction& t) {
  for (const auto& change : t.slots) {
    Statement& s = statements_->advance_slot;
    s.Bind(0, int64_t{change.slot});
    s.Bind(1, change.epoch);
    s.Bind(2, change.old_commit_number);
    WEIR_ASSIGN_OR_RETURN(const bool one, ChangesOne(writer_.get(), &s));
    if (!one) return false;
  }
  return true;
}

absl::StatusOr<bool> SqliteStore::FloorsAgree(const Transaction& t) {
  if (t.floors.empty()) return true;
  WEIR_ASSIGN_OR_RETURN(const std::vector<int64_t> floors, ReadFloors(writer_.get()));
  return floors == t.floors;
}

absl::StatusOr<bool> SqliteStore::AdvanceWatermarks(const Transaction& t) {
  for (const auto& change : t.watermarks) {
    char wal_id[16];
    StoreId(change.wal_id, wal_id);
    const std::string_view id(wal_id, sizeof wal_id);
    const int64_t complete = NanosOfTime(change.complete_until);
    const int64_t heard = NanosOfTime(change.heard_time);
    if (change.old_lsn == 0) {
      Statement& insert = statements_->insert_watermark;
      insert.Bind(0, int64_t{change.slot});
      insert.BindBlob(1, id);
      insert.Bind(2, complete);
      insert.Bind(3, heard);
      WEIR_RETURN_IF_ERROR(insert.Run());
    }
    Statement& s = statements_->advance_watermark;
    s.Bind(0, static_cast<int64_t>(change.new_lsn));
    s.Bind(1, complete);
    s.Bind(2, heard);
    s.Bind(3, int64_t{change.slot});
    s.BindBlob(4, id);
    s.Bind(5, static_cast<int64_t>(change.old_lsn));
    WEIR_ASSIGN_OR_RETURN(const bool one, ChangesOne(writer_.get(), &s));
    if (!one) return false;
  }
  return true;
}

absl::StatusOr<bool> SqliteStore::AdvanceDerived(const Transaction& t) {
  for (const auto& change : t.derives) {
    Statement& s = statements_->advance_derived;
    s.Bind(0, change.new_until_seconds);
    s.Bind(1, int64_t{change.slot});
    s.Bind(2, int64_t{change.tier});
    s.Bind(3, change.old_until_seconds);
    WEIR_ASSIGN_OR_RETURN(const bool one, ChangesOne(writer_.get(), &s));
    if (!one) return false;
  }
  return true;
}

absl::StatusOr<bool> SqliteStore::AdvanceIndicators(const Transaction& t) {
  if (t.indicator_set_version != 0) {
    WEIR_ASSIGN_OR_RETURN(const int64_t version, ReadIndicatorSetVersion(writer_.get()));
    if (version != t.indicator_set_version) return false;
  }
  if (t.indicator_changes.empty()) return true;
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
      writer_->Execute(absl::StrCat("UPDATE indicator_set SET version = version + 1",
                                    orphans ? ", deleted_version = version + 1" : "")));
  return true;
}

absl::StatusOr<bool> SqliteStore::ChangeIndicator(const Transaction::IndicatorChange& change,
                                                  bool* orphans) {
  const IndicatorRow& row = change.row;
  WEIR_ASSIGN_OR_RETURN(Statement old, writer_->Prepare("SELECT version, indicator_id"
                                                        " FROM indicators"
                                                        " WHERE tenant = ? AND name = ?"));
  old.BindText(0, row.tenant);
  old.BindText(1, row.name);
  WEIR_ASSIGN_OR_RETURN(const bool found, old.Step());
  if (change.old_version != (found ? old.Int(0) : 0)) return false;
  if (found && (change.deleted || IndicatorId::FromBytes(old.Blob(1)) != row.id)) *orphans = true;
  if (change.deleted) {
    WEIR_ASSIGN_OR_RETURN(Statement remove, writer_->Prepare("DELETE FROM indicators"
                                                             " WHERE tenant = ? AND name = ?"));
    remove.BindText(0, row.tenant);
    remove.BindText(1, row.name);
    WEIR_RETURN_IF_ERROR(remove.Run());
    return true;
  }
  WEIR_ASSIGN_OR_RETURN(
      Statement put,
      writer_->Prepare("INSERT INTO indicators (tenant, name, indicator_id, version, definition)"
                       " VALUES (?, ?, ?, ?, ?) ON CONFLICT (tenant, name) DO UPDATE SET"
                       " indicator_id = excluded.indicator_id, version = excluded.version,"
                       " definition = excluded.definition"));
  char id[16];
  StoreId(row.id, id);
  put.BindText(0, row.tenant);
  put.BindText(1, row.name);
  put.BindBlob(2, {id, sizeof id});
  put.Bind(3, row.version);
  put.BindBlob(4, row.definition);
  WEIR_RETURN_IF_ERROR(put.Run());
  return true;
}

absl::Status SqliteStore::AddIndicatorBins(const Transaction& t) {
  Statement& s = statements_->add_indicator_bin;
  for (const IndicatorBin& bin : t.indicator_bins) {
    char id[16];
    StoreId(bin.indicator_id, id);
    s.Bind(0, int64_t{bin.tier});
    s.Bind(1, bin.start_seconds);
    s.BindBlob(2, {id, sizeof id});
    s.Bind(3, int64_t{bin.slot});
    s.Bind(4, bin.good);
    s.Bind(5, bin.total);
    WEIR_RETURN_IF_ERROR(s.Run());
  }
  return absl::OkStatus();
}

absl::Status SqliteStore::InsertSeries(const Transaction& t) {
  for (const SeriesRow& row : t.series) {
    Statement& s = statements_->insert_series;
    char id[16];
    StoreId(row.id, id);
    const std::string labels = LabelsToJson(row.series.labels);
    s.BindBlob(0, {id, sizeof id});
    s.Bind(1, int64_t{row.slot});
    s.BindText(2, row.series.tenant);
    s.BindText(3, row.series.name);
    s.Bind(4, static_cast<int64_t>(row.series.kind));
    s.BindText(5, labels);
    WEIR_RETURN_IF_ERROR(s.Run());
  }
  return absl::OkStatus();
}

absl::Status SqliteStore::WriteCumulatives(const Transaction& t) {
  Statement& s = statements_->write_cumulative;
  for (const CumulativeRow& row : t.cumulatives) {
    char id[16];
    StoreId(row.series_id, id);
    s.Bind(0, int64_t{row.slot});
    s.BindBlob(1, {id, sizeof id});
    s.Bind(2, row.start_unix_nano);
    s.Bind(3, row.time_unix_nano);
    s.BindBlob(4, row.point);
    WEIR_RETURN_IF_ERROR(s.Run());
  }
  return absl::OkStatus();
}

absl::Status SqliteStore::DropCumulatives(const Transaction& t) {
  Statement& s = statements_->drop_cumulative;
  for (const CumulativeKey& key : t.dropped_cumulatives) {
    char id[16];
    StoreId(key.series_id, id);
    s.Bind(0, int64_t{key.slot});
    s.BindBlob(1, {id, sizeof id});
    s.Bind(2, key.start_unix_nano);
    WEIR_RETURN_IF_ERROR(s.Run());
  }
  return absl::OkStatus();
}

absl::Status SqliteStore::InsertPartials(const Transaction& t) {
  std::vector<int64_t> commit_numbers(options_.slot_count);
  for (const auto& change : t.slots) commit_numbers[change.slot] = change.old_commit_number + 1;
  std::string wide_sum;
  for (const PartialRow& row : t.partials) {
    const Aggregate& a = row.aggregate;
    Statement& s = statements_->insert_partial[row.tier];
    char id[16];
    StoreId(row.series_id, id);
    s.Bind(0, row.start_seconds);
    s.Bind(1, int64_t{row.slot});
    s.BindBlob(2, {id, sizeof id});
    s.Bind(3, commit_numbers[row.slot]);
    s.Bind(4, a.count);
    s.Bind(5, a.float_count);
    if (a.integer_sum >= std::numeric_limits<int64_t>::min() &&
        a.integer_sum <= std::numeric_limits<int64_t>::max()) {
      s.Bind(6, static_cast<int64_t>(a.integer_sum));
    } else {
      wide_sum.clear();
      AppendInt128(a.integer_sum, &wide_sum);
      s.BindText(6, wide_sum);
    }
    BindReal(&s, 7, a.float_sum);
    s.Bind(8, a.min);
    s.Bind(9, a.max);
    BindReal(&s, 10, a.mean);
    BindReal(&s, 11, a.m2);
    s.Bind(12, a.first);
    s.Bind(13, a.last);
    s.Bind(14, a.first_unix_nano);
    s.Bind(15, a.last_unix_nano);
    if (row.sketch.empty()) {
      s.BindNull(16);
    } else {
      s.BindBlob(16, row.sketch);
    }
    WEIR_RETURN_IF_ERROR(s.Run());
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> SqliteStore::RaiseFloor(int tier, int64_t floor_seconds) {
  if (tier < 0 || tier >= options_.tiers.size()) {
    return absl::InvalidArgumentError(absl::StrCat("tier ", tier));
  }
  WEIR_RETURN_IF_ERROR(writer_->Begin());
  const auto raise = [&]() -> absl::StatusOr<int64_t> {
    WEIR_ASSIGN_OR_RETURN(const std::vector<int64_t> floors, ReadFloors(writer_.get()));
    WEIR_ASSIGN_OR_RETURN(Statement lowest,
                          writer_->Prepare("SELECT min(derived_until_seconds) FROM slot_tiers"
                                           " WHERE tier = ?"));
    lowest.Bind(0, int64_t{tier + 1});
    WEIR_RETURN_IF_ERROR(lowest.Step().status());
    const int64_t floor =
        RaisedFloor(options_.tiers, tier, floors[tier], floor_seconds, lowest.Int(0));
    lowest.Reset();
    if (floor == floors[tier]) return floor;
    WEIR_ASSIGN_OR_RETURN(Statement update,
                          writer_->Prepare("UPDATE tiers SET floor_seconds = ? WHERE tier = ?"));
    update.Bind(0, floor);
    update.Bind(1, int64_t{tier});
    WEIR_RETURN_IF_ERROR(update.Run());
    WEIR_RETURN_IF_ERROR(writer_->Commit());
    return floor;
  };
  absl::StatusOr<int64_t> floor = raise();
  writer_->Rollback();  // nothing, once committed
  return floor;
}

absl::StatusOr<bool> SqliteStore::DropBelowFloor(int tier, int64_t max_rows) {
  if (tier < 0 || tier >= options_.tiers.size() || max_rows < 1) {
    return absl::InvalidArgumentError(absl::StrCat("tier ", tier, ", ", max_rows, " rows"));
  }
  const std::string table = absl::StrCat("partials_", tier);
  WEIR_RETURN_IF_ERROR(writer_->Begin());
  const auto drop = [&]() -> absl::StatusOr<bool> {
    WEIR_ASSIGN_OR_RETURN(const std::vector<int64_t> floors, ReadFloors(writer_.get()));
    // The key of the first row that stays, so the delete is one range of the tree.
    WEIR_ASSIGN_OR_RETURN(Statement edge,
                          writer_->Prepare(absl::StrCat(
                              "SELECT start_seconds, slot, series_id, commit_number FROM ", table,
                              " WHERE start_seconds < ? ORDER BY 1, 2, 3, 4 LIMIT 1 OFFSET ?")));
    edge.Bind(0, floors[tier]);
    edge.Bind(1, max_rows);
    WEIR_ASSIGN_OR_RETURN(const bool more, edge.Step());
    Statement remove;
    if (more) {
      WEIR_ASSIGN_OR_RETURN(
          remove, writer_->Prepare(absl::StrCat(
                      "DELETE FROM ", table,
                      " WHERE (start_seconds, slot, series_id, commit_number) < (?, ?, ?, ?)")));
      remove.Bind(0, edge.Int(0));
      remove.Bind(1, edge.Int(1));
      remove.BindBlob(2, edge.Blob(2));
      remove.Bind(3, edge.Int(3));
    } else {
      WEIR_ASSIGN_OR_RETURN(remove, writer_->Prepare(absl::StrCat("DELETE FROM ", table,
                                                                  " WHERE start_seconds < ?")));
      remove.Bind(0, floors[tier]);
    }
    WEIR_RETURN_IF_ERROR(remove.Run());
    edge.Reset();
    WEIR_RETURN_IF_ERROR(writer_->Commit());
    return more;
  };
  absl::StatusOr<bool> more = drop();
  writer_->Rollback();
  return more;
}

absl::StatusOr<bool> SqliteStore::DropIndicatorBins(int tier, int64_t before_seconds,
                                                    int64_t max_rows) {
  WEIR_RETURN_IF_ERROR(CheckIndicatorTier(tier));
  if (max_rows < 1) return absl::InvalidArgumentError(absl::StrCat(max_rows, " rows"));
  IndicatorSweep sweep = sweeps_[tier];
  WEIR_RETURN_IF_ERROR(writer_->Begin());
  const auto drop = [&]() -> absl::StatusOr<bool> {
    WEIR_ASSIGN_OR_RETURN(bool more, DropOldBins(tier, before_seconds, max_rows));
    if (!more) {
      WEIR_ASSIGN_OR_RETURN(more, SweepBins(tier, max_rows - writer_->changes(), &sweep));
    }
    WEIR_RETURN_IF_ERROR(writer_->Commit());
    return more;
  };
  absl::StatusOr<bool> more = drop();
  if (more.ok()) sweeps_[tier] = sweep;
  writer_->Rollback();
  return more;
}

absl::StatusOr<bool> SqliteStore::DropOldBins(int tier, int64_t before_seconds, int64_t max_rows) {
  // The key of the first row that stays, so the delete is one range of the tree.
  WEIR_ASSIGN_OR_RETURN(
      Statement edge,
      writer_->Prepare("SELECT start_seconds, indicator_id, slot FROM indicator_bins"
                       " WHERE tier = ? AND start_seconds < ?"
                       " ORDER BY start_seconds, indicator_id, slot LIMIT 1 OFFSET ?"));
  edge.Bind(0, int64_t{tier});
  edge.Bind(1, before_seconds);
  edge.Bind(2, max_rows);
  WEIR_ASSIGN_OR_RETURN(const bool more, edge.Step());
  WEIR_ASSIGN_OR_RETURN(
      Statement remove,
      writer_->Prepare(more ? "DELETE FROM indicator_bins WHERE tier = ?"
                              " AND (start_seconds, indicator_id, slot) < (?, ?, ?)"
                            : "DELETE FROM indicator_bins WHERE tier = ? AND start_seconds < ?"));
  remove.Bind(0, int64_t{tier});
  remove.Bind(1, more ? edge.Int(0) : before_seconds);
  if (more) {
    remove.BindBlob(2, edge.Blob(1));
    remove.Bind(3, edge.Int(2));
  }
  WEIR_RETURN_IF_ERROR(remove.Run());
  return more;
}

absl::StatusOr<bool> SqliteStore::SweepBins(int tier, int64_t max_rows, IndicatorSweep* sweep) {
  WEIR_ASSIGN_OR_RETURN(Statement version,
                        writer_->Prepare("SELECT deleted_version FROM indicator_set"));
  WEIR_RETURN_IF_ERROR(version.Step().status());
  sweep->Begin(version.Int(0));
  version.Reset();
  if (!sweep->pending || max_rows < 1) return sweep->pending;
  char after_id[16];
  StoreId(sweep->after.indicator_id, after_id);
  const auto bind_after = [&](Statement* s) {
    s->Bind(0, int64_t{tier});
    s->Bind(1, sweep->after.start_seconds);
    s->BindBlob(2, {after_id, sizeof after_id});
    s->Bind(3, int64_t{sweep->after.slot});
  };
  // The last row that this step looks at.
  WEIR_ASSIGN_OR_RETURN(
      Statement edge,
      writer_->Prepare("SELECT start_seconds, indicator_id, slot FROM indicator_bins"
                       " WHERE tier = ?1 AND (start_seconds, indicator_id, slot) > (?2, ?3, ?4)"
                       " ORDER BY start_seconds, indicator_id, slot LIMIT 1 OFFSET ?5"));
  bind_after(&edge);
  edge.Bind(4, max_rows - 1);
  WEIR_ASSIGN_OR_RETURN(const bool more, edge.Step());
  IndicatorSweep::Position last;
  if (more) {
    last = {.start_seconds = edge.Int(0),
            .indicator_id = IndicatorId::FromBytes(edge.Blob(1)),
            .slot = static_cast<int>(edge.Int(2))};
    edge.Reset();
  }
  WEIR_ASSIGN_OR_RETURN(
      Statement remove,
      writer_->Prepare(
          absl::StrCat("DELETE FROM indicator_bins"
                       " WHERE tier = ?1 AND (start_seconds, indicator_id, slot) > (?2, ?3, ?4)",
                       more ? " AND (start_seconds, indicator_id, slot) <= (?5, ?6, ?7)" : "",
                       " AND indicator_id NOT IN (SELECT indicator_id FROM indicators)")));
  bind_after(&remove);
  char last_id[16];
  StoreId(last.indicator_id, last_id);
  if (more) {
    remove.Bind(4, last.start_seconds);
    remove.BindBlob(5, {last_id, sizeof last_id});
    remove.Bind(6, int64_t{last.slot});
  }
  WEIR_RETURN_IF_ERROR(remove.Run());
  sweep->pending = more;
  sweep->after = last;
  return more;
}

absl::StatusOr<std::unique_ptr<Snapshot>> SqliteStore::OpenSnapshot() {
  std::unique_ptr<Connection> reader;
  {
    MutexLock lock(&mu_);
    if (open_snapshot_count_ >= sqlite_options_.max_snapshot_count) {
      return absl::UnavailableError(
          absl::StrCat(open_snapshot_count_, " snapshots are open, the most allowed"));
    }
    ++open_snapshot_count_;
    if (!idle_readers_.empty()) {
      reader = std::move(idle_readers_.back());
      idle_readers_.pop_back();
    }
  }
  absl::Status status;
  if (reader == nullptr) {
    auto opened = Connection::Open(path_, Connection::Role::kReader);
    status = opened.status();
    if (opened.ok()) reader = *std::move(opened);
  }
  // A deferred transaction sees the file as of its first read.
  if (status.ok()) status = reader->Execute("BEGIN; SELECT count(*) FROM store_meta");
  if (!status.ok()) {
    ReturnReader(nullptr);
    return status;
  }
  return std::make_unique<SqliteSnapshot>(this, options_, std::move(reader));
}

void SqliteStore::ReturnReader(std::unique_ptr<Connection> reader) {
  if (reader != nullptr) reader->Rollback();
  MutexLock lock(&mu_);
  --open_snapshot_count_;
  if (reader != nullptr) idle_readers_.push_back(std::move(reader));
}

}  // namespace weir::store
