#include "common/store/sqlite/sqlite_rows.h"

#include "common/base/status_macros.h"
#include "common/store/transaction.h"

namespace weir::store {

absl::StatusOr<std::vector<SlotState>> ReadAllSlots(Connection* connection, int tier_count) {
  std::vector<SlotState> slots;
  WEIR_ASSIGN_OR_RETURN(Statement s, connection->Prepare("SELECT slot, epoch, commit_number"
                                                         " FROM slots ORDER BY slot"));
  while (true) {
    WEIR_ASSIGN_OR_RETURN(const bool row, s.Step());
    if (!row) break;
    slots.push_back({.slot = static_cast<int>(s.Int(0)),
                     .epoch = s.Int(1),
                     .commit_number = s.Int(2),
                     .derived_until = std::vector<int64_t>(tier_count)});
  }
  WEIR_ASSIGN_OR_RETURN(
      Statement derived,
      connection->Prepare("SELECT slot, tier, derived_until_seconds FROM slot_tiers"));
  while (true) {
    WEIR_ASSIGN_OR_RETURN(const bool row, derived.Step());
    if (!row) return slots;
    slots[derived.Int(0)].derived_until[derived.Int(1)] = derived.Int(2);
  }
}

absl::StatusOr<std::vector<Watermark>> ReadAllWatermarks(Connection* connection) {
  std::vector<Watermark> watermarks;
  WEIR_ASSIGN_OR_RETURN(
      Statement s,
      connection->Prepare("SELECT slot, wal_id, lsn, complete_until_unix_nano, heard_unix_nano"
                          " FROM watermarks ORDER BY slot, wal_id"));
  while (true) {
    WEIR_ASSIGN_OR_RETURN(const bool row, s.Step());
    if (!row) return watermarks;
    watermarks.push_back({.slot = static_cast<int>(s.Int(0)),
                          .wal_id = WalId::FromBytes(s.Blob(1)),
                          .lsn = static_cast<uint64_t>(s.Int(2)),
                          .complete_until = TimeOfNanos(s.Int(3)),
                          .heard_time = TimeOfNanos(s.Int(4))});
  }
}

absl::StatusOr<std::vector<int64_t>> ReadFloors(Connection* connection) {
  std::vector<int64_t> floors;
  WEIR_ASSIGN_OR_RETURN(Statement s,
                        connection->Prepare("SELECT floor_seconds FROM tiers ORDER BY tier"));
  while (true) {
    WEIR_ASSIGN_OR_RETURN(const bool row, s.Step());
    if (!row) return floors;
    floors.push_back(s.Int(0));
  }
}

absl::StatusOr<int64_t> ReadIndicatorSetVersion(Connection* connection) {
  WEIR_ASSIGN_OR_RETURN(Statement s, connection->Prepare("SELECT version FROM indicator_set"));
  WEIR_RETURN_IF_ERROR(s.Step().status());
  return s.Int(0);
}

}  // namespace weir::store
