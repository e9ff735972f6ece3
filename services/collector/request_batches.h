// One request's samples, in batches that each fit a frame. The same request is always
// cut at the same points, whatever is admitted of it, so that a repeat is recognised
// batch by batch.
//
// Thread safety: thread-compatible.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "services/collector/admission.h"
#include "services/collector/log_writer.h"

namespace weir::collector {

class RequestBatches {
 public:
  // Of a request that came at `now`. `limits` outlives this object.
  RequestBatches(const Limits& limits, absl::Time now) { builder_.Start(limits, now); }

  // Where samples are added or rejected.
  BatchBuilder& builder() { return builder_; }
  const BatchBuilder& builder() const { return builder_; }

  // Counts a sample read, admitted or not, and ends the batch when it has as many as
  // one may. `point_bytes`: at least what its point takes; depends on the request only.
  void CountSample(size_t point_bytes) {
    point_bytes_ += point_bytes;
    if (++sample_count_ < kMaxBatchSamples && point_bytes_ < kMaxPointBytes) return;
    sample_count_ = 0;
    point_bytes_ = 0;
    batches_.push_back(builder_.Build());
  }

  // Everything admitted. A batch of rejected samples has its place all the same, or
  // those after it would change theirs when a repeat is judged differently.
  std::vector<AdmittedBatch> Take() {
    if (sample_count_ > 0) batches_.push_back(builder_.Build());
    return std::move(batches_);
  }

 private:
  // What one batch's points may take, so that it fits a frame.
  static constexpr size_t kMaxPointBytes = 1 << 20;

  BatchBuilder builder_;
  std::vector<AdmittedBatch> batches_;
  int64_t sample_count_ = 0;  // read into the batch being built
  size_t point_bytes_ = 0;
};

}  // namespace weir::collector
