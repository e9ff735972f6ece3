#include "services/collector/log_state.h"

#include <algorithm>

#include "common/base/bytes.h"
#include "common/base/strings.h"

namespace weir::collector {
namespace {

constexpr uint8_t kVersion = 1;

}  // namespace

absl::Status LogState::Apply(uint64_t lsn, const frame::FrameView& frame) {
  for (const frame::Range& range : frame.ranges) {
    if (range.slot < 0 || range.slot >= static_cast<int>(slot_last.size())) {
      return absl::DataLossError(
          StrCat("frame ", lsn, " names slot ", range.slot, " of ", slot_last.size()));
    }
    slot_last[static_cast<size_t>(range.slot)] = lsn;
  }
  for (const frame::SessionMark& mark : frame.sessions) {
    SessionEntry& entry = sessions[mark.id];
    // The later mark, not the higher: a session that expired may begin anew.
    entry.sequence = mark.sequence;
    entry.lifetime = mark.lifetime;
    entry.last_time = frame.seal_time;
  }
  last_seal_time = frame.seal_time;
  return absl::OkStatus();
}

std::string LogState::Encode() const {
  std::string bytes;
  AppendFixed<uint8_t>(kVersion, &bytes);
  AppendFixed<int64_t>(
      last_seal_time == absl::InfinitePast() ? INT64_MIN : absl::ToUnixNanos(last_seal_time),
      &bytes);
  AppendVarint(slot_last.size(), &bytes);
  for (const uint64_t lsn : slot_last) AppendVarint(lsn, &bytes);
  // Sorted, so that the same state gives the same bytes.
  std::vector<SessionTable::const_pointer> entries;
  entries.reserve(sessions.size());
  for (const auto& entry : sessions) entries.push_back(&entry);
  std::sort(entries.begin(), entries.end(),
            [](const auto* a, const auto* b) { return a->first < b->first; });
  AppendVarint(entries.size(), &bytes);
  for (const auto* entry : entries) {
    bytes += entry->first.ToBytes();
    AppendVarint(entry->second.sequence, &bytes);
    AppendFixed<uint8_t>(static_cast<uint8_t>(entry->second.lifetime), &bytes);
    AppendFixed<int64_t>(absl::ToUnixNanos(entry->second.last_time), &bytes);
  }
  return bytes;
}

absl::StatusOr<LogState> LogState::Decode(std::string_view bytes, int slot_count) {
  LogState state(slot_count);
  if (bytes.empty()) return state;  // a log that was never trimmed
  ByteReader reader(bytes);
  if (const auto version = reader.Fixed<uint8_t>(); version != kVersion) {
    return absl::DataLossError(StrCat("checkpoint state of version ", version));
  }
  const int64_t seal = reader.Fixed<int64_t>();
  if (seal != INT64_MIN) state.last_seal_time = absl::FromUnixNanos(seal);
  if (const uint64_t count = reader.Varint(); count != state.slot_last.size()) {
    return absl::FailedPreconditionError(StrCat("the log was written with ", count,
                                                " slots, this collector is set to ", slot_count));
  }
  for (uint64_t& lsn : state.slot_last) lsn = reader.Varint();
  const uint64_t count = reader.Varint();
  for (uint64_t i = 0; i < count && reader.ok(); ++i) {
    const std::string_view id = reader.Bytes(16);
    if (!reader.ok()) break;
    SessionEntry& entry = state.sessions[frame::SessionId::FromBytes(id)];
    entry.sequence = reader.Varint();
    const uint8_t lifetime = reader.Fixed<uint8_t>();
    if (lifetime > static_cast<uint8_t>(frame::Lifetime::kContent))
      return absl::DataLossError("checkpoint state with an unknown lifetime");
    entry.lifetime = static_cast<frame::Lifetime>(lifetime);
    entry.last_time = absl::FromUnixNanos(reader.Fixed<int64_t>());
  }
  if (!reader.ok() || !reader.empty()) {
    return absl::DataLossError("checkpoint state does not parse");
  }
  return state;
}

}  // namespace weir::collector
