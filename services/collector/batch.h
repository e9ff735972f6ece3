// What admission hands to the log: samples within limits, in arrival order. The
// log's writer divides those of a whole group by slot and encodes them, since
// few large blocks cost less than many small ones, here and in the aggregator.
//
// Thread safety: values, thread-compatible.
#pragma once

#include <cstdint>
#include <vector>

#include "common/frame/block.h"

namespace weir::collector {

// A series' number in this process; also its number in every segment.
using SeriesNumber = uint32_t;

// Without initialisers: arrays of them are filled at once.
struct AdmittedSample {
  int64_t event_unix_nano;
  uint64_t bits;  // as frame::Block has them
  SeriesNumber series;
  uint16_t slot;
  frame::ValueType type;
};
static_assert(sizeof(AdmittedSample) == 24);

struct AdmittedBatch {
  std::vector<AdmittedSample> samples;

  int64_t sample_count() const { return static_cast<int64_t>(samples.size()); }
};

}  // namespace weir::collector
