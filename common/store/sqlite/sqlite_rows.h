// How rows look in SQLite: queries a writer and a snapshot share.
//
// Thread safety: functions are called by one thread per connection.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/store/sqlite/connection.h"
#include "common/store/store.h"

namespace weir::store {

// Every slot's state, ascending.
absl::StatusOr<std::vector<SlotState>> ReadAllSlots(Connection* connection, int tier_count);
// Every watermark, ascending by slot, then WAL.
absl::StatusOr<std::vector<Watermark>> ReadAllWatermarks(Connection* connection);
// Per tier, Unix seconds.
absl::StatusOr<std::vector<int64_t>> ReadFloors(Connection* connection);
// Of all indicators together.
absl::StatusOr<int64_t> ReadIndicatorSetVersion(Connection* connection);

// 16 bytes, most significant first, without an allocation.
template <typename Id>
void StoreId(const Id& id, char* bytes) {
  const uint64_t high = __builtin_bswap64(id.high);
  const uint64_t low = __builtin_bswap64(id.low);
  __builtin_memcpy(bytes, &high, 8);
  __builtin_memcpy(bytes + 8, &low, 8);
}

}  // namespace weir::store
