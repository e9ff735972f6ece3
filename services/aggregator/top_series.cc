#include "services/aggregator/top_series.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "services/aggregator/query.h"

namespace weir::aggregator {
namespace {

constexpr int kSeriesPerPage = 1000;

// Values as hashes, so that a value of a kilobyte takes no more than a short one.
struct Values {
  absl::flat_hash_set<size_t> seen;
  std::vector<std::string> examples;
};

void AddLabels(const std::vector<Label>& labels, const TopSeriesLimits& limits,
               absl::flat_hash_map<std::string, Values>* values_of) {
  for (const Label& label : labels) {
    auto found = values_of->find(label.name);
    if (found == values_of->end()) {
      if (values_of->size() >= limits.max_followed_labels) continue;
      found = values_of->try_emplace(label.name).first;
    }
    Values& values = found->second;
    if (!values.seen.insert(absl::Hash<std::string>()(label.value)).second) continue;
    if (values.examples.size() >= limits.max_examples) continue;
    values.examples.push_back(Shorten(label.value, limits.max_example_bytes));
  }
}

absl::StatusOr<MetricLabels> ReadLabels(const std::string& tenant, const std::string& name,
                                        int64_t max_series, store::Snapshot& snapshot,
                                        const TopSeriesLimits& limits) {
  MetricLabels read;
  absl::flat_hash_map<std::string, Values> values_of;
  store::SeriesFilter filter{.tenant = tenant, .name = name};
  for (int64_t left = max_series; left > 0;) {
    filter.limit = static_cast<int>(std::min<int64_t>(left, kSeriesPerPage));
    WEIR_ASSIGN_OR_RETURN(const std::vector<store::SeriesRow> rows, snapshot.FindSeries(filter));
    for (const store::SeriesRow& row : rows) {
      if (row.series.labels == OverflowOf(row.series).labels) continue;
      ++read.scanned_series_count;
      AddLabels(row.series.labels, limits, &values_of);
    }
    if (static_cast<int>(rows.size()) < filter.limit) break;
    left -= static_cast<int64_t>(rows.size());
    filter.after = rows.back().id;
  }
  for (auto& [label, values] : values_of) {
    read.labels.push_back({.name = label,
                           .value_count = static_cast<int64_t>(values.seen.size()),
                           .examples = std::move(values.examples)});
  }
  std::sort(read.labels.begin(), read.labels.end(), [](const LabelUsage& a, const LabelUsage& b) {
    return a.value_count != b.value_count ? a.value_count > b.value_count : a.name < b.name;
  });
  if (read.labels.size() > limits.max_answer_labels) read.labels.resize(limits.max_answer_labels);
  return read;
}

}  // namespace

absl::StatusOr<std::vector<MetricLabels>> FindTopLabels(const std::string& tenant,
                                                        const std::vector<MetricUsage>& metrics,
                                                        store::Snapshot& snapshot,
                                                        const TopSeriesLimits& limits) {
  std::vector<MetricLabels> found;
  int64_t left = limits.max_scanned_series;
  for (size_t i = 0; i < metrics.size(); ++i) {
    // What the metrics before did not need is for those after.
    const int64_t share = left / static_cast<int64_t>(metrics.size() - i);
    WEIR_ASSIGN_OR_RETURN(MetricLabels labels,
                          ReadLabels(tenant, metrics[i].name, share, snapshot, limits));
    left -= labels.scanned_series_count;
    found.push_back(std::move(labels));
  }
  return found;
}

}  // namespace weir::aggregator
