// What makes the number of series grow: of each metric name, the labels with the
// most different values.
//
// How many series there are comes from the index, which the limits are compared
// with; labels come from the store, since the index forgets them. Series are read
// in the order of their ids, which are hashes: where reading stops before the end,
// what was read is a fair sample.
//
// Thread safety: pure functions over a snapshot that one thread uses.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/store/store.h"
#include "services/aggregator/fold.h"

namespace weir::aggregator {

struct TopSeriesLimits {
  // Series read for one answer, shared by its metrics. Default 200,000.
  int64_t max_scanned_series = 200'000;
  // Label names followed, of one metric; those met later are left out.
  size_t max_followed_labels = 256;
  // Of those, the ones answered.
  size_t max_answer_labels = 16;
  size_t max_examples = 5;
  // Longer values are cut.
  size_t max_example_bytes = 128;
};

struct LabelUsage {
  std::string name;
  int64_t value_count = 0;  // different values among the series read
  std::vector<std::string> examples;
};

struct MetricLabels {
  int64_t scanned_series_count = 0;  // overflow series apart
  std::vector<LabelUsage> labels;    // most values first, then by name
};

// The labels of each of `metrics`, in their order. Errors: the store's.
absl::StatusOr<std::vector<MetricLabels>> FindTopLabels(const std::string& tenant,
                                                        const std::vector<MetricUsage>& metrics,
                                                        store::Snapshot& snapshot,
                                                        const TopSeriesLimits& limits);

}  // namespace weir::aggregator
