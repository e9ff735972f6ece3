// What admission hands to the log: validated samples, divided by slot and
// encoded, ready to be copied into a frame.
//
// Thread safety: values, thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weir::collector {

// A series' number in this process; also its number in every segment.
using SeriesNumber = uint32_t;

// A batch's samples of one slot.
struct SlotPart {
  int slot = 0;
  uint64_t sample_count = 0;
  size_t offset = 0;  // of its blocks in AdmittedBatch::blocks
  size_t length = 0;
};

struct AdmittedBatch {
  std::vector<SlotPart> parts;  // ascending by slot, each with samples
  std::string blocks;           // the parts' encoded blocks, one after the other
  int64_t sample_count = 0;

  // Series that `segment` did not define when the batch was admitted; repeats
  // are harmless. A writer that is in another segment by then looks at the
  // blocks instead.
  uint64_t segment = 0;
  std::vector<SeriesNumber> undefined;

  std::string_view BlocksOf(const SlotPart& part) const {
    return std::string_view(blocks).substr(part.offset, part.length);
  }
};

}  // namespace weir::collector
