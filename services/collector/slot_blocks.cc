#include "services/collector/slot_blocks.h"

#include <algorithm>

namespace weir::collector {

SlotBlocks::SlotBlocks(int slot_count)
    : columns_(static_cast<size_t>(slot_count) * frame::kValueTypes),
      sample_counts_(static_cast<size_t>(slot_count), 0),
      blocks_(static_cast<size_t>(slot_count)) {}

void SlotBlocks::Clear() {
  for (Columns& columns : columns_) {
    columns.count = 0;
    columns.points.clear();
  }
  encoded_.clear();
  pieces_.clear();
  std::fill(sample_counts_.begin(), sample_counts_.end(), 0);
  for (std::vector<std::string_view>& blocks : blocks_) blocks.clear();
}

void SlotBlocks::Encode(int slot, frame::ValueType type) {
  Columns& columns = columns_[IndexOf(slot, type)];
  const size_t count = std::exchange(columns.count, 0);
  frame::AppendBlock({type, absl::MakeSpan(columns.refs.data(), count),
                      absl::MakeSpan(columns.times.data(), count),
                      absl::MakeSpan(columns.bits.data(), count), columns.points},
                     &encoded_);
  columns.points.clear();
  sample_counts_[static_cast<size_t>(slot)] += count;
  pieces_.push_back({.slot = slot, .end = encoded_.size()});
}

void SlotBlocks::Finish() {
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].count > 0) {
      Encode(static_cast<int>(i / frame::kValueTypes),
             static_cast<frame::ValueType>(i % frame::kValueTypes));
    }
  }
  // `encoded_` has stopped moving.
  size_t begin = 0;
  for (const Piece& piece : pieces_) {
    blocks_[static_cast<size_t>(piece.slot)].push_back(
        std::string_view(encoded_).substr(begin, piece.end - begin));
    begin = piece.end;
  }
}

}  // namespace weir::collector
