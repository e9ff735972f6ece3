// What admission hands to the log: samples within limits, in arrival order. The
// log's writer divides those of a whole group by slot and encodes them, since
// few large blocks cost less than many small ones, here and in the aggregator.
//
// Thread safety: values, thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/frame/block.h"

namespace weir::collector {

// A series' number in this process; also its number in every segment.
using SeriesNumber = uint32_t;

// Without initialisers: arrays of them are filled at once.
struct AdmittedSample {
  int64_t event_unix_nano;
  // As frame::Block has them; of a point, where it begins in the batch's `points`
  // (the upper half) and its length.
  uint64_t bits;
  SeriesNumber series;
  uint16_t slot;
  frame::ValueType type;
};
static_assert(sizeof(AdmittedSample) == 24);

struct AdmittedBatch {
  std::vector<AdmittedSample> samples;
  std::string points;  // AppendPoint, one after the other; below 4 GiB

  std::string_view PointOf(const AdmittedSample& sample) const {
    return std::string_view(points).substr(sample.bits >> 32, sample.bits & UINT32_MAX);
  }

  int64_t sample_count() const { return static_cast<int64_t>(samples.size()); }
  int64_t memory_bytes() const {
    return static_cast<int64_t>(samples.capacity() * sizeof(AdmittedSample) + points.capacity());
  }
};

}  // namespace weir::collector
