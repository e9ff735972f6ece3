#include "common/store/postgres/postgres_rows.h"

#include "common/base/status_macros.h"
#include "common/store/transaction.h"

namespace weir::store {

void ArrayText::Add(std::string_view text) {
  std::string& out = Next();
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  out += '"';
}

void ArrayText::AddBytes(std::string_view bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string& out = Next();
  out += "\"\\\\x";  // one backslash, escaped
  size_t end = out.size();
  out.resize(end + 2 * bytes.size());
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out[end++] = kDigits[byte >> 4];
    out[end++] = kDigits[byte & 15];
  }
  out += '"';
}

absl::StatusOr<std::vector<SlotState>> ReadAllSlots(Session* session, int tier_count) {
  std::vector<SlotState> slots;
  WEIR_ASSIGN_OR_RETURN(
      const pqxx::result states,
      session->Exec("SELECT slot, epoch, commit_number FROM slots ORDER BY slot"));
  for (const auto& row : states) {
    SlotState state{.derived_until = std::vector<int64_t>(tier_count)};
    WEIR_RETURN_IF_ERROR(Parse(row[0], &state.slot));
    WEIR_RETURN_IF_ERROR(Parse(row[1], &state.epoch));
    WEIR_RETURN_IF_ERROR(Parse(row[2], &state.commit_number));
    slots.push_back(std::move(state));
  }
  WEIR_ASSIGN_OR_RETURN(const pqxx::result derived,
                        session->Exec("SELECT slot, tier, extract(epoch FROM derived_until)::bigint"
                                      " FROM slot_tiers"));
  for (const auto& row : derived) {
    int slot = 0;
    int tier = 0;
    WEIR_RETURN_IF_ERROR(Parse(row[0], &slot));
    WEIR_RETURN_IF_ERROR(Parse(row[1], &tier));
    WEIR_RETURN_IF_ERROR(Parse(row[2], &slots[slot].derived_until[tier]));
  }
  return slots;
}

absl::StatusOr<std::vector<Watermark>> ReadAllWatermarks(Session* session) {
  std::vector<Watermark> watermarks;
  WEIR_ASSIGN_OR_RETURN(
      const pqxx::result rows,
      session->Exec("SELECT slot, wal_id, lsn, complete_until_unix_nano, heard_unix_nano"
                    " FROM watermarks ORDER BY slot, wal_id"));
  for (const auto& row : rows) {
    Watermark watermark;
    int64_t complete = 0;
    int64_t heard = 0;
    WEIR_RETURN_IF_ERROR(Parse(row[0], &watermark.slot));
    WEIR_ASSIGN_OR_RETURN(watermark.wal_id, IdOfUuid<WalId>(TextOf(row[1])));
    WEIR_RETURN_IF_ERROR(Parse(row[2], &watermark.lsn));
    WEIR_RETURN_IF_ERROR(Parse(row[3], &complete));
    WEIR_RETURN_IF_ERROR(Parse(row[4], &heard));
    watermark.complete_until = TimeOfNanos(complete);
    watermark.heard_time = TimeOfNanos(heard);
    watermarks.push_back(watermark);
  }
  return watermarks;
}

absl::StatusOr<std::vector<int64_t>> ReadFloors(Session* session, const char* locking) {
  WEIR_ASSIGN_OR_RETURN(
      const pqxx::result rows,
      session->Exec(absl::StrCat("SELECT extract(epoch FROM floor_time)::bigint FROM tiers"
                                 " ORDER BY tier",
                                 locking)));
  std::vector<int64_t> floors;
  for (const auto& row : rows) {
    int64_t floor = 0;
    WEIR_RETURN_IF_ERROR(Parse(row[0], &floor));
    floors.push_back(floor);
  }
  return floors;
}

absl::StatusOr<int64_t> ReadIndicatorSetVersion(Session* session, const char* locking) {
  WEIR_ASSIGN_OR_RETURN(const pqxx::result row,
                        session->Exec(absl::StrCat("SELECT version FROM indicator_set", locking)));
  int64_t version = 0;
  WEIR_RETURN_IF_ERROR(Parse(row[0][0], &version));
  return version;
}

}  // namespace weir::store
