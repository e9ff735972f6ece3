// The samples of one group of batches, divided by slot and encoded as blocks.
//
// Samples are dealt out to columns, a set for each type of value of each slot;
// what fills up is encoded. The columns of 16 slots fit a second-level cache.
//
// Thread safety: thread-compatible.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/frame/block.h"
#include "services/collector/batch.h"

namespace weir::collector {

class SlotBlocks {
 public:
  explicit SlotBlocks(int slot_count);

  // Forgets everything but keeps memory.
  void Clear();

  // REQUIRES: `batch` has the sample; sample.slot < slot_count.
  void Add(const AdmittedSample& sample, const AdmittedBatch& batch) {
    Columns& columns = columns_[IndexOf(sample.slot, sample.type)];
    const size_t i = columns.count++;
    columns.refs[i] = sample.series;
    columns.times[i] = sample.event_unix_nano;
    columns.bits[i] = sample.bits;
    if (sample.type == frame::ValueType::kPoint) [[unlikely]] {
      const std::string_view point = batch.PointOf(sample);
      columns.bits[i] = point.size();
      columns.points.append(point);
    }
    if (columns.count == kCapacity) [[unlikely]]
      Encode(sample.slot, sample.type);
  }

  // Encodes what is left. Add nothing more before Clear.
  void Finish();

  uint64_t sample_count(int slot) const { return sample_counts_[static_cast<size_t>(slot)]; }
  // After Finish; valid until Clear. Values of one type keep their order.
  const std::vector<std::string_view>& blocks(int slot) const {
    return blocks_[static_cast<size_t>(slot)];
  }

 private:
  static constexpr size_t kCapacity = 512;
  // An odd number of cache lines, so that the ends of the columns of different
  // slots, which are all written to in turn, do not fall on the same cache sets.
  struct alignas(64) Columns {
    size_t count = 0;
    std::array<uint32_t, kCapacity> refs;
    std::array<int64_t, kCapacity> times;
    std::array<uint64_t, kCapacity> bits;
    std::string points;
  };
  static_assert(sizeof(Columns) / 64 % 2 == 1);
  struct Piece {
    int slot;
    size_t end;  // of its block in `encoded_`; it begins where the one before ends
  };

  static size_t IndexOf(int slot, frame::ValueType type) {
    return static_cast<size_t>(slot) * frame::kValueTypes + static_cast<size_t>(type);
  }
  void Encode(int slot, frame::ValueType type);

  std::vector<Columns> columns_;  // by slot and type
  std::string encoded_;
  std::vector<Piece> pieces_;
  std::vector<uint64_t> sample_counts_;
  std::vector<std::vector<std::string_view>> blocks_;
};

}  // namespace weir::collector
